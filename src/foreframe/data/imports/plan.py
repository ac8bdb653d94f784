"""The plan of an import: which recording goes where, and how wide its numbers are."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.data.imports.division import FEW, Piece, divide_by_time
from foreframe.data.imports.options import ImportOptions
from foreframe.data.imports.part import fault
from foreframe.data.imports.splitting import by_groups, by_list
from foreframe.data.recording import TABLES, Fit
from foreframe.data.sources.source import Part, RawRecording, Skip, Source
from foreframe.errors import ForeframeError

Pieces = dict[str, dict[str, list[Piece]]]
"""The pieces of each recording of each part, by their names."""


@dataclass(frozen=True)
class ImportPlan:
    """What is decided before anything is written.

    Attributes:
        parts: the parts of the source, each with its split.
        pieces: pieces of the recordings that are divided over splits; all others go whole to the
            split of their part.
        divided_by_time: whether recordings are so few that each is divided by time.
        widths: numbers in a row of each table that all recordings must have.
        rate: frames a second of the recordings, as the source, the options or the first of them
            say; None if nobody does.
        told: what the source says of itself.
    """

    parts: list[Part]
    pieces: Pieces
    divided_by_time: bool
    widths: dict[str, int | None]
    rate: float | None = None
    told: dict[str, Any] = field(default_factory=dict)


def plan_import(
    source: Source,
    parts: list[Part],
    options: ImportOptions,
    log: Callable[[str], None] = lambda text: None,
) -> ImportPlan:
    """Decide what goes where.

    Args:
        source: what is read.
        parts: of it.
        options: what becomes of the recordings.
        log: told what was decided that nobody asked for.

    Raises:
        ForeframeError: the source is ambiguous or has too little for the splits asked for.
    """
    name, count = Counter(part.name for part in parts).most_common(1)[0] if parts else ("", 0)
    if count > 1:
        raise ForeframeError(f"{name}: there are two parts of this name; rename one.")
    if options.split_file is not None and not options.split_file.is_file():
        raise ForeframeError(f"--split-file {options.split_file}: no such file.")
    first = first_recording(source, parts, options)
    widths = widths_of(first)
    require_rules(options, widths["actions"])
    told = source.describe()
    rate = told.get("frame_rate") or options.recorded_rate or first.rate
    if options.split is not None:
        parts = [replace(part, split=options.split) for part in parts]
        return ImportPlan(parts, {}, False, widths, rate, told)
    if options.split_file is not None:
        listed_pieces = _listed_pieces(source, parts, options.split_file)
        return ImportPlan(*listed_pieces, False, widths, rate, told)
    fractions = {"validate": options.validate, "test": options.test}
    own = {part.split for part in parts}
    missing = [split for split in fractions if split not in own and fractions[split]]
    pieces, by_time = (
        _divided(source, parts, missing, options, rate, log) if missing else ({}, False)
    )
    parts = [replace(part, split=part.split or "train") for part in parts]
    return ImportPlan(parts, pieces, by_time, widths, rate, told)


def _divided(
    source: Source,
    parts: list[Part],
    missing: list[str],
    options: ImportOptions,
    rate: float | None,
    log: Callable[[str], None],
) -> tuple[Pieces, bool]:
    """Pieces for the splits that the source does not have; whether recordings are cut for them."""
    fractions = {"validate": options.validate, "test": options.test}
    lengths = {part.name: source.lengths(part) for part in parts if part.split in (None, "train")}
    if not lengths:  # such as a dataset of test recordings alone: there is nothing to divide
        return {}, False
    # Views of several cameras have one name, and go to one split; what is too short to give a
    # sequence goes to none (a length of 0 means that it is not known).
    least = options.clip_frames or options.min_frames
    names = list(
        dict.fromkeys(
            name
            for own in lengths.values()
            for name, length in own
            if not length or options.thinning.count(length, rate) >= least
        )
    )
    if not names:
        option = "--clip-frames" if options.clip_frames else "--min-frames"
        raise ForeframeError(
            f"nothing could be imported: no recording gives {least} frames, as {option} asks for."
        )
    if len(names) < FEW:
        by_time = {
            part: {
                name: divide_by_time(length, missing, fractions)
                for name, length in own
                if length  # else it cannot be read, which is said when its turn comes
            }
            for part, own in lengths.items()
        }
        return by_time, True
    splits = by_groups(names, missing, options, source.group, log)
    return {
        part: {name: [Piece(splits.get(name, "train"))] for name, _ in own}
        for part, own in lengths.items()
    }, False


def _listed_pieces(source: Source, parts: list[Part], path: Path) -> tuple[list[Part], Pieces]:
    """The parts, and the piece that each recording of a list becomes; all others become none."""
    own = {part.name: [name for name, _ in source.lengths(part)] for part in parts}
    splits = by_list(path, list(dict.fromkeys(name for names in own.values() for name in names)))
    pieces = {
        part: {name: [Piece(splits[name])] if name in splits else [] for name in names}
        for part, names in own.items()
    }
    return [replace(part, split="train") for part in parts], pieces


def widths_of(item: RawRecording) -> dict[str, int | None]:
    """Numbers in a row of each of its tables."""
    tables: dict[str, np.ndarray | None] = {part: getattr(item, part) for part in TABLES}
    return {part: None if rows is None else rows.shape[1] for part, rows in tables.items()}


def require_rules(options: ImportOptions, actions: int | None) -> None:
    """Ask what becomes of the actions of frames that are passed over.

    Raises:
        ForeframeError: that was not said, or it names a column that is not there.
    """
    if actions is None:
        return
    if options.rules is not None:
        options.rules.check(actions)
    elif not options.thinning.is_none:
        option = "--frame-rate" if options.frame_rate is not None else "--every"
        option = "--drop-repeats" if options.drop_repeats else option
        raise ForeframeError(
            f"{option} passes over frames, and what becomes of their actions depends on what they "
            "are. Give --resample-actions sum for displacements, mean for velocities, last for "
            "targets in absolute coordinates, first for the action at the frame itself, stack for "
            "all of them; foreframe check on a dataset of all frames says what they look like."
        )


def first_recording(
    source: Source,
    parts: list[Part],
    options: ImportOptions,
    passed: Callable[[str], bool] = lambda name: False,
) -> RawRecording:
    """The first good recording: what all others have to be like.

    Args:
        source: what is read.
        parts: of it.
        options: what becomes of the recordings.
        passed: whether a recording, by its name, is not looked at.

    Raises:
        ForeframeError: not one recording can be read.
    """
    fit = options.fit
    skipped: list[Skip] = []
    for item in (item for part in parts for item in source.read(part)):
        if passed(item.name):
            continue
        if isinstance(item, Skip):
            skipped.append(item)
            continue
        reason = _look_at(item, fit)
        if reason is None:
            return item
        skipped.append(Skip(item.name, reason))
    raise ForeframeError(
        f"not one recording can be read ({listed(skipped) or 'there are none'}). "
        "Check that the input is of this form and that the options name what is in it."
    )


def _look_at(item: RawRecording, fit: Fit) -> str | None:
    """What is wrong with a recording, from its first frame and its numbers.

    Raises:
        ForeframeError: the crop reaches beyond its frames, which is the user's mistake.
    """
    try:
        frame = next(iter(item.frames), None)
    except ForeframeError as error:
        return str(error)
    if frame is None:
        return "it holds no frames"
    if np.ndim(frame) == 3:
        fit.box(*frame.shape[:2])
    return fault(item, None)


def listed(skipped: list[Skip]) -> str:
    """The first few of what was skipped, with the reasons."""
    return "; ".join(f"{skip.name}: {skip.reason}" for skip in skipped[:3])
