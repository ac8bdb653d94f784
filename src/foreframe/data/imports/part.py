"""One part of an import: its recordings, fitted and cut, become a shard in each split."""

import glob
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from foreframe.data.imports.division import Piece
from foreframe.data.imports.options import ImportOptions
from foreframe.data.lab import SPLITS
from foreframe.data.recording import Fit, Recording, finite
from foreframe.data.sources.source import Part, RawRecording, Skip, Source
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError
from foreframe.system.files import write_json


@dataclass(frozen=True)
class PartJob:
    """A part to import.

    Attributes:
        source: that reads it.
        part: what is read.
        options: what becomes of the recordings.
        out: the dataset.
        record: file that says that the part is done.
        strict: end at the first recording that cannot be read.
        pieces: of the recordings of the part; one without an entry goes whole to the part's split.
        widths: numbers that the actions and positions of all recordings must have.
    """

    source: Source
    part: Part
    options: ImportOptions
    out: Path
    record: Path
    strict: bool
    pieces: dict[str, list[Piece]]
    widths: dict[str, int | None]


def record_of(job: PartJob) -> dict[str, Any] | None:
    """The record of a part that is done, if its input and its share are still the same."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record: dict[str, Any] = json.loads(job.record.read_text("utf-8"))
        if record["input"] == _stamp(job.part) and record["plan"] == _plan(job):
            return record
    return None


def _plan(job: PartJob) -> dict[str, Any]:
    """What was decided for a part from all that was there; more input may change it."""
    pieces = {name: [asdict(piece) for piece in own] for name, own in job.pieces.items()}
    return {"split": job.part.split, "pieces": pieces, "widths": job.widths}


def _clear(job: PartJob) -> None:
    """Remove what an interrupted import has left of a part, or one of an input that has changed."""
    job.record.unlink(missing_ok=True)
    name = job.part.name
    for split in SPLITS:
        shutil.rmtree(job.out / split / name, ignore_errors=True)
        for half in (job.out / split).glob(f".{glob.escape(name)}.*.part"):
            shutil.rmtree(half, ignore_errors=True)


def _stamp(part: Part) -> list[Any]:
    """What changes when the input does."""
    try:
        files = [*part.others]
        if not part.place.is_dir():
            files.append(part.place)
        elif not files:
            files = sorted(part.place.iterdir(), key=str)
        stats = [(path.name, path.stat()) for path in files]
    except OSError:
        return []
    return [[name, stat.st_size, getattr(stat, "st_mtime", 0)] for name, stat in stats]


def import_part(job: PartJob) -> None:
    """Read a part and write its shards, then its record."""
    # A worker of an import that was killed may live a little longer than it, and write.
    with FileLock(job.record.with_name(f"{job.part.name}.lock")):
        if record_of(job) is None:  # else done by a worker that died after it
            _clear(job)
            _write_part(job)


def _write_part(job: PartJob) -> None:
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
            reason = fault(item, job.widths)
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
                skip(item.name, str(error).removeprefix(item.name).lstrip(": ").rstrip("."))
    write_json(
        job.record,
        {
            "input": _stamp(job.part),
            "plan": _plan(job),
            "sequences": counts,
            "skipped": [asdict(item) for item in skipped],
        },
    )


class _FaultError(Exception):
    """A recording cannot be used; the message says why, without a full stop."""


def fault(item: RawRecording, widths: dict[str, int | None] | None) -> str | None:
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


def _sequences(item: RawRecording, job: PartJob) -> Iterator[tuple[str, str, Recording]]:
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
    begin, end = _with_actions(item, options.shift_actions)
    at = 0
    for piece in pieces:
        start = max(piece.start, begin)
        stop = end if piece.stop is None else piece.stop if end is None else min(piece.stop, end)
        if stop is not None and stop - start < 2 and options.shift_actions:
            if options.clip_frames is None:
                raise _FaultError(f"nothing is left with --shift-actions {options.shift_actions}")
            continue
        at += sum(1 for _ in islice(frames, start - at))
        while stop is None or at < stop:
            left = None if stop is None else stop - at
            wanted = left if options.clip_frames is None else options.clip_frames
            if left is not None and wanted is not None:
                wanted = min(left, wanted)
            taken = list(islice(frames, wanted))
            if not taken:
                break
            first, at = at, at + len(taken)
            if wanted is not None and len(taken) < wanted and options.clip_frames is None:
                raise _FaultError(f"it has {at} frames, and {stop} were counted on")
            if options.clip_frames is not None and len(taken) < options.clip_frames:
                continue  # what is left over
            sequence = _with_rows(item, np.stack(taken), first, options.shift_actions)
            name = f"{item.name}:{item.view}" if item.view else item.name
            name = name if whole else f"{name}@{first}"
            yield piece.split, name, sequence
    rows = next((r for r in (item.actions, item.positions) if r is not None), None)
    if rows is not None and len(rows) != (found := at + sum(1 for _ in frames)):
        raise _FaultError(f"{found} frames, but {len(rows)} rows of numbers")


def _with_actions(item: RawRecording, shift: int) -> tuple[int, int | None]:
    """The frames of a recording that keep an action when the rows are shifted; None: to its end."""
    if item.actions is None or not shift:
        return 0, None
    n = len(item.actions)
    # The last action of a recording leads nowhere: it need not be there.
    return max(0, -shift), min(n, n - shift + 1)


def _fitted(item: RawRecording, fit: Fit) -> Iterator[np.ndarray]:
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


def _with_rows(item: RawRecording, frames: np.ndarray, start: int, shift: int) -> Recording:
    """Frames from ``start`` on, with their rows."""
    n = len(frames)
    actions, positions = item.actions, item.positions
    for rows in (actions, positions):
        if rows is not None and len(rows) < start + n:
            raise _FaultError(f"{start + n} frames or more, but {len(rows)} rows of numbers")
    if actions is not None:
        actions = actions[(np.arange(start, start + n) + shift).clip(0, len(actions) - 1)]
    if positions is not None:
        positions = positions[start : start + n]
    return Recording(frames, actions, positions)
