"""Stores written: sequence by sequence into a small one, shard by shard into a large one."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import foreframe
from foreframe.data.recording import Recording
from foreframe.data.statistics import Statistics
from foreframe.data.store.store import FORMAT, FORMAT_SHARDS, META, Store
from foreframe.errors import ForeframeError
from foreframe.system.files import whole_folder, write_json
from foreframe.system.places import Place


class StoreWriter:
    """Takes sequences one at a time; use through ``write_store``."""

    def __init__(self, folder: Path, source: Place) -> None:
        self._folder, self._source = folder, source
        self._files: dict[str, BinaryIO] = {}
        self._sums: dict[str, Any] = {}
        self._statistics: dict[str, Statistics | None] = {}
        self._widths: dict[str, int | None] = {}
        self._size: tuple[int, int] | None = None
        self._lengths: list[int] = []
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, sequence: Recording, name: str) -> None:
        """Append a sequence.

        Args:
            sequence: the recording.
            name: where it came from, relative to the source.

        Raises:
            ForeframeError: its size, or the width of its actions or positions, is not the others'.
        """
        widths = sequence.widths
        size = sequence.frames.shape[1:3]
        if self._size is None:
            self._size, self._widths = size, widths
            self._statistics = dict.fromkeys(widths)
            for part in ("frames", *(part for part in widths if widths[part] is not None)):
                # Closed by write_store.
                self._files[part] = open(self._folder / f"{part}.bin", "wb")  # noqa: SIM115
                self._sums[part] = hashlib.sha256()
        for part, width in widths.items():
            if width != self._widths[part]:
                others, own = (
                    "none" if w is None else f"{w} numbers a row"
                    for w in (self._widths[part], width)
                )
                raise ForeframeError(
                    f"{self._source / name}: {part}: {own}, but {self._names[0]} has {others}. "
                    "All sequences of a split must have the same columns: "
                    "bring them into line, or remove the sequence."
                )
        if size != self._size:
            raise ForeframeError(
                f"{self._source / name}: frames of {size[1]}x{size[0]} pixels, but "
                f"{self._names[0]} has {self._size[1]}x{self._size[0]}. Resize one of them."
            )
        for part, array in (
            ("frames", sequence.frames),
            ("actions", sequence.actions),
            ("positions", sequence.positions),
        ):
            if array is None:
                continue
            packed = np.ascontiguousarray(array, "u1" if part == "frames" else "<f4")
            self._files[part].write(packed.data)
            self._sums[part].update(packed.data)
            if part != "frames":
                before, own_rows = self._statistics[part], Statistics.of(packed)
                self._statistics[part] = own_rows if before is None else before + own_rows
        self._lengths.append(len(sequence.frames))
        self._names.append(name)

    def _finish(self, meta: dict[str, Any]) -> None:
        self._close()
        if self._size is None:
            raise ForeframeError("a store needs at least one sequence, and none was added.")
        write_json(
            self._folder / META,
            {
                "format": FORMAT,
                "foreframe": foreframe.__version__,
                "size": list(self._size),
                "widths": self._widths,
                "lengths": self._lengths,
                "names": self._names,
                "sha256": {part: total.hexdigest() for part, total in self._sums.items()},
                "statistics": _to_json(self._statistics),
                **meta,
            },
        )

    def _close(self) -> None:
        for file in self._files.values():
            file.close()


def _to_json(statistics: Mapping[str, Statistics | None]) -> dict[str, Any]:
    return {part: None if found is None else found.to_json() for part, found in statistics.items()}


@contextmanager
def write_store(
    folder: Path, meta: dict[str, Any] | None = None, *, source: Place | None = None
) -> Iterator[StoreWriter]:
    """Yield a writer; the store appears under ``folder`` whole when the block ends, or not at all.

    Args:
        folder: of the new store.
        meta: more entries for its metadata.
        source: what the names of the sequences are relative to, for messages.

    Raises:
        ForeframeError: the sequences do not fit together, none was added, or the folder exists or
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
        folder: of the new store.
        shards: names of the folders in it, in the order that the sequences are to have.
        meta: more entries for its metadata.

    Raises:
        ForeframeError: a shard is damaged, or the shards do not fit together.
    """
    opened = [Store(folder / name) for name in shards]
    first = opened[0]
    for shard in opened:
        for what, own, others in (
            ("frames of (height, width)", shard.size, first.size),
            ("numbers in an action", shard.action_dim, first.action_dim),
            ("numbers in a position", shard.position_dim, first.position_dim),
        ):
            if own != others:
                raise ForeframeError(
                    f"{shard.folder}: {what}: {own}, but {others} in {first.folder.name}. "
                    "All recordings of a dataset must have the same: import them separately."
                )
    totals: dict[str, Statistics | None] = {}
    for part in ("actions", "positions"):
        found = [shard.statistics()[part] for shard in opened]
        present = [statistics for statistics in found if statistics is not None]
        totals[part] = reduce(add, present) if present else None
    write_json(
        folder / META,
        {
            "format": FORMAT_SHARDS,
            "foreframe": foreframe.__version__,
            "size": list(first.size),
            "widths": {"actions": first.action_dim, "positions": first.position_dim},
            "statistics": _to_json(totals),
            **meta,
            "shards": [
                {
                    "folder": name,
                    "lengths": shard.lengths.tolist(),
                    "names": shard.names,
                    "sha256": dict(shard.shards[0].sha256),
                }
                for name, shard in zip(shards, opened, strict=True)
            ],
        },
    )
