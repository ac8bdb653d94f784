"""One part of an import: its recordings, fitted and cut, become a shard in each split."""

import glob
import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from foreframe.data.imports.cutting import sequences
from foreframe.data.imports.division import Piece
from foreframe.data.imports.options import ImportOptions
from foreframe.data.lab import SPLITS
from foreframe.data.recording import TABLES, Recording, finite
from foreframe.data.sources.source import Part, RawRecording, Skip, Source, UnusableError
from foreframe.data.store.meta import ROWS
from foreframe.data.store.writer import StoreWriter, write_store
from foreframe.errors import ForeframeError
from foreframe.system.files import write_json
from foreframe.system.places import Place


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
        rate: frames a second that all must have if none are passed over; None if it is not known.
        shard: name of the shards that it becomes; by default that of the part.
        prefix: stands before the names of its recordings.
    """

    source: Source
    part: Part
    options: ImportOptions
    out: Path
    record: Path
    strict: bool
    pieces: dict[str, list[Piece]]
    widths: dict[str, int | None]
    rate: float | None = None
    shard: str = ""
    prefix: str = ""

    @property
    def folder(self) -> str:
        """Name of the shards."""
        return self.shard or self.part.name

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


def files_of(part: Part) -> list[Place]:
    """What is read of the input for a part.

    Raises:
        OSError: it cannot be looked through.
    """
    files = [*part.others]
    if not part.place.is_dir():
        files.append(part.place)
    elif not files:
        files = sorted(part.place.iterdir(), key=str)
    return files


def _stamp(part: Part) -> list[Any]:
    """What changes when the input does."""
    try:
        stats = [(path.name, path.stat()) for path in files_of(part)]
    except OSError:
        return []
    return [[name, stat.st_size, getattr(stat, "st_mtime", 0)] for name, stat in stats]


def import_part(job: PartJob) -> None:
    """Read a part and write its shards, then its record."""
    # A worker of an import that was killed may live a little longer than it, and write.
    with FileLock(job.record.with_name(f"{job.folder}.lock")):
        if not is_done(job):  # else done by a worker that died after it
            _clear(job)
            _write_part(job)


def _clear(job: PartJob) -> None:
    """Remove what an interrupted import has left of a part, or one of an input that has changed."""
    job.record.unlink(missing_ok=True)
    name = job.folder
    for split in SPLITS:
        shutil.rmtree(job.out / split / name, ignore_errors=True)
        for half in (job.out / split).glob(f".{glob.escape(name)}.*.part"):
            shutil.rmtree(half, ignore_errors=True)


def _write_part(job: PartJob) -> None:
    skipped: list[Skip] = []
    writers: dict[str, StoreWriter] = {}
    with ExitStack() as stack:

        def write(split: str, name: str, recording: Recording, item: RawRecording) -> None:
            if split not in writers:
                folder = job.out / split / job.folder
                writers[split] = stack.enter_context(write_store(folder))
            of = job.prefix + (item.of or item.name)
            writers[split].add(recording, job.prefix + name, of=of, task=item.task)

        for item in job.source.read(job.part):
            if not isinstance(item, Skip) and job.pieces.get(item.name) == []:
                continue  # a list of splits does not name it, or it is there already
            skip = item if isinstance(item, Skip) else _write_recording(item, job, write)
            if skip is not None and job.strict:
                raise ForeframeError(
                    f"{skip.name}: {skip.reason}. It was not skipped because of --strict."
                )
            if skip is not None:
                skipped.append(replace(skip, name=job.prefix + skip.name))
    counts = {split: len(writer) for split, writer in writers.items()}
    record = PartRecord(_stamp(job.part), job.plan, counts, tuple(skipped))
    write_json(job.record, asdict(record))


def _write_recording(
    item: RawRecording, job: PartJob, write: Callable[[str, str, Recording, RawRecording], None]
) -> Skip | None:
    """Write all sequences of a recording; if it cannot be read to its end, why."""
    reason = fault(item, job.widths)
    try:
        if reason is None:
            assert job.part.split is not None
            pieces = job.pieces.get(item.name, [Piece(job.part.split)])
            for split, name, recording in sequences(item, pieces, job.options, job.rate):
                write(split, name, recording, item)
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
