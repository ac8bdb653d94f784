"""What the axes of an array of frames mean, by its shape or by the option --axes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from foreframe.data.sources.npz_file import NpzArray, rows
from foreframe.data.sources.source import UnusableError

_BLOCK_BYTES = 64 << 20
"""Of recordings whose frames lie interleaved, so many bytes are held at a time."""
_FEW_FRAMES = 4
"""With so many times more frames than recordings, the two axes may be exchanged."""

_FORMS = (
    "T is time, N the recordings (if there are several), H and W height and width, C the channels "
    "(if there are any); N and T come first, as in NTHWC, TNHW or NTCHW"
)


@dataclass(frozen=True)
class FrameAxes:
    """The axes of an array of frames.

    Attributes:
        names: a letter for each, as in "NTHWC".
        shape: its shape.
    """

    names: str
    shape: tuple[int, ...]

    @property
    def lead(self) -> tuple[int, ...]:
        """Lengths of the axes of recordings and time, in the order in which they are stored."""
        return tuple(self._size(name) for name in self.names if name in "NT")

    @property
    def recordings(self) -> int | None:
        """Number of recordings; None if there is no axis of them."""
        return self._size("N") if "N" in self.names else None

    @property
    def time(self) -> int:
        """Frames of a recording, or of all of them if there is no axis of recordings."""
        return self._size("T")

    @property
    def interleaved(self) -> bool:
        """Whether the frames of a recording lie apart: the first of all come first."""
        return self.names.startswith("TN")

    @property
    def total(self) -> int:
        """Frames of all recordings."""
        return math.prod(self.lead)

    def _size(self, name: str) -> int:
        return self.shape[self.names.index(name)]

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Numbers of each frame [*lead, ...] as [frames, width], one recording after another."""
        if self.interleaved:
            values = values.swapaxes(0, 1)
        return values.reshape(self.total, -1)

    def frames(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Frames as they are stored, one after another in any shape, as RGB."""
        inner = self.names.replace("N", "").replace("T", "")
        stored = values.reshape(-1, *(self._size(name) for name in inner)).astype(np.uint8)
        if "C" not in inner:
            stored, inner = stored[..., None], inner + "C"
        stored = stored.transpose(0, *(inner.index(name) + 1 for name in "HWC"))
        yield from stored if stored.shape[3] == 3 else np.repeat(stored, 3, 3)


def axes_of(array: NpzArray, named: str, *, divided: bool, alone: bool) -> FrameAxes:
    """The axes of an array of frames.

    Args:
        array: the array.
        named: what --axes says of it; empty: the shape has to say it.
        divided: whether --episode-ends divides it.
        alone: whether there is no array of actions or positions, which would show the order.

    Raises:
        UnusableError: they are not certain, or not those that the option names.
    """
    shape = array.shape
    text = f"the frames {array.name} have the shape {list(shape)}"
    if 0 in shape:
        raise UnusableError(f"{text}: there are none")
    if array.fortran:
        raise UnusableError(
            f"{text} in Fortran order, which cannot be read frame by frame: save "
            "numpy.ascontiguousarray of them"
        )
    axes = _named(text, named, shape) if named else _guessed(text, shape, alone)
    if divided and axes.recordings is not None:
        raise UnusableError(f"{text}: --episode-ends divides one array [time, height, ...]")
    return axes


def _named(text: str, named: str, shape: tuple[int, ...]) -> FrameAxes:
    names = named.strip().upper()
    inner = names.lstrip("NT")
    if (
        len(set(names)) != len(names)
        or not set("THW") <= set(names) <= set("NTHWC")
        or set(inner) & set("NT")
    ):
        raise UnusableError(f"--axes {named}: {_FORMS}")
    if len(names) != len(shape):
        raise UnusableError(f"{text}, which are {len(shape)} axes, and --axes names {len(names)}")
    axes = FrameAxes(names, shape)
    if "C" in names and shape[names.index("C")] not in (1, 3):
        raise UnusableError(f"{text}: C of --axes {named} must be 1 (grey) or 3 (RGB)")
    return axes


def _guessed(text: str, shape: tuple[int, ...], alone: bool) -> FrameAxes:
    if len(shape) == 3 and shape[2] not in (1, 3, 4):
        return FrameAxes("THW", shape)
    if len(shape) == 4 and shape[-1] in (1, 3):
        return FrameAxes("THWC", shape)
    if len(shape) == 5 and shape[-1] in (1, 3):
        if alone and shape[1] > _FEW_FRAMES * shape[0]:
            raise UnusableError(
                f"{text}: {shape[0]} recordings of {shape[1]} frames, or {shape[1]} of "
                f"{shape[0]}, as in Moving-MNIST's test set? Say --axes NTHWC or --axes TNHWC"
            )
        return FrameAxes("NTHWC", shape)
    raise UnusableError(
        f"{text}, of which the meaning is not certain: name the axes with --axes; {_FORMS}"
    )


class FrameReader:
    """The frames of the recordings in one array.

    Args:
        array: the array.
        axes: its axes.
    """

    def __init__(self, array: NpzArray, axes: FrameAxes) -> None:
        self._array, self._axes = array, axes
        self._block = range(0)
        self._values = np.empty(0)

    def read(self, stream: IO[bytes], start: int, stop: int) -> Iterator[np.ndarray]:
        """Frames ``start`` to ``stop``, counted recording after recording.

        Raises:
            UnusableError: the array is damaged.
        """
        if self._axes.interleaved:
            yield from self._interleaved(stream, start // self._axes.time)
            return
        size = math.prod(self._array.shape) // self._axes.total
        for data in rows(stream, self._array, size, start, stop):
            yield from self._axes.frames(np.frombuffer(data, self._array.dtype))

    def _interleaved(self, stream: IO[bytes], k: int) -> Iterator[np.ndarray]:
        """The frames of recording ``k``; those of some after it are read with them."""
        if k not in self._block:
            self._read_block(stream, k)
        yield from self._axes.frames(self._values[:, k - self._block.start])

    def _read_block(self, stream: IO[bytes], first: int) -> None:
        steps, count = self._axes.lead
        size = math.prod(self._array.shape) // self._axes.total
        room = max(1, _BLOCK_BYTES // (steps * size * self._array.dtype.itemsize))
        block = range(first, min(count, first + room))
        values = np.empty((steps, len(block), size), self._array.dtype)
        for t in range(steps):
            begin = t * count + block.start
            data = b"".join(rows(stream, self._array, size, begin, begin + len(block)))
            values[t] = np.frombuffer(data, self._array.dtype).reshape(len(block), size)
        self._block, self._values = block, values
