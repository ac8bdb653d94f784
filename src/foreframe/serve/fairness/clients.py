"""Who asks, and how often: a client is an address, and has a rate.

Behind a proxy the client is the address that the proxy names, and the peer is the proxy: whoever is
at the other end of the connection.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_CLIENTS = 4096
"""Clients whose rates are remembered."""
_PEER = "foreframe.peer"
PROXIES = ("127.0.0.1", "::1")
"""Where a proxy may be whose word is taken for whom it speaks."""

Address = tuple[str, int]


class BehindProxy:
    """ASGI middleware: the client of a request is whom the proxy names, its peer stays the proxy.

    Args:
        app: that is told.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app: Any = ProxyHeadersMiddleware(cast(Any, app), trusted_hosts=list(PROXIES))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await self.app({**scope, _PEER: scope.get("client")}, receive, send)


def peer_of(scope: Scope) -> Address | None:
    """The address at the other end of the connection: the client's, or its proxy's."""
    peer: Address | None = scope[_PEER] if _PEER in scope else scope.get("client")
    return peer and (peer[0], peer[1])


def client_of(scope: Scope) -> str:
    """The client that a request comes from: its address, or the network of an IPv6 address.

    Whoever has one IPv6 address has 2**64 of them, all of one network.
    """
    return client_at((scope.get("client") or ("", 0))[0])


def client_at(address: str) -> str:
    """The client at an address; see ``client_of``."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, IPv6Address):
        if known.ipv4_mapped is not None:
            return str(known.ipv4_mapped)
        return str(IPv6Address(int(known) >> 64 << 64))
    return str(known)


class Bucket:
    """A rate that is kept on average; for a moment twice as much may come.

    Args:
        rate: takings a second.
        clock: seconds, for tests.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = rate, clock
        self._left, self._at = 2 * rate, clock()

    def take(self) -> bool:
        """Whether one more is within the rate; if so, it counts."""
        now = self._clock()
        self._left = min(2 * self.rate, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Rates:
    """A rate for each client; those that have not asked for longest are forgotten.

    Args:
        rate: takings a second of one client.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, client: str) -> bool:
        """Whether one more of a client is within its rate; if so, it counts."""
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = Bucket(self._rate)
            while len(self._buckets) > _CLIENTS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(client)
        return bucket.take()
