"""Any source to a dataset of stores: fitted, divided over splits, written shard by shard.

Each part of the source becomes one shard in each split that its recordings belong to. A part that
is done has a record in OUT/.import; so an interrupted import goes on with the parts that have none,
and ends with the same bytes as one that was not interrupted.
"""

import glob
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

import foreframe
from foreframe.data.division import FEW, Piece, divide, divide_by_time
from foreframe.data.lab import SPLITS
from foreframe.data.sequence import Fit, Sequence, finite
from foreframe.data.sources.source import Part, Recording, Skip, Source
from foreframe.data.store import META, Store
from foreframe.data.store_writer import join_shards, write_store
from foreframe.errors import ForeframeError
from foreframe.files import write_json
from foreframe.workers import side_by_side

DESCRIPTION = "dataset.json"
WORKING = ".import"


@dataclass(frozen=True)
class ImportOptions:
    """What becomes of the recordings, whatever the source."""

    size: int = 64
    """Height and width of the frames in the store; the nets take 64."""
    crop: str = "middle"
    """What is cut out of each frame first: middle (the largest square), whole (all of it, squeezed
    into the square), or LEFT,TOP,WIDTH,HEIGHT in pixels."""
    clip_frames: int | None = None
    """Cut recordings into clips of so many frames; what is left over at their ends is dropped."""
    shift_actions: int = 0
    """Rows by which the actions are late: row t + SHIFT becomes row t. Negative if early. Frames
    that are left without a row are dropped. `foreframe check` measures it."""
    validate: float = 0.1
    """Share of the recordings for validation, if the source has no such split."""
    test: float = 0.1
    """Share of the recordings for testing, if the source has no such split."""
    split: str | None = None
    """Put everything into this split: train, validate or test."""
    split_seed: int = 0
    """Seed of the choice of recordings for validation and testing."""

    def check(self) -> None:
        """Refuse options that make no sense.

        Raises:
            ForeframeError: names the option.
        """
        Fit(self.size, self.crop).check()
        if self.clip_frames is not None and self.clip_frames < 2:
            raise ForeframeError(f"--clip-frames {self.clip_frames}: a clip has 2 frames or more.")
        for name in ("validate", "test"):
            if not 0 <= getattr(self, name) < 1:
                raise ForeframeError(f"--{name} {getattr(self, name)}: is a share from 0 to 1.")
        if self.split is not None and self.split not in SPLITS:
            raise ForeframeError(f"--split {self.split}: is one of {', '.join(SPLITS)}.")
        if self.split_seed < 0:
            raise ForeframeError(f"--split-seed {self.split_seed}: must be 0 or more.")


@dataclass(frozen=True)
class Imported:
    """What an import has done.

    Attributes:
        out: the dataset.
        sequences: in each split.
        frames: in each split.
        skipped: what could not be read, and why.
        divided_by_time: whether recordings were so few that each was divided by time.
        statistics: of "actions" and "positions" of the training split, or of the only one.
    """

    out: Path
    sequences: dict[str, int]
    frames: dict[str, int]
    skipped: tuple[Skip, ...]
    divided_by_time: bool
    statistics: dict[str, Any]


@dataclass(frozen=True)
class _Job:
    source: Source
    part: Part
    options: ImportOptions
    out: Path
    strict: bool
    # Of every recording of the part; without an entry it goes whole to the part's split.
    pieces: dict[str, list[Piece]]
    widths: dict[str, int | None]


@dataclass(frozen=True)
class _Plan:
    parts: list[Part]
    pieces: dict[str, dict[str, list[Piece]]]
    divided_by_time: bool
    widths: dict[str, int | None] = field(default_factory=dict)


def import_dataset(
    source: Source,
    out: Path,
    options: ImportOptions | None = None,
    *,
    workers: int | None = None,
    ray: str | None = None,
    strict: bool = False,
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Imported:
    """Read everything that ``source`` has into stores under ``out``, or what is still missing.

    Args:
        source: what is read.
        out: new folder of the dataset, or one in which the same import was interrupted.
        options: by default those of ``ImportOptions``.
        workers: processes; every available core by default.
        ray: address of a Ray cluster that does the work instead.
        strict: end at the first recording that cannot be read, in place of skipping it.
        log: told what is gone on with.
        progress: called with (parts done, all).

    Returns:
        What is there now, with all that was skipped.

    Raises:
        ForeframeError: the input or the options are refused, nothing could be read, ``out`` holds
            something else, or (``strict``) a recording cannot be read.
        KeyboardInterrupt: after the workers have ended; the same call goes on.
    """
    options = options or ImportOptions()
    options.check()
    out = Path(out)
    description = _describe(source, options)
    if _finished(out, description):
        log(f"{out}: is complete already.")
        return _summary(out)
    parts = source.parts()
    with _working_folder(out, description) as working:
        plan = _plan(source, parts, options)
        jobs = [
            _Job(source, part, options, out, strict, plan.pieces.get(part.name, {}), plan.widths)
            for part in plan.parts
        ]
        left = [job for job in jobs if _record(working, job.part) is None]
        if len(left) < len(jobs):
            log(f"{out}: goes on; {len(jobs) - len(left)} of {len(jobs)} parts are there.")
        done = len(jobs) - len(left)
        progress(done, len(jobs))
        with side_by_side(_import_part, left, workers=workers, ray=ray) as results:
            for _ in results:
                done += 1
                progress(done, len(jobs))
        records = [json.loads(_record_path(working, job.part).read_text()) for job in jobs]
        _finish(out, description, source.describe(), plan, records)
        shutil.rmtree(working, ignore_errors=True)
    return _summary(out)


# -- the folder ---------------------------------------------------------------------------------


def _describe(source: Source, options: ImportOptions) -> dict[str, Any]:
    """What was asked for: two imports with the same description give the same bytes."""
    settings = {item.name: getattr(source, item.name) for item in fields(source)}  # type: ignore[arg-type]
    return {
        "importer": type(source).__name__.removesuffix("Source").lower(),
        "input": str(settings.pop("input")),
        "settings": settings,
        "options": asdict(options),
    }


def _finished(out: Path, description: dict[str, Any]) -> bool:
    """Whether ``out`` is the complete result of this very import.

    Raises:
        ForeframeError: it holds something else.
    """
    path = out / DESCRIPTION
    for part in (out, *out.parents):
        if part.is_file():
            raise ForeframeError(f"{part}: is a file; name a folder for the dataset.")
    if not out.is_dir() or not any(out.iterdir()):
        return False
    found: dict[str, Any] = {}
    for candidate in (path, out / WORKING / DESCRIPTION):
        with suppress(OSError, ValueError):
            found = json.loads(candidate.read_text(encoding="utf-8"))
            break
    if "importer" not in found:
        if list(out.iterdir()) == [out / WORKING]:
            return False  # stopped before anything was done
        raise ForeframeError(
            f"{out}: holds other files, and not the beginning of an import. "
            "Choose a new folder, or remove this one."
        )
    other = [key for key in description if found.get(key) != _plain(description[key])]
    if other:
        said = "; ".join(f"{key}: {found.get(key)} there, {description[key]} now" for key in other)
        raise ForeframeError(
            f"{out}: was imported with other settings ({said}). "
            "Choose another folder, or remove this one."
        )
    return path.is_file()


def _plain(value: Any) -> Any:
    """``value`` as it comes back from JSON."""
    return json.loads(json.dumps(value))


@contextmanager
def _working_folder(out: Path, description: dict[str, Any]) -> Iterator[Path]:
    working = out / WORKING
    try:
        working.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ForeframeError(
            f"{out}: cannot be written ({error.strerror}). Name a folder that you may write to."
        ) from error
    with ExitStack() as stack:
        lock = FileLock(working / "lock", timeout=0)
        try:
            stack.enter_context(lock)
        except Timeout as error:
            raise ForeframeError(
                f"{out}: another import is writing there. Wait for it, or name another folder."
            ) from error
        write_json(working / DESCRIPTION, description)
        yield working


def _record_path(working: Path, part: Part) -> Path:
    return working / f"{part.name}.json"


def _record(working: Path, part: Part) -> dict[str, Any] | None:
    """The record of a part that is done, and whose input is still the same."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record: dict[str, Any] = json.loads(_record_path(working, part).read_text("utf-8"))
        if record["input"] == _stamp(part):
            return record
    return None


def _clear(out: Path, part: Part) -> None:
    """Remove what an interrupted import has left of a part, or one of an input that has changed."""
    _record_path(out / WORKING, part).unlink(missing_ok=True)
    for split in SPLITS:
        shutil.rmtree(out / split / part.name, ignore_errors=True)
        for half in (out / split).glob(f".{glob.escape(part.name)}.*.part"):
            shutil.rmtree(half, ignore_errors=True)


def _stamp(part: Part) -> list[Any]:
    """What changes when the input does."""
    try:
        files = [part.place]
        if part.place.is_dir():
            files = sorted(part.place.iterdir(), key=str)
        stats = [(path.name, path.stat()) for path in files]
    except OSError:
        return []
    return [[name, stat.st_size, getattr(stat, "st_mtime", 0)] for name, stat in stats]


# -- the plan -----------------------------------------------------------------------------------


def _plan(source: Source, parts: list[Part], options: ImportOptions) -> _Plan:
    repeated = [name for name, count in Counter(part.name for part in parts).items() if count > 1]
    if repeated:
        raise ForeframeError(f"{repeated[0]}: there are two parts of this name; rename one.")
    if options.split is not None:
        parts = [replace(part, split=options.split) for part in parts]
        return _Plan(parts, {}, False, _widths(source, parts, options))
    widths = _widths(source, parts, options)
    own = {part.split for part in parts if part.split is not None}
    fractions = {"validate": options.validate, "test": options.test}
    missing = [split for split in fractions if split not in own and fractions[split]]
    if not missing:
        parts = [replace(part, split=part.split or "train") for part in parts]
        return _Plan(parts, {}, False, widths)
    divided = [part for part in parts if part.split in (None, "train")]
    found = {part.name: source.lengths(part) for part in divided}
    # Views of several cameras have one name, and go to one split.
    names = list(dict.fromkeys(name for part in divided for name, _ in found[part.name]))
    pieces: dict[str, dict[str, list[Piece]]] = {}
    by_time = len(names) < FEW
    if by_time:
        for part in divided:
            pieces[part.name] = {
                name: divide_by_time(length, missing, fractions)
                for name, length in found[part.name]
            }
    else:
        splits = divide(names, missing, fractions, options.split_seed)
        for part in divided:
            pieces[part.name] = {name: [Piece(splits[name])] for name, _ in found[part.name]}
    parts = [replace(part, split=part.split or "train") for part in parts]
    return _Plan(parts, pieces, by_time, widths)


def _widths(source: Source, parts: list[Part], options: ImportOptions) -> dict[str, int | None]:
    """Numbers in the actions and positions of the first good recording: all must have them.

    Raises:
        ForeframeError: not one recording can be read.
    """
    fit = Fit(options.size, options.crop)
    reasons: list[Skip] = []
    for part in parts:
        for item in source.read(part):
            if isinstance(item, Skip):
                reasons.append(item)
                continue
            try:
                frame = next(iter(item.frames))
            except StopIteration:
                continue
            except ForeframeError as error:
                reasons.append(Skip(item.name, str(error)))
                continue
            if np.ndim(frame) == 3:
                fit.box(*frame.shape[:2])  # a crop that doesn't fit is the user's mistake
            reason = _fault(item, None)
            if reason is None:
                return {
                    "actions": None if item.actions is None else item.actions.shape[1],
                    "positions": None if item.positions is None else item.positions.shape[1],
                }
            reasons.append(Skip(item.name, reason))
    first = "; ".join(f"{skip.name}: {skip.reason}" for skip in reasons[:3])
    raise ForeframeError(
        f"not one recording can be read ({first or 'there are none'}). "
        "Check that the input is of this form and that the options name what is in it."
    )


# -- one part -----------------------------------------------------------------------------------


def _import_part(job: _Job) -> None:
    """Read a part and write its shards, then its record."""
    working = job.out / WORKING
    # A worker of an import that was killed may live a little longer than it, and write.
    with FileLock(working / f"{job.part.name}.lock"):
        if _record(working, job.part) is None:  # else done by a worker that died after it
            _clear(job.out, job.part)
            _write_part(job)


def _write_part(job: _Job) -> None:
    skipped: list[Skip] = []
    counts: dict[str, int] = {}

    def skip(name: str, reason: str) -> None:
        if job.strict:
            raise ForeframeError(f"{name}: {reason}. It was not skipped because of --strict.")
        skipped.append(Skip(name, reason))

    with ExitStack() as stack:
        writers: dict[str, Any] = {}
        for item in job.source.read(job.part):
            if isinstance(item, Skip):
                skip(item.name, item.reason)
                continue
            reason = _fault(item, job.widths)
            if reason is not None:
                skip(item.name, reason)
                continue
            try:
                for split, name, sequence in _sequences(item, job):
                    if split not in writers:
                        folder = job.out / split / job.part.name
                        writers[split] = stack.enter_context(write_store(folder))
                    writers[split].add(sequence, name)
                    counts[split] = counts.get(split, 0) + 1
            except _FaultError as error:
                skip(item.name, str(error))
            except ForeframeError as error:
                skip(item.name, str(error).removeprefix(f"{item.name}: ").rstrip("."))
    write_json(
        _record_path(job.out / WORKING, job.part),
        {
            "input": _stamp(job.part),
            "sequences": counts,
            "skipped": [asdict(item) for item in skipped],
        },
    )


class _FaultError(Exception):
    """A recording cannot be used; the message says why, without a full stop."""


def _fault(item: Recording, widths: dict[str, int | None] | None) -> str | None:
    """What is wrong with a recording's numbers, if anything is."""
    for part, rows in (("actions", item.actions), ("positions", item.positions)):
        if rows is not None:
            if rows.ndim != 2 or not rows.shape[1]:
                return f"the {part} have the shape {list(rows.shape)}, not [time, number]"
            if not finite(rows):
                row = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
                return f"row {row} of the {part} holds a value that is not a finite number"
        width = None if rows is None else rows.shape[1]
        if widths is not None and width != widths[part]:
            said = ["no numbers" if w is None else f"{w} numbers" for w in (width, widths[part])]
            return f"{said[0]} in the {part}, but {said[1]} in those of the first recording"
    return None


def _sequences(item: Recording, job: _Job) -> Iterator[tuple[str, str, Sequence]]:
    """The sequences that a recording becomes: split, name and content, frames taken one by one.

    Raises:
        ForeframeError: its frames are damaged; the clips before are good.
    """
    options = job.options
    fit = Fit(options.size, options.crop)
    assert job.part.split is not None
    pieces = job.pieces.get(item.name, [Piece(job.part.split)])
    whole = len(pieces) == 1 and options.clip_frames is None
    frames = _fitted(item, fit)
    shift = options.shift_actions
    at = 0
    for piece in pieces:
        while piece.stop is None or at < piece.stop:
            left = None if piece.stop is None else piece.stop - at
            wanted = left if options.clip_frames is None else options.clip_frames
            if left is not None and wanted is not None:
                wanted = min(left, wanted)
            taken = list(islice(frames, wanted))
            if not taken:
                break
            start, at = at, at + len(taken)
            if wanted is not None and len(taken) < wanted and options.clip_frames is None:
                raise _FaultError(f"it has {at} frames, and {piece.stop} were counted on")
            if options.clip_frames is not None and len(taken) < options.clip_frames:
                continue  # what is left over
            sequence = _with_rows(item, np.stack(taken), start, shift)
            name = f"{item.name}:{item.view}" if item.view else item.name
            name = name if whole else f"{name}@{start}"
            yield piece.split, name, sequence
    rows = next((r for r in (item.actions, item.positions) if r is not None), None)
    if rows is not None and len(rows) != at + len(list(frames)):
        raise _FaultError(f"{at} frames, but {len(rows)} rows of numbers")


def _fitted(item: Recording, fit: Fit) -> Iterator[np.ndarray]:
    size: tuple[int, ...] | None = None
    for frame in item.frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise _FaultError(
                f"a frame is {frame.dtype} {list(frame.shape)}, not uint8 [height, width, 3]"
            )
        if size is not None and frame.shape != size:
            raise _FaultError(
                f"frames of {size[1]}x{size[0]} and {frame.shape[1]}x{frame.shape[0]}"
            )
        size = frame.shape
        yield fit(frame)


def _with_rows(item: Recording, frames: np.ndarray, start: int, shift: int) -> Sequence:
    """Frames from ``start`` on, with their rows; without those frames that have no action."""
    n = len(frames)
    actions, positions = item.actions, item.positions
    for rows in (actions, positions):
        if rows is not None and len(rows) < start + n:
            raise _FaultError(f"{start + n} frames or more, but {len(rows)} rows of numbers")
    first, stop = 0, n
    if actions is not None and shift:
        # The last action of a recording leads nowhere: it need not be there.
        first = max(0, -shift - start)
        stop = min(n, len(actions) - shift - start + 1)
        if stop - first < 2:
            raise _FaultError(f"nothing is left of it with --shift-actions {shift}")
        index = np.arange(start + first, start + stop) + shift
        actions = actions[index.clip(0, len(actions) - 1)]
    elif actions is not None:
        actions = actions[start : start + n]
    if positions is not None:
        positions = positions[start + first : start + stop]
    return Sequence(frames[first:stop], actions, positions)


# -- the end ------------------------------------------------------------------------------------


def _finish(
    out: Path,
    description: dict[str, Any],
    told: dict[str, Any],
    plan: _Plan,
    records: list[dict[str, Any]],
) -> None:
    skipped = [skip for record in records for skip in record["skipped"]]
    if not any(record["sequences"] for record in records):
        first = "; ".join(f"{skip['name']}: {skip['reason']}" for skip in skipped[:3])
        raise ForeframeError(f"nothing could be imported ({first or 'too few frames'}).")
    source = told | description | {"foreframe": foreframe.__version__}
    for split in SPLITS:
        shards = [
            part.name
            for part, record in zip(plan.parts, records, strict=True)
            if split in record["sequences"]
        ]
        if shards:
            join_shards(out / split, shards, {"source": source})
    write_json(
        out / DESCRIPTION,
        {**source, "divided_by_time": plan.divided_by_time, "skipped": skipped},
    )


def _summary(out: Path) -> Imported:
    stores = {split: Store(out / split) for split in SPLITS if (out / split / META).is_file()}
    description = json.loads((out / DESCRIPTION).read_text(encoding="utf-8"))
    shown = stores.get("train") or next(iter(stores.values()))
    return Imported(
        out,
        {split: len(store) for split, store in stores.items()},
        {split: int(store.lengths.sum()) for split, store in stores.items()},
        tuple(Skip(**skip) for skip in description["skipped"]),
        description["divided_by_time"],
        shown.statistics(),
    )
