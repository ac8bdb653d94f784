"""Recordings that users bring: decoded within bounds, kept in memory for a while."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageSequence, UnidentifiedImageError

from foreframe.data import video_file
from foreframe.data.lab import parse_rows
from foreframe.data.recording import Fit, Recording
from foreframe.errors import ForeframeError
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal
from foreframe.system.places import natural_key

_PICTURES = ("PNG", "JPEG", "GIF")


class Uploads:
    """The last uploads; the oldest makes room for a new one.

    Args:
        limits: on their number, frames and pixels.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._kept: OrderedDict[str, Recording] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, recording: Recording) -> str:
        """Keep a recording; its name, hard to guess."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name] = recording
            while len(self._kept) > self.limits.uploads_max:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> Recording:
        """A recording.

        Raises:
            Refusal: there is none of that name any more.
        """
        with self._lock:
            recording = self._kept.get(name)
        if recording is None:
            raise Refusal(404, "the upload is not there any more; upload it again.")
        return recording


def decode(
    files: Sequence[tuple[str, BinaryIO]],
    actions: bytes | None,
    positions: bytes | None,
    *,
    size: int,
    limits: Limits,
) -> Recording:
    """Files from a browser as a recording; blocks while it decodes.

    Args:
        files: name and content: pictures, one a frame, in the order of their names; or one GIF or
            video.
        actions: content of a CSV file, a row for each frame, without a header.
        positions: likewise.
        size: height and width in pixels that the frames are fitted to.
        limits: on frames and pixels.

    Raises:
        Refusal: something cannot be read, does not fit together or is too large.
    """
    if not files:
        raise Refusal(422, "frames: no file was uploaded.")
    try:
        frames = _frames(files, size, limits)
        rows = {
            name: None if content is None else _rows(content, name, len(frames))
            for name, content in (("actions", actions), ("positions", positions))
        }
    except ForeframeError as error:
        raise Refusal(422, str(error)) from error
    return Recording(frames, rows["actions"], rows["positions"])


def _frames(
    files: Sequence[tuple[str, BinaryIO]], size: int, limits: Limits
) -> UInt8[np.ndarray, "time size size 3"]:
    fit = Fit(size)
    if len(files) > limits.upload_frames:
        raise Refusal(413, f"frames: {len(files)} files; {limits.upload_frames} are the most.")
    several = len(files) > 1
    frames: list[np.ndarray] = []
    for name, file in sorted(files, key=lambda entry: natural_key(entry[0])):
        shown = _shown(name)
        for frame in _pictures(file, shown, limits, only_one=several):
            if len(frames) >= limits.upload_frames:
                raise Refusal(
                    413,
                    f"{shown}: more than {limits.upload_frames} frames. Cut it, or thin it out.",
                )
            frames.append(fit(frame))
    return np.stack(frames)


def _pictures(
    file: BinaryIO, name: str, limits: Limits, *, only_one: bool
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    head = file.read(16)
    file.seek(0)
    if not head:
        raise Refusal(422, f"{name}: is empty.")
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8")):
        yield from _decoded(file, name, limits, only_one=only_one)
    elif only_one:
        raise Refusal(422, f"{name}: is no PNG, JPEG or GIF; give several pictures or one video.")
    else:
        yield from _video(file, name, limits)


def _video(
    file: BinaryIO, name: str, limits: Limits
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    seen = 0
    try:
        for _, frame in video_file.decode(file, name, max_pixels=limits.upload_pixels):
            seen += 1
            yield frame
    except ForeframeError as error:
        if not seen and isinstance(error.__cause__, OSError | ValueError):  # FFmpeg gave up
            raise Refusal(
                422, f"{name}: is neither a PNG, a JPEG, a GIF nor a video that can be read."
            ) from error
        raise
    if not seen:
        raise Refusal(422, f"{name}: holds no frames.")


def _decoded(
    file: BinaryIO, name: str, limits: Limits, *, only_one: bool
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    try:
        with Image.open(file, formats=_PICTURES) as image:
            # Known from the header: nothing has been decoded yet.
            pixels = image.width * image.height
            if pixels > limits.upload_pixels:
                raise Refusal(
                    413, f"{name}: {pixels} pixels a frame; {limits.upload_pixels} are the most."
                )
            if image.mode.startswith(("I", "F")):
                raise Refusal(422, f"{name}: 16 or 32 bits a pixel; give 8 bits a channel.")
            for number, frame in enumerate(ImageSequence.Iterator(image)):
                if number and only_one:
                    raise Refusal(422, f"{name}: has several frames; give it alone.")
                yield np.asarray(frame.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        # Pillow's own words name the file object, which the user has never seen.
        reason = "it is damaged" if isinstance(error, UnidentifiedImageError) else error
        raise Refusal(422, f"{name}: cannot be read as a picture ({reason}).") from error


def _rows(content: bytes, name: str, frames: int) -> Float32[np.ndarray, "time width"]:
    rows = parse_rows(content, f"{name}.csv")
    if len(rows) == frames - 1:  # nothing follows the last frame
        rows = np.concatenate([rows, rows[-1:]])
    if len(rows) != frames:
        raise Refusal(422, f"{name}: {len(rows)} rows, but {frames} frames; one row a frame.")
    return rows


def _shown(name: str) -> str:
    """A file's name as it may be repeated in a message."""
    plain = "".join(letter for letter in name.rsplit("/", 1)[-1] if letter.isprintable())
    return plain[:60] or "a file"
