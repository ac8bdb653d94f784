"""What every request passes: who asks, from where, how often, how much, how slowly."""

import asyncio
import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foreframe.serve.fairness.answers import Paced, UnreadError, refuse
from foreframe.serve.fairness.clients import Rates, client_of
from foreframe.serve.fairness.doors import Doors
from foreframe.serve.options import Limits

COOKIE = "foreframe-token"
OPEN_PATHS = ("/healthz",)
_SMALL_BODY = 64 * 1024
"""Bytes of a body that holds no frames."""

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware: token, host, origin, rate, size and duration of bodies, security headers.

    Args:
        app: what is guarded.
        limits: on duration.
        rates: of the clients.
        doors: their connections.
        bodies: bytes of a body at most, by path; others are small.
        token: that every request must bring; None lets everybody in who reaches the service.
        hosts: names under which the service may be addressed; None for any. Without a token this
            is what keeps a foreign page from reaching a local service under a name of its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        rates: Rates,
        doors: Doors,
        bodies: Mapping[str, int],
        token: str | None,
        hosts: frozenset[str] | None,
    ) -> None:
        self.app, self.limits, self.token, self.hosts = app, limits, token, hosts
        self.rates, self.doors, self.bodies = rates, doors, bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            if not self._admits_socket(scope):
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    # -- who ------------------------------------------------------------------------------------

    def _in_time(self, scope: Scope) -> bool:
        """Whether a client does not ask too often; what is then refused has counted too.

        Otherwise it could guess tokens as fast as it can send them.
        """
        in_time = self.rates.take(client_of(scope))
        if not in_time:
            self.doors.slow_down(scope)
        return in_time

    def _admits_socket(self, scope: Scope) -> bool:
        headers = _headers(scope)
        return (
            self._in_time(scope)
            and self._host_fits(headers)
            and _same_origin(headers)
            and self._has_token(headers)
        )

    def _host_fits(self, headers: dict[str, str]) -> bool:
        # Starlette's TrustedHostMiddleware answers 400 without a reason, and its older versions,
        # which we admit, take the host of [::1]:8642 for "[".
        if self.hosts is None:
            return True
        address = _parts(f"//{headers.get('host', '')}")
        return address is not None and address.hostname in self.hosts

    def _has_token(self, headers: dict[str, str]) -> bool:
        if self.token is None:
            return True
        kind, _, value = headers.get("authorization", "").partition(" ")
        given = [value.strip()] if kind.lower() == "bearer" else []
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
            given += [cookies[COOKIE].value] if COOKIE in cookies else []
        except CookieError:
            pass
        return any(self._is_token(value) for value in given)

    def _is_token(self, value: str) -> bool:
        assert self.token is not None
        return hmac.compare_digest(value.encode(), self.token.encode())

    # -- HTTP -----------------------------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        send = Paced(send, scope, self.doors, self.limits.answer_seconds)
        send = _with_headers(send, scope)
        if not self._in_time(scope):
            await refuse(send, 429, "too many requests; wait a second.", close=True)
            return
        headers = _headers(scope)
        if not self._host_fits(headers):
            await refuse(send, 421, "the service is not addressed under this name.")
            return
        if scope["path"] not in OPEN_PATHS:
            if self.token is not None and await self._log_in(scope, send):
                return
            if not self._has_token(headers):
                await refuse(
                    send, 401, "a token is needed: open the address that foreframe serve printed."
                )
                return
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and not _same_origin(headers):
            await refuse(send, 403, "requests of other pages are not served.")
            return
        most = self.bodies.get(scope["path"], _SMALL_BODY)
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared[:20]) > most:
            await refuse(send, 413, f"the request is larger than {most} bytes.")
            return
        await self._bounded(scope, receive, send, most)

    async def _log_in(self, scope: Scope, send: Send) -> bool:
        """The address with the token in it: kept in a cookie, and out of sight at once."""
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        given = [value for name, value in query if name == "token"]
        if scope["path"] != "/" or not given or not self._is_token(given[0]):
            return False
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/{secure}"
        await send(
            {
                "type": "http.response.start",
                "status": 303,
                "headers": [
                    (b"location", f"/{'?' if rest else ''}{rest}".encode("latin-1", "replace")),
                    (b"set-cookie", cookie.encode()),
                    (b"content-length", b"0"),
                ],
            }
        )
        await send({"type": "http.response.body", "body": b""})
        return True

    async def _bounded(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        """The body ends within its size and time, or the request does.

        The time is what is spent waiting for the sender: not for a turn in a lane, which is before
        anything is received, nor while the service is busy with what it has.
        """
        begun = False
        taken, complete, left = 0, False, self.limits.body_seconds
        clock = asyncio.get_running_loop().time

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        async def watched_receive() -> Message:
            nonlocal taken, complete, left
            if complete:
                return await receive()
            began = clock()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, left))
            except TimeoutError:
                raise _TooMuchError(408, "the request took too long to arrive.") from None
            left -= clock() - began
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if taken > most:
                    raise _TooMuchError(413, f"the request is larger than {most} bytes.")
            return message

        try:
            await self.app(scope, watched_receive, watched_send)
        except _TooMuchError as error:
            if not begun:
                await refuse(send, error.status, error.reason, close=True)
        except UnreadError:
            pass  # its connection has been cut off


class _TooMuchError(BaseException):
    """Beyond a bound; a BaseException, so that no handler on the way makes something else of it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _same_origin(headers: dict[str, str]) -> bool:
    """Whether the page that asks is the service's own; programs name no origin."""
    origin = headers.get("origin")
    if origin is None:
        return True
    page = _parts(origin)
    return page is not None and page.netloc == headers.get("host", "")


def _parts(address: str) -> SplitResult | None:
    """An address in its parts; None where it is none, such as ``http://[``."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


def _with_headers(send: Send, scope: Scope) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *(
                    (name.encode(), value.encode())
                    for name, value in HEADERS.items()
                    if name.encode() not in there
                ),
            ]
            if scope["path"].startswith("/api/") and b"cache-control" not in there:
                message["headers"].append((b"cache-control", b"no-store"))
        await send(message)

    return sending
