"""The frames of a recording in an HDF5 file: arrays of pixels, encoded pictures, or a video."""

import io
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from foreframe.data.container import HEAD_BYTES, container_of, picture_of
from foreframe.data.picture import decode_picture
from foreframe.data.sources.hdf5_aside import aside
from foreframe.data.sources.hdf5_file import Hdf5Array, Hdf5File, open_hdf5
from foreframe.data.sources.listing import shown
from foreframe.data.sources.source import UnusableError
from foreframe.data.sources.video_packets import frame_times
from foreframe.data.video_file import decode
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

_FORMATS = ("PNG", "JPEG", "WEBP")
_NUMBERED = re.compile(r"(\D*)(\d+)")
_SMALLEST = 8
"""Pixels along an edge of what may be a picture."""
_TRIED = 8
"""Frames that are looked at to learn whether white is 1 or 255."""


@dataclass(frozen=True)
class Film:
    """How the frames of one recording lie in the file.

    Attributes:
        path: the dataset or group.
        kind: an array of pixels, encoded pictures (one a row), encoded pictures (one a dataset of a
            group: frame0, frame1, ...), or an encoded video.
        length: number of frames.
        size: what is known of their size, for the listing.
        channels_first: whether the pixels are [time, channels, height, width].
        dtype: type of the pixels; all but bytes have to be looked at.
        step: frames that are read at a time.
    """

    path: str
    kind: Literal["pixels", "pictures", "numbered", "video"]
    length: int
    size: str
    channels_first: bool = False
    dtype: str = "uint8"
    step: int = 32


def film_at(file: Hdf5File, path: str) -> Film:
    """The frames at a path.

    Raises:
        UnusableError: what is there is no frames, or nothing is there.
    """
    if file.is_group(path):
        return _numbered(file, path)
    array = file.array(path)
    if array.dtype.kind in "OSV" or (array.dtype == np.uint8 and len(array.shape) in (1, 2)):
        return _encoded(array, path)
    return _pixels(array, path)


def films(file: Hdf5File, group: str) -> list[str]:
    """Paths, relative to a group, of what looks like the frames of a camera."""
    found: list[str] = []
    folders: set[str] = set()
    for path in file.below(group):
        folder, _, name = path.rpartition("/")
        with suppress(UnusableError):
            if _NUMBERED.fullmatch(name) and folder and folder not in folders:
                folders.add(folder)
                film_at(file, f"{group}/{folder}")
                found.append(folder)
        if folder in found:
            continue
        with suppress(UnusableError):
            film = film_at(file, f"{group}/{path}")
            if film.dtype.startswith(("uint8", "float")):
                found.append(path)
    return found


# -- what it is ---------------------------------------------------------------------------------


def _pixels(array: Hdf5Array, path: str) -> Film:
    shape, kind = array.shape, array.dtype.kind
    if kind not in "iuf" or len(shape) not in (3, 4) or 0 in shape:
        raise UnusableError(f"{array}: is no array of frames, [time, height, width, 3]")
    last, first = (len(shape) == 4 and shape[k] in (1, 3) for k in (3, 1))
    if len(shape) == 4 and last == first:
        raise UnusableError(
            f"{array}: of which the meaning is not certain: frames are [time, height, width, 3] or "
            "[time, 3, height, width], grey ones have one channel in the place of three"
        )
    height, width = shape[2:] if first else shape[1:3]
    channels = (shape[1] if first else shape[3]) if len(shape) == 4 else 1
    if min(height, width) < _SMALLEST:
        raise UnusableError(f"{array}: pictures of {width}x{height} pixels are none")
    if channels == 1 and array.dtype != np.uint8:
        raise UnusableError(
            f"{array}: looks like depth. Pictures of depth are not taken: bring the range that "
            "matters to 0..255 and save it as uint8"
        )
    return Film(path, "pixels", shape[0], f"{width}x{height}", first, str(array.dtype), array.step)


def _encoded(array: Hdf5Array, path: str) -> Film:
    none = f"{array}: holds no frames: neither pixels nor encoded pictures or a video"
    if 0 in array.shape or len(array.shape) not in (1, 2):
        raise UnusableError(none)
    if len(array.shape) == 1 and array.dtype == np.uint8:
        head = array.rows(0, min(HEAD_BYTES, array.shape[0])).tobytes()
        if container_of(head) is None:
            raise UnusableError(none)
        times = frame_times(io.BytesIO(array.content()))
        return Film(path, "video", len(times), "a video")
    if len(array.shape) == 2 and array.dtype != np.uint8:
        raise UnusableError(none)
    kind = picture_of(_bytes(array.rows(0, 1)[0])[:HEAD_BYTES])
    if kind is None:
        raise UnusableError(none)
    # A damaged length of one that may have any costs as much memory as it says: one at a time.
    step = 1 if array.dtype.kind == "O" else 32
    return Film(path, "pictures", array.shape[0], kind, step=step)


def _numbered(file: Hdf5File, path: str) -> Film:
    names = _frame_names(file, path)
    head = file.array(f"{path}/{names[0]}")
    kind = picture_of(head.content()[:HEAD_BYTES]) if head.dtype == np.uint8 else None
    if kind is None:
        raise UnusableError(f"{shown(path)}: {names[0]} in it is no encoded picture")
    return Film(path, "numbered", len(names), kind)


def _frame_names(file: Hdf5File, path: str) -> list[str]:
    """The datasets frame0, frame1, ... of a group, none missing."""
    matches = [match for name in file.names(path) if (match := _NUMBERED.fullmatch(name))]
    numbers = sorted(int(match[2]) for match in matches)
    if not matches or len({match[1] for match in matches}) > 1:
        raise UnusableError(f"{shown(path)}: is a group, and holds no frame0, frame1, ...")
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        raise UnusableError(f"{shown(path)}: some of its frames are missing")
    return [match[0] for match in sorted(matches, key=lambda match: int(match[2]))]


def white_is_one(file: Hdf5File, film: Film) -> bool:
    """Whether pixels are floating-point numbers from 0 to 1.

    Raises:
        UnusableError: the first frames do not tell it, or hold no pixels.
    """
    if film.dtype == "uint8":
        return False
    array = file.array(film.path)
    values = array.rows(0, min(_TRIED, film.length))
    between = values.dtype.kind == "f" and bool(((values > 0) & (values < 1)).any())
    if between:
        _from_unit(values, array.name)
        return True
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        raise UnusableError(
            f"{array.name}: the first frames hold floating-point numbers that are all 0 or 1, "
            "which does not tell whether 1 is white: save them as uint8, white being 255"
        )
    _from_bytes(values, array.name)
    return False


def _from_unit(values: np.ndarray, name: str) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 1:
        raise UnusableError(
            f"the values of {name} run from {low:g} to {high:g}, where others run from 0 to 1: "
            "save them as uint8, white being 255"
        )
    return np.rint(values.astype(np.float32) * 255).astype(np.uint8)


def _from_bytes(values: np.ndarray, name: str) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not (0 <= low <= high <= 255 and (values == np.rint(values)).all()):
        raise UnusableError(
            f"the values of {name} run from {low:g} to {high:g}, and pixels are whole numbers "
            "0..255: if it is a picture, save it as uint8; pictures of depth are not taken"
        )
    return values.astype(np.uint8)


# -- reading ------------------------------------------------------------------------------------


def frames_of(
    place: Place, film: Film, name: str, *, unit: bool, blue_first: bool
) -> Iterator[np.ndarray]:
    """The frames of a recording, [height, width, 3] each, some megabytes read at a time.

    Args:
        place: the file.
        film: where they are in it.
        name: name of the recording, for messages.
        unit: whether pixels are floating-point numbers from 0 to 1.
        blue_first: whether blue and red are to be exchanged.

    Raises:
        ForeframeError: they are damaged; those before are good.
    """
    try:
        frames = _video(place, film) if film.kind == "video" else _rows(place, film, unit)
        for frame in frames:
            yield np.ascontiguousarray(frame[..., ::-1]) if blue_first else frame
    except (UnusableError, ForeframeError) as error:
        raise ForeframeError(f"{name}: {error}") from error


def _rows(place: Place, film: Film, unit: bool) -> Iterator[np.ndarray]:
    """The frames block by block; while one is worked on, the next is read."""
    with ThreadPoolExecutor(1) as pool:

        def begin(first: int) -> Future[np.ndarray | list[np.ndarray]]:
            stop = min(first + film.step, film.length)
            return pool.submit(aside, place, _block, place, film, unit, first, stop)

        ahead = begin(0)
        for first in range(film.step, film.length, film.step):
            block, ahead = ahead.result(), begin(first)
            yield from block
        yield from ahead.result()


def _video(place: Place, film: Film) -> Iterator[np.ndarray]:
    content = io.BytesIO(aside(place, _content, place, film.path))
    seen = 0
    for _, frame in decode(content, shown(film.path)):
        yield frame
        seen += 1
    if seen != film.length:
        raise UnusableError(f"{seen} frames could be decoded of the {film.length} in its video")


def _content(place: Place, path: str) -> bytes:
    with open_hdf5(place) as file:
        return file.array(path).content()


def _block(
    place: Place, film: Film, unit: bool, first: int, stop: int
) -> np.ndarray | list[np.ndarray]:
    """Some of the frames."""
    with open_hdf5(place) as file:
        if film.kind == "numbered":
            names = _frame_names(file, film.path)[first:stop]
            contents = [file.array(f"{film.path}/{name}").content() for name in names]
            return [_decoded(content, t) for t, content in enumerate(contents, first)]
        array = file.array(film.path)
        if not first:
            array.check_written()
        values = array.rows(first, stop)
        if film.kind == "pictures":
            return [_decoded(_bytes(row), t) for t, row in enumerate(values, first)]
        return _as_pixels(values, film, unit, array.name)


def _as_pixels(values: np.ndarray, film: Film, unit: bool, name: str) -> np.ndarray:
    if values.dtype != np.uint8:
        values = (_from_unit if unit else _from_bytes)(values, name)
    if values.ndim == 3:
        values = values[..., None]
    if film.channels_first:
        values = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
    return values if values.shape[3] == 3 else np.repeat(values, 3, 3)


def _bytes(value: Any) -> bytes:
    """An encoded picture, whether it is an array of bytes or a string of them."""
    return value if isinstance(value, bytes) else np.asarray(value).tobytes()


def _decoded(content: bytes, t: int) -> np.ndarray:
    return decode_picture(content, f"frame {t}", formats=_FORMATS)
