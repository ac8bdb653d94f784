"""Store: sequences packed into a few memory-mapped arrays, so that nothing is decoded twice.

    STORE/frames.bin      uint8   [N, H, W, 3], the frames of all sequences one after another
    STORE/actions.bin     float32 [N, A], if there are actions
    STORE/positions.bin   float32 [N, P], if there are positions
    STORE/meta.json       format, shapes, lengths and names of the sequences, where they came from

The arrays are bare, in C order and little-endian, so that they can be written as a stream; their
shapes stand in meta.json.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import foreframe
from foreframe.data.lab import Sequence
from foreframe.errors import ForeframeError
from foreframe.files import whole_folder, write_json

FORMAT = 1
META = "meta.json"


class Store:
    """A packed split: ``len(store)`` sequences, ``store[i]`` a ``Sequence`` of views into the maps.

    Cheap to open and to send to another process: the arrays are mapped, not read.

    Attributes:
        folder: of the store.
        lengths: [len(store)], frames of each sequence.
        starts: [len(store) + 1], where each begins in the arrays.
        frames: [N, H, W, 3] uint8, those of all sequences.
        actions: [N, A] float32, or None.
        positions: [N, P] float32, or None.
        names: of the sequences, relative to ``source``.
        size: height and width of the frames.

    Args:
        folder: of the store.
        source: what the names of the sequences are relative to, for messages; by default the store.

    Raises:
        ForeframeError: not a store, of an unknown format, or its files do not fit together.
    """

    def __init__(self, folder: Path, source: Path | None = None) -> None:
        self.folder, self.source = folder, source or folder
        try:
            self.meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
            found = self.meta["format"]
            self.lengths = np.array(self.meta["lengths"], np.int64)
            self.names: list[str] = self.meta["names"]
            self.size: tuple[int, int] = tuple(self.meta["size"])
            self._widths: dict[str, int | None] = {
                name: self.meta["widths"][name] for name in ("actions", "positions")
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(f"{META} cannot be read: {error}") from error
        if found != FORMAT:
            raise ForeframeError(
                f"{folder}: store format {found}; this version reads {FORMAT}. {self._remedy()}"
            )
        self.starts = np.concatenate([[0], self.lengths.cumsum()])
        # Here, so that a truncated file is found at the door and not in mid-training, and so that
        # the data stay within reach when another process replaces an outdated packed copy.
        frames = self._map("frames")
        assert frames is not None
        self.frames: np.ndarray = frames
        self.actions: np.ndarray | None = self._map("actions")
        self.positions: np.ndarray | None = self._map("positions")

    def _damaged(self, what: str) -> ForeframeError:
        return ForeframeError(
            f"{self.folder}: the packed data are damaged ({what}). {self._remedy()}"
        )

    def _remedy(self) -> str:
        if self.folder == self.source:
            return "Delete this folder and make it again from what it was made of."
        return "Delete this folder, and it is made anew from its source."

    def _map(self, name: str) -> np.ndarray | None:
        row = (*self.size, 3) if name == "frames" else (self._widths[name],)
        if None in row:
            return None
        path = self.folder / f"{name}.bin"
        dtype = np.dtype(np.uint8 if name == "frames" else "<f4")
        shape = (int(self.starts[-1]), *row)
        expected = math.prod(shape) * dtype.itemsize
        found = path.stat().st_size if path.is_file() else None
        if found != expected:
            raise self._damaged(f"{path.name}: {found or 'no'} bytes, {expected} expected")
        return np.memmap(path, dtype, "r", shape=shape)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "source": self.source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Sequence:
        start, stop = self.starts[index], self.starts[index + 1]
        actions, positions = (
            None if part is None else part[start:stop] for part in (self.actions, self.positions)
        )
        return Sequence(self.frames[start:stop], actions, positions)

    @property
    def action_dim(self) -> int | None:
        """Numbers in an action; None without actions."""
        return self._widths["actions"]

    @property
    def position_dim(self) -> int | None:
        """Numbers in a position; None without positions."""
        return self._widths["positions"]


class StoreWriter:
    """Takes sequences one at a time; use through ``write_store``."""

    def __init__(self, folder: Path, source: Path) -> None:
        self._folder, self._source = folder, source
        self._files: dict[str, BinaryIO] = {}
        self._widths: dict[str, int | None] = {}
        self._size: tuple[int, int] | None = None
        self._lengths: list[int] = []
        self._names: list[str] = []

    def add(self, sequence: Sequence, name: str) -> None:
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
            for part in ("frames", *(part for part in widths if widths[part] is not None)):
                # Closed by write_store.
                self._files[part] = open(self._folder / f"{part}.bin", "wb")  # noqa: SIM115
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
            if array is not None:
                dtype = "u1" if part == "frames" else "<f4"
                self._files[part].write(np.ascontiguousarray(array, dtype).tobytes())
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
                **meta,
            },
        )

    def _close(self) -> None:
        for file in self._files.values():
            file.close()


@contextmanager
def write_store(
    folder: Path, meta: dict[str, Any] | None = None, *, source: Path | None = None
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
