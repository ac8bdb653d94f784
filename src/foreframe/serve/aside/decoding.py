"""An upload decoded, in the process aside: pictures, GIFs and videos to frames, CSVs to rows."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageSequence, UnidentifiedImageError

from foreframe.config.model import Size
from foreframe.data import video_file
from foreframe.data.container import HEAD_BYTES, VIDEOS, Picture, container_of, picture_of
from foreframe.data.lab import TooManyRowsError, parse_rows
from foreframe.data.recording import Fit, Recording
from foreframe.errors import ForeframeError
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal
from foreframe.system.places import natural_key

Frame = UInt8[np.ndarray, "height width 3"]

_SCANS = 100
"""Times that a JPEG may go over its pixels; programs write some ten, each costs as much as all."""
_WIDTH = 256
_NUMBER_BYTES = 32


@dataclass
class _Budget:
    """What is left of the frames and pixels that one upload may have.

    Attributes:
        limits: on both.
        frames: counted so far.
        pixels: likewise.
    """

    limits: Limits
    frames: int = 0
    pixels: int = 0

    def check(self, name: str, height: int, width: int) -> None:
        """Refuse a frame that is too large for itself."""
        most = self.limits.upload_pixels
        if height * width > most:
            raise Refusal(413, f"{name}: {height * width} pixels a frame; {most} are the most.")

    def take(self, name: str, height: int, width: int) -> None:
        """Count a frame before it is decoded, or refuse it.

        Raises:
            Refusal: it is one too many, or too large.
        """
        self.check(name, height, width)
        self.frames += 1
        self.pixels += height * width
        if self.frames > self.limits.upload_frames:
            raise Refusal(
                413,
                f"{name}: more than {self.limits.upload_frames} frames. Cut it, or thin it out.",
            )
        if self.pixels > self.limits.upload_pixels_total:
            raise Refusal(
                413,
                f"{name}: its frames have more than {self.limits.upload_megapixels:g} million "
                "pixels together, the most of an upload. Make them smaller, or take fewer.",
            )


def decode(
    files: Sequence[tuple[str, bytes]],
    actions: bytes | None,
    positions: bytes | None,
    *,
    size: Size,
    limits: Limits,
) -> Recording:
    """Files from a browser as a recording.

    Args:
        files: name and content: pictures, one a frame, in the order of their names; or one GIF or
            video.
        actions: content of a CSV file, a row for each frame, without a header.
        positions: likewise.
        size: height and width in pixels that the frames are fitted to.
        limits: on frames and pixels, counted while reading.

    Raises:
        Refusal: something cannot be read, does not fit together or is too large.
        MemoryError: the process may take no more.
    """
    if not files:
        raise Refusal(422, "frames: no file was uploaded.")
    tables = {"actions": actions, "positions": positions}
    for name, content in tables.items():
        if content is not None:
            check_table_size(len(content), name, limits)
    try:
        frames = _frames(files, size, limits)
        rows = {
            name: None if content is None else _rows(content, name, len(frames), limits)
            for name, content in tables.items()
        }
    except ForeframeError as error:
        raise Refusal(422, str(error)) from error
    return Recording(frames, rows["actions"], rows["positions"])


def check_kind(head: bytes, name: str, *, only_one: bool) -> None:
    """Refuse a file that begins like nothing that is read; nothing is decoded for it.

    Args:
        head: its first ``HEAD_BYTES``.
        name: of the file, for messages.
        only_one: whether it must be a picture, one frame of several.

    Raises:
        Refusal: in words.
    """
    if not head:
        raise Refusal(422, f"{name}: is empty.")
    if picture_of(head) is not None:
        return
    if container_of(head) is None:
        raise Refusal(422, f"{name}: begins like no PNG, JPEG or WebP and like no {VIDEOS}.")
    if only_one:
        raise Refusal(
            422, f"{name}: is no PNG, JPEG, WebP or GIF; give several pictures or one video."
        )


def _frames(
    files: Sequence[tuple[str, bytes]], size: Size, limits: Limits
) -> UInt8[np.ndarray, "time height width 3"]:
    fit = Fit.to(size)
    if len(files) > limits.upload_frames:
        raise Refusal(413, f"frames: {len(files)} files; {limits.upload_frames} are the most.")
    ordered = [
        (shown(name), content)
        for name, content in sorted(files, key=lambda entry: natural_key(entry[0]))
    ]
    several = len(ordered) > 1
    if several:
        _check_together(ordered, limits)
    budget = _Budget(limits)
    return np.stack(
        [
            fit(frame)
            for name, content in ordered
            for frame in _pictures(content, name, budget, only_one=several)
        ]
    )


def _check_together(files: Sequence[tuple[str, bytes]], limits: Limits) -> None:
    """Refuse pictures that are too many pixels together, as their headers say, undecoded."""
    together = _Budget(limits)
    for name, content in files:
        kind = picture_of(content[:HEAD_BYTES])
        if kind is not None:
            with _opened(content, name, kind) as image:
                together.take(name, image.height, image.width)


def _pictures(content: bytes, name: str, budget: _Budget, *, only_one: bool) -> Iterator[Frame]:
    head = content[:HEAD_BYTES]
    check_kind(head, name, only_one=only_one)
    kind = picture_of(head)
    if kind is None:
        yield from _video(content, name, budget)
    else:
        yield from _decoded(content, name, kind, budget, only_one=only_one)


def _video(content: bytes, name: str, budget: _Budget) -> Iterator[Frame]:
    seen = 0
    most = budget.limits.upload_pixels
    try:
        for _, frame in video_file.decode(io.BytesIO(content), name, max_pixels=most):
            budget.take(name, *frame.shape[:2])
            seen += 1
            yield frame
    except ForeframeError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None
        if not seen and isinstance(error.__cause__, OSError | ValueError):  # FFmpeg gave up
            raise Refusal(422, f"{name}: cannot be read as a video; it is damaged.") from error
        raise
    if not seen:
        raise Refusal(422, f"{name}: holds no frames.")


def _decoded(
    content: bytes, name: str, kind: Picture, budget: _Budget, *, only_one: bool
) -> Iterator[Frame]:
    with _opened(content, name, kind) as image:
        # Known from the header: nothing has been decoded yet.
        budget.check(name, image.height, image.width)
        if image.mode.startswith(("I", "F")):
            raise Refusal(422, f"{name}: 16 or 32 bits a pixel; give 8 bits a channel.")
        if kind == "JPEG" and content.count(b"\xff\xda") > _SCANS:
            raise Refusal(422, f"{name}: more than {_SCANS} scans; save it as a plain JPEG.")
        frames = ImageSequence.Iterator(image)
        number = 0
        while True:
            try:
                frame = next(frames)
                if number and only_one:
                    raise Refusal(422, f"{name}: has several frames; give it alone.")
                budget.take(name, frame.height, frame.width)
                pixels = np.asarray(frame.convert("RGB"))
            except StopIteration:
                return
            except _BROKEN as error:
                raise _broken(name, error) from error
            yield pixels
            number += 1


_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def _opened(content: bytes, name: str, kind: Picture) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=(kind,))
    except _BROKEN as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> Refusal:
    # Pillow's own words name the file object, which the user has never seen.
    reason = "it is damaged" if isinstance(error, UnidentifiedImageError) else error
    return Refusal(422, f"{name}: cannot be read as a picture ({reason}).")


def check_table_size(size: int, name: str, limits: Limits) -> None:
    """Refuse a CSV file that is larger than a row for each frame could be.

    Raises:
        Refusal: it is.
    """
    most = limits.upload_frames
    if size > (most + 1) * _WIDTH * _NUMBER_BYTES:
        raise Refusal(413, f"{name}: {size} bytes are more than {most} rows, one a frame, have.")


def _rows(
    content: bytes, name: str, frames: int, limits: Limits
) -> Float32[np.ndarray, "time width"]:
    most = limits.upload_frames
    try:
        rows = parse_rows(content, f"{name}.csv", most=most)
    except TooManyRowsError as error:
        reason = f"{name}: more than {most} rows, but one row a frame is needed."
        raise Refusal(413, reason) from error
    if rows.shape[1] > _WIDTH:
        raise Refusal(413, f"{name}: {rows.shape[1]} numbers a row; {_WIDTH} are the most.")
    if len(rows) == frames - 1:  # nothing follows the last frame
        rows = np.concatenate([rows, rows[-1:]])
    if len(rows) != frames:
        raise Refusal(422, f"{name}: {len(rows)} rows, but {frames} frames; one row a frame.")
    return rows


def shown(name: str) -> str:
    """A file's name as it may be repeated in a message."""
    plain = "".join(letter for letter in name.rsplit("/", 1)[-1] if letter.isprintable())
    return plain[:60] or "a file"
