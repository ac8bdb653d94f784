"""What each request passes before it is answered: rate, names, tokens, bodies, proxies."""

import asyncio
import http.client
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from foreframe.serve.app import make_app
from foreframe.serve.fairness.aside import InLanes
from foreframe.serve.fairness.clients import BehindProxy, Rates, client_of
from foreframe.serve.fairness.doors import Doors
from foreframe.serve.fairness.lanes import Lane
from foreframe.serve.guard import Guard
from foreframe.serve.listen import Server
from foreframe.serve.options import LOCAL_NAMES, Limits, ServeOptions

TOKEN = "a-long-token"


def guard(app=None, *, token=None, rate=3.0, doors=None, **limits):
    return Guard(
        app or answered,
        limits=Limits(**limits),
        rates=Rates(rate),
        doors=doors or Doors(),
        bodies={},
        token=token,
        hosts=LOCAL_NAMES if token is None else None,
    )


async def answered(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})


def scope_of(kind="http", method="GET", client=("10.0.0.1", 1), **headers):
    named = {"host": "localhost", **headers}
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
    return {
        "type": kind,
        "method": method,
        "path": "/api/runs",
        "query_string": b"",
        "client": client,
        "headers": lines,
    }


async def ask(app, scope, receive=None):
    """The status of an answer; of a socket, what becomes of it."""
    sent = []

    async def whole():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive or whole, send)
    return sent[0].get("status", sent[0]["type"])


def statuses(app, scopes):
    async def all_of_them():
        return [await ask(app, scope) for scope in scopes]

    return asyncio.run(all_of_them())


# -- how often ------------------------------------------------------------------------------------


def test_guesses_at_the_token_are_counted():
    guesses = [scope_of(authorization=f"Bearer guess-{n}") for n in range(20)]
    own = guard(token=TOKEN)
    assert statuses(own, guesses) == [401] * 6 + [429] * 14
    right = scope_of(authorization=f"Bearer {TOKEN}")
    assert statuses(own, [right]) == [429], "the right one among many guesses is not told apart"
    other = scope_of(authorization=f"Bearer {TOKEN}", client=("10.0.0.2", 1))
    assert statuses(own, [other]) == [200]


@pytest.mark.parametrize(
    ("scope", "refusal"),
    [
        (scope_of(host="elsewhere.example"), 421),
        (scope_of(method="POST", origin="http://elsewhere.example"), 403),
    ],
    ids=["another name", "another page"],
)
def test_what_is_refused_has_counted(scope, refusal):
    assert statuses(guard(), [scope] * 9) == [refusal] * 6 + [429] * 3


@pytest.mark.parametrize(
    "refused",
    [
        scope_of("websocket", host="elsewhere.example"),
        scope_of("websocket", origin="http://elsewhere.example"),
    ],
    ids=["another name", "another page"],
)
def test_sockets_that_are_refused_have_counted(refused):
    own, honest = guard(), scope_of("websocket")
    assert statuses(own, [honest]) == ["websocket.accept"]
    assert statuses(own, [refused] * 5) == ["websocket.close"] * 5
    assert statuses(own, [honest]) == ["websocket.close"]


def test_guesses_at_the_token_on_sockets_are_counted_too():
    own, right = guard(token=TOKEN), scope_of("websocket", authorization=f"Bearer {TOKEN}")
    assert statuses(own, [right]) == ["websocket.accept"]
    guesses = [scope_of("websocket", authorization=f"Bearer guess-{n}") for n in range(5)]
    assert statuses(own, guesses) == ["websocket.close"] * 5
    assert statuses(own, [right]) == ["websocket.close"]


# -- names that are none --------------------------------------------------------------------------

NONE = ["[", "[::1", "]", "[x]", "a]b", "", ":", "@", "\u00bd"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("name", NONE)
def test_a_host_that_is_none_does_not_fit(kind, name):
    assert statuses(guard(), [scope_of(kind, host=name)]) in ([421], ["websocket.close"])


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("name", NONE)
def test_an_origin_that_is_none_is_anothers(kind, name):
    for origin in (f"http://{name}", name):
        scope = scope_of(kind, method="POST", origin=origin)
        assert statuses(guard(), [scope]) in ([403], ["websocket.close"])


# -- bodies ---------------------------------------------------------------------------------------


async def reads(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await answered(scope, receive, send)


def test_a_wait_for_ones_turn_is_not_time_that_the_body_takes():
    """Its body is there; it is others, before it in the lane, who take long."""
    lane = Lane(1, 10, 100)
    own = guard(InLanes(reads, SimpleNamespace(of=lambda path: lane)), body_seconds=0.2)

    async def three():
        async with lane.turn("hostile"):
            waiting = asyncio.create_task(ask(own, scope_of(method="POST")))
            await asyncio.sleep(0.5)
        return await waiting

    assert asyncio.run(three()) == 200


def test_the_time_in_which_the_service_is_busy_is_not_the_senders():
    async def busy(scope, receive, send):
        await receive()
        time.sleep(0.5)
        await reads(scope, receive, send)

    parts = iter([True, True, False])

    async def quick():
        return {"type": "http.request", "body": b"x", "more_body": next(parts)}

    own = guard(busy, body_seconds=0.2)
    assert asyncio.run(ask(own, scope_of(method="POST"), quick)) == 200


def test_a_slow_sender_is_cut_off_however_small_its_pieces():
    async def dripping():
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    own = guard(reads, body_seconds=0.3)
    began = time.monotonic()
    assert asyncio.run(ask(own, scope_of(method="POST"), dripping)) == 408
    assert time.monotonic() - began < 5


# -- proxies --------------------------------------------------------------------------------------


class Transport:
    closed = paused = False

    def abort(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False


def test_a_reader_behind_a_proxy_is_cut_off_by_the_proxys_connection():
    seen, peer = [], ("127.0.0.1", 4321)

    async def app(scope, receive, send):
        seen.append(client_of(scope))
        doors.slow_down(scope)
        paused.append(transport.paused)
        doors.cut(scope)
        await answered(scope, receive, send)

    async def one():
        doors.enter(peer, transport)
        await ask(BehindProxy(app), scope_of(client=peer, x_forwarded_for="10.0.0.9"))

    doors, transport, paused = Doors(), Transport(), []
    asyncio.run(one())
    assert seen == ["10.0.0.9"]
    assert paused == [True]
    assert transport.closed


def test_the_connections_of_a_proxy_are_not_counted_as_one_clients():
    async def enter(doors):
        transports = [Transport() for _ in range(5)]
        for port, transport in enumerate(transports):
            doors.enter(("::1", port), transport)
        return [transport.closed for transport in transports]

    assert asyncio.run(enter(Doors(2, proxies=("::1",)))) == [False] * 5
    assert asyncio.run(enter(Doors(2))) == [False] * 2 + [True] * 3


@contextmanager
def listening(**options):
    """The service without a run, on a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = Server(make_app({}, ServeOptions(**options)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def status(port, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/api/runs", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("behind_proxy", [False, True])
def test_whom_a_request_is_forwarded_for_counts_only_behind_a_proxy(behind_proxy):
    """Otherwise every program of this machine is as many clients as it likes."""
    limits = Limits(requests_per_second=2.0)
    with listening(limits=limits, behind_proxy=behind_proxy) as port:
        seen = [status(port, **{"X-Forwarded-For": f"10.0.0.{n}"}) for n in range(8)]
    assert (429 not in seen) == behind_proxy, seen
    assert seen[0] == 200
