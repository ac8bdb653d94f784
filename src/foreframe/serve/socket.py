"""The socket of a session: steps in as JSON, frames out as bytes."""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from foreframe.serve.gauges import Gauges
from foreframe.serve.guard import Bucket
from foreframe.serve.limits import Limits
from foreframe.serve.refusal import Refusal
from foreframe.serve.schemas import StepIn
from foreframe.serve.sessions import Latent, Session, Sessions

MAGIC = 0x46464D31
HEADER = struct.Struct("<8I")
"""Magic, the request's id, the new moment, imagined frames so far, K, H, W, microseconds; then the
frames, uint8 [K, H, W, 3]."""

_MESSAGE = 16 * 1024
_MISTAKES = 50
_POLICY, _TOO_BIG, _GONE = 1008, 1009, 4404


async def converse(
    socket: WebSocket, sessions: Sessions, name: str, limits: Limits, gauges: Gauges
) -> None:
    """Answer the steps of one socket until it closes.

    A mistake in a message is answered and forgiven, many are not; a flood ends the connection.
    """
    await socket.accept()
    try:
        session = sessions.get(name)
    except Refusal as refusal:
        await _say(socket, {"type": "error", "reason": refusal.reason, "gone": True})
        await socket.close(_GONE)
        return
    session.attached += 1
    try:
        await _answer(socket, sessions, session, limits, gauges)
    except WebSocketDisconnect:
        pass
    except RuntimeError:
        # Starlette's word for a socket that closed while an answer was under way.
        if socket.application_state is WebSocketState.CONNECTED:
            raise
    finally:
        session.attached -= 1
        session.used = time.monotonic()


async def _answer(
    socket: WebSocket, sessions: Sessions, session: Session, limits: Limits, gauges: Gauges
) -> None:
    bucket, mistakes = Bucket(limits.steps_per_second), 0
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if not bucket.take():
            await socket.close(_POLICY, "too many steps")
            return
        if text is None or len(text) > _MESSAGE:
            await socket.close(_TOO_BIG if text else _POLICY, "messages are short texts")
            return
        began = time.perf_counter()
        try:
            wanted = StepIn.model_validate_json(text)
        except ValidationError as error:
            mistakes += 1
            gauges.errors.labels("422").inc()
            await _say(socket, {"type": "error", "id": None, "reason": in_words(error)})
            if mistakes >= _MISTAKES:
                await socket.close(_POLICY, "too many mistakes")
                return
            continue
        try:
            sessions.get(session.id)
            node, t, frames = await sessions.step(
                session,
                wanted.origin,
                _row(wanted.action),
                _row(wanted.position),
                Latent() if wanted.z is None else Latent(wanted.z.mode, tuple(wanted.z.values)),
            )
        except Refusal as refusal:
            gauges.errors.labels(str(refusal.status)).inc()
            await _say(
                socket,
                {
                    "type": "error",
                    "id": wanted.id,
                    "reason": refusal.reason,
                    "gone": refusal.gone,
                },
            )
            continue
        took = time.perf_counter() - began
        gauges.steps.inc()
        gauges.seconds.observe(took)
        count, height, width = frames.shape[:3]
        head = HEADER.pack(
            MAGIC, wanted.id, node, t, count, height, width, min(2**32 - 1, round(1e6 * took))
        )
        await _send(socket.send_bytes, head + frames.tobytes())


def _row(values: list[float] | None) -> np.ndarray | None:
    return None if not values else np.array(values, np.float32)


async def _say(socket: WebSocket, message: dict[str, object]) -> None:
    await _send(socket.send_json, message)


async def _send(send: Callable[[Any], Awaitable[None]], what: Any) -> None:
    """A reader that takes nothing for long is let go: answers must not pile up."""
    try:
        await asyncio.wait_for(send(what), 30.0)
    except TimeoutError:
        raise WebSocketDisconnect(1001) from None


def in_words(error: ValidationError) -> str:
    """What is wrong with a message, each place and reason."""
    places = [
        f"{'.'.join(str(part) for part in found['loc']) or 'the message'}: {found['msg']}"
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return "; ".join(places[:5])
