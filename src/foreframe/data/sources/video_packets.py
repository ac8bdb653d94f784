"""What can be known of a video without decoding it: when its frames are, and whether it is whole.

FFmpeg reads a GIF or a Matroska file that was cut as if it ended there, and fills up the last
picture of the GIF. So their structure is looked through first. (The others say in their headers
how many frames they have, which is compared when they are decoded.)
"""

from typing import IO

import numpy as np

from foreframe.data.container import HEAD_BYTES, NoVideoError, container_of, open_video
from foreframe.data.sources.source import UnusableError
from foreframe.data.video_file import import_av

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def frame_times(file: IO[bytes]) -> np.ndarray:
    """Times of a video's frames in seconds, in order; equal ones if it doesn't say.

    Raises:
        UnusableError: it is no video, or was cut.
    """
    av = import_av()
    packets: list[tuple[int | None, int | None]] = []
    try:
        _check_whole(file)
        file.seek(0)
        with open_video(file, "it") as container:
            if not container.streams.video:
                raise UnusableError("it holds no video")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise UnusableError("nothing here can decode its codec")
            base, guess = float(stream.time_base or 0), float(stream.average_rate or 0)
            # The last packet is empty: it tells a decoder that it has them all.
            packets += [
                (packet.pts, packet.dts)
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard
            ]
    except NoVideoError as error:
        raise UnusableError(str(error).removeprefix("it: ").partition(". ")[0]) from error
    except (av.error.FFmpegError, OSError, ValueError, EOFError, MemoryError) as error:
        raise UnusableError(f"it cannot be read as a video ({error})") from error
    if not packets:
        raise UnusableError("it holds no frames")
    for stamps in zip(*packets, strict=True):
        if base and None not in stamps:
            return np.sort(np.array(stamps, np.float64)) * base
    return np.arange(len(packets)) / guess if guess else np.zeros(len(packets))


def _check_whole(file: IO[bytes]) -> None:
    container = container_of(file.read(HEAD_BYTES))
    file.seek(0)
    if container == "gif":
        _check_gif(file)
    elif container == "matroska":
        _check_matroska(file)


def _check_gif(file: IO[bytes]) -> None:
    """Go from block to block up to the end mark."""

    def read(count: int) -> bytes:
        data = file.read(count)
        if len(data) < count:
            raise UnusableError("the GIF is cut: it ends within a picture or without its end mark")
        return data

    def skip_colours(flags: int) -> None:
        if flags & 0x80:
            read(3 << ((flags & 7) + 1))

    def skip_data() -> None:
        while length := read(1)[0]:
            read(length)

    skip_colours(read(13)[10])
    while (kind := read(1)) != b";":
        if kind == b",":  # a picture
            skip_colours(read(9)[8])
        elif kind != b"!":
            raise UnusableError("the GIF is damaged: what should be a block is none")
        read(1)  # the kind of extension, or the width of the picture's codes
        skip_data()


def _check_matroska(file: IO[bytes]) -> None:
    """Compare the size of the file with that which its one large element has."""
    for wanted in (_EBML, _SEGMENT):
        if file.read(4) != wanted:
            return  # FFmpeg will say what it is
        first = file.read(1)
        if not first or not first[0]:
            return
        width = 9 - first[0].bit_length()
        size = int.from_bytes(first + file.read(width - 1), "big") & ((1 << 7 * width) - 1)
        if size == (1 << 7 * width) - 1:
            return  # unknown: it was written as a stream
        end = file.seek(size, 1)
    if end > file.seek(0, 2):
        raise UnusableError(f"it is cut: it should have {end:,} bytes, and has {file.tell():,}")
