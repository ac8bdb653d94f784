"""What a file is, told by its first bytes, and videos opened as exactly that.

Left to itself, FFmpeg guesses the format from all that it knows: scripts that name other files,
playlists, descriptions of network streams. A video from somebody else could so have any file of
this machine read, or a port opened. Here a file is one of the containers below or it is refused,
and nothing beside the file itself can be opened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal

from foreframe.errors import ForeframeError

Container = Literal["mov", "matroska", "avi", "gif"]
"""Names of FFmpeg's demuxers."""
Picture = Literal["PNG", "JPEG", "GIF", "WEBP"]
"""Names of Pillow's formats."""

PICTURES = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
"""Formats that Pillow may open; of the others, some start programs or read further files."""

VIDEOS = "MP4, MOV, Matroska, WebM, AVI or GIF"

HEAD_BYTES = 16
"""Bytes that tell what a file is."""

_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")

_CLOSED = {
    "protocol_whitelist": "none",  # there is no protocol of that name: nothing more is opened
    "use_absolute_path": "0",  # a MOV may say that its pictures lie in another file
    "enable_drefs": "0",
}


def container_of(head: bytes) -> Container | None:
    """The container of a video that begins with ``head``; None for all others."""
    if head[4:8] in _MOV_BOXES:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return None


def picture_of(head: bytes) -> Picture | None:
    """The format of a picture that begins with ``head``; None for all others."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    return None


class NoVideoError(ForeframeError):
    """A file that begins like no container that is read."""


@contextmanager
def open_video(file: IO[bytes], name: str) -> Iterator[Any]:
    """Open a video with the demuxer that its first bytes name, and no other.

    Args:
        file: seekable; read from its beginning.
        name: name of the video, for messages.

    Yields:
        PyAV's container.

    Raises:
        NoVideoError: the file begins like none of the containers that are read.
        av.error.FFmpegError: it is damaged, or wants something beside itself opened.
    """
    import av

    file.seek(0)
    container = container_of(file.read(HEAD_BYTES))
    file.seek(0)
    if container is None:
        raise NoVideoError(
            f"{name}: cannot be read as a video (it does not begin like {VIDEOS}). "
            "Convert it, or remove it."
        )
    with av.open(
        file, "r", format=container, container_options=dict(_CLOSED), io_open=_refuse
    ) as opened:
        yield opened


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    """Open nothing: FFmpeg asks this for every file beside the one that it was given."""
    raise PermissionError(f"{url!r} is not opened: a video is one file")
