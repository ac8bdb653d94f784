"""One part of an import: its recordings, fitted and cut, become a shard in each split."""

import glob
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from foreframe.data.imports.division import Piece
from foreframe.data.imports.options import ImportOptions
from foreframe.data.lab import SPLITS
from foreframe.data.recording import TABLES, Fit, Recording, finite
from foreframe.data.sources.source import Part, RawRecording, Skip, Source, UnusableError
from foreframe.data.store.meta import ROWS
from foreframe.data.store.writer import StoreWriter, write_store
from foreframe.errors import ForeframeError
from foreframe.system.files import write_json


@dataclass(frozen=True)
class PartJob:
    """A part to import.

    Attributes:
        source: the source that reads the part.
        part: the part to read.
        options: what becomes of the recordings.
        out: folder of the dataset.
        record: file that says that the part is done.
        strict: end at the first recording that cannot be read.
        pieces: pieces of the recordings of the part, by their names; a recording without an entry
            goes whole to the part's split.
        widths: numbers in a row of each table that all recordings must have.
    """

    source: Source
    part: Part
    options: ImportOptions
    out: Path
    record: Path
    strict: bool
    pieces: dict[str, list[Piece]]
    widths: dict[str, int | None]

    @property
    def plan(self) -> dict[str, Any]:
        """What was decided for the part from all parts together; more input may change it."""
        pieces = {name: [asdict(piece) for piece in own] for name, own in self.pieces.items()}
        # Tracks are named only where there are any, as in the records of earlier versions.
        widths = {part: n for part, n in self.widths.items() if part in ROWS or n is not None}
        return {"split": self.part.split, "pieces": pieces, "widths": widths}


@dataclass(frozen=True)
class PartRecord:
    """What is written of a part that is done.

    Attributes:
        input: name, size and time of change of each file that was read.
        plan: the plan of the part, see ``PartJob``.
        sequences: how many sequences it gave each split.
        skipped: what could not be read.
    """

    input: list[Any]
    plan: dict[str, Any]
    sequences: dict[str, int]
    skipped: tuple[Skip, ...]

    @classmethod
    def read(cls, path: Path) -> "PartRecord":
        """The record in a file.

        Raises:
            OSError, ValueError, KeyError, TypeError: there is none, or it is damaged.
        """
        values = json.loads(path.read_text("utf-8"))
        skipped = tuple(Skip(**skip) for skip in values["skipped"])
        return cls(values["input"], values["plan"], values["sequences"], skipped)


def is_done(job: PartJob) -> bool:
    """Whether a part has a record, and its input and its plan are still the same."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = PartRecord.read(job.record)
        return record.input == _stamp(job.part) and record.plan == job.plan
    return False


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
        if not is_done(job):  # else done by a worker that died after it
            _clear(job)
            _write_part(job)


def _clear(job: PartJob) -> None:
    """Remove what an interrupted import has left of a part, or one of an input that has changed."""
    job.record.unlink(missing_ok=True)
    name = job.part.name
    for split in SPLITS:
        shutil.rmtree(job.out / split / name, ignore_errors=True)
        for half in (job.out / split).glob(f".{glob.escape(name)}.*.part"):
            shutil.rmtree(half, ignore_errors=True)


def _write_part(job: PartJob) -> None:
    skipped: list[Skip] = []
    writers: dict[str, StoreWriter] = {}
    with ExitStack() as stack:

        def write(split: str, name: str, recording: Recording) -> None:
            if split not in writers:
                folder = job.out / split / job.part.name
                writers[split] = stack.enter_context(write_store(folder))
            writers[split].add(recording, name)

        for item in job.source.read(job.part):
            skip = item if isinstance(item, Skip) else _write_recording(item, job, write)
            if skip is not None and job.strict:
                raise ForeframeError(
                    f"{skip.name}: {skip.reason}. It was not skipped because of --strict."
                )
            if skip is not None:
                skipped.append(skip)
    counts = {split: len(writer) for split, writer in writers.items()}
    record = PartRecord(_stamp(job.part), job.plan, counts, tuple(skipped))
    write_json(job.record, asdict(record))


def _write_recording(
    item: RawRecording, job: PartJob, write: Callable[[str, str, Recording], None]
) -> Skip | None:
    """Write all sequences of a recording; if it cannot be read to its end, why."""
    reason = fault(item, job.widths)
    try:
        if reason is None:
            for split, name, recording in _sequences(item, job):
                write(split, name, recording)
    except UnusableError as error:
        reason = str(error)
    except ForeframeError as error:
        reason = str(error).removeprefix(item.name).lstrip(": ").rstrip(".")
    return None if reason is None else Skip(item.name, reason)


def fault(item: RawRecording, widths: dict[str, int | None] | None) -> str | None:
    """What is wrong with a recording's numbers, if anything is."""
    for part in TABLES:
        rows: np.ndarray | None = getattr(item, part)
        wrong = None if rows is None else _fault_of(part, rows)
        if wrong is not None:
            return wrong
        width = None if rows is None else rows.shape[1]
        if widths is not None and width != widths[part]:
            said = ["no numbers" if w is None else f"{w} numbers" for w in (width, widths[part])]
            return f"{said[0]} in the {part}, but {said[1]} in those of the first recording"
    return None


def _fault_of(part: str, rows: np.ndarray) -> str | None:
    if rows.ndim != 2 or not rows.shape[1]:
        return f"the {part} have the shape {list(rows.shape)}, not [time, number]"
    missing = part == "tracks"
    if not finite(rows, missing=missing):
        row = next(n for n, values in enumerate(rows) if not finite(values, missing=missing))
        return f"row {row} of the {part} holds a value that is not a finite number"
    if part == "tracks" and rows.shape[1] % 2:
        return f"{rows.shape[1]} numbers in a row of the tracks, but each object has two"
    return None


# -- cutting ------------------------------------------------------------------------------------


class _Frames:
    """The fitted frames of a recording, taken one after another.

    Attributes:
        at: number of the next frame.
        size: height and width of the recording's own frames, once one was taken.
    """

    def __init__(self, item: RawRecording, fit: Fit) -> None:
        self._frames = (self._fitted(frame, fit) for frame in item.frames)
        self.at = 0
        self.size: tuple[int, int] | None = None

    def take(self, count: int | None) -> list[np.ndarray]:
        """The next ``count`` frames (None: all), or as many as there are."""
        taken = list(islice(self._frames, count))
        self.at += len(taken)
        return taken

    def skip(self, count: int | None) -> None:
        """Pass over as many, without keeping them."""
        self.at += sum(1 for _ in islice(self._frames, count))

    def _fitted(self, frame: np.ndarray, fit: Fit) -> np.ndarray:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise UnusableError(
                f"a frame is {frame.dtype} {list(frame.shape)}, not uint8 [height, width, 3]"
            )
        height, width = frame.shape[:2]
        if self.size is not None and (height, width) != self.size:
            raise UnusableError(f"frames of {self.size[1]}x{self.size[0]} and {width}x{height}")
        self.size = height, width
        return fit(frame)


def _sequences(item: RawRecording, job: PartJob) -> Iterator[tuple[str, str, Recording]]:
    """The sequences that a recording becomes: split, name and content, frames taken one by one.

    Raises:
        UnusableError: frames and rows do not fit together.
        ForeframeError: its frames are damaged; the clips before are good.
    """
    options = job.options
    assert job.part.split is not None
    pieces = job.pieces.get(item.name, [Piece(job.part.split)])
    whole = len(pieces) == 1 and options.clip_frames is None
    label = f"{item.name}:{item.view}" if item.view else item.name
    fit = Fit(options.size, options.crop)
    frames = _Frames(item, fit)
    for piece in pieces:
        start, stop = _span(item, piece, options.shift_actions)
        if options.clip_frames is not None:
            stretches = _clips(frames, start, stop, options)
        else:
            stretches = _stretch(frames, start, stop, options)
        for first, taken in stretches:
            recording = _with_rows(item, np.stack(taken), first, options.shift_actions)
            if recording.tracks is not None and frames.size is not None:
                recording = replace(recording, tracks=fit.tracks(recording.tracks, *frames.size))
            yield piece.split, label if whole else f"{label}@{first}", recording
    frames.skip(None)
    tables = (getattr(item, part) for part in TABLES)
    rows = next((table for table in tables if table is not None), None)
    if rows is not None and len(rows) != frames.at:
        raise UnusableError(f"{frames.at} frames, but {len(rows)} rows of numbers")


def _span(item: RawRecording, piece: Piece, shift: int) -> tuple[int, int | None]:
    """First frame of a piece and the one after the last (None: to the end).

    Frames that would be left without an action when the rows are shifted are cut off.
    """
    if item.actions is None or not shift:
        return piece.start, piece.stop
    n = len(item.actions)
    # The last action of a recording leads nowhere: it need not be there.
    end = min(n, n - shift + 1)
    return max(piece.start, -shift), end if piece.stop is None else min(piece.stop, end)


def _stretch(
    frames: _Frames, start: int, stop: int | None, options: ImportOptions
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """The frames from ``start`` to ``stop``, and the number of the first."""
    if _too_short(start, stop, options):
        raise UnusableError(f"nothing is left with --shift-actions {options.shift_actions}")
    frames.skip(start - frames.at)
    first = frames.at
    taken = frames.take(None if stop is None else stop - first)
    if taken and stop is not None and frames.at < stop:
        raise UnusableError(f"it has {frames.at} frames, and {stop} were counted on")
    if taken:
        yield first, taken


def _clips(
    frames: _Frames, start: int, stop: int | None, options: ImportOptions
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """The frames from ``start`` to ``stop`` in clips; what is left over at the end is dropped."""
    length = options.clip_frames
    assert length is not None
    if _too_short(start, stop, options):
        return
    frames.skip(start - frames.at)
    while stop is None or frames.at < stop:
        first = frames.at
        taken = frames.take(length if stop is None else min(length, stop - first))
        if len(taken) == length:
            yield first, taken
        elif not taken:
            return


def _too_short(start: int, stop: int | None, options: ImportOptions) -> bool:
    return bool(options.shift_actions) and stop is not None and stop - start < 2


def _with_rows(item: RawRecording, frames: np.ndarray, start: int, shift: int) -> Recording:
    """Frames from ``start`` on, with their rows."""
    n = len(frames)
    actions, positions, tracks = item.actions, item.positions, item.tracks
    for rows in (actions, positions, tracks):
        if rows is not None and len(rows) < start + n:
            raise UnusableError(f"{start + n} frames or more, but {len(rows)} rows of numbers")
    if actions is not None:
        actions = actions[(np.arange(start, start + n) + shift).clip(0, len(actions) - 1)]
    if positions is not None:
        positions = positions[start : start + n]
    if tracks is not None:
        tracks = tracks[start : start + n]
    return Recording(frames, actions, positions, tracks)
