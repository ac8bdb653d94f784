"""Planning in the playground, and the simulator driven beside the imagination."""

import base64
import io
import json
import struct
import threading
import time

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from foreframe.commands.app import main
from foreframe.runs.shipped import shipped
from foreframe.serve.app import make_app
from foreframe.serve.options import ServeOptions
from foreframe.serve.served import Served
from foreframe.simulator.episode import simulate_sequence
from foreframe.simulator.simulate import SimulateOptions, simulate

pytest.importorskip("mujoco")
HEADER = struct.Struct("<8I")
HOLD = [0.0, 0.03, 0.0, 0.0]


@pytest.fixture(scope="module")
def pushing(tmp_path_factory):
    data = tmp_path_factory.mktemp("pushing") / "data"
    simulate(data, SimulateOptions(sequences=5, validate=1, test=3))
    return data


@pytest.fixture(scope="module")
def client(pushing, played, toy_data):
    runs = {
        "push": Served("push", shipped("push"), pushing, "cpu"),
        "toy": Served("toy", played, toy_data, "cpu"),
    }
    with TestClient(make_app(runs, ServeOptions("testserver")), raise_server_exceptions=False) as c:
        yield c


def begun(client, **wanted):
    return client.post("/api/sessions", json={"run": "push", "sequence": 0, "samples": 2} | wanted)


class Stepping:
    """A session's socket."""

    def __init__(self, client, session):
        self.context = client.websocket_connect(f"/api/sessions/{session}/steps")
        self.socket, self.number = self.context.__enter__(), 0

    def step(self, origin, action):
        self.number += 1
        asked = {"type": "step", "id": self.number, "from": origin, "action": action}
        self.socket.send_text(json.dumps(asked))
        answer = self.socket.receive_bytes()
        _, _, node, _, count, height, width, _ = HEADER.unpack_from(answer)
        pictures = np.frombuffer(answer, np.uint8, offset=HEADER.size)
        return node, count, pictures.reshape(-1, height, width, 3)

    def close(self):
        self.context.__exit__(None, None, None)


@pytest.fixture
def stepping(client):
    opened = []

    def of(session):
        opened.append(Stepping(client, session))
        return opened[-1]

    yield of
    for one in opened:
        one.close()


def test_the_simulator_beside_shows_what_was_recorded(client, stepping):
    """Under the recorded actions it is the recording, but for the sensor's noise."""
    session = begun(client, both=True).json()
    assert session["both"]
    recorded = simulate_sequence(0, 2, 0)
    socket, node = stepping(session["session"]), 0
    for t in range(1, 6):
        node, count, pictures = socket.step(node, recorded.actions[t].tolist())
        assert count == 2
        assert len(pictures) == 3
        apart = np.abs(pictures[2].astype(float) - recorded.frames[t + 1])
        assert apart.mean() < 4  # two noises of 2.55 levels
        assert apart.max() < 40


def test_both_go_back_together(client, stepping):
    session = begun(client, both=True).json()["session"]
    socket = stepping(session)
    first, _, there = socket.step(0, HOLD)
    second, _, then = socket.step(first, HOLD)
    _, _, otherwise = socket.step(first, [-x for x in HOLD])
    assert np.abs(then[2].astype(int) - otherwise[2]).mean() > 1
    np.testing.assert_array_equal(socket.step(first, HOLD)[2], then)
    np.testing.assert_array_equal(socket.step(0, HOLD)[2], there)
    assert second != first


def test_only_the_simulators_own_sequences_are_driven_beside(client):
    described = {run["run"]: run["simulated"] for run in client.get("/api/runs").json()}
    assert described == {"push": True, "toy": False}
    refused = client.post("/api/sessions", json={"run": "toy", "sequence": 0, "both": True})
    assert refused.status_code == 422
    assert "simulator" in refused.json()["reason"]


def test_data_that_were_simulated_otherwise_are_noticed(client, pushing):
    """A dataset that says it is another one: the scenes are not those that were recorded."""
    told = json.loads((pushing / "dataset.json").read_text())
    (pushing / "dataset.json").write_text(json.dumps({**told, "seed": 7}))
    try:
        other = Served("push", shipped("push"), pushing, "cpu")
        with TestClient(make_app({"push": other}, ServeOptions("testserver"))) as client:
            refused = begun(client, both=True)
    finally:
        (pushing / "dataset.json").write_text(json.dumps(told))
    assert refused.status_code == 409
    assert "does not show what was recorded" in refused.json()["reason"]


def things(client, session):
    """Shares of the picture at which the objects of test sequence 0 are in the given frames."""
    return simulate_sequence(0, 2, 0).tracks()[1].reshape(-1, 2)


def planned(client, session, **wanted):
    return client.post("/api/plans", json={"session": session, "node": 0, **wanted})


def test_a_plan_brings_the_object_nearer_in_the_imagination(client):
    session = begun(client, samples=1).json()["session"]
    places = things(client, session)
    reached = []
    for thing in places[~np.isnan(places).any(1)][:3]:
        goal = np.clip(thing + 0.15 * np.sign(0.5 - thing), 0.1, 0.9)
        answer = planned(client, session, thing=thing.tolist(), goal=goal.tolist(), steps=10)
        assert answer.status_code == 200, answer.text
        made = answer.json()
        paths = np.array(made["paths"])
        assert paths.shape == (9, 11, 2)
        assert np.array(made["actions"]).shape == (10, 4)
        away = np.linalg.norm(paths[:, [0, -1]] - goal, axis=2)
        assert away[0, 1] <= away[1:, 1].min() + 1e-4  # the plan's, of all that are shown
        reached.append(away[0, 1] < 0.7 * away[0, 0])
        frames = np.frombuffer(base64.b64decode(made["frames"]), np.uint8)
        assert frames.reshape(made["shape"]).shape == (9, 64, 64, 3)
    assert any(reached)


def test_the_plan_is_what_is_then_played(client, stepping):
    """Its last frame is the one that its actions lead to, step by step."""
    for run, goal in (("push", None), ("toy", None)):
        session = begun(client, run=run).json()["session"]
        recording = client.get(f"/api/runs/{run}/sequences/1/frames.bin")
        goal = base64.b64encode(recording.content[: 64 * 64 * 3]).decode()
        answer = planned(client, session, picture=goal, steps=4)
        assert answer.status_code == 200, answer.text
        made = answer.json()
        assert made["paths"] == []
        frames = np.frombuffer(base64.b64decode(made["frames"]), np.uint8).reshape(made["shape"])
        socket, node = stepping(session), 0
        for action in made["actions"]:
            node, _, pictures = socket.step(node, action)
        assert np.abs(pictures[0].astype(int) - frames[0]).max() <= 1
        again = planned(client, session, picture=goal, steps=4).json()
        assert again["actions"] == made["actions"]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"thing": [0.5, 0.5]}, "either picture"),
        ({"picture": "AAAA", "thing": [0.5, 0.5], "goal": [0.5, 0.5]}, "either picture"),
        ({"picture": "AAAA"}, "3 bytes"),
        ({"picture": "?"}, "base64"),
        ({"thing": [0.02, 0.02], "goal": [0.5, 0.5]}, "no object there"),
        ({"thing": [1.5, 0.5], "goal": [0.5, 0.5]}, "thing"),
        ({"node": 9, "thing": [0.5, 0.5], "goal": [0.5, 0.5]}, "none of that number"),
        ({"thing": [0.5, 0.5], "goal": [0.5, 0.5], "steps": 99}, "steps"),
    ],
)
def test_senseless_goals_are_refused_in_a_line(client, wanted, reason):
    session = begun(client).json()["session"]
    answer = planned(client, session, **wanted)
    assert answer.status_code in (404, 422)
    assert reason in answer.json()["reason"]
    assert "\n" not in answer.json()["reason"]


def test_a_goal_outside_the_bin_is_refused(client):
    session = begun(client, both=True).json()["session"]
    places = things(client, session)
    thing = places[~np.isnan(places).any(1)][0].tolist()
    answer = planned(client, session, thing=thing, goal=[0.01, 0.01])
    assert answer.status_code == 422
    assert "outside the bin" in answer.json()["reason"]


def test_the_shipped_model_is_played_without_any_data(tmp_path, monkeypatch):
    """Scenes of the simulator's test split stand in for recordings that are not here."""
    monkeypatch.chdir(tmp_path)
    served = Served("push", shipped("push"), None, "cpu")
    assert "scenes of the simulator's test split are offered" in served.notes[0]
    with TestClient(make_app({"push": served}, ServeOptions("testserver"))) as client:
        run = client.get("/api/runs").json()[0]
        assert run["sequences"] == 24
        assert run["simulated"]
        listed = client.get("/api/runs/push/sequences?limit=3").json()["items"]
        assert [one["frames"] for one in listed] == [30, 30, 30]
        picture = client.get("/api/runs/push/sequences/3/thumbnail.png")
        first = np.asarray(Image.open(io.BytesIO(picture.content)))
        expected = simulate_sequence(0, 2, 3)
        np.testing.assert_array_equal(first, expected.frames[0])
        rows = client.get("/api/runs/push/sequences/3/actions").json()
        np.testing.assert_allclose(rows["actions"], expected.actions, rtol=1e-6)
        assert begun(client, both=True).json()["both"]
        assert client.get("/api/runs/push/sequences/24/thumbnail.png").status_code == 404


def test_play_opens_the_page_in_the_browser(monkeypatch):
    opened, listening = [], threading.Event()

    def served(runs, options, *, log, ready):
        ready("http://127.0.0.1:8642/?token=12345678")
        listening.set()

    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("foreframe.serve.listen.listen", served)
    main(["play"])
    assert listening.is_set()
    deadline = time.monotonic() + 5
    while not opened and time.monotonic() < deadline:
        time.sleep(0.01)
    assert opened == ["http://127.0.0.1:8642/?token=12345678"]
    main(["play", "--no-browser"])
    time.sleep(0.1)
    assert len(opened) == 1


def test_play_of_nothing_is_an_error_in_a_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["play", "nothing-of-this-name"])
    assert ended.value.code == 2
    assert "nothing-of-this-name" in capsys.readouterr().err
