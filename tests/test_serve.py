"""The playground's service: what it answers, and what it refuses."""

import base64
import io
import json
import shutil
import socket
import struct
import threading
import time
import zipfile

import av
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from foreframe import VideoCVAE
from foreframe.commands.app import main
from foreframe.data.lab import read_sequence, write_sequence
from foreframe.data.recording import Recording
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.serve import directions
from foreframe.serve.app import make_app
from foreframe.serve.listen import listen
from foreframe.serve.moments import Session
from foreframe.serve.options import Limits, ServeOptions, is_local
from foreframe.serve.served import Served

HEADER = struct.Struct("<8I")
LEFT, RIGHT = [-4.0, 0.0, 0.0, 0.0], [4.0, 0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def served(played, toy_data) -> Served:
    return Served("toy", played, toy_data, "cpu")


@pytest.fixture
def make(served):
    """Applications with limits of their own, and clients of them."""
    opened = []

    def client(token=None, host="testserver", **limits) -> TestClient:
        options = ServeOptions(host, token=token, limits=Limits(**limits))
        app = make_app({"toy": served}, options)
        made = TestClient(app, raise_server_exceptions=False)
        made.__enter__()
        opened.append(made)
        return made

    yield client
    for made in opened:
        made.__exit__(None, None, None)


@pytest.fixture
def client(make):
    return make(requests_per_second=10_000)


def begin(client, **wanted):
    answer = client.post("/api/sessions", json={"run": "toy", "sequence": 0, **wanted})
    assert answer.status_code == 201, answer.text
    return answer.json()["session"]


def ask(steps, origin, action=None, number=7, **more):
    steps.send_json({"type": "step", "id": number, "from": origin, "action": action, **more})


def step(steps, origin, action=None, **more):
    """The new moment and its frames [K, H, W, 3]."""
    ask(steps, origin, action, **more)
    answer = steps.receive_bytes()
    magic, number, node, t, count, height, width, micros = HEADER.unpack_from(answer)
    assert (magic, number) == (0x46464D31, 7)
    assert t > 0
    assert micros > 0
    frames = np.frombuffer(answer, np.uint8, offset=HEADER.size)
    return node, frames.reshape(count, height, width, 3)


def walk(client, session, actions, **more):
    node, made = 0, []
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        for action in actions:
            node, frames = step(steps, node, action, **more)
            made.append(frames)
    return node, np.stack(made)


# -- what it shows --------------------------------------------------------------------------------


def test_a_run_is_described(client, served):
    (run,) = client.get("/api/runs").json()
    assert (run["run"], run["net"], run["n_past"], run["sequences"]) == ("toy", "dcgan64", 2, 3)
    assert len(run["actions"]) == 4
    assert len(run["positions"]) == 3
    assert run["positions_rolled"]
    assert run["playable"]
    assert run["actions"][0]["low"] == -4.0
    assert abs(sum(served.weights().directions.shares) - 1) < 1e-6
    assert len(run["z_directions"]) == 4


def test_recordings_are_shown(client, served):
    listed = client.get("/api/runs/toy/sequences", params={"offset": 1, "limit": 1}).json()
    assert listed["total"] == 3
    assert [item["sequence"] for item in listed["items"]] == [1]
    answer = client.get("/api/runs/toy/sequences/1/frames.bin")
    assert answer.headers["x-shape"] == "14,64,64,3"
    recorded = served.test[1]
    assert answer.content == recorded.frames.tobytes()
    rows = client.get("/api/runs/toy/sequences/1/actions").json()
    np.testing.assert_array_equal(np.float32(rows["actions"]), recorded.actions)
    picture = Image.open(io.BytesIO(client.get("/api/runs/toy/sequences/1/thumbnail.png").content))
    np.testing.assert_array_equal(np.asarray(picture), recorded.frames[0])
    assert client.get("/api/runs/toy/sequences/3/frames.bin").status_code == 404


def test_a_training_can_be_watched(client, played):
    first = client.get("/api/runs/toy/history")
    history = first.json()
    assert history["epochs"] == 2
    assert not history["running"]
    saved = json.loads((played / "history.json").read_text())
    assert [row["mse"] for row in history["rows"]] == [row["mse"] for row in saved]
    again = client.get("/api/runs/toy/history", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


def test_a_training_without_a_model_is_shown_and_not_played(played, toy_data, tmp_path):
    young = tmp_path / "young"
    young.mkdir()
    (young / "run.json").write_text((played / "run.json").read_text())
    options = ServeOptions("testserver")
    app = make_app({"young": Served("young", young, toy_data, "cpu")}, options)
    with TestClient(app) as client:
        (run,) = client.get("/api/runs").json()
        assert not run["playable"]
        assert client.get("/api/runs/young/history").json()["running"]
        answer = client.post("/api/sessions", json={"run": "young", "sequence": 0})
        assert answer.status_code == 409
        assert "no model yet" in answer.json()["reason"]


# -- steps ----------------------------------------------------------------------------------------


def test_replaying_the_recording_gives_what_generate_gives(client, served):
    """The same as from Python, noise and all: the service adds nothing of its own."""
    recorded = served.test[0]
    session = begin(client, samples=2, seed=5)
    rows = recorded.actions[1:9]
    positions = recorded.positions[1:9]
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        node, made = 0, []
        for action, position in zip(rows, positions, strict=True):
            node, frames = step(steps, node, action.tolist(), position=position.tolist())
            made.append(frames)
    model = VideoCVAE.from_pretrained(served.run)
    z = model.config.z_dim
    noise = [np.random.default_rng((5, 0, 1)).standard_normal((2, 1, z), np.float32)[:, 0]]
    noise += [
        np.random.default_rng((5, t)).standard_normal((2, z), np.float32) for t in range(1, 9)
    ]
    expected = model.generate(
        torch.from_numpy(recorded.frames[:2].copy()).permute(0, 3, 1, 2)[None],
        torch.from_numpy(recorded.actions.copy())[None],
        torch.from_numpy(recorded.positions.copy())[None],
        noise=torch.from_numpy(np.stack(noise, 1))[None],
        n_samples=2,
        n_future=8,
    )[0]
    expected = expected.mul(255).round().byte().permute(1, 0, 3, 4, 2).numpy()
    np.testing.assert_array_equal(np.stack(made), expected)


def test_actions_and_seeds_change_the_frames_and_nothing_else_does(client):
    ways = {
        "left": walk(client, begin(client, seed=1), [LEFT] * 4)[1],
        "left again": walk(client, begin(client, seed=1), [LEFT] * 4)[1],
        "right": walk(client, begin(client, seed=1), [RIGHT] * 4)[1],
        "another seed": walk(client, begin(client, seed=2), [LEFT] * 4)[1],
    }
    np.testing.assert_array_equal(ways["left"], ways["left again"])
    for other in ("right", "another seed"):
        assert np.abs(ways["left"].astype(int) - ways[other]).max() > 3, other


def test_the_first_future_is_the_same_beside_others(client):
    alone = walk(client, begin(client, samples=1), [RIGHT] * 3)[1]
    beside = walk(client, begin(client, samples=5), [RIGHT] * 3)[1]
    assert beside.shape[1] == 5
    assert np.abs(alone[:, 0].astype(int) - beside[:, 0]).max() <= 1  # rounding of another batch
    assert np.abs(beside[:, 0].astype(int) - beside[:, 1]).max() > 3


def test_going_back_and_branching(client):
    session = begin(client)
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        first, _ = step(steps, 0, LEFT)
        second, once = step(steps, first, LEFT)
        _, other = step(steps, first, RIGHT)
        branch, again = step(steps, first, LEFT)
        assert branch != second
        np.testing.assert_array_equal(once, again)
        assert np.abs(once.astype(int) - other).max() > 3


def test_a_dropped_socket_goes_on_where_it_was(client):
    session = begin(client)
    node, made = walk(client, session, [LEFT] * 2)
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        _, third = step(steps, node, LEFT)
    _, whole = walk(client, begin(client), [LEFT] * 3)
    np.testing.assert_array_equal(whole, np.concatenate([made, third[None]]))


def test_a_state_with_places_is_played_and_branches(toy_data, tmp_path):
    """As from Python; its latent is drawn once, at the beginning: there is nothing to turn."""
    main(
        f"train demo --data {toy_data} --out {tmp_path / 'run'} --width 0.25 --g-dim 16 --z-dim 64 "
        "--rnn-size 8 --things 3 --epochs 2 --arm-epochs 1 --steps-per-epoch 1 --batch-size 2 "
        "--n-future 6 --device cpu".split()
    )
    served = Served("places", tmp_path / "run", toy_data, "cpu")
    recorded = served.test[0]
    options = ServeOptions("testserver", limits=Limits(requests_per_second=10_000))
    with TestClient(make_app({"toy": served}, options)) as client:
        (run,) = client.get("/api/runs").json()
        assert (run["recipe"], run["net"], run["z_directions"]) == ("demo", "places64", [])
        assert run["prior"] == "learned"
        session = begin(client, samples=3, seed=5)
        _, made = walk(client, session, recorded.actions[1:5].tolist())
        with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
            _, again = step(steps, 0, recorded.actions[1].tolist())
            ask(steps, 0, LEFT, z={"mode": "directions", "values": [1.0]})
            assert "draws it once" in steps.receive_json()["reason"]
        taken = float(client.get("/metrics").text.split("foreframe_state_bytes ")[-1].split()[0])
    np.testing.assert_array_equal(again, made[0])
    assert taken > 6 * 3 * 3 * 64 * 64 * 4  # six moments of three frames, and their states
    noise = torch.zeros(1, 3, 5, 64)
    drawn = np.random.default_rng((5, 0, 1)).standard_normal((3, 1, 64), np.float32)
    noise[0, :, :1] = torch.from_numpy(drawn)
    expected = VideoCVAE.from_pretrained(served.run).generate(
        torch.from_numpy(recorded.frames[:2].copy()).permute(0, 3, 1, 2)[None],
        torch.from_numpy(recorded.actions[:6].copy())[None],
        noise=noise,
        n_samples=3,
    )[0]
    expected = expected.mul(255).round().byte().permute(1, 0, 3, 4, 2).numpy()
    assert np.abs(made.astype(int) - expected).max() <= 1  # together or one by one: the last bit


def test_the_latent_is_chosen(client, monkeypatch):
    """A z that is given whole is not drawn: other noise leads to the very same frames.

    Futures differ even then, in what was drawn for z while the given frames were seen.
    """
    session = begin(client, samples=3)
    pinned = {"mode": "directions", "values": [2.0, 0.0, 0.0, 0.0]}
    half = {"mode": "directions", "values": [2.0, None]}
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        _, frames = step(steps, 0, LEFT, z=pinned)
        _, less = step(steps, 0, LEFT, z={"mode": "directions", "values": [-2.0, 0, 0, 0]})
        assert np.abs(frames.astype(int) - less).max() > 3
        _, some = step(steps, 0, LEFT, z=half)
        fixed, _ = step(steps, 0, LEFT, z={"mode": "fixed"})
        ask(steps, fixed, LEFT, z={"mode": "directions", "values": [0.0] * 5})
        assert "directions" in steps.receive_json()["reason"]
        noise = Session.noise
        monkeypatch.setattr(Session, "noise", lambda self, t: -noise(self, t))
        _, again = step(steps, 0, LEFT, z=pinned)
        np.testing.assert_array_equal(frames, again, "nothing is left to chance")
        _, other = step(steps, 0, LEFT, z=half)
        assert np.abs(some.astype(int) - other).max() > 0


def test_futures_of_one_past_differ_in_drawn_z_alone(served):
    """With the same z for the given frames, a chosen z makes all futures one."""
    recorded = served.test[0]
    given = {"actions": recorded.actions[:2].copy(), "positions": recorded.positions[:2].copy()}
    session = Session("x", served, served.weights(), recorded.frames[:2].copy(), given, 3, 0)
    draws = session.begun().memory.predictor[0]
    assert (draws[:, 0] - draws[:, 1]).abs().max() > 0
    model = session.weights.model
    now = model.begin(
        torch.from_numpy(session.given).permute(0, 3, 1, 2)[None],
        *(torch.from_numpy(given[part])[None] for part in ("actions", "positions")),
        n_samples=3,
        noise=torch.zeros(1, 3, 1, model.config.z_dim),
    )
    rows = [torch.tensor([LEFT]), torch.from_numpy(given["positions"][1:])]
    z = session.weights.directions.place([2.0, 0.0, 0.0, 0.0], session.noise(1))
    frames, _ = model.step(now, *rows, z=z[None])
    # To the last bit or two: some CPUs compute the rows of a batch in different orders.
    torch.testing.assert_close(frames[0, 0], frames[0, 1], rtol=0, atol=2e-7)
    noise = torch.randn(1, 3, model.config.z_dim, generator=torch.Generator().manual_seed(0))
    drawn, _ = model.step(now, *rows, noise=noise)
    assert (drawn[0, 0] - drawn[0, 1]).abs().max() > 1e-5


def test_a_session_keeps_its_weights_and_their_directions(played, toy_data, tmp_path):
    """A training that goes on writes better weights; who plays does not feel it."""
    run = shutil.copytree(played, tmp_path / "run")
    served = Served("toy", run, toy_data, "cpu")
    pinned = {"mode": "directions", "values": [2.0, -1.0, 0.5, 0.0]}
    with TestClient(make_app({"toy": served}, ServeOptions("testserver"))) as client:
        session = begin(client)
        with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
            _, before = step(steps, 0, LEFT, z=pinned)
            model = VideoCVAE.from_pretrained(run)
            with torch.no_grad():
                model.posterior.mu.bias.add_(3.0)
                model.decoder.head[1].weight.mul_(-1)
            model.save_pretrained(run)
            newer = begin(client)
            with client.websocket_connect(f"/api/sessions/{newer}/steps") as others:
                _, after = step(others, 0, LEFT, z=pinned)
            assert np.abs(before.astype(int) - after).max() > 3
            _, again = step(steps, 0, LEFT, z=pinned)
    np.testing.assert_array_equal(before, again)


def test_directions_are_computed_in_the_engines_thread_once(
    played, toy_data, tmp_path, monkeypatch
):
    threads, computed = [], directions.principal_directions

    def watched(model, store):
        threads.append(threading.current_thread().name)
        return computed(model, store)

    monkeypatch.setattr(directions, "principal_directions", watched)
    app = make_app({"toy": Served("toy", played, toy_data, "cpu")}, ServeOptions("testserver"))
    with TestClient(app) as client:
        assert len(client.get("/api/runs").json()[0]["z_directions"]) == 4
        walk(client, begin(client), [LEFT] * 2, z={"mode": "directions", "values": [1.0]})
    assert threads == ["foreframe-engine"]


def test_positions_follow_from_actions(client, served):
    """What is not given is rolled forward: the same as giving what the kinematics say."""
    recorded = served.test[0]
    _, rolled = walk(client, begin(client), [RIGHT] * 3)
    position, said = recorded.positions[1], []
    for _ in range(3):
        said.append(position.tolist())
        position = served.kinematics.next(position, np.float32(RIGHT)).astype(np.float32)
    session = begin(client)
    node, made = 0, []
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        for place in said:
            node, frames = step(steps, node, RIGHT, position=place)
            made.append(frames)
        _, elsewhere = step(steps, 0, RIGHT, position=[50.0, 50.0, 0.0])
    np.testing.assert_array_equal(rolled, np.stack(made))
    assert np.abs(rolled[0].astype(int) - elsewhere).max() > 3


def test_many_sessions_at_once_are_each_as_if_alone(make):
    """Steps of several that wait together are taken as one batch."""
    from concurrent.futures import ThreadPoolExecutor

    client = make(requests_per_second=10_000, steps_per_second=10_000)

    def play(seed):
        actions = [LEFT if (seed + i) % 3 else RIGHT for i in range(12)]
        return walk(client, begin(client, seed=seed, sequence=seed % 3), actions)[1]

    alone = [play(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(play, range(6)))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 2  # rounding of another batch
    text = client.get("/metrics").text
    counts = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
    assert float(counts["foreframe_steps_total"]) == 2 * 6 * 12
    assert float(counts["foreframe_batches_total"]) < 2 * 6 * 12, "none was joined"
    assert float(counts["foreframe_sessions"]) == 12


def test_a_forgotten_moment_is_replayed_from_the_first(make, served):
    """Memory is bounded: with room for two moments, the first of them cannot be stepped from."""
    client = make(state_megabytes=0.4)
    session = begin(client)
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        nodes = [0]
        for _ in range(12):
            node, _ = step(steps, nodes[-1], LEFT)
            nodes.append(node)
        ask(steps, nodes[1], RIGHT)
        answer = steps.receive_json()
        assert answer["gone"]
        assert "replay" in answer["reason"]
        step(steps, 0, LEFT)  # the first moment is kept
    taken = float(client.get("/metrics").text.split("foreframe_state_bytes ")[-1].split()[0])
    assert taken <= 0.4 * 2**20


# -- files ----------------------------------------------------------------------------------------


def test_what_was_seen_is_saved(client, served, tmp_path):
    session = begin(client, samples=2)
    node, made = walk(client, session, [RIGHT] * 5)
    address = f"/api/sessions/{session}/export?node={node}"
    gif = Image.open(io.BytesIO(client.get(address + "&format=gif").content))
    assert gif.n_frames == 2 + 5
    assert client.get(address + "&format=mp4").content[4:8] == b"ftyp"
    with av.open(io.BytesIO(client.get(address + "&format=mp4").content)) as video:
        pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(pictures) == 7
    last = pictures[-1][2:256:4, 2:256:4].astype(float)
    assert np.abs(last - made[-1, 0]).mean() < 12
    archive = zipfile.ZipFile(io.BytesIO(client.get(address + "&format=lab").content))
    archive.extractall(tmp_path)
    for k in range(2):
        folder = tmp_path / "imagined" / "test" / "traj_0_to_255.tfrecords" / str(k)
        sequence = read_sequence(folder)
        np.testing.assert_array_equal(sequence.frames[2:], made[:, k])
        np.testing.assert_array_equal(sequence.frames[:2], served.test[0].frames[:2])
        np.testing.assert_array_equal(sequence.actions[1:6], np.float32([RIGHT] * 5))
        np.testing.assert_array_equal(sequence.actions[0], served.test[0].actions[0])
        assert len(sequence.positions) == 7
    assert client.get(f"/api/sessions/{session}/export?node=99").status_code == 404


def test_what_is_exported_is_imported(client, served, tmp_path, capsys):
    session = begin(client, samples=2)
    node, made = walk(client, session, [RIGHT] * 5)
    content = client.get(f"/api/sessions/{session}/export?node={node}&format=lab").content
    zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path)
    with pytest.raises(SystemExit):  # there is nothing in it to train on
        main(["check", str(tmp_path / "imagined"), "--out", str(tmp_path / "checked")])
    text = capsys.readouterr().out
    assert "test           2      14  7 / 7 / 7  64x64" in text
    assert "train: is missing" in text
    main(["import", "lab", str(tmp_path / "imagined"), str(tmp_path / "store"), "--workers", "1"])
    store = Store(tmp_path / "store" / "test")
    assert len(store) == 2
    for k in range(2):
        np.testing.assert_array_equal(store[k].frames[2:], made[:, k])
        np.testing.assert_array_equal(store[k].actions[1:6], np.float32([RIGHT] * 5))


@pytest.mark.parametrize("rate", [2.5, 10.0, 30.0])
def test_files_play_at_the_recordings_rate(played, toy_data, tmp_path, rate):
    words = ["--recorded-rate", str(rate), "--workers", "1"]
    main(["import", "lab", str(toy_data), str(tmp_path / "store"), *words])
    served = Served("toy", played, tmp_path / "store", "cpu")
    with TestClient(make_app({"toy": served}, ServeOptions("testserver"))) as client:
        assert client.get("/api/runs").json()[0]["frame_rate"] == rate
        session = begin(client)
        node, _ = walk(client, session, [LEFT] * 3)
        address = f"/api/sessions/{session}/export?node={node}&format="
        gif = Image.open(io.BytesIO(client.get(address + "gif").content))
        assert gif.info["duration"] == pytest.approx(1000 / rate, abs=10)  # GIF counts hundredths
        with av.open(io.BytesIO(client.get(address + "mp4").content)) as video:
            assert float(video.streams.video[0].average_rate) == rate


def png(frame):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def csv(rows):
    return "\n".join(",".join(str(value) for value in row) for row in rows).encode()


def test_an_upload_is_played(client, served):
    recorded = served.test[2]
    files = [("frames", (f"{t}.png", png(frame))) for t, frame in enumerate(recorded.frames)]
    files = files[::-1]  # the order is that of the names
    files += [("actions", ("a.csv", csv(recorded.actions)))]
    files += [("positions", ("p.csv", csv(recorded.positions)))]
    answer = client.post("/api/uploads", files=files).json()
    assert (answer["frames"], answer["actions"], answer["size"]) == (14, 14, [64, 64])
    name = answer["upload"]
    assert client.get(f"/api/uploads/{name}/frames.bin").content == recorded.frames.tobytes()
    own = walk(client, begin(client, sequence=None, upload=name), [LEFT] * 3)[1]
    same = walk(client, begin(client, sequence=2), [LEFT] * 3)[1]
    np.testing.assert_array_equal(own, same)


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_a_video_without_numbers_is_played(client, served, kind, tmp_path):
    frames = np.asarray(served.test[0].frames).repeat(2, 1).repeat(2, 2)
    if kind == "gif":
        pictures = [Image.fromarray(frame) for frame in frames]
        file = io.BytesIO()
        pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:])
        content = file.getvalue()
    else:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 128
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        content = file.getvalue()
    answer = client.post("/api/uploads", files=[("frames", (f"x.{kind}", content))])
    assert answer.status_code == 200, answer.text
    assert answer.json()["frames"] == 14
    walk(client, begin(client, sequence=None, upload=answer.json()["upload"]), [LEFT])


BOMB = np.zeros((3000, 3000, 3), np.uint8)


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ([("frames", ("a.png", b""))], 422, "empty"),
        ([("frames", ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40)))], 422, "a.png"),
        ([("frames", ("a.png", png(BOMB)))], 413, "pixels"),
        ([("frames", ("x.mp4", b"no video at all" * 50))], 422, "x.mp4"),
        ([("frames", (f"{t}.png", png(BOMB[:8, :8]))) for t in range(41)], 413, "40 are the most"),
        (
            [("frames", ("a.png", png(BOMB[:8, :8]))), ("actions", ("a.csv", b"1,2\n3"))],
            422,
            "columns",
        ),
        (
            [("frames", ("a.png", png(BOMB[:8, :8]))), ("actions", ("a.csv", b"1,2\n3,nan\n1,1"))],
            422,
            "finite",
        ),
        (
            [("frames", ("a.png", png(BOMB[:8, :8]))), ("actions", ("a.csv", b"\xff\xfe\x00"))],
            422,
            "text",
        ),
        ([("frames", ("../../etc/x.png", png(BOMB[:8, :8]) + b"x" * 300_000))], 413, "larger"),
    ],
)
def test_uploads_that_are_refused(make, files, status, words):
    client = make(upload_megabytes=0.2, upload_frames=40)
    answer = client.post("/api/uploads", files=files)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["reason"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40)),
        ("a.jpg", b"\xff\xd8\xff nothing more"),
        ("notes.txt", b"no video at all" * 50),
        ("x.mp4", b"\0\0\0\x18ftypmp42" + bytes(90)),
    ],
    ids=["png", "jpeg", "text", "video"],
)
def test_a_refusal_of_an_upload_is_in_words(client, name, content):
    answer = client.post("/api/uploads", files=[("frames", (name, content))])
    assert answer.status_code == 422
    reason = answer.json()["reason"]
    assert reason.startswith(f"{name}: ")
    for part in ("Errno", "None", "object at", "<", "None"):
        assert part not in reason, reason


def test_a_short_upload_is_refused_when_it_is_played(client):
    files = [("frames", ("a.png", png(BOMB[:64, :64])))]
    name = client.post("/api/uploads", files=files).json()["upload"]
    answer = client.post("/api/sessions", json={"run": "toy", "upload": name})
    assert answer.status_code == 422
    assert "2 frames are needed" in answer.json()["reason"]


# -- predictions ----------------------------------------------------------------------------------


def test_predict(client, served):
    recorded = served.test[0]
    wanted = {
        "run": "toy",
        "frames": base64.b64encode(recorded.frames[:2].tobytes()).decode(),
        "actions": recorded.actions[:7].tolist(),
        "samples": 2,
        "seed": 4,
    }
    answer = client.post("/api/predict", json=wanted)
    assert answer.status_code == 200, answer.text
    shape = answer.json()["shape"]
    assert shape == [2, 6, 64, 64, 3]
    made = np.frombuffer(base64.b64decode(answer.json()["frames"]), np.uint8).reshape(shape)
    # The same as by hand; positions of the given frames are not known there either.
    wanted["actions"] = (-recorded.actions[:7]).tolist()
    other = client.post("/api/predict", json=wanted).json()["frames"]
    other = np.frombuffer(base64.b64decode(other), np.uint8).reshape(shape)
    assert np.abs(made.astype(int) - other).max() > 3
    assert float(client.get("/metrics").text.split("foreframe_sessions ")[-1].split()[0]) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": "!!!"}, "base64"),
        ({"frames": "AAAA"}, "3 bytes"),
        ({"actions": None}, "actions"),
        ({"actions": [[1.0, 2.0]] * 9}, "takes 4"),
        ({"actions": [[1.0], [1.0, 2.0]]}, "one width"),
        ({"n_future": 20}, "need 21"),
        ({"samples": 17}, "16 are the most"),
        ({"actions": [[1e300] * 4] * 9}, "actions"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_predictions_that_are_refused(client, served, changes, words):
    recorded = served.test[0]
    wanted = {
        "run": "toy",
        "frames": base64.b64encode(recorded.frames[:2].tobytes()).decode(),
        "actions": recorded.actions[:7].tolist(),
        **changes,
    }
    answer = client.post("/api/predict", json=wanted)
    assert 400 <= answer.status_code < 500, answer.text
    assert words in answer.json()["reason"]


# -- bounds ---------------------------------------------------------------------------------------


def test_mistakes_in_messages_are_forgiven_and_floods_are_not(make):
    client = make(steps_per_second=60)
    session = begin(client)
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        for text in ("{", "[]", '{"type":"step"}', '{"type":"jump","id":1,"from":0}', "null"):
            steps.send_text(text)
            assert steps.receive_json()["type"] == "error"
        for action in ([1.0], [1.0] * 5, [float("inf")] * 4):
            steps.send_text(json.dumps({"type": "step", "id": 3, "from": 0, "action": action}))
            assert "reason" in steps.receive_json()
        step(steps, 0, LEFT)
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        steps.send_bytes(b"\x00\x01")
        with pytest.raises(WebSocketDisconnect):
            steps.receive_bytes()
    with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
        for _ in range(200):
            steps.send_text("{")
        while (answer := steps.receive())["type"] != "websocket.close":
            assert json.loads(answer["text"])["type"] == "error"
        assert answer["code"] == 1008
    with client.websocket_connect("/api/sessions/none-such/steps") as steps:
        assert steps.receive_json()["gone"]


def test_a_thousand_sessions_opened_and_dropped(make, monkeypatch):
    client = make(sessions_max=8, requests_per_second=100_000)
    monkeypatch.setattr("foreframe.serve.sessions._QUIET_SECONDS", 0.0)
    for i in range(1000):
        session = begin(client, seed=i)
        if i % 10 == 0:
            with client.websocket_connect(f"/api/sessions/{session}/steps") as steps:
                ask(steps, 0, LEFT)  # and gone before the answer
    text = client.get("/metrics").text
    assert float(text.split("foreframe_sessions ")[-1].split()[0]) == 8
    assert float(text.split("foreframe_state_bytes ")[-1].split()[0]) < 8 * 2e6
    assert walk(client, begin(client), [LEFT] * 2)[0] == 2
    assert client.get("/healthz").json()["status"] == "ok"


def test_sessions_are_bounded_and_expire(make):
    client = make(sessions_max=2, session_minutes=0.005)
    first = begin(client)
    with client.websocket_connect(f"/api/sessions/{first}/steps") as one:
        step(one, 0, LEFT)
        begin(client)
        full = client.post("/api/sessions", json={"run": "toy", "sequence": 0})
        assert full.status_code == 429
        time.sleep(0.5)  # the other has expired; the one with a socket stays
        begin(client)
        step(one, 0, LEFT)
    time.sleep(0.5)
    assert client.get(f"/api/sessions/{first}/export?node=0").status_code == 404


def test_a_session_that_was_ended_is_gone(client):
    session = begin(client)
    assert client.delete(f"/api/sessions/{session}").status_code == 204
    assert client.get(f"/api/sessions/{session}/export?node=0").status_code == 404


def test_requests_are_bounded(make):
    client = make(requests_per_second=5)
    answers = [client.get("/api/runs").status_code for _ in range(30)]
    assert answers[0] == 200
    assert answers[-1] == 429
    client = make(body_megabytes=0.002)
    answer = client.post("/api/predict", content=b" " * 5000)
    assert answer.status_code == 413

    assert client.get("/healthz").status_code == 200


@pytest.fixture
def live(served):
    """The service behind a real socket: its port."""
    import uvicorn

    limits = Limits(body_megabytes=0.05, upload_megabytes=0.1, body_seconds=1.0)
    app = make_app({"toy": served}, ServeOptions("x", limits=limits))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def send(port, parts, pause=0.0):
    """What is answered to bytes that come in parts; sending stops when the service hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except OSError:
            pass
        try:
            return connection.recv(65536)
        except OSError:
            return b"closed"


HEAD = b"POST /api/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n"


@pytest.mark.parametrize("path", [b"predict", b"sessions", b"uploads"])
def test_endless_and_slow_bodies_end(live, path):
    kind = b"multipart/form-data; boundary=b" if path == b"uploads" else b"application/json"
    head = HEAD.replace(b"application/json", kind) % (path, b"Transfer-Encoding: chunked")
    chunk = b"2710\r\n" + b" " * 10_000 + b"\r\n"
    if path == b"uploads":
        opening = b'--b\r\nContent-Disposition: form-data; name="frames"; filename="a"\r\n\r\n'
        head += b"%x\r\n" % len(opening) + opening + b"\r\n"
    answer = send(live, [head, *[chunk] * 300])
    assert b" 413 " in answer.split(b"\r\n")[0] or answer == b"closed"
    slow = [head, *[b"1\r\n \r\n"] * 30]
    began = time.monotonic()
    answer = send(live, slow, pause=0.1)
    assert b" 408 " in answer.split(b"\r\n")[0], answer[:200]
    assert time.monotonic() - began < 8
    large = HEAD % (path, b"Content-Length: 9999999999")
    assert b" 413 " in send(live, [large]).split(b"\r\n")[0]
    assert b" 200 " in send(live, [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])


# -- who may ask ----------------------------------------------------------------------------------

TOKEN = "a-word-of-some-length"


def test_nothing_without_the_token(make):
    client = make(token=TOKEN)
    paths = ["/", "/api/runs", "/metrics", "/api/openapi.json", "/api/runs/toy/history"]
    for path in paths:
        for headers in (
            {},
            {"authorization": "Bearer wrong-word"},
            {"cookie": "foreframe-token=x"},
        ):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401, path
            assert set(answer.json()) == {"reason"}
    assert client.get(f"/?token={TOKEN}x").status_code == 401
    assert client.get("/healthz").status_code == 200
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/sessions/x/steps"):
        pass
    for path in paths:
        answer = client.get(path, headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200, path


def test_the_printed_address_lets_a_browser_in(make):
    client = make(token=TOKEN)
    answer = client.get(f"/?token={TOKEN}&x=1", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?x=1", "the token is out of sight"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=Strict" in answer.headers["set-cookie"]
    session = begin(client)  # the client keeps the cookie
    assert walk(client, session, [LEFT])[0] == 1


def test_other_pages_are_kept_out(make):
    client = make()
    session = begin(client)
    foreign = {"origin": "https://elsewhere.example"}
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(f"/api/sessions/{session}/steps", headers=foreign),
    ):
        pass
    own = {"origin": "http://testserver"}
    with client.websocket_connect(f"/api/sessions/{session}/steps", headers=own) as steps:
        step(steps, 0, LEFT)
    wanted = {"run": "toy", "sequence": 0}
    assert client.post("/api/sessions", json=wanted, headers=foreign).status_code == 403
    local = make(host="127.0.0.1")
    assert local.get("/api/runs").status_code == 421, "a name that leads here is not enough"
    for host in ("127.0.0.1:8642", "[::1]:8642", "localhost"):
        assert local.get("/api/runs", headers={"host": host}).status_code == 200


def test_every_answer_has_its_headers(client):
    for path in ("/", "/api/runs", "/none"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/%2e%2e/app.py", "/..%2fapp.py"])
def test_no_path_reaches_the_files(client, path):
    assert client.get(path).status_code in (400, 404)
    assert client.get("/api/runs/..%2f..%2fetc/history").status_code == 404


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0", "port": 0}, "--token"),
        ({"host": "127.0.0.1", "port": 0, "token": "short"}, "8 to 200"),
        ({"host": "127.0.0.1", "port": 99999}, "between 0 and 65535"),
        ({"host": "no such host", "port": 0, "token": TOKEN}, "cannot listen"),
    ],
)
def test_addresses_that_do_not_serve(served, options, words):
    with pytest.raises(ForeframeError, match=words):
        listen({"toy": served}, ServeOptions(**options))


def test_which_addresses_are_of_this_machine():
    assert [is_local(host) for host in ("localhost", "127.0.0.1", "::1")] == [True] * 3
    assert [is_local(host) for host in ("0.0.0.0", "192.168.0.4", "example")] == [False] * 3


def test_the_command_refuses_what_makes_no_sense(played, toy_data, tmp_path, capsys):
    for words, reason in (
        (["serve"], "give a run folder"),
        (["serve", str(tmp_path)], "run.json"),
        (["serve", str(played), "--data", str(tmp_path)], "no such folder"),
        (["serve", str(played), "--samples-max", "0"], "--samples-max"),
        (["serve", str(played), "--data", str(toy_data), "--host", "0.0.0.0"], "--token"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert reason in said.replace("\n", " "), said


def test_data_of_another_width_are_refused(played, tmp_path):
    for split in ("train", "validate", "test"):
        frames = np.zeros((14, 64, 64, 3), np.uint8)
        sequence = Recording(frames, np.ones((14, 2), np.float32), np.ones((14, 3), np.float32))
        write_sequence(
            tmp_path / "d" / split / "SHARD" / "0",
            sequence.frames,
            sequence.actions,
            sequence.positions,
        )
    with pytest.raises(ForeframeError, match="2 columns of actions"):
        Served("x", played, tmp_path / "d", "cpu")
