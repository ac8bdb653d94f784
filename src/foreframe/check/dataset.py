"""A whole dataset looked through: its splits one after another, then against each other."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from foreframe.check.alignment import align
from foreframe.check.behaviour import behaviour
from foreframe.check.camera import camera_findings
from foreframe.check.conclude import (
    alignment_findings,
    length_findings,
    size_findings,
    training_flags,
)
from foreframe.check.excerpt import SHORTEST, Excerpt
from foreframe.check.findings import Finding, Findings
from foreframe.check.numbers import compare_columns
from foreframe.check.repeats import repeats_across, repeats_within
from foreframe.check.scan import Scan, scan_split
from foreframe.check.suggestion import suggest
from foreframe.config.model import FRAME_SIZES, NetName, Size, nets_for
from foreframe.config.training import TrainConfig
from foreframe.data.container import PICTURES
from foreframe.data.lab import SPLITS, list_sequences
from foreframe.data.store.meta import META, ROWS
from foreframe.data.store.opened import open_split
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError, at_least
from foreframe.system.places import Place, unreadable
from foreframe.visuals.contact import GIF_NAME, SHEET_NAME, Shown, contact_gif, contact_sheet

_MOST_WORKERS = 8


@dataclass(frozen=True)
class CheckOptions:
    """What a check assumes, and how much of the costly parts it does."""

    n_past: int = TrainConfig.n_past
    """Frames that a model will be given."""
    n_future: int | None = None
    """Frames that it will predict; by default 10, or as many as every sequence has room for."""
    sample: int = 300
    """Sequences, drawn at random, on which the alignment of actions and motion is measured."""
    pictures: int = 8
    """Sequences, drawn at random, that are shown in the contact sheet and the GIF."""
    seed: int = 0
    """Seed of all that is drawn at random."""

    def check(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            ForeframeError: names the option.
        """
        at_least(
            1,
            n_past=self.n_past,
            n_future=self.n_future,
            sample=self.sample,
            pictures=self.pictures,
        )
        at_least(0, seed=self.seed)


def check_dataset(
    root: Place,
    options: CheckOptions | None = None,
    *,
    out: Path | None = None,
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Findings:
    """Look through a dataset and say what a person should know before training.

    Every frame of every split is read once. What is kept is 8 bytes for a frame and about a
    kilobyte for a sequence.

    Args:
        root: folder with train, validate and test, each in the lab's layout or a store.
        options: by default those of ``CheckOptions``.
        out: folder for ``check.json``, ``contact-sheet.png`` and ``sequences.gif``; None to write
            nothing.
        log: called with a line for data that are packed.
        progress: called with (sequences packed, all) for each split that is packed, then with
            (sequences looked at, all in all splits).

    Raises:
        ForeframeError: there is no dataset at ``root``, or a file could not be written. What is
            wrong with the data is a finding.
    """
    options = options or CheckOptions()
    options.check()
    _check_root(root)
    stores, problems = _open_splits(root, log, progress)
    largest = _room([stores[split] for split in SPLITS[:2] if split in stores], options.n_past)
    n_future = options.n_future or max(1, min(TrainConfig.n_future, largest))
    scans = _scan(stores, options, n_future, progress)
    for scan in scans:
        problems += size_findings(scan, scans[0])
        problems += length_findings(scan, options.n_past, options.n_future, largest)
        problems += scan.findings(small=scan is not scans[0])
        problems += repeats_within(scan.seen)
    rate = scans[0].store.frame_rate if scans else None
    problems += camera_findings({scan.split: scan.camera for scan in scans}, rate)
    problems += _against_each_other(scans)
    excerpts = _different(scans)
    alignment = align(excerpts, sum(len(scan.store) for scan in scans), options.seed)
    if alignment is not None:
        problems += alignment_findings(alignment)
    groups = behaviour(excerpts, rate, alignment)
    nets = _nets(root, stores)
    findings = Findings(
        root=str(root),
        n_past=options.n_past,
        n_future=n_future,
        n_future_max=max(0, largest),
        nets=nets,
        splits=tuple(scan.summary() for scan in scans),
        alignment=alignment,
        # A stable sort: within a level in the order of the splits.
        findings=tuple(sorted(problems, key=lambda finding: finding.level != "error")),
        groups=groups,
        suggestion=suggest(groups, rate),
        flags=tuple(training_flags([scan.store for scan in scans], nets, n_future, largest)),
    )
    if out is not None:
        findings.write(out)
        if scans:
            shown = _draw(stores, options)
            contact_sheet(out / SHEET_NAME, shown)
            rates = [summary.frame_rate for summary in findings.splits if summary.frame_rate]
            contact_gif(out / GIF_NAME, shown, fps=min(10.0, rates[0]) if rates else 5.0)
    return findings


def _open_splits(
    root: Place, log: Callable[[str], None], progress: Callable[[int, int], None]
) -> tuple[dict[str, Store], list[Finding]]:
    """The splits that can be opened, and what is wrong with the others and with the files."""
    stores: dict[str, Store] = {}
    problems: list[Finding] = []
    size = _size_of_folders(root)
    for split in SPLITS:
        opened = _open(root, split, size, log, progress)
        if isinstance(opened, Finding):
            problems.append(opened)
            continue
        stores[split] = opened
        problems += [
            Finding("error", split, f"{changed}. Make it again from what it was made of.")
            for changed in opened.verify()
        ]
    return stores, problems


def _check_root(root: Place) -> None:
    try:
        if not root.is_dir():
            raise ForeframeError(
                f"{root}: {'is not a folder' if root.exists() else 'no such folder'}. "
                "Give the root of a dataset, the folder that holds train, validate and test."
            )
        if (root / META).is_file():
            raise ForeframeError(
                f"{root}: is a single split. Give the folder above it, the root of the dataset."
            )
        if not any((root / split).exists() for split in SPLITS):
            raise ForeframeError(
                f"{root}: holds neither {SPLITS[0]}, {SPLITS[1]} nor {SPLITS[2]}. Give the root of "
                "a dataset; foreframe import makes one from other data."
            )
    except OSError as error:
        raise unreadable(root, error) from error


def _size_of_folders(root: Place) -> Size:
    """Height and width at which folders of pictures are looked at: as training would see them.

    That of the stores beside them, else that of the first picture, where some net takes it; else
    the default net's. So nothing is packed at a size that no training will use.
    """
    try:
        packed = [split for split in SPLITS if (root / split / META).is_file()]
        if packed:
            height, width = Store(root / packed[0]).size
        elif not isinstance(root, Path):
            return FRAME_SIZES[0]
        else:
            split = next(split for split in SPLITS if (root / split).exists())
            first = list_sequences(root, split)[0] / "0.png"
            with Image.open(first, formats=PICTURES) as picture:
                height, width = picture.height, picture.width
    except (ForeframeError, OSError, ValueError, TypeError, Image.DecompressionBombError):
        return FRAME_SIZES[0]  # opening the split will say what is wrong with it
    if (height, width) in FRAME_SIZES:
        return height, width
    edge = min(height, width), min(height, width)
    return edge if edge in FRAME_SIZES else FRAME_SIZES[0]


def _nets(root: Place, stores: dict[str, Store]) -> tuple[str, ...]:
    """Nets that take every split."""
    packed = [store for split, store in stores.items() if (root / split / META).is_file()]
    return tuple(
        net
        for net in (get_args(NetName) if stores else ())
        if all(net in nets_for(store.size) for store in packed)
    )


def _open(
    root: Place,
    split: str,
    size: Size,
    log: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Store | Finding:
    if not (root / split).exists():
        why = {
            "train": "there is nothing to train on. Import the data with a training part",
            "validate": "training needs it to choose its best weights. Move some of the training "
            "sequences there",
            "test": "nothing will be left to measure the trained model on. Set some sequences "
            "aside that are used for nothing else",
        }[split]
        return Finding("warning" if split == "test" else "error", split, f"is missing: {why}.")
    try:
        if (root / split / META).is_file():
            return Store(root / split)  # of whatever size; that is a finding of its own
        return open_split(root, split, size=size, log=log, progress=progress)
    except ForeframeError as error:
        return Finding("error", split, f"cannot be opened: {error}")


def _room(stores: list[Store], n_past: int) -> int:
    return min((int(store.lengths.min()) for store in stores), default=0) - n_past


def _scan(
    stores: dict[str, Store],
    options: CheckOptions,
    n_future: int,
    progress: Callable[[int, int], None],
) -> list[Scan]:
    total = sum(len(store) for store in stores.values())
    drawn = _drawn_for_alignment(stores, options)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    return [
        scan_split(
            store,
            split,
            n_past=options.n_past,
            n_future=n_future,
            excerpts=drawn.get(split, set()),
            workers=min(_MOST_WORKERS, os.cpu_count() or 1),
            step=step,
        )
        for split, store in stores.items()
    ]


def _drawn_for_alignment(stores: dict[str, Store], options: CheckOptions) -> dict[str, set[int]]:
    first = next(iter(stores.values()), None)
    if first is None or first.action_dim is None:
        return {}
    # Splits of other columns are an error of their own.
    able = [
        (split, k)
        for split, store in stores.items()
        if (store.action_dim, store.position_dim) == (first.action_dim, first.position_dim)
        for k in np.flatnonzero(store.lengths >= SHORTEST).tolist()
    ]
    random = np.random.default_rng((options.seed, 6))
    drawn: dict[str, set[int]] = {}
    for place in random.permutation(len(able))[: options.sample]:
        split, k = able[place]
        drawn.setdefault(split, set()).add(k)
    return drawn


def _different(scans: list[Scan]) -> list[Excerpt]:
    """Excerpts of all splits; what is there twice would be held out and fitted at once."""
    different: dict[bytes, Excerpt] = {}
    for scan in scans:
        for digest, excerpt in scan.excerpts:
            different.setdefault(digest, excerpt)
    return list(different.values())


def _against_each_other(scans: list[Scan]) -> Iterator[Finding]:
    yield from repeats_across([scan.seen for scan in scans])
    for scan in scans[1:]:
        yield from _compare(scans[0], scan)


def _compare(first: Scan, other: Scan) -> Iterator[Finding]:
    """What keeps two splits from being of one dataset."""
    for part in ROWS:
        ours, theirs = first.columns.get(part), other.columns.get(part)
        if ours is not None and theirs is not None:
            yield from compare_columns(ours, theirs)
        elif ours is not None or theirs is not None:
            holder, lacking = (first, other) if theirs is None else (other, first)
            yield Finding(
                "error",
                lacking.split,
                f"has no {part}, and {holder.split} has them: all splits must have the same "
                "columns.",
            )
    rate, expected = other.store.frame_rate, first.store.frame_rate
    if rate is not None and expected is not None and rate != expected:
        yield Finding(
            "warning",
            other.split,
            f"{rate:g} frames a second, but {expected:g} in {first.split}: a model learns "
            "the motion from one frame to the next. Import both at one --frame-rate.",
        )


def _draw(stores: dict[str, Store], options: CheckOptions) -> list[Shown]:
    """Random sequences: half of them from the first split, the others in turn from the rest."""
    random = np.random.default_rng((options.seed, 7))
    orders = {split: list(random.permutation(len(store))) for split, store in stores.items()}
    turns = list(stores)[:1] * max(1, len(stores) - 1) + list(stores)[1:]
    taken: dict[str, list[int]] = {split: [] for split in stores}
    while sum(map(len, taken.values())) < options.pictures and any(orders.values()):
        split = turns.pop(0)
        turns.append(split)
        if orders[split]:
            taken[split].append(int(orders[split].pop()))
    return [
        Shown(split, stores[split].names[k], stores[split][k])
        for split, chosen in taken.items()
        for k in sorted(chosen)[: options.pictures]
    ]
