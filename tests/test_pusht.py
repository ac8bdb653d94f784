"""PushT as a second world: exact going back, the same files again, data that train."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from foreframe.commands.app import main
from foreframe.data.lab import read_sequence
from foreframe.errors import ForeframeError
from foreframe.simulator.replay import find_simulation
from foreframe.simulator.simulate import SimulateOptions, simulate
from foreframe.system.workers import Execution

pytest.importorskip("gym_pusht")

from foreframe.simulator.pusht.episode import FRAMES, record_sequence, run_sequence
from foreframe.simulator.pusht.live import SIDE, LivePushT, State
from foreframe.simulator.pusht.tee import MIDDLE, OUTLINE, coverage, placed


def write(out: Path, *, workers: int = 1, sequences: int = 3, size: int = 64) -> Path:
    options = SimulateOptions(world="pusht", sequences=sequences, seed=7, size=size)
    simulate(out, options, execution=Execution(workers=workers))
    return out


def files(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "dataset.json"
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write(tmp_path_factory.mktemp("pusht") / "small")


@pytest.mark.parametrize("number", range(4))
def test_going_back_is_exact_in_states_and_frames(number):
    """In the middle of recordings, so that the disc presses against the T in some of them."""
    course = run_sequence(0, 2, number)
    live = LivePushT(course.states[0])
    for t, action in enumerate(course.actions[:-1]):
        live.step(action.astype(np.float64))
        assert np.array_equal(live.pose(), course.states[t + 1].block)
    random = np.random.default_rng(0)
    actions = random.normal(0, 50, (6, 2))
    for t in (5, 12, 20):
        courses = []
        # The third is a scene that has seen nothing before.
        for scene in (live, live, LivePushT(course.states[t])):
            scene.restore(course.states[t])
            seen = []
            for action in actions:
                scene.step(action)
                moment = scene.snapshot()
                seen.append(np.concatenate([moment.agent, moment.agent_velocity, moment.block]))
                seen.append(scene.frame().ravel())
            courses.append(np.concatenate(seen))
            live.step(random.normal(0, 50, 2))
        assert np.array_equal(courses[0], courses[1])
        assert np.array_equal(courses[0], courses[2])


def test_a_scene_moves_as_gym_pusht_does_without_being_set_up_anew():
    from gym_pusht.envs.pusht import PushTEnv

    live = LivePushT(State.at_rest(np.array([100.0, 230.0]), np.array([256.0, 190.0, 0.3])))
    env = PushTEnv(obs_type="state")
    env.reset(options={"reset_to_state": [60, 60, 256, 300, 0]})
    env.agent.position = (100.0, 230.0)
    env.block.angle = 0.3
    env.block.position = (256.0, 190.0)
    start = live.pose()
    for _ in range(12):
        env.step(np.array(env.agent.position) + np.array([60.0, 0.0]))
        live.step(np.array([60.0, 0.0]))
    assert np.linalg.norm(live.pose()[:2] - start[:2]) > 40
    assert live.pose()[:2] == pytest.approx(np.array(env.block.position), abs=2)
    assert live.pose()[2] == pytest.approx(env.block.angle, abs=0.02)


def test_the_t_lies_where_the_picture_shows_it_and_covers_what_it_should():
    pose = np.array([150.0, 350.0, 0.7])
    frame = LivePushT(State.at_rest(np.array([450.0, 60.0]), pose), size=SIDE).frame()
    grey = np.abs(frame.astype(int) - [143, 162, 182]).max(-1) < 40
    rows, columns = np.nonzero(grey[200:, :250])
    middle = np.array([columns.mean(), rows.mean() + 200])
    # Of its area: the bar is heavier in the picture than among the two parts' middles.
    area = (3600 * np.array([0.0, 15.0]) + 2700 * np.array([0.0, 75.0])) / 6300
    assert middle == pytest.approx(placed(area, pose), abs=2)
    # gym-pusht draws an edge of 2 about the T's 480 of circumference.
    assert len(rows) == pytest.approx(6300 + 2 * 480, rel=0.02)
    assert coverage(pose, pose) == pytest.approx(1)
    assert coverage(pose + np.array([0, 15, 0]), pose) < 0.8
    assert coverage(pose + np.array([200, 0, 0]), pose) == 0
    assert placed(OUTLINE, np.array([3.0, 4.0, np.pi / 2]))[1] == pytest.approx([3.0, 64.0])


def test_doing_nothing_leaves_the_t_where_it_is():
    live = LivePushT(run_sequence(0, 0, 0).states[0])
    pose, frame = live.pose(), live.frame()
    for _ in range(5):
        live.step(np.zeros(2))
    assert live.pose() == pytest.approx(pose, abs=1e-9)
    assert np.array_equal(live.frame(), frame)


def test_most_sequences_push_the_t_clearly():
    pushed = []
    for number in range(20):
        middles = [placed(MIDDLE, state.block) for state in run_sequence(3, 0, number).states]
        pushed.append(np.linalg.norm(middles - middles[0], axis=1).max() > SIDE / 16)
    assert np.mean(pushed) >= 0.6


def test_a_command_leads_the_disc(small):
    recording = read_sequence(small / "train" / "push_0_to_255" / "0")
    moved = np.diff(recording.positions, axis=0)
    assert np.corrcoef(recording.actions[:-1].ravel(), moved.ravel())[0, 1] > 0.9


def test_files_depend_neither_on_the_workers_nor_on_the_size_of_the_dataset(small, tmp_path):
    larger, before = files(write(tmp_path / "larger", workers=2, sequences=4)), files(small)
    assert len(larger) == len(before) // 3 * 4
    assert {name: larger[name] for name in before} == before
    frames = read_sequence(small / "test" / "push_0_to_255" / "0")
    assert np.array_equal(frames.frames, record_sequence(7, 2, 0).frames)


def test_the_description_says_what_the_numbers_mean(small):
    said = json.loads((small / "dataset.json").read_text())
    assert said["world"] == "pusht"
    assert said["complete"] is True
    assert [len(said[part]) for part in ("actions", "positions")] == [2, 2]
    recording = read_sequence(small / "train" / "push_0_to_255" / "0")
    assert recording.widths == {"actions": 2, "positions": 2, "tracks": 2}
    assert recording.frames.shape == (FRAMES, 64, 64, 3)
    assert 0 <= recording.tracks.min() <= recording.tracks.max() <= 1


def test_one_world_does_not_go_on_with_anothers_dataset(small):
    before = files(small)
    with pytest.raises(ForeframeError, match="other settings"):
        simulate(small, SimulateOptions(sequences=3, seed=7))
    assert files(small) == before


def test_there_is_nothing_hidden_to_replay(small):
    with pytest.raises(ForeframeError, match="is of PushT"):
        find_simulation(small)


def test_a_model_trains_on_it(small, tmp_path):
    words = "--epochs 1 --steps-per-epoch 1 --batch-size 2 --net dcgan64 --width 0.05 --g-dim 8"
    more = "--z-dim 2 --rnn-size 8 --threads 1"
    out = tmp_path / "run"
    main(
        ["train", "svg-small", "--data", str(small), "--out", str(out), *f"{words} {more}".split()]
    )
    saved = json.loads((out / "run.json").read_text())
    assert (saved["model"]["action_dim"], saved["model"]["position_dim"]) == (2, 2)
    assert saved["dataset"]["generator"] == "foreframe simulated PushT, version 1"


def test_without_gym_pusht_the_message_says_what_to_install(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("foreframe.simulator.pusht")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gym_pusht.envs.pusht", None)
    with pytest.raises(SystemExit) as stop:
        main(["simulate", str(tmp_path / "out"), "--world", "pusht", "--sequences", "3"])
    assert stop.value.code == 2
    assert "pip install 'foreframe[pusht]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
