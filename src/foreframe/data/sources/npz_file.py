"""One .npz or .npy file read as a stream, so that an array in it may be larger than the memory."""

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from foreframe.data.sources.source import UnusableError, reason
from foreframe.system.places import Place, open_binary, unreadable

NPY = ".npy"

_CHUNK = 1 << 20

# What zipfile, the decompressors and NumPy's reading of headers raise for damaged files.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    SyntaxError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    RuntimeError,
)


@dataclass(frozen=True)
class Member:
    """A .npy file, in a zip file or by itself.

    Attributes:
        size: its bytes.
        open: opens it.
        checked: whether reading it to its end compares a checksum.
    """

    size: int
    open: Callable[[], IO[bytes]]
    checked: bool


@dataclass(frozen=True)
class NpzArray:
    """An array in the file, by its header.

    Attributes:
        name: without ".npy".
        shape: shape of the array.
        dtype: type of its values.
        fortran: whether it lies there column by column.
        member: where it lies.
        offset: place of the first value in the member.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    member: Member
    offset: int

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {list(self.shape)}"

    def damaged(self, error: Exception) -> UnusableError:
        return UnusableError(f"the array {self.name} is damaged ({reason(error)})")


class NpzFile:
    """An open .npz file, or a .npy file and those beside it.

    Attributes:
        arrays: by name; in the place of one whose header cannot be read, what is wrong.
    """

    def __init__(self, members: dict[str, Member]) -> None:
        self.arrays: dict[str, NpzArray | str] = {}
        for name, member in members.items():
            try:
                with member.open() as stream:
                    self.arrays[name] = _header(stream, name, member)
            except _DAMAGE as error:
                self.arrays[name] = reason(error)

    def find(self, name: str, option: str) -> NpzArray:
        """The array of numbers that an option of the command line names.

        Raises:
            UnusableError: there is none of that name, or it is damaged or holds something else.
        """
        if name not in self.arrays:
            listed = ", ".join(
                f"{key} (unreadable)" if isinstance(array, str) else str(array)
                for key, array in self.arrays.items()
            )
            raise UnusableError(
                f"--{option} {name}: there is no such array; it holds {listed or 'none'}"
            )
        array = self.arrays[name]
        if isinstance(array, str):
            raise UnusableError(f"the array {name} is damaged ({array})")
        if array.dtype.kind not in ("iuf" if option == "frames" else "iufb"):
            raise UnusableError(
                f"--{option} {name}: is an array of {array.dtype}, and must be one of numbers"
            )
        return array

    def load(self, array: NpzArray) -> np.ndarray:
        """All of an array.

        Raises:
            UnusableError: it is damaged.
        """
        try:
            with array.member.open() as stream:
                values: np.ndarray = npy.read_array(stream, allow_pickle=False)
                if stream.read(1):
                    raise ValueError("it is longer than its header says")
        except _DAMAGE as error:
            raise array.damaged(error) from error
        return values

    @contextmanager
    def stream(self, array: NpzArray) -> Iterator[IO[bytes]]:
        """An array's member, for ``rows``."""
        try:
            stream = array.member.open()
        except _DAMAGE as error:
            raise array.damaged(error) from error
        with stream:
            yield stream

    def check_pixels(self, array: NpzArray) -> None:
        """Read all of an array once: its checksum stands at the end, its range says what it means.

        Raises:
            UnusableError: it is damaged, or the values are not whole numbers 0..255.
        """
        dtype, low, high, whole = array.dtype, np.inf, -np.inf, True
        if dtype == np.uint8 and not array.member.checked:
            return
        left = array.member.size - array.offset
        with self.stream(array) as stream:
            try:
                stream.read(array.offset)
                while left:
                    chunk = stream.read(min(left, _CHUNK - _CHUNK % dtype.itemsize))
                    left -= len(chunk)
                    if not chunk or len(chunk) % dtype.itemsize:
                        raise EOFError("it is cut short")
                    if dtype != np.uint8:
                        values = np.frombuffer(chunk, dtype)
                        # NaN goes through both, and is not equal to itself.
                        low = float(np.minimum(low, values.min()))
                        high = float(np.maximum(high, values.max()))
                        whole &= dtype.kind != "f" or bool((values == np.rint(values)).all())
            except _DAMAGE as error:
                raise array.damaged(error) from error
        if dtype == np.uint8:
            return
        if not (whole and low >= 0 and high <= 255):
            raise UnusableError(
                f"the values of {array.name} run from {low:g} to {high:g}"
                f"{'' if whole else ', not all of them whole numbers'}; pixels are whole numbers "
                "0..255: scale them and save them as uint8"
            )
        if dtype.kind == "f" and high <= 1:
            raise UnusableError(
                f"the values of {array.name} are floating-point numbers from {low:g} to {high:g}: "
                "if 1 is to be white, multiply them by 255 and save them as uint8"
            )


@contextmanager
def open_npz(place: Place) -> Iterator[NpzFile]:
    """Open a file and read the headers of its arrays.

    The arrays of a .npy file are itself and the other .npy files beside it, by their names.

    Raises:
        UnusableError: it is neither, or its directory is damaged.
        ForeframeError: it is missing or cannot be opened.
    """
    if place.suffix.lower() == NPY:
        yield NpzFile(_beside(place))
        return
    with open_binary(place) as file:
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise UnusableError(f"cannot be read as an .npz file ({reason(error)})") from error
        with archive:
            yield NpzFile(
                {
                    entry.filename.removesuffix(NPY): Member(
                        entry.file_size, partial(archive.open, entry), True
                    )
                    for entry in archive.infolist()
                }
            )


def _beside(place: Place) -> dict[str, Member]:
    """A .npy file, and those beside it."""
    with open_binary(place):
        pass  # says why it cannot be opened
    try:
        others = [path for path in place.parent.iterdir() if path.suffix.lower() == NPY]
        paths = [place, *sorted((path for path in others if path.name != place.name), key=str)]
        return {
            path.stem: Member(path.stat().st_size, partial(open_binary, path), False)
            for path in paths
        }
    except OSError as error:
        raise unreadable(place, error) from error


def rows(stream: IO[bytes], array: NpzArray, size: int, start: int, stop: int) -> Iterator[bytes]:
    """Rows ``start`` to ``stop`` of ``size`` values each, about a megabyte at a time.

    Raises:
        UnusableError: the array is damaged.
    """
    size *= array.dtype.itemsize
    block = max(1, _CHUNK // size)
    for first in range(start, stop, block):
        count = min(block, stop - first)
        try:
            # Does nothing where the stream stands there already.
            stream.seek(array.offset + first * size)
            data = stream.read(count * size)
        except _DAMAGE as error:
            raise array.damaged(error) from error
        if len(data) != count * size:
            raise array.damaged(EOFError("it is cut short"))
        yield data


def _header(stream: IO[bytes], name: str, member: Member) -> NpzArray:
    version = npy.read_magic(stream)
    readers: dict[tuple[int, int], Callable[[IO[bytes]], Any]] = {
        (1, 0): npy.read_array_header_1_0,
        (2, 0): npy.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"it is of the npy version {version[0]}.{version[1]}")
    shape, fortran, dtype = readers[version](stream)
    array = NpzArray(name, shape, dtype, fortran, member, stream.tell())
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {list(shape)}")
    # Objects are pickled, and never read.
    size = array.offset + math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and size != member.size:
        raise ValueError(f"{array} takes {size:,} bytes, but it has {member.size:,}")
    return array
