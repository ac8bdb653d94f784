"""Store: sequences packed into a few memory-mapped arrays, so that nothing is decoded twice.

A small store, or a shard of a large one, is a folder (format 1):

    frames.bin      uint8   [N, H, W, 3], the frames of all sequences one after another
    actions.bin     float32 [N, A], if there are actions
    positions.bin   float32 [N, P], if there are positions
    tracks.bin      float32 [N, 2 x objects], if there are tracks; NaN for what is not there
    meta.json       shapes, lengths and names of the sequences, checksums, statistics, their source

A large store is a folder of such shards with one meta.json that repeats theirs (format 2), so that
opening it reads one file. Shards are made, fetched and mapped one by one.

The arrays are bare, in C order and little-endian, so that they can be written as a stream; their
shapes stand in meta.json.
"""

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from foreframe.data.recording import TABLES, Recording
from foreframe.data.statistics import Statistics
from foreframe.data.store.meta import FORMAT, FORMAT_SHARDS, META, ROWS, Meta, Shard
from foreframe.data.store.shard_cache import ShardCache
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, is_remote
from foreframe.system.workers import available_cores, in_threads

PARTS = ("frames", *TABLES)
"""The arrays of a store; each is a file with the ending .bin."""

OPEN_SHARDS = 256
"""Shards that are mapped at a time; each holds a file descriptor, of which 1,024 are usual."""

OPEN_REMOTE_SHARDS = 8
"""Shards of a remote store that are mapped: they take room on the disk even when removed."""


@dataclass(frozen=True)
class _Arrays:
    frames: np.ndarray
    actions: np.ndarray | None
    positions: np.ndarray | None
    tracks: np.ndarray | None


class Store:
    """A packed split: ``store[i]`` is a ``Recording`` of views into its maps.

    Cheap to open and to send to another process: the arrays are mapped, not read. Those of a
    remote store are fetched shard by shard into a local cache of bounded size.

    Attributes:
        folder: folder of the store.
        meta: all that meta.json says.
        lengths: [len(store)], frames of each sequence.
        names: names of the sequences, relative to ``source``.
        recordings: the recording that each sequence is: several are of one name where they are its
            clips, or views of it by several cameras.
        tasks: what the robot was told to do in each, in words; "" where nobody says.
        size: height and width of the frames.
        shards: the shards in the order of the recordings.
        shard_of: [len(store)], the number of the shard that holds each sequence.

    Args:
        folder: folder of the store.
        source: what the names of the sequences are relative to, for messages; by default the store.

    Raises:
        ForeframeError: not a store, of an unknown format, or its files do not fit together.
    """

    def __init__(self, folder: Place, source: Place | None = None) -> None:
        self.folder, self.source = folder, source or folder
        self.meta: dict[str, Any] = self._read_meta()
        try:
            parsed = Meta.from_json(self.meta, folder)
            self._check_statistics(parsed)
        except (ArithmeticError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise self.damaged(f"{META} cannot be read: {error}") from error
        self.size, self._widths, self.shards = parsed.size, parsed.widths, parsed.shards
        self._statistics = parsed.statistics
        self.names = [name for shard in self.shards for name in shard.names]
        self.recordings = [
            name for shard in self.shards for name in shard.recordings or shard.names
        ]
        self.tasks = [
            task for shard in self.shards for task in shard.tasks or ("",) * len(shard.lengths)
        ]
        self.lengths = np.array([n for shard in self.shards for n in shard.lengths], np.int64)
        counts = [len(shard.lengths) for shard in self.shards]
        self.shard_of = np.repeat(np.arange(len(counts)), counts)
        # Where each recording begins in the arrays of its shard.
        self._starts = np.concatenate(
            [np.cumsum([0, *shard.lengths[:-1]], dtype=np.int64) for shard in self.shards]
        )
        self.remote = is_remote(folder)
        self._cache = ShardCache() if self.remote else None
        self._open: OrderedDict[int, _Arrays] = OrderedDict()
        self._lock = Lock()
        if not self.remote:
            # Here, so that a truncated file is noticed on opening and not in mid-training, and so
            # that the data stay within reach when another process replaces an outdated copy.
            for k in range(len(self.shards)):
                if k < OPEN_SHARDS:
                    self._arrays(k)
                else:
                    self._check_files(k, self.shards[k].folder)

    @staticmethod
    def _check_statistics(meta: Meta) -> None:
        """Raise a ValueError if statistics are not as wide as the rows that they are of."""
        if meta.statistics and meta.statistics.keys() != set(ROWS):
            raise ValueError(f"statistics of {', '.join(meta.statistics)} alone")
        for part, statistics in meta.statistics.items():
            width = None if statistics is None else len(statistics.mean)
            if width != meta.widths[part]:
                raise ValueError(f"statistics of {part} have another width than its rows")

    def _read_meta(self) -> dict[str, Any]:
        try:
            meta: dict[str, Any] = json.loads((self.folder / META).read_text(encoding="utf-8"))
            version = meta["format"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise self.damaged(f"{META} cannot be read: {error}") from error
        if version not in (FORMAT, FORMAT_SHARDS) or isinstance(version, bool | float):
            raise ForeframeError(
                f"{self.folder}: store format {version}; this version reads {FORMAT} and "
                f"{FORMAT_SHARDS}. {self._remedy()}"
            )
        return meta

    def damaged(self, what: str) -> ForeframeError:
        """The error for a store that is not what was written, with what to do about it."""
        return ForeframeError(
            f"{self.folder}: the packed data are damaged ({what}). {self._remedy()}"
        )

    def _remedy(self) -> str:
        if self.folder == self.source:
            return "Delete this folder and make it again from what it was made of."
        return "Delete this folder, and it is made again from its source."

    # -- the arrays -----------------------------------------------------------------------------

    def _shape(self, part: str, shard: Shard) -> tuple[int, ...] | None:
        row = (*self.size, 3) if part == "frames" else (self._widths[part],)
        if None in row:
            return None
        return (sum(shard.lengths), *(n for n in row if n is not None))

    def _check_files(self, k: int, folder: Place) -> None:
        for part in PARTS:
            shape = self._shape(part, self.shards[k])
            if shape is None:
                continue
            expected = math.prod(shape) * (1 if part == "frames" else 4)
            path = folder / f"{part}.bin"
            size = path.stat().st_size if path.is_file() else None
            if size != expected:
                where = path.name if folder == self.folder else f"{folder.name}/{path.name}"
                raise self.damaged(f"{where}: {size or 'no'} bytes, {expected} expected")

    def _arrays(self, k: int) -> _Arrays:
        with self._lock:
            arrays = self._open.get(k)
            if arrays is not None:
                self._open.move_to_end(k)
                return arrays
        try:
            arrays = self._mapped(k)
        except (OSError, ForeframeError):
            if not self.remote:
                raise
            arrays = self._mapped(k)  # another process had made room in the cache meanwhile
        with self._lock:
            self._open[k] = arrays
            while len(self._open) > (OPEN_REMOTE_SHARDS if self.remote else OPEN_SHARDS):
                self._open.popitem(last=False)
        return arrays

    def _mapped(self, k: int) -> _Arrays:
        folder = self.fetch(k)
        self._check_files(k, folder)
        shard = self.shards[k]

        def rows(part: str) -> np.ndarray | None:
            shape = self._shape(part, shard)
            if shape is None:
                return None
            # Read, not mapped: they are small, and every map holds a file descriptor.
            values = np.fromfile(folder / f"{part}.bin", "<f4").reshape(shape)
            values.flags.writeable = False
            return values

        shape = self._shape("frames", shard)
        assert shape is not None
        frames = np.memmap(folder / "frames.bin", np.uint8, "r", shape=shape)
        return _Arrays(frames, *(rows(part) for part in TABLES))

    def fetch(self, k: int) -> Path:
        """Folder of a shard on this machine; that of a remote store is fetched if it isn't here.

        Raises:
            ForeframeError: the shard cannot be read, or is not what its checksums say.
        """
        folder = self.shards[k].folder
        if isinstance(folder, Path):
            return folder
        assert self._cache is not None
        files = {
            f"{part}.bin": self.shards[k].sha256.get(part)
            for part in PARTS
            if self._shape(part, self.shards[k]) is not None
        }
        return self._cache.fetch(folder, files)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "source": self.source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Recording:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.rows(index, 0, int(self.lengths[index]))

    def rows(self, index: int, start: int, stop: int) -> Recording:
        """Frames ``start`` to ``stop`` of a sequence, with their rows of numbers: views."""
        arrays = self._arrays(int(self.shard_of[index]))
        first = int(self._starts[index])
        wanted = slice(first + start, first + stop)
        tables = (arrays.actions, arrays.positions, arrays.tracks)
        return Recording(
            arrays.frames[wanted], *(None if rows is None else rows[wanted] for rows in tables)
        )

    # -- what it says of itself -----------------------------------------------------------------

    @property
    def widths(self) -> dict[str, int | None]:
        """Numbers in a row of each of the ``TABLES``; None where there is none."""
        return dict(self._widths)

    @property
    def action_dim(self) -> int | None:
        """Numbers in an action; None without actions."""
        return self._widths["actions"]

    @property
    def position_dim(self) -> int | None:
        """Numbers in a position; None without positions."""
        return self._widths["positions"]

    @property
    def track_dim(self) -> int | None:
        """Numbers in a row of the tracks, two for each object; None without tracks."""
        return self._widths["tracks"]

    @property
    def origin(self) -> dict[str, Any]:
        """What the import noted of its source: "dataset", "camera", "units" ...; may be empty."""
        source = self.meta.get("source")
        return source if isinstance(source, dict) else {}

    @property
    def frame_rate(self) -> float | None:
        """Frames a second, as the import noted it; None where that is not known."""
        rate = self.origin.get("frame_rate")
        return float(rate) if isinstance(rate, int | float) and 0 < rate < math.inf else None

    def statistics(self) -> dict[str, Statistics | None]:
        """Statistics of the "actions" and "positions"; None where there are none."""
        if self._statistics:
            return self._statistics
        statistics: dict[str, Statistics | None] = {}
        for part in ROWS:
            of_shards = (getattr(self._arrays(k), part) for k in range(len(self.shards)))
            none = self._widths[part] is None
            statistics[part] = None if none else reduce(add, map(Statistics.of, of_shards))
        return statistics

    def fingerprint(self) -> str:
        """What changes when the store does: its metadata have the checksums of all else."""
        return hashlib.sha256(json.dumps(self.meta, sort_keys=True).encode()).hexdigest()

    def checksums(self, k: int) -> dict[str, str]:
        """SHA-256 of each array of a shard: as they were written, or, for stores of old, as is."""
        if self.shards[k].sha256:
            return dict(self.shards[k].sha256)
        folder = self.fetch(k)
        return {
            part: file_sha256(folder / f"{part}.bin")
            for part in PARTS
            if self._shape(part, self.shards[k]) is not None
        }

    def require_sound(self) -> None:
        """Compare every file of a store on this machine with its checksum, several at a time.

        It runs at the speed of SHA-256: nothing is decoded. Shards of a remote store are compared
        as they are fetched, and stores of old have no checksums.

        Raises:
            ForeframeError: names the files that have changed since they were written.
        """
        files = [
            (shard.folder / f"{part}.bin", expected)
            for shard in self.shards
            if isinstance(shard.folder, Path)
            for part, expected in shard.sha256.items()
        ]
        sums = in_threads(lambda one: _sum_if_there(one[0]), files, available_cores())
        changed = [
            path.name if path.parent == self.folder else f"{path.parent.name}/{path.name}"
            for (path, expected), found in zip(files, sums, strict=True)
            if found != expected
        ]
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise self.damaged(
                f"{', '.join(changed[:3])}{more}: not what was written, SHA-256 differs"
            )

    def verify(self) -> Iterator[str]:
        """Compare every file with its checksum; yields one line for each that differs."""
        for k, shard in enumerate(self.shards):
            folder = self.fetch(k)
            for part, expected in shard.sha256.items():
                if file_sha256(folder / f"{part}.bin") != expected:
                    yield f"{shard.folder / f'{part}.bin'}: has changed since it was made"


def require_alike(stores: Iterable[Store], remedy: str, *, tracks: bool = True) -> None:
    """Refuse stores whose recordings could not lie in one store.

    Args:
        stores: at least one.
        remedy: what to do about it, a sentence.
        tracks: whether their tracks must be alike, too.

    Raises:
        ForeframeError: says what differs in which store.
    """
    first, *others = stores
    for other in others:
        compared = [
            ("frames of (height, width)", other.size, first.size),
            ("numbers in an action", other.action_dim, first.action_dim),
            ("numbers in a position", other.position_dim, first.position_dim),
        ]
        if tracks:
            compared.append(("numbers in a row of tracks", other.track_dim, first.track_dim))
        for what, theirs, expected in compared:
            if theirs != expected:
                raise ForeframeError(
                    f"{other.folder}: {what}: {theirs}, but {expected} in {first.folder.name}. "
                    f"{remedy}"
                )


def _sum_if_there(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except FileNotFoundError:
        return None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
