"""The connections of the service: how many of one client, and how those that hold it up end.

uvicorn bounds all connections together, so that one client could have them all; it waits for ever
for the first request of a connection, and for a reader that takes nothing. These are its protocols
for HTTP and for sockets with such bounds.
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from foreframe.serve.fairness.clients import Address, Rates, client_at, peer_of
from foreframe.serve.refusal import ENDING

_SILENT_SECONDS = 15.0
"""Time for the first request of a connection to begin."""
_PAUSE_SECONDS = 1.0
_GOING_AWAY = 1001


class Doors:
    """The open connections by their addresses.

    Args:
        per_client: connections of one client at a time; more are cut off.
        per_second: connections of one client that are heard at once; later ones wait a second.
        proxies: addresses whose connections are those of many clients; they are not counted.
    """

    def __init__(
        self, per_client: int = 128, per_second: float = 50.0, *, proxies: Collection[str] = ()
    ) -> None:
        self._most, self._rates, self._proxies = per_client, Rates(per_second), proxies
        self._open: dict[Address, asyncio.Transport] = {}
        self._counts: Counter[str] = Counter()
        self.http: type[H11Protocol] = type("Http", (_Http,), {"doors": self})
        self.socket: type[WebSocketsSansIOProtocol] = type("Socket", (_Socket,), {"doors": self})

    def enter(self, address: Address | None, transport: asyncio.Transport) -> None:
        """Note a new connection, or one that has become a socket; cut it off if it is too many."""
        if address is None or address in self._open:
            return
        client = client_at(address[0])
        counted = address[0] not in self._proxies
        if counted and self._counts[client] >= self._most:
            transport.abort()
            return
        self._open[address] = transport
        self._counts[client] += 1
        if counted and not self._rates.take(client):
            self._pause(transport)

    def leave(self, address: Address | None) -> None:
        """Note that a connection has ended."""
        if address is None or self._open.pop(address, None) is None:
            return
        client = client_at(address[0])
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]

    def slow_down(self, scope: Scope) -> None:
        """Hear nothing from a connection for a second: it asks too often."""
        transport = self._connection(scope)
        if transport is not None:
            self._pause(transport)

    def cut(self, scope: Scope) -> None:
        """End a connection whose reader takes nothing; what it was to be sent is thrown away."""
        transport = self._connection(scope)
        if transport is not None:
            transport.abort()

    def cut_all(self) -> None:
        """End all connections."""
        for transport in list(self._open.values()):
            transport.abort()

    def _connection(self, scope: Scope) -> asyncio.Transport | None:
        peer = peer_of(scope)
        return None if peer is None else self._open.get(peer)

    @staticmethod
    def _pause(transport: asyncio.Transport) -> None:
        if not transport.is_closing():
            transport.pause_reading()
            asyncio.get_running_loop().call_later(_PAUSE_SECONDS, transport.resume_reading)


class _Http(H11Protocol):
    doors: Doors

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.doors.enter(self.client, transport)
        self._silence = self.loop.call_later(_SILENT_SECONDS, self._end_silence)

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence.cancel()
        self.doors.leave(self.client)
        super().connection_lost(exc)

    def _end_silence(self) -> None:
        if self.cycle is None and self.transport.get_protocol() is self:
            self.transport.abort()


class _Socket(WebSocketsSansIOProtocol):
    doors: Doors

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.doors.enter(self.client, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.doors.leave(self.client)
        super().connection_lost(exc)

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:  # it reads no answers, and asks for more of them
            self.transport.abort()

    def shutdown(self) -> None:
        """Tell the page that the service goes away, rather than that it begins anew."""
        close: Any = self.conn.send_close
        setattr(self.conn, "send_close", lambda *_: close(_GOING_AWAY, ENDING))  # noqa: B010
        super().shutdown()
