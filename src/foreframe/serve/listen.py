"""The service on an address of this machine."""

import asyncio
import socket
import sys
from collections.abc import Callable, Mapping

import uvicorn
from fastapi import FastAPI

from foreframe.errors import ForeframeError
from foreframe.serve.app import make_app
from foreframe.serve.guard import COOKIE
from foreframe.serve.memory import keep_together
from foreframe.serve.options import ServeOptions
from foreframe.serve.served import Served
from foreframe.serve.service import Service

_SWITCH_SECONDS = 0.0005
"""Time for which one thread of Python keeps the others waiting, at most. A step is some hundred
operations, after each of which the engine's thread may have to wait for it."""
_PARTING_SECONDS = 1.0


def listen(
    runs: Mapping[str, Served],
    options: ServeOptions | None = None,
    *,
    log: Callable[[str], None] = print,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until interrupted.

    Args:
        runs: by name.
        options: by default those of ``ServeOptions``.
        log: told the address.
        ready: told the address, with the token, when connections are accepted.

    Raises:
        ForeframeError: the options are refused, or nothing can listen at the address.
    """
    options = options or ServeOptions()
    options.check()
    keep_together()
    bound = _bind(options.host, options.port)
    app = make_app(runs, options)
    at = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{at}:{bound.getsockname()[1]}/"
    token = options.token
    whole = address if token is None else f"{address}?token={token}"
    log(f"Open {whole} in a browser; Ctrl-C ends it.")
    if token is not None:
        log(f"Programs send the header Authorization: Bearer {token} (or the cookie {COOKIE}).")
    ready(whole)  # whoever connects already waits until the service answers
    sys.setswitchinterval(_SWITCH_SECONDS)
    Server(app).run(sockets=[bound])


class Server(uvicorn.Server):
    """uvicorn's, which ends within seconds whatever is under way.

    Args:
        app: of ``make_app``.
    """

    def __init__(self, app: FastAPI) -> None:
        self._service: Service = app.state.service
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whose word is taken, --behind-proxy says
            http=self._service.doors.http,
            ws=self._service.doors.socket,
            ws_max_size=64 * 1024,
            ws_per_message_deflate=False,  # frames of noise hardly shrink, and it takes time
            h11_max_incomplete_event_size=64 * 1024,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            limit_concurrency=1024,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End sessions, refuse what waits, and cut off who takes no answer."""
        await self._service.end()
        asyncio.get_running_loop().call_later(_PARTING_SECONDS, self._service.doors.cut_all)
        await super().shutdown(sockets)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        # Frames are small and each is waited for.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.listen(128)  # whoever reads the address may connect at once
    except (OSError, OverflowError) as error:
        raise ForeframeError(
            f"--host {host} --port {port}: cannot listen there ({error}). "
            "Give another --port, or 0 for a free one."
        ) from error
    return bound
