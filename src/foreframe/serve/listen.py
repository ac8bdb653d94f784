"""The service on an address of this machine."""

import ipaddress
import re
import socket
from collections.abc import Callable, Mapping

import uvicorn

from foreframe.errors import ForeframeError
from foreframe.serve.app import make_app
from foreframe.serve.guard import COOKIE
from foreframe.serve.limits import Limits
from foreframe.serve.served import Served

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}")


def listen(
    runs: Mapping[str, Served],
    *,
    host: str,
    port: int,
    token: str | None = None,
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until interrupted.

    Args:
        runs: by name.
        host: address to listen at; another than this machine's own needs a token.
        port: of TCP; 0 takes a free one.
        token: that every request must bring.
        limits: on what requests may take.
        say: told the address.

    Raises:
        ForeframeError: the address or the token does not serve.
    """
    local = is_local(host)
    if token is not None and not _TOKEN.fullmatch(token):
        raise ForeframeError("--token: give 8 to 200 letters, digits or any of . _ ~ -.")
    if not local and token is None:
        raise ForeframeError(
            f"--host {host}: others could use the service. Give it a --token, or leave --host out."
        )
    if not 0 <= port < 2**16:
        raise ForeframeError(f"--port {port}: must be between 0 and 65535.")
    bound = _bind(host, port)
    at = f"[{host}]" if ":" in host else host
    address = f"http://{at}:{bound.getsockname()[1]}/"
    app = make_app(
        runs,
        limits=limits,
        token=token,
        # Without a token only names of this machine: no page can reach it by a name of its own.
        hosts=LOCAL_NAMES | {host} if token is None else None,
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,  # frames of noise hardly shrink, and it takes time
        h11_max_incomplete_event_size=64 * 1024,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        limit_concurrency=1024,
    )
    say(f"Open {address}{'' if token is None else f'?token={token}'} in a browser; Ctrl-C ends it.")
    if token is not None:
        say(f"Programs send the header Authorization: Bearer {token} (or the cookie {COOKIE}).")
    uvicorn.Server(config).run(sockets=[bound])


def is_local(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
