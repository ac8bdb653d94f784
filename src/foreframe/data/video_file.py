"""One video file, read frame by frame with PyAV; whatever is damaged is an error."""

from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from foreframe.data.container import open_video
from foreframe.errors import ForeframeError


def import_av() -> Any:
    """The package av.

    Raises:
        ForeframeError: it is not installed.
    """
    try:
        import av
        import av.error
        import av.logging
    except ImportError as error:
        raise ForeframeError(
            f"Videos are read with the package av ({error}): pip install 'foreframe[data]'."
        ) from error
    av.logging.set_level(None)  # what FFmpeg has to say comes as an exception
    return av


def decode(
    file: IO[bytes], name: str, *, start: float = 0.0, max_pixels: int | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Time in seconds and content [height, width, 3], RGB uint8, of every frame in order.

    Args:
        file: seekable.
        name: name of the video, for messages.
        start: seconds; frames before it may be left out, so that a long file is not decoded from
            its beginning.
        max_pixels: most pixels of a frame; a larger one is refused before anything is decoded.

    Raises:
        ForeframeError: no video of a kind that is read, its frames are too large, or one is damaged
            or missing; those before it are good.
    """
    av = import_av()
    try:
        with open_video(file, name) as container:
            stream = _video_stream(container, name, max_pixels)
            promised, seen = _promised(container, stream), 0
            if start > 0 and stream.time_base:
                # To the last key frame before it; how many frames follow, nothing says.
                container.seek(int(start / stream.time_base), stream=stream)
                promised = 0
            for frame in _checked_frames(container, stream, name, max_pixels):
                seen += 1
                yield _time(frame), frame.to_ndarray(format="rgb24")
            if seen < promised:
                raise ForeframeError(
                    f"{name}: ends after {seen} of {promised} frames: it is cut or damaged. "
                    "Restore it, or remove it."
                )
    except (av.error.FFmpegError, ValueError, OSError, EOFError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error  # FFmpeg's words without its numbers
        raise ForeframeError(
            f"{name}: cannot be read as a video ({reason}). Restore it, or remove it."
        ) from error


def _video_stream(container: Any, name: str, max_pixels: int | None) -> Any:
    """The first video in a file, set up so that damage is an error."""
    if not container.streams.video:
        raise ForeframeError(f"{name}: holds no video. Restore it, or remove it.")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ForeframeError(f"{name}: its codec is unknown. Restore it, or remove it.")
    pixels = stream.codec_context.width * stream.codec_context.height
    if max_pixels is not None and pixels > max_pixels:
        raise ForeframeError(f"{name}: frames of {pixels} pixels; {max_pixels} are the most.")
    stream.thread_type = "NONE"
    # FFmpeg would paint over what is damaged.
    stream.codec_context.options = {"err_detect": "explode+crccheck+bitstream+buffer"}
    return stream


def _promised(container: Any, stream: Any) -> int:
    """How many frames the file says it shows; 0 where it doesn't say.

    The edit list of an mp4 hides frames: those from the key frame up to where it was cut without
    being encoded again, and those behind its end, of which some are not even listed.
    """
    frames = int(stream.frames)
    # An AVI has its list at its end, where it may be missing; an mp4 cannot be opened without it.
    entries = (
        getattr(stream, "index_entries", ()) if container.format.name.startswith("mov") else ()
    )
    shown = sum(not entry.is_discard for entry in entries)
    return min(frames, shown) if shown else frames


def _checked_frames(
    container: Any, stream: Any, name: str, max_pixels: int | None
) -> Iterator[Any]:
    """The frames of a stream, each known to be whole and in order."""
    seen, before = 0, -np.inf
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise ForeframeError(f"{name}: frame {seen} or one soon after is damaged.")
        for frame in packet.decode():
            if max_pixels is not None and frame.width * frame.height > max_pixels:
                raise ForeframeError(f"{name}: frame {seen} has too many pixels.")
            if frame.is_corrupt:
                raise ForeframeError(f"{name}: frame {seen} is damaged.")
            if _time(frame) < before:
                raise ForeframeError(f"{name}: frame {seen} is out of order.")
            before = _time(frame)
            seen += 1
            yield frame


def _time(frame: Any) -> float:
    return float(frame.time) if frame.time is not None else np.nan
