"""The socket of a session: steps in as JSON, frames out as bytes."""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from foreframe.serve.fairness.clients import Bucket, client_of
from foreframe.serve.moments import Latent, Session
from foreframe.serve.refusal import Refusal, in_words
from foreframe.serve.schemas import StepIn
from foreframe.serve.service import Service

MAGIC = 0x46464D31
HEADER = struct.Struct("<8I")
"""Magic, the request's id, the new moment, imagined frames so far, K, H, W, microseconds; then the
frames, uint8 [K, H, W, 3], and where the simulator is driven beside, what it shows, [H, W, 3]."""

_MESSAGE = 16 * 1024
_MISTAKES = 50
_SOCKETS = 4
"""Connections to one session at a time."""
_UNREAD_SECONDS = 10.0
_POLICY, _TOO_BIG, _GONE = 1008, 1009, 4404


async def converse(socket: WebSocket, service: Service, name: str) -> None:
    """Answer the steps of one socket until it closes.

    A mistake in a message is answered and forgiven, many are not; a flood ends the connection.
    """
    await socket.accept()
    try:
        session = service.sessions.get(name)
    except Refusal as refusal:
        await _say(socket, service, {"type": "error", "reason": refusal.reason, "gone": True})
        await socket.close(_GONE)
        return
    if session.attached >= _SOCKETS:
        await socket.close(_POLICY, "too many connections to one session")
        return
    session.attached += 1
    try:
        await _answer_all(socket, service, session)
    except WebSocketDisconnect:
        pass
    except RuntimeError:
        # Starlette raises it where a socket closed while an answer was under way.
        if socket.application_state is WebSocketState.CONNECTED:
            raise
    finally:
        session.attached -= 1
        session.used = time.monotonic()


async def _answer_all(socket: WebSocket, service: Service, session: Session) -> None:
    bucket, mistakes = Bucket(service.limits.steps_per_second), 0
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
        try:
            wanted = StepIn.model_validate_json(text)
        except ValidationError as error:
            mistakes += 1
            service.gauges.errors.labels("422").inc()
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            reason = in_words(errors, "the message")
            await _say(socket, service, {"type": "error", "id": None, "reason": reason})
            await _slow_down(socket, service)
            if mistakes >= _MISTAKES:
                await socket.close(_POLICY, "too many mistakes")
                return
            continue
        await _answer(socket, service, session, wanted)


async def _answer(socket: WebSocket, service: Service, session: Session, wanted: StepIn) -> None:
    """Take one step, and send its frames or the reason against it."""
    began = time.perf_counter()
    try:
        service.sessions.get(session.id)
        node, t, frames = await service.player.step(
            session,
            wanted.origin,
            _row(wanted.action),
            _row(wanted.position),
            Latent() if wanted.z is None else Latent(wanted.z.mode, tuple(wanted.z.values)),
        )
    except Refusal as refusal:
        service.gauges.errors.labels(str(refusal.status)).inc()
        reason = {"reason": refusal.reason, "gone": refusal.gone}
        await _say(socket, service, {"type": "error", "id": wanted.id, **reason})
        await _slow_down(socket, service)
        return
    took = time.perf_counter() - began
    service.gauges.steps.inc()
    service.gauges.seconds.observe(took)
    height, width = frames.shape[1:3]
    head = HEADER.pack(
        MAGIC,
        wanted.id,
        node,
        t,
        session.samples,
        height,
        width,
        min(2**32 - 1, round(1e6 * took)),
    )
    await _send(socket, service, socket.send_bytes, head + frames.tobytes())


def _row(values: list[float] | None) -> np.ndarray | None:
    return None if not values else np.array(values, np.float32)


async def _slow_down(socket: WebSocket, service: Service) -> None:
    """A mistake counts as a request; a client that has made too many waits before the next."""
    if not service.rates.take(client_of(socket.scope)):
        await asyncio.sleep(1.0)


async def _say(socket: WebSocket, service: Service, message: dict[str, object]) -> None:
    await _send(socket, service, socket.send_json, message)


async def _send(
    socket: WebSocket, service: Service, send: Callable[[Any], Awaitable[None]], what: Any
) -> None:
    """A reader that takes nothing for long is let go: answers must not pile up."""
    try:
        await asyncio.wait_for(send(what), _UNREAD_SECONDS)
    except TimeoutError:
        service.doors.cut(socket.scope)
        raise WebSocketDisconnect(1001) from None
