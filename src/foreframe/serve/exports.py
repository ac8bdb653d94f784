"""What was imagined as a file: imagined again, then written by a process aside."""

import asyncio
from dataclasses import replace
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8

from foreframe.serve.aside import wire
from foreframe.serve.aside.exporting import Format
from foreframe.serve.aside.pool import Aside
from foreframe.serve.moments import Moment, Session
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal
from foreframe.serve.stepping import Player

TYPES: dict[Format, str] = {"gif": "image/gif", "mp4": "video/mp4", "lab": "application/zip"}
NAMES: dict[Format, str] = {"gif": "imagined.gif", "mp4": "imagined.mp4", "lab": "imagined.zip"}

_PACKED = 2 * 2**20
"""Bytes that a file may have beyond those of its frames."""
_ENLARGED = 2
"""Times that a file may be as large as its frames: they are enlarged, and packed."""


def room(limits: Limits, count: int, steps: int, frame_bytes: int) -> None:
    """Refuse futures that would be too large together.

    Raises:
        Refusal: they would.
    """
    if steps > limits.frames_max:
        raise Refusal(413, f"{steps} frames; {limits.frames_max} are the most at a time.")
    if count * steps * frame_bytes > limits.frames_bytes:
        raise Refusal(
            413,
            f"{count} futures of {steps} frames are more than {limits.frames_megabytes:g} MB, the "
            "most at a time. Take fewer.",
        )


async def replay(
    player: Player, session: Session, number: int
) -> tuple[UInt8[np.ndarray, "k time height width 3"], list[Moment]]:
    """The frames from the first given one to a moment, imagined again, and the moments between.

    Frames are not kept: the same seed and actions make the same.

    Raises:
        Refusal: no such moment, or the way there is too long.
    """
    path = session.path(number)
    given = session.given
    steps = path[1:]
    room(player.sessions.limits, session.samples, max(1, len(steps)), given[0].nbytes)
    now = path[0]
    if now.state is None:
        state = await asyncio.wrap_future(player.engine.call(session.begun, session.client))
        now = replace(now, state=state)
    frames = np.empty((session.samples, len(given) + len(steps), *given.shape[1:]), np.uint8)
    frames[:, : len(given)] = given
    for t, moment in enumerate(steps, len(given)):
        now, frames[:, t] = await player.advance(
            session, now, moment.action, moment.position, moment.latent, aside=True
        )
    return frames, steps


def write(
    aside: Aside,
    limits: Limits,
    kind: Format,
    session: Session,
    frames: UInt8[np.ndarray, "k time height width 3"],
    steps: list[Moment],
) -> bytes:
    """The file's content; blocks while it is made.

    Args:
        aside: whose process writes it.
        limits: on its time and memory.
        kind: of file.
        session: that was played.
        frames: that are shown, the given ones first.
        steps: that led to each frame after the given ones.

    Raises:
        Refusal: it takes too much, or a package for it is not installed.
    """
    arrays = {"frames": frames}
    for part in ("actions", "positions"):
        rows = _rows(session, steps, part)
        if rows is not None:
            arrays[part] = np.ascontiguousarray(rows, np.float32)
    most = _ENLARGED * frames.nbytes + _PACKED

    def send(stream: IO[bytes]) -> None:
        for array in arrays.values():
            stream.write(array.data.cast("B"))

    def receive(answer: dict[str, Any], stream: IO[bytes]) -> bytes:
        size = int(answer["size"])
        if not 0 < size <= most:
            raise ValueError(f"a file of {size} bytes")
        return wire.read_exactly(stream, size)

    content: bytes = aside.do(
        {
            "work": "export",
            "format": kind,
            "rate": session.served.frame_rate,
            "n_past": len(session.given),
            "shapes": {name: array.shape for name, array in arrays.items()},
        },
        send,
        receive,
        seconds=limits.export_seconds,
        megabytes=limits.upload_memory_megabytes,
        what="the file",
    )
    return content


def _rows(session: Session, steps: list[Moment], part: str) -> np.ndarray | None:
    """A row for each frame, as recordings have them: row t acts between frame t and t + 1."""
    given = session.given_rows[part]
    if given is None:
        return None
    led = [step.action if part == "actions" else step.position for step in steps]
    made = [row for row in led if row is not None]
    source = session.weights.model.config.timing == "source"
    # In source-time the row of the last given frame led to the first imagined one.
    before = given[: len(given) - 1] if source and made else given
    rows = np.concatenate([before, np.stack(made)]) if made else before
    missing = len(session.given) + len(steps) - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, 0)]) if missing else rows
