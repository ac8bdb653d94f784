"""How answers are sent: in pieces, and within a time in which they must be taken."""

import asyncio
import json

from starlette.types import Message, Scope, Send

from foreframe.serve.fairness.doors import Doors

_PIECE = 64 * 1024
RETRY_SECONDS = 1


class Paced:
    """Sends one answer in small pieces, so that no more than one waits in memory to be read.

    Args:
        send: of ASGI.
        scope: of the request.
        doors: that cut off a reader who takes nothing.
        seconds: in which the whole answer must be taken, once it has begun.
    """

    def __init__(self, send: Send, scope: Scope, doors: Doors, seconds: float) -> None:
        self._send, self._scope, self._doors, self._seconds = send, scope, doors, seconds
        self._until: float | None = None

    async def __call__(self, message: Message) -> None:
        """Send a message of ASGI.

        Raises:
            UnreadError: it was not taken in time; the connection has been cut off.
        """
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or len(body) <= _PIECE:
            await self._in_time(message)
            return
        view = memoryview(body)
        for start in range(0, len(body), _PIECE):
            last = start + _PIECE >= len(body)
            piece = bytes(view[start : start + _PIECE])
            more = not last or message.get("more_body", False)
            await self._in_time({**message, "body": piece, "more_body": more})

    async def _in_time(self, message: Message) -> None:
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self._seconds
        try:
            await asyncio.wait_for(self._send(message), max(0.001, self._until - now))
        except TimeoutError:
            self._doors.cut(self._scope)
            await asyncio.sleep(0.01)  # the connection learns that it is lost
            raise UnreadError from None


class UnreadError(BaseException):
    """An answer that nobody takes; a BaseException, so that no handler answers it again."""


async def refuse(send: Send, status: int, reason: str, *, close: bool = False) -> None:
    """Answer a request with a reason against it.

    Args:
        send: of ASGI.
        status: of HTTP.
        reason: in words.
        close: whether the connection ends with it.
    """
    body = json.dumps({"reason": reason}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (429, 503):
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
