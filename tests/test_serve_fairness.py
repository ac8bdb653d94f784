"""Many clients, one service: who is served next, what is refused, and how it ends."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from foreframe.serve.app import make_app
from foreframe.serve.engine import AT_ONCE, Engine, Step
from foreframe.serve.fairness.answers import Paced, UnreadError
from foreframe.serve.fairness.clients import Bucket, Rates, client_at
from foreframe.serve.fairness.doors import Doors
from foreframe.serve.fairness.lanes import Lane
from foreframe.serve.fairness.turns import FullError, Turns
from foreframe.serve.moments import Latent, Moment, Session
from foreframe.serve.options import Limits, ServeOptions
from foreframe.serve.refusal import Refusal
from foreframe.serve.served import Served
from foreframe.serve.sessions import Sessions

# -- who asks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("testclient", "testclient", True),
    ],
)
def test_a_client_is_an_address_or_the_network_of_one(one, other, same):
    assert (client_at(one) == client_at(other)) == same


def test_the_rate_of_one_client_is_not_anothers():
    rates = Rates(1.0)
    assert [rates.take("hostile") for _ in range(5)] == [True, True, False, False, False]
    assert rates.take("honest")


def test_a_bucket_fills_again():
    now = [0.0]
    bucket = Bucket(1.0, lambda: now[0])
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] = 1.0
    assert [bucket.take() for _ in range(2)] == [True, False]


# -- turns ----------------------------------------------------------------------------------------


def test_a_client_waits_for_one_piece_of_each_other_however_much_they_have():
    turns = Turns(100)
    for n in range(50):
        turns.put("hostile", f"h{n}")
    turns.put("honest", "mine")
    turns.put("other", "theirs")
    assert [turns.next() for _ in range(4)] == ["h0", "mine", "theirs", "h1"]
    turns.put("honest", "mine again")
    assert [turns.next() for _ in range(2)] == ["h2", "mine again"]


def test_a_clients_steps_do_not_wait_for_all_its_predictions():
    turns = Turns(100)
    for n in range(10):
        turns.put("one", f"prediction {n}", aside=True)
    turns.put("one", "step")
    assert [turns.next() for _ in range(3)] == ["prediction 0", "step", "prediction 1"]


def test_what_is_done_together_comes_from_all_clients_in_turn():
    turns = Turns(100)
    for n in range(10):
        turns.put("hostile", ("step", n))
    turns.put("honest", ("step", "mine"))
    turns.put("honest", ("other", "mine"))
    first = turns.next()
    together = turns.more(lambda item: item[0] == "step", 3)
    assert first == ("step", 0)
    assert ("step", "mine") in together
    assert len(together) == 3
    assert turns.next() == ("other", "mine")


def test_a_client_may_not_have_endless_work_waiting():
    turns = Turns(3)
    for n in range(3):
        turns.put("hostile", n)
    with pytest.raises(FullError):
        turns.put("hostile", 3)
    turns.put("honest", 0)


def test_a_closed_queue_gives_back_what_was_waiting():
    turns = Turns(3)
    turns.put("one", 1)
    turns.put("other", 2, aside=True)
    assert sorted(turns.close()) == [1, 2]
    assert turns.next() is None
    with pytest.raises(FullError):
        turns.put("one", 3)


def test_the_engine_serves_clients_in_turn():
    """Twenty calls of one client are waiting when another asks: it is served second."""
    order, begun, go = [], threading.Event(), threading.Event()
    engine = Engine()
    engine.call(lambda: (begun.set(), go.wait(10)), "hostile")
    begun.wait(10)
    done = [engine.call(lambda n=n: order.append(f"h{n}"), "hostile") for n in range(20)]
    done.append(engine.call(lambda: order.append("honest"), "honest"))
    go.set()
    for future in done:
        future.result(10)
    engine.close()
    assert order.index("honest") <= 1


def test_an_engine_that_ends_refuses_what_waits():
    begun, go = threading.Event(), threading.Event()
    engine = Engine()
    first = engine.call(lambda: (begun.set(), go.wait(10), "done")[-1])
    begun.wait(10)
    second = engine.call(lambda: "never")
    closing = threading.Thread(target=engine.close)
    closing.start()
    with pytest.raises(Refusal, match="ending"):
        second.result(10)
    go.set()
    assert first.result(10) == "done"
    closing.join()


def test_a_batch_is_no_larger_than_its_bound(served):
    """Steps of one client that all wait do not become one long batch."""
    sizes, begun, go = [], threading.Event(), threading.Event()
    engine = Engine(sizes.append)
    session = _session(served, "hostile", 4)
    state = engine.call(session.begun).result(60)
    engine.call(lambda: (begun.set(), go.wait(10)))
    begun.wait(10)
    row = served.rest("actions")
    place = served.rest("positions")
    steps = [
        engine.step(
            Step(
                session.weights.model,
                state,
                torch.from_numpy(row),
                torch.from_numpy(place),
                session.noise(1),
            ),
            "hostile",
        )
        for _ in range(9)
    ]
    go.set()
    for step in steps:
        step.result(60)
    engine.close()
    assert sum(sizes) == 36
    assert max(sizes) == AT_ONCE["cpu"]


# -- lanes ----------------------------------------------------------------------------------------


def in_lane(lane, wanted):
    """Clients in the order in which they are served, and those that are refused."""
    order, refused = [], []

    async def ask(client):
        try:
            async with lane.turn(client):
                order.append(client)
                await asyncio.sleep(0.01)
        except Refusal as refusal:
            refused.append(client if refusal.status == 503 else str(refusal))

    async def all_of_them():
        await asyncio.gather(*(ask(client) for client in wanted))

    asyncio.run(all_of_them())
    return order, refused


def test_in_a_lane_clients_take_turns():
    order, refused = in_lane(Lane(1, 10, 100), ["hostile"] * 5 + ["honest"])
    assert order.index("honest") == 1
    assert not refused


def test_one_client_never_has_all_places_of_a_lane():
    lane, at_once, most = Lane(2, 10, 100), Counter(), Counter()

    async def ask(client):
        async with lane.turn(client):
            at_once[client] += 1
            most[client] = max(most[client], at_once[client])
            await asyncio.sleep(0.01)
            at_once[client] -= 1

    async def all_of_them():
        await asyncio.gather(*(ask("hostile") for _ in range(6)), ask("honest"))

    asyncio.run(all_of_them())
    assert most == {"hostile": 1, "honest": 1}


def test_a_full_lane_refuses_whom_it_must():
    order, refused = in_lane(Lane(1, 2, 3), ["hostile"] * 9 + ["one", "two"])
    assert Counter(order) == {"hostile": 3, "one": 1}  # one at once, two wait
    assert Counter(refused) == {"hostile": 6, "two": 1}


def test_who_gives_up_waiting_leaves_no_gap():
    lane = Lane(1, 10, 100)

    async def three():
        async def ask():
            async with lane.turn("one"):
                await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(ask()) for _ in range(3)]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(ask(), 5)

    asyncio.run(three())


# -- what a client holds --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(played, toy_data) -> Served:
    return Served("toy", played, toy_data, "cpu")


def _session(served, client, samples=1):
    recorded = served.test[0]
    rows = {"actions": recorded.actions[:2].copy(), "positions": recorded.positions[:2].copy()}
    name = f"{client}-{time.monotonic_ns()}"
    given = recorded.frames[:2].copy()
    return Session(name, served, served.weights(), given, rows, samples, 0, client)


def test_one_client_cannot_have_all_sessions(served):
    sessions = Sessions(Limits(sessions_max=4, sessions_per_client=3), clock=lambda: 0.0)
    for _ in range(3):
        sessions.open(_session(served, "hostile"))
    with pytest.raises(Refusal, match="3 sessions of yours"):
        sessions.open(_session(served, "hostile"))
    sessions.open(_session(served, "honest"))


def test_room_is_made_by_the_client_that_has_most(served):
    now = [0.0]
    sessions = Sessions(Limits(sessions_max=4), clock=lambda: now[0])
    honest = _session(served, "honest")
    sessions.open(honest)
    for _ in range(3):
        sessions.open(_session(served, "hostile"))
    now[0] = 60.0
    sessions.open(_session(served, "third"))
    assert sessions.get(honest.id) is honest


def test_states_of_the_client_that_holds_most_are_forgotten_first(served):
    """An honest client's moments, used long ago, are there while another fills the memory."""
    honest, hostile = _session(served, "honest"), _session(served, "hostile")
    moment = SimpleNamespace(state_bytes=100, state="there")
    sessions = Sessions(Limits(state_megabytes=2000 / 2**20))

    def keep(session):
        made = Moment(None, 0, None, None, Latent(), None, None)
        made = SimpleNamespace(**{name: getattr(made, name) for name in made.__slots__})
        made.state, made.state_bytes = moment.state, moment.state_bytes
        sessions.keep(session, made)
        return made

    for session in (honest, hostile):
        sessions.open(session)
    mine = [keep(honest) for _ in range(5)]
    theirs = [keep(hostile) for _ in range(100)]
    assert all(each.state for each in mine)
    assert theirs[0].state, "the first moment stays"
    assert not theirs[1].state
    assert sessions.state_bytes <= 2000


def test_a_session_has_few_sockets(served):
    with TestClient(make_app({"toy": served}, ServeOptions("testserver"))) as client:
        wanted = {"run": "toy", "sequence": 0}
        session = client.post("/api/sessions", json=wanted).json()["session"]
        path = f"/api/sessions/{session}/steps"
        with (
            client.websocket_connect(path),
            client.websocket_connect(path),
            client.websocket_connect(path),
            client.websocket_connect(path),
            client.websocket_connect(path) as fifth,
            pytest.raises(WebSocketDisconnect),
        ):
            fifth.receive_json()


def test_a_full_lane_is_answered_with_503_and_when_to_come_again(served, monkeypatch):
    app = make_app({"toy": served}, ServeOptions("testserver"))

    async def full(scope, receive, send):
        raise AssertionError("it must not be reached")

    lanes = app.state.service.lanes
    monkeypatch.setattr(lanes.imagining, "_per_client", 0)
    with TestClient(app) as client:
        answer = client.post("/api/predict", content=b" " * 100)
        assert answer.status_code == 503
        assert "busy" in answer.json()["reason"]
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/api/runs").status_code == 200, "other lanes are open"


MISTAKES = {
    "unknown names": json.dumps({f"k{n}": n for n in range(4000)}),
    "values of no number": '{"run":"toy","frames":"x","actions":[' + "[null]," * 9000 + "[1]]}",
    "nothing but brackets": '{"a":' + "[" * 50_000,
}


@pytest.mark.parametrize("body", MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("path", ["/api/predict", "/api/sessions"])
def test_a_body_of_nothing_but_mistakes_is_refused_in_one_line(served, path, body):
    with TestClient(make_app({"toy": served}, ServeOptions("testserver"))) as client:
        kind = {"content-type": "application/json"}
        answer = client.post(path, content=body, headers=kind)
        assert answer.status_code in (413, 422)
        assert len(answer.json()["reason"]) < 300


def test_an_answer_that_nobody_takes_is_cut_off():
    cut = []
    doors = SimpleNamespace(cut=cut.append)

    async def never(message):
        await asyncio.sleep(60)

    async def send():
        paced = Paced(never, {"path": "/"}, doors, 0.05)
        with pytest.raises(UnreadError):
            await paced({"type": "http.response.body", "body": b"x"})

    asyncio.run(send())
    assert len(cut) == 1


def test_a_large_answer_goes_in_pieces():
    sent = []

    async def take(message):
        sent.append(message)

    content = os.urandom(300_000)
    paced = Paced(take, {"path": "/"}, SimpleNamespace(), 5.0)
    asyncio.run(paced({"type": "http.response.body", "body": content}))
    assert b"".join(message["body"] for message in sent) == content
    assert max(len(message["body"]) for message in sent) <= 2**16
    assert [message["more_body"] for message in sent] == [True] * (len(sent) - 1) + [False]


def test_one_client_cannot_have_all_connections():
    class Transport:
        closed = False

        def abort(self):
            self.closed = True

    async def enter():
        doors = Doors(per_client=3, per_second=100)
        hostile = [Transport() for _ in range(5)]
        for port, transport in enumerate(hostile):
            doors.enter(("10.0.0.1", port), transport)
        honest = Transport()
        doors.enter(("10.0.0.2", 1), honest)
        assert [each.closed for each in hostile] == [False] * 3 + [True] * 2
        assert not honest.closed
        doors.leave(("10.0.0.1", 0))
        again = Transport()
        doors.enter(("10.0.0.1", 9), again)
        assert not again.closed

    asyncio.run(enter())


# -- the whole service ----------------------------------------------------------------------------


@pytest.fixture
def process(played, toy_data):
    """The service as the command starts it: its process and its port."""
    command = [sys.executable, "-m", "foreframe", "serve", str(played), "--data", str(toy_data)]
    started = subprocess.Popen(
        [*command, "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C reaches it even where whoever runs the tests was started without.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    line = next(line for line in started.stdout if "Open " in line)
    yield started, int(line.split()[1].rstrip("/").rpartition(":")[2])
    started.kill()
    started.communicate()


def test_ctrl_c_ends_all_sessions_with_a_word_and_no_traceback(process):
    """While steps are asked for and never read, a slow upload hangs, and connections are silent."""
    started, port = process

    def begin():
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/sessions",
            json.dumps({"run": "toy", "sequence": 0, "samples": 8}).encode(),
            {"content-type": "application/json"},
        )
        return json.load(urllib.request.urlopen(request))["session"]

    address = f"ws://127.0.0.1:{port}/api/sessions/"
    with (
        socket.create_connection(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as slow,
        connect(f"{address}{begin()}/steps", max_size=2**24) as honest,
        connect(f"{address}{begin()}/steps", max_size=2**24, max_queue=1) as unread,
    ):
        slow.sendall(
            b"POST /api/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999\r\n\r\n-"
        )
        for number in range(300):
            unread.send(json.dumps({"type": "step", "id": number % 9, "from": 0}))
        honest.send(json.dumps({"type": "step", "id": 1, "from": 0}))
        honest.recv()
        began = time.monotonic()
        started.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed) as closed:
            _read_all(honest)
        assert closed.value.rcvd.code == 1001
        assert "ending" in closed.value.rcvd.reason
        _, errors = started.communicate(timeout=30)
        took = time.monotonic() - began
    assert started.returncode == 130
    assert "Traceback" not in errors, errors
    assert took < 20, "generous: the machine may be busy"


def _read_all(connection):
    while True:
        connection.recv(timeout=30)
