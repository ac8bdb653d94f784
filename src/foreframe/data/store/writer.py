"""Stores written: recording by recording into a small one, shard by shard into a large one."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.data.recording import Recording
from foreframe.data.statistics import Statistics
from foreframe.data.store.meta import META, ROWS, Meta, Shard
from foreframe.data.store.store import PARTS, Store, require_alike
from foreframe.errors import ForeframeError
from foreframe.system.files import whole_folder, write_json
from foreframe.system.places import Place


class _ArrayFile:
    """An array on its way to the disk: its file, its checksum, the statistics of its rows."""

    def __init__(self, path: Path, part: str) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 (closed by write_store)
        self._dtype = "u1" if part == "frames" else "<f4"
        self._measured = part in ROWS
        self.sha256 = hashlib.sha256()
        self.statistics: Statistics | None = None

    def append(self, array: np.ndarray) -> None:
        packed = np.ascontiguousarray(array, self._dtype)
        self._file.write(packed.data)
        self.sha256.update(packed.data)
        if self._measured:
            own = Statistics.of(packed)
            self.statistics = own if self.statistics is None else self.statistics + own

    def close(self) -> None:
        self._file.close()


class StoreWriter:
    """Takes recordings one at a time; use through ``write_store``."""

    def __init__(self, folder: Path, source: Place) -> None:
        self._folder, self._source = folder, source
        self._arrays: dict[str, _ArrayFile] = {}
        self._widths: dict[str, int | None] = {}
        self._size = (0, 0)
        self._lengths: list[int] = []
        self._names: list[str] = []
        self._recordings: list[str] = []
        self._tasks: list[str] = []

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, recording: Recording, name: str, *, of: str = "", task: str = "") -> None:
        """Append a recording.

        Args:
            recording: its frames, actions, positions and tracks.
            name: where it came from, relative to the source.
            of: the recording that it is a clip or a view of; by default it is one whole.
            task: what the robot was told to do, in words.

        Raises:
            ForeframeError: its size, or the width of one of its tables, is not the others'.
        """
        height, width = recording.frames.shape[1:3]
        if not self._arrays:
            self._size, self._widths = (height, width), recording.widths
            for part in PARTS:
                if getattr(recording, part) is not None:
                    self._arrays[part] = _ArrayFile(self._folder / f"{part}.bin", part)
        self._check_widths(recording.widths, name)
        if (height, width) != self._size:
            raise ForeframeError(
                f"{self._source / name}: frames of {width}x{height} pixels, but "
                f"{self._names[0]} has {self._size[1]}x{self._size[0]}. Resize one of them."
            )
        for part, array in self._arrays.items():
            array.append(getattr(recording, part))
        self._lengths.append(len(recording.frames))
        self._names.append(name)
        self._recordings.append(of or name)
        self._tasks.append(task)

    def _check_widths(self, widths: dict[str, int | None], name: str) -> None:
        for part, width in widths.items():
            if width != self._widths[part]:
                own, others = (
                    "none" if numbers is None else f"{numbers} numbers a row"
                    for numbers in (width, self._widths[part])
                )
                raise ForeframeError(
                    f"{self._source / name}: {part}: {own}, but {self._names[0]} has {others}. "
                    "All sequences of a split must have the same columns: "
                    "bring them into line, or remove the sequence."
                )

    def _finish(self, notes: dict[str, Any]) -> None:
        self._close()
        if not self._arrays:
            raise ForeframeError("a store needs at least one sequence, and none was added.")
        sums = {part: array.sha256.hexdigest() for part, array in self._arrays.items()}
        shard = Shard(
            self._folder,
            tuple(self._lengths),
            tuple(self._names),
            sums,
            tuple(self._recordings) if self._recordings != self._names else (),
            tuple(self._tasks) if any(self._tasks) else (),
        )
        statistics = {
            part: self._arrays[part].statistics if part in self._arrays else None for part in ROWS
        }
        meta = Meta(self._size, self._widths, (shard,), statistics, notes)
        write_json(self._folder / META, meta.to_json(sharded=False))

    def _close(self) -> None:
        for array in self._arrays.values():
            array.close()


@contextmanager
def write_store(
    folder: Path, meta: dict[str, Any] | None = None, *, source: Place | None = None
) -> Iterator[StoreWriter]:
    """Yield a writer; the store appears under ``folder`` whole when the block ends, or not at all.

    Args:
        folder: folder of the new store.
        meta: more entries for its metadata.
        source: place that the names of the recordings are relative to, for messages.

    Raises:
        ForeframeError: the recordings do not fit together, none was added, or the folder exists or
            cannot be written.
    """
    with whole_folder(folder) as aside:
        writer = StoreWriter(aside, source or Path())
        try:
            yield writer
            writer._finish(meta or {})
        finally:
            writer._close()


def join_shards(folder: Path, shards: list[str], meta: dict[str, Any]) -> None:
    """Make one store of stores that lie in ``folder``, by writing its meta.json.

    Args:
        folder: folder of the new store.
        shards: names of the folders in it, in the order that the recordings are to have.
        meta: more entries for its metadata.

    Raises:
        ForeframeError: a shard is damaged, or the shards do not fit together.
    """
    opened = [Store(folder / name) for name in shards]
    require_alike(opened, "All recordings of a dataset must have the same: import them separately.")
    statistics: dict[str, Statistics | None] = {}
    for part in ROWS:
        own = [values for store in opened if (values := store.statistics()[part]) is not None]
        statistics[part] = reduce(add, own) if own else None
    first = opened[0]
    joined = Meta(
        first.size,
        first.widths,
        tuple(shard for store in opened for shard in store.shards),
        statistics,
        meta,
    )
    write_json(folder / META, joined.to_json(sharded=True))
