"""Recordings that users bring: decoded by a process aside, kept in memory for a while."""

import secrets
import shutil
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any, BinaryIO

import numpy as np

from foreframe.config.model import Size
from foreframe.data.container import HEAD_BYTES
from foreframe.data.recording import Recording
from foreframe.serve.aside import wire
from foreframe.serve.aside.decoding import check_kind, check_table_size, shown
from foreframe.serve.aside.pool import Aside
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal

_WIDTH = 256
"""Numbers in a row of actions or positions at most."""


class Uploads:
    """The last uploads; the oldest of the client that holds most makes room for a new one.

    Args:
        limits: on their number and memory.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._kept: dict[str, tuple[str, Recording]] = {}
        self._lock = threading.Lock()

    def add(self, recording: Recording, client: str = "") -> str:
        """Keep a recording of a client; its name, hard to guess."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name] = client, recording
            while len(self._kept) > 1 and self._too_much():
                self._forget_one()
        return name

    def _too_much(self) -> bool:
        held = sum(_bytes(recording) for _, recording in self._kept.values())
        return len(self._kept) > self.limits.uploads_max or held > self.limits.uploads_bytes

    def _forget_one(self) -> None:
        held: dict[str, int] = {}
        for client, recording in self._kept.values():
            held[client] = held.get(client, 0) + _bytes(recording)
        most = max(held, key=lambda client: held[client])
        del self._kept[next(name for name, kept in self._kept.items() if kept[0] == most)]

    def get(self, name: str) -> Recording:
        """A recording.

        Raises:
            Refusal: there is none of that name any more.
        """
        with self._lock:
            kept = self._kept.get(name)
        if kept is None:
            raise Refusal(404, "the upload is not there any more; upload it again.")
        return kept[1]


def _bytes(recording: Recording) -> int:
    arrays = (recording.frames, recording.actions, recording.positions)
    return sum(array.nbytes for array in arrays if array is not None)


def decode(
    aside: Aside,
    files: Sequence[tuple[str, BinaryIO]],
    actions: BinaryIO | None,
    positions: BinaryIO | None,
    *,
    size: Size,
    limits: Limits,
) -> Recording:
    """Files from a browser as a recording; blocks while a process aside decodes them.

    Args:
        aside: whose process decodes.
        files: name and content: pictures, one a frame, in the order of their names; or one GIF or
            video.
        actions: a CSV file, a row for each frame, without a header.
        positions: likewise.
        size: height and width in pixels that the frames are fitted to.
        limits: on frames, pixels, time and memory.

    Raises:
        Refusal: something cannot be read, does not fit together or is too much.
    """
    if len(files) > limits.upload_frames:
        raise Refusal(413, f"frames: {len(files)} files; {limits.upload_frames} are the most.")
    for name, file in files:
        check_kind(file.read(HEAD_BYTES), shown(name), only_one=len(files) > 1)
    tables = {"actions": actions, "positions": positions}
    for part, table in tables.items():
        if table is not None:
            check_table_size(_size(table), part, limits)
    sent = [file for _, file in files] + [file for file in tables.values() if file is not None]

    def send(stream: IO[bytes]) -> None:
        for file in sent:
            shutil.copyfileobj(file, stream)

    def receive(answer: dict[str, Any], stream: IO[bytes]) -> Recording:
        shapes = answer["shapes"]
        frames = _array(stream, shapes["frames"], np.uint8, (limits.upload_frames, *size, 3))
        rows = [
            _table(stream, shapes[part], len(frames)) if part in shapes else None
            for part in ("actions", "positions")
        ]
        return Recording(frames, *rows)

    recording: Recording = aside.do(
        {
            "work": "decode",
            "files": [(name[-200:], _size(file)) for name, file in files],
            "tables": {
                part: None if file is None else _size(file) for part, file in tables.items()
            },
            "size": size,
            "limits": asdict(limits),
        },
        send,
        receive,
        seconds=limits.upload_seconds,
        megabytes=limits.upload_memory_megabytes,
        what="frames",
    )
    return recording


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _table(stream: IO[bytes], shape: Any, rows: int) -> np.ndarray:
    """A table with a row for each frame.

    Raises:
        ValueError: it is none.
    """
    table = _array(stream, shape, np.float32, (rows, _WIDTH))
    if len(table) != rows or not np.isfinite(table).all():
        raise ValueError(f"a table of {len(table)} rows for {rows} frames, or not of numbers")
    return table


def _array(stream: IO[bytes], shape: Any, kind: type, most: tuple[int, ...]) -> np.ndarray:
    """An array that is no larger than it may be.

    Raises:
        ValueError: it is.
    """
    whole = [int(n) for n in shape]
    if len(whole) != len(most) or not all(
        0 < n <= bound for n, bound in zip(whole, most, strict=True)
    ):
        raise ValueError(f"an array of shape {whole}")
    count = int(np.prod(whole)) * np.dtype(kind).itemsize
    return np.frombuffer(wire.read_exactly(stream, count), kind).reshape(whole)
