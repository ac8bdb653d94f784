"""The process aside: waits for one piece of work, gives up what it can, does it and ends."""

import io
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

import numpy as np
from PIL import Image

from foreframe.data import video_file
from foreframe.data.video_file import import_av
from foreframe.errors import ForeframeError
from foreframe.serve.aside import wire
from foreframe.serve.aside.confinement import confine
from foreframe.serve.aside.decoding import decode
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal

READY = b"+"
_NICENESS = 10

Answer = tuple[dict[str, Any], list[bytes]]


def main() -> None:
    """Do one piece of work for the service, over standard input and output."""
    answers: IO[bytes] = sys.stdout.buffer
    if hasattr(os, "nice"):
        os.nice(_NICENESS)  # steps go first
    _load_everything()
    answers.write(READY)
    answers.flush()
    try:
        header = wire.read_header(sys.stdin.buffer)
    except EOFError:
        return  # the service has ended
    answer, parts = _answer(header, sys.stdin.buffer)
    with suppress(BrokenPipeError):
        wire.write_header(answers, answer)
        for part in parts:
            answers.write(part)
        answers.flush()


def _answer(header: Mapping[str, Any], stream: IO[bytes]) -> Answer:
    work = _WORK[header["work"]]
    try:
        if header["work"] == "export":
            _load_export(header["format"])
        confine(seconds=header["seconds"], megabytes=header["megabytes"])
        return work(header, stream)
    except Refusal as refusal:
        return {"refused": [refusal.status, refusal.reason]}, []
    except MemoryError:
        most = header["megabytes"]
        return {"refused": [413, f"needs more than {most:g} MB to be read, the most it may."]}, []


def _decode(header: Mapping[str, Any], stream: IO[bytes]) -> Answer:
    files = [(name, wire.read_exactly(stream, size)) for name, size in header["files"]]
    tables = {
        name: None if size is None else wire.read_exactly(stream, size)
        for name, size in header["tables"].items()
    }
    recording = decode(
        files, **tables, size=tuple(header["size"]), limits=Limits(**header["limits"])
    )
    arrays = {"frames": recording.frames, "actions": recording.actions}
    arrays["positions"] = recording.positions
    there = {name: array for name, array in arrays.items() if array is not None}
    return (
        {"shapes": {name: array.shape for name, array in there.items()}},
        [np.ascontiguousarray(array).tobytes() for array in there.values()],
    )


def _export(header: Mapping[str, Any], stream: IO[bytes]) -> Answer:
    from foreframe.serve.aside.exporting import Seen, as_file

    shapes = header["shapes"]
    frames = _array(stream, shapes["frames"], np.uint8)
    rows = {
        part: _array(stream, shapes[part], np.float32) if part in shapes else None
        for part in ("actions", "positions")
    }
    seen = Seen(frames, rows["actions"], rows["positions"], header["n_past"], header["rate"])
    content = as_file(header["format"], seen)
    return {"size": len(content)}, [content]


def _array(stream: IO[bytes], shape: list[int], kind: type) -> np.ndarray:
    count = int(np.prod(shape)) * np.dtype(kind).itemsize
    return np.frombuffer(wire.read_exactly(stream, count), kind).reshape(shape)


_WORK: dict[str, Callable[[Mapping[str, Any], IO[bytes]], Answer]] = {
    "decode": _decode,
    "export": _export,
}


def _load_everything() -> None:
    """Have all modules in memory: later none can be opened."""
    Image.init()
    "".encode("utf-8-sig").decode("utf-8-sig")
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        file = io.BytesIO()
        with suppress(OSError, KeyError):  # a Pillow without this format
            Image.new("RGB", (8, 8)).save(file, kind)
            with Image.open(io.BytesIO(file.getvalue()), formats=(kind,)) as image:
                image.convert("RGB").resize((4, 4))
    with suppress(ForeframeError):
        _decode_a_video(import_av())


def _load_export(kind: Any) -> None:
    # Only when it is needed: most processes decode, and each should begin soon.
    from foreframe.serve.aside.exporting import load_everything

    load_everything(kind)


def _decode_a_video(av: Any) -> None:
    """PyAV imports parts of itself when they are first needed."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        picture = np.zeros((16, 16, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    for _ in video_file.decode(file, "a video"):
        pass
    for content in (b"", b"\0\0\0\x18ftypmp42"):  # and what it needs to say no
        with suppress(ForeframeError):
            list(video_file.decode(io.BytesIO(content), "no video"))
