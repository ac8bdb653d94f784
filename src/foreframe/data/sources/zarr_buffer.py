"""A diffusion-policy replay buffer in zarr: all episodes one after another in a few arrays.

data/img           [N, H, W, 3], the frames of all episodes
data/action        [N, A]
data/state         [N, P]
meta/episode_ends  [E], for each episode the number of frames up to its end
"""

import itertools
import lzma
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.data.sources.feature import FeatureColumns, choose_columns, episode_ends, joined
from foreframe.data.sources.listing import Node
from foreframe.data.sources.source import (
    Part,
    RawRecording,
    Skip,
    Source,
    UnusableError,
    reason,
)
from foreframe.data.sources.zarr_listing import list_zarr
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

ENDS = "meta/episode_ends"

_PER_PART = 64
_BLOCK = 1 << 22
_OPTIONAL = ("action", "position")
_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")

# What zarr, its codecs and zipfile raise for damaged metadata and chunks.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class ZarrSource(Source):
    """A diffusion-policy replay buffer in zarr (format 2 or 3), a folder or a .zip file."""

    input: Place
    """The buffer: a folder such as pusht_cchi_v7_replay.zarr, or a .zarr.zip."""
    image: str = "data/img"
    """Name of the array of frames [time, height, width, 3], with values 0..255."""
    action: str = "data/action"
    """Name of the array of actions [time, number], or columns of it: data/action[:2]; several
    divided by commas; none if there are none."""
    position: str = "data/state"
    """Name of the array of positions, or columns of it: data/state[:2]; none if there are none."""
    fill_missing: bool = False
    """Take chunks that are not there for zeros: some writers leave out those that hold nothing
    else. By default the episodes in them are skipped, for a chunk may also have been lost."""

    def parts(self) -> list[Part]:
        with _opened(self) as buffer:
            count = len(buffer.ends)
            buffer.look_at_pixels()
        return [
            Part(f"episodes-{start:06d}", self.input, select={"start": start})
            for start in range(0, count, _PER_PART)
        ]

    def lengths(self, part: Part) -> list[tuple[str, int]]:
        with _opened(self) as buffer:
            name = self.input.name
            return [(f"{name}/{k}", stop - start) for k, start, stop in buffer.episodes(part)]

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        try:
            with _opened(self) as buffer:
                yield from buffer.read(part)
        except ForeframeError as error:
            yield Skip(part.name, str(error).removeprefix(f"{self.input}: ").rstrip("."))

    def describe(self) -> dict[str, Any]:
        return {
            "dataset": self.input.name,
            "camera": self.image,
            "units": "as recorded",
            "arrays": {"frames": self.image, "actions": self.action, "positions": self.position},
        }

    def listing(self) -> Node:
        if not self.input.exists():
            raise ForeframeError(f"{self.input}: no such file or folder.")
        return list_zarr(self.input, _store(_zarr(), self.input), ENDS, _DAMAGE)


class _Buffer:
    """An open buffer whose arrays fit together.

    Attributes:
        ends: for each episode, the number of frames up to its end.
        closed: whether the store was closed since.
    """

    def __init__(self, source: ZarrSource, store: Any) -> None:
        self._source, self._store = source, _strict(store, source.fill_missing)
        self.closed = False
        self._frames = self._array(source.image, "image")
        shape = tuple(self._frames.shape)
        if len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
            raise self._error(
                f"--image {source.image}: has the shape {list(shape)}, and must be "
                "[time, height, width, 3]"
            )
        self._wanted = choose_columns(source.action, source.position)
        self._rows = {
            columns.name: self._row_array(columns, option, shape[0])
            for option, kind in (("action", "actions"), ("position", "positions"))
            for columns in self._wanted[kind]
        }
        self.ends = self._episode_ends(shape[0])

    def _error(self, what: str) -> ForeframeError:
        return ForeframeError(f"{self._source.input}: {what}.")

    def _array(self, name: str, option: str = "") -> Any:
        """The array of that name, one of numbers."""
        zarr = _zarr()
        label = f"--{option} {name}" if option else name
        try:
            array = zarr.open_array(store=self._store, path=name.strip("/"), mode="r")
            shape, kind = array.shape, array.dtype.kind
        except FileNotFoundError as error:
            hint = f"; --{option} none if there are none" if option in _OPTIONAL else ""
            raise self._error(
                f"{label}: there is no such array; it holds {self._listed()}{hint}"
            ) from error
        except _DAMAGE as error:
            raise self._error(f"{label}: cannot be opened ({reason(error)})") from error
        if kind not in "iuf" or not shape:
            raise self._error(
                f"{label}: is an array of {array.dtype} {list(shape)}, and must be one of numbers"
            )
        packed = array.compressors[-1:] if array.shards is None else ()
        self._store.chunks[f"{array.path}/"] = any("Blosc" in type(c).__name__ for c in packed)
        return array

    def _listed(self) -> str:
        zarr = _zarr()
        try:
            with warnings.catch_warnings():
                # About other files in the folder.
                warnings.simplefilter("ignore")
                group = zarr.open_group(store=self._store, mode="r")
                members = sorted(group.members(max_depth=None))
        except _DAMAGE:
            return "no zarr arrays"
        arrays = [
            f"{name} {member.dtype} {list(member.shape)}"
            for name, member in members
            if isinstance(member, zarr.Array)
        ]
        return ", ".join(arrays) or "no zarr arrays"

    def _row_array(self, columns: FeatureColumns, option: str, total: int) -> Any:
        """The array that has these columns."""
        array = self._array(columns.name, option)
        label = f"--{option} {columns.name}"
        if array.ndim not in (1, 2) or 0 in array.shape:
            raise self._error(
                f"{label}: has the shape {list(array.shape)}, and must be [time, number]"
            )
        if array.shape[0] != total:
            raise self._error(f"{label}: has {array.shape[0]} rows, but there are {total} frames")
        try:
            columns.of(np.zeros((1, array.shape[1] if array.ndim == 2 else 1)))
        except ValueError as error:
            raise self._error(f"--{option}: {error}") from error
        return array

    def _episode_ends(self, total: int) -> list[int]:
        array = self._array(ENDS)
        if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
            raise self._error(
                f"{ENDS}: is {array.dtype} {list(array.shape)}, not one row of whole numbers"
            )
        try:
            values = np.asarray(array[:])
        except (UnusableError, *_DAMAGE) as error:
            raise self._error(f"{ENDS}: cannot be read ({reason(error)})") from error
        try:
            return episode_ends(values, total)
        except ValueError as error:
            raise self._error(f"{ENDS}: {error}") from error

    def look_at_pixels(self) -> None:
        """See that the range of the first frames is one of pixels; damage is noticed later."""
        name = self._source.image
        try:
            frame = np.asarray(self._frames[:1])
        except (UnusableError, *_DAMAGE):
            return
        try:
            _pixels(frame, name)
        except UnusableError as error:
            raise self._error(str(error)) from error

    def episodes(self, part: Part) -> list[tuple[int, int, int]]:
        """Number, first frame and frame after the last of each episode of a part."""
        first = part.select["start"]
        starts = [0, *self.ends]
        return [(k, starts[k], self.ends[k]) for k in range(first, len(self.ends))[:_PER_PART]]

    def read(self, part: Part) -> Iterator[RawRecording | Skip]:
        for k, start, stop in self.episodes(part):
            name = f"{self._source.input.name}/{k}"
            try:
                features = {key: self._read_rows(key, start, stop) for key in self._rows}
                rows = joined(self._wanted, features)
            except (UnusableError, ValueError) as error:
                yield Skip(name, str(error))
                continue
            yield RawRecording(name, self._read_frames(name, start, stop), *rows)
        rest, end = self._frames.shape[0], self.ends[-1]
        if rest > end and part.select["start"] + _PER_PART >= len(self.ends):
            yield Skip(
                f"{self._source.input.name}, frames {end} to {rest}",
                f"they lie after the last end in {ENDS}",
            )

    def _read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        try:
            values = np.asarray(self._rows[name][start:stop])
        except _DAMAGE as error:
            raise UnusableError(f"{name} cannot be read ({reason(error)})") from error
        return values.reshape(stop - start, -1)

    def _read_frames(self, name: str, start: int, stop: int) -> Iterator[np.ndarray]:
        if self.closed:  # asked for after all recordings were
            with _opened(self._source) as buffer:
                yield from buffer._read_frames(name, start, stop)
            return
        array = self._frames
        # Whole chunks, several if they are small.
        chunk = array.chunks[0]
        step = chunk * max(1, _BLOCK // (chunk * math.prod(array.shape[1:])))
        cuts = [start, *range((start // step + 1) * step, stop, step), stop]
        for first, last in itertools.pairwise(cuts):
            where = (
                f"{self._source.input}: episode {name}, frames {first - start} to {last - start}"
            )
            try:
                values = _pixels(np.asarray(array[first:last]), self._source.image)
            except UnusableError as error:
                raise ForeframeError(f"{where}: {error}.") from error
            except _DAMAGE as error:
                raise ForeframeError(
                    f"{where}: {array.path} cannot be read ({reason(error)}). Restore its chunks."
                ) from error
            yield from values if values.shape[3] == 3 else np.repeat(values, 3, 3)


@contextmanager
def _opened(source: ZarrSource) -> Iterator[_Buffer]:
    """The buffer of a source.

    Raises:
        ForeframeError: it is missing, or its arrays are not those that the options say.
    """
    zarr, where = _zarr(), source.input
    if not where.exists():
        raise ForeframeError(f"{where}: no such file or folder. Give a replay buffer in zarr.")
    store = _store(zarr, where)
    buffer: _Buffer | None = None
    try:
        buffer = _Buffer(source, store)
        yield buffer
    finally:
        if buffer is not None:
            buffer.closed = True
        if not where.is_dir():
            store.close()


def _store(zarr: Any, where: Place) -> Any:
    """The folder or zip file ``where`` as zarr reads it."""
    if where.is_dir():
        if isinstance(where, Path):
            return zarr.storage.LocalStore(where, read_only=True)
        options = dict(where.storage_options)
        return zarr.storage.FsspecStore.from_url(
            str(where), storage_options=options, read_only=True
        )
    if not isinstance(where, Path):
        raise ForeframeError(
            f"{where}: a zipped buffer is read from this machine only. Copy it here, or unzip it."
        )
    try:
        zipfile.ZipFile(where).close()
    except _DAMAGE as error:
        raise ForeframeError(
            f"{where}: is no folder, and cannot be read as a zip file ({reason(error)}). "
            "Give a replay buffer in zarr."
        ) from error
    return zarr.storage.ZipStore(where, mode="r", read_only=True)


def _strict(store: Any, fill_missing: bool) -> Any:
    """``store``, for reading, without two ways in which zarr gives wrong numbers silently.

    A chunk that is missing is read as the fill value. And Blosc, which packs most replay buffers,
    does not look at the length of what it unpacks: of a chunk cut short it unpacks whatever lies
    behind it in the memory. (A flipped bit in one cannot be noticed: Blosc has no checksum.)
    """
    from zarr.storage import WrapperStore

    class StrictStore(WrapperStore[Any]):
        def __init__(self, store: Any) -> None:
            super().__init__(store)
            # Prefix of the chunks of each array that is read; whether Blosc packed them.
            self.chunks: dict[str, bool] = {}

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            chunk = await super().get(key, prototype, byte_range)
            prefix = next((prefix for prefix in self.chunks if key.startswith(prefix)), None)
            if prefix is None or key.removeprefix(prefix) in _METADATA:
                return chunk
            if chunk is None and not fill_missing:
                raise UnusableError(
                    f"the chunk {key} is missing; if the writer left out chunks that hold nothing "
                    "but zeros, give --fill-missing"
                )
            if chunk is not None and self.chunks[prefix] and byte_range is None:
                data = chunk.to_bytes()
                # Bytes 12 to 16 of a Blosc header are the length of the whole.
                if len(data) < 16 or struct.unpack_from("<I", data, 12)[0] != len(data):
                    raise UnusableError(f"the chunk {key} is not as long as its header says")
            return chunk

    return StrictStore(store)


def _pixels(values: np.ndarray, name: str) -> np.ndarray:
    """``values`` as uint8; those of another type must be whole numbers."""
    if values.dtype == np.uint8:
        return values
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 255:
        raise UnusableError(f"the values of {name} run from {low:g} to {high:g}, not 0..255")
    if values.dtype.kind == "f" and high > 1 and (values != np.rint(values)).any():
        raise UnusableError(
            f"the values of {name} run from {low:g} to {high:g} and are no whole numbers: save "
            "them as uint8, white being 255"
        )
    if values.dtype.kind == "f" and 0 < high <= 1:
        raise UnusableError(
            f"the values of {name} run from {low:g} to {high:g}: if 1 is to be white, multiply "
            "them by 255 and save them as uint8"
        )
    return np.rint(values).astype(np.uint8)


def _zarr() -> Any:
    try:
        import zarr
        import zarr.storage
    except ImportError as error:
        raise ForeframeError(
            f"Reading zarr needs the package zarr ({error}): pip install 'foreframe[data]'"
        ) from error
    return zarr
