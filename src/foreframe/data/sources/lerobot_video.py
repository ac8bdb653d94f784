"""The pictures of a LeRobotDataset: a stretch of a video, or images among the rows."""

from array import array
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from foreframe.data.container import NoVideoError, open_video
from foreframe.data.picture import decode_picture
from foreframe.data.sources.source import UnusableError
from foreframe.data.video_file import decode, import_av
from foreframe.errors import ForeframeError
from foreframe.system.places import Place, open_binary

_FORMATS = ("PNG", "JPEG", "WEBP")
_RUN_UP = 10.0
"""Seconds that are decoded before an episode if the nearer key frame came too late."""


def frame_times(path: Place) -> np.ndarray:
    """Times of all frames of a video in seconds, sorted; nothing is decoded.

    Of a video that is cut short, those of the frames that are left.

    Raises:
        UnusableError: it is missing or no video, or hides some of its frames.
    """
    av = import_av()
    if not path.is_file():
        raise UnusableError(f"there is no {path.name}")
    stamps = array("q")
    try:
        with open_binary(path) as file, open_video(file, path.name) as container:
            if not container.streams.video:
                raise UnusableError(f"{path.name} holds no video")
            stream = container.streams.video[0]
            base = float(stream.time_base or 0)
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    break  # it is cut; what comes before is good
                if not packet.size:
                    continue  # tells a decoder that there are no more
                _check_time(packet, base, path.name)
                stamps.append(packet.pts)
    except NoVideoError as error:
        raise UnusableError(str(error).rstrip(".")) from error
    except (av.error.FFmpegError, ValueError, OSError, EOFError, MemoryError) as error:
        if not stamps:
            raise UnusableError(f"{path.name} cannot be read as a video ({error})") from error
    return np.sort(np.array(stamps, np.float64)) * base


def _check_time(packet: Any, base: float, name: str) -> None:
    if packet.pts is None or not base:
        raise UnusableError(f"{name} does not say when its frames are")
    if packet.is_discard:
        # Are these the rows' first ones, or none of theirs? Nothing tells it.
        raise UnusableError(f"{name} has frames that its edit list hides")


def frames_at(
    path: Place, known: np.ndarray, rows: np.ndarray, interval: float
) -> Iterator[np.ndarray]:
    """The frame of a video that belongs to each row, decoded one by one.

    Args:
        path: path of the video.
        known: times of all its frames.
        rows: times of the rows.
        interval: seconds from row to row, more or less.

    Raises:
        UnusableError: some row has no frame within half an interval, or some frame between them
            has no row. (While the frames are iterated: ``ForeframeError``, they are damaged.)
    """
    half = interval / 2
    if not len(known) or abs(known[0]) > half:
        said = (
            f"first frame is at {known[0]:.3f} s and not at 0" if len(known) else "frames are cut"
        )
        raise UnusableError(
            f"{path.name}: its {said}; no one can know which frame belongs to which row"
        )
    first, stop = np.searchsorted(known, (rows[0] - half, rows[-1] + half))
    own = known[first:stop]
    n = min(len(own), len(rows))
    wrong = np.flatnonzero(~(np.abs(own[:n] - rows[:n]) <= half))
    if len(own) != len(rows) or len(wrong):
        row = int(wrong[0]) if len(wrong) else n
        at = f"no frame at {rows[row]:.3f} s (row {row})" if row < len(rows) else "more frames"
        raise UnusableError(
            f"{path.name}: {len(own)} frames for {len(rows)} rows of the episode: {at}"
        )
    return _decoded(path, own, half)


def _decoded(path: Place, times: np.ndarray, half: float) -> Iterator[np.ndarray]:
    """The frames that are at exactly these times, and no others between them."""
    k, size = 0, None
    with open_binary(path) as file:
        for time, frame in _from(file, str(path), float(times[0]), half):
            if time < times[0] - half / 10:
                continue
            if not abs(time - times[k]) <= half / 10 or frame.shape != (size or frame.shape):
                break
            size = frame.shape
            yield frame
            k += 1
            if k == len(times):
                return
    raise ForeframeError(f"{path}: the frame at {times[k]:.3f} s (row {k}) is damaged or missing")


def _from(
    file: IO[bytes], name: str, first: float, half: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Times and frames of a video from ``first`` on, and some before it."""
    # After a jump to a key frame, those that depend on frames before it fail or are left out.
    for start in (first - 2 * half, first - _RUN_UP, 0.0):
        file.seek(0)
        frames = decode(file, name, start=max(0.0, start))
        try:
            head = next(frames, None)
        except ForeframeError:
            if start <= 0:
                raise
            continue
        if head is not None and (start <= 0 or head[0] <= first + half / 10):
            yield head
            yield from frames
            return
        if start <= 0:
            return


def decode_pictures(cells: list[Any], name: str) -> Iterator[np.ndarray]:
    """Images that lie among the rows.

    Args:
        cells: the cells of the column.
        name: name of the episode, for messages.

    Raises:
        ForeframeError: one is missing or damaged; those before it are good.
    """
    for t, cell in enumerate(cells):
        content = cell.get("bytes") if isinstance(cell, dict) else None
        if not isinstance(content, bytes) or not content:
            raise ForeframeError(f"{name}: row {t} holds no picture")
        yield decode_picture(content, f"{name}: row {t}", formats=_FORMATS, verify=True)
