"""Faults of recording that the check names, each beside good data that look like it."""

from dataclasses import replace

import numpy as np
import pytest

from foreframe.check import CheckOptions, check_dataset
from foreframe.check.camera import SlowCamera
from foreframe.data.recording import Recording
from foreframe.data.store.writer import write_store

PATTERN = np.kron(np.random.default_rng(0).integers(40, 200, (8, 8, 3)), np.ones((8, 8, 1))).astype(
    np.uint8
)


def recorded(seed, length=24, scale=1.0):
    """A square that actions move; scaled, as if in another unit."""
    random = np.random.default_rng(seed)
    actions = random.normal(0, 3, (length, 2)).astype(np.float32)
    corner = (random.integers(16, 36, 2) + np.pad(actions[:-1].cumsum(0), ((1, 0), (0, 0)))).clip(
        0, 52
    )
    frames = PATTERN + random.integers(0, 5, (length, 64, 64, 1), np.uint8)
    for frame, (y, x) in zip(frames, corner.astype(int), strict=True):
        frame[y : y + 12, x : x + 12] = (230, 60, 60)
    return Recording(frames, actions * scale, (corner * scale).astype(np.float32))


def warnings(root, train, test=None, rate=None):
    """What the check finds; by default in a training split beside good ones."""
    given = {"train": train, "validate": [recorded(100 + n) for n in range(3)],
             "test": test or [recorded(200 + n) for n in range(3)]}  # fmt: skip
    for split, recordings in given.items():
        with write_store(root / split, rate and {"source": {"frame_rate": rate}}) as store:
            for n, one in enumerate(recordings):
                store.add(one, f"{split[:2]}-{n}")
    findings = check_dataset(root, CheckOptions(), log=lambda text: None)
    assert findings.ok
    return findings.warnings


def changed(change, count=10, length=24):
    """Good recordings of which some rows are changed: ``change(number, actions)``."""
    recordings = [recorded(n, length) for n in range(count)]
    return [replace(one, actions=change(n, one.actions.copy())) for n, one in enumerate(recordings)]


# -- frames that are there twice ------------------------------------------------------------------


def slow_camera(one, rate=0.74, seed=0):
    """The frames of a camera that makes ``rate`` frames in a row."""
    at = np.floor(np.arange(len(one.frames)) * rate + 0.01 * seed) / rate
    return replace(one, frames=one.frames[at.round().astype(int).clip(0)])


@pytest.mark.parametrize(("rate", "hertz"), [(0.74, 22.2), (0.5, 15.0), (0.2, 6.0)])
def test_a_camera_slower_than_the_rows_is_found_with_its_rate(tmp_path, rate, hertz):
    train, test = ([slow_camera(recorded(k + n, 60), rate, n) for n in range(8)] for k in (0, 100))
    found = [w for w in warnings(tmp_path, train, test, rate=30.0) if "slower" in w.text]
    (warning,) = found  # once for both splits
    share, own = (
        float(warning.text.split("%")[0]) / 100,
        float(warning.text.split("about ")[1].split(" Hz")[0]),
    )
    assert share == pytest.approx(1 - rate, abs=0.03)
    assert own == pytest.approx(hertz, rel=0.05)
    assert "--drop-repeats" in warning.text


def test_frames_that_wait_for_a_slow_camera_are_no_standstill(tmp_path):
    train = [slow_camera(recorded(n, 20), 0.2, n) for n in range(8)]
    assert not any("standstill" in w.text for w in warnings(tmp_path, train))


def test_a_robot_that_stands_still_is_no_slow_camera():
    repeats = np.arange(39) % 3 == 0
    moving = np.cumsum(np.pad(~repeats, (1, 0))).astype(float)[:, None]
    camera = SlowCamera()
    camera.add(repeats, moving)
    assert camera.rows_a_frame is None
    camera = SlowCamera()
    camera.add(repeats, np.arange(40.0)[:, None])
    assert camera.rows_a_frame == pytest.approx(1.5, abs=0.05)


# -- copies in a mirror ---------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "sides"), [(2, "left and right"), (1, "top and bottom")])
def test_mirrored_copies_in_another_split_are_found(tmp_path, axis, sides):
    original = recorded(3)
    mirrored = replace(original, frames=np.flip(original.frames, axis).copy())
    found = warnings(tmp_path, [recorded(n) for n in range(8)], [recorded(200), mirrored])
    (warning,) = found
    assert (warning.split, warning.sequences) == ("test", ("te-1",))
    assert f"{sides} exchanged (te-1 ~ train's tr-3)" in warning.text


# -- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "units"), [(1000, "millimetres"), (180 / np.pi, "degrees")])
def test_two_units_within_a_split_are_noticed(tmp_path, scale, units):
    train = [recorded(n, scale=scale if n % 2 else 1.0) for n in range(20)]
    found = [w for w in warnings(tmp_path, train) if units in w.text]
    assert {w.text.split(":")[0] for w in found} == {
        "columns 0, 1 of the actions",
        "columns 0, 1 of the positions",
    }
    odd = {f"tr-{n}" for n in range(1, 20, 2)}
    assert all(set(w.sequences) in (odd, {f"tr-{n}" for n in range(20)} - odd) for w in found)


def test_recordings_in_which_the_robot_hardly_moves_are_no_other_unit(tmp_path):
    def resting(n):
        one = recorded(n)
        rows = np.repeat(one.positions[:1], 24, 0) + 1e-3 * one.actions
        frames = np.repeat(one.frames[:1], 24, 0)
        frames = frames + np.random.default_rng(n).integers(0, 3, (24, 64, 64, 1), np.uint8)
        return Recording(frames, 1e-3 * one.actions, rows)

    train = [resting(n) if n % 2 else recorded(n) for n in range(20)]
    assert not any("mixed" in w.text for w in warnings(tmp_path, train))


# -- what fills the ends up -----------------------------------------------------------------------


@pytest.mark.parametrize(("value", "said"), [(0.0, "all zero"), (None, "all the same")])
def test_rows_that_fill_up_the_ends_are_named(tmp_path, value, said):
    def filled(n, actions):
        actions[18 + n % 3 :] = actions[18 + n % 3] if value is None else value
        return actions

    (warning,) = warnings(tmp_path, changed(filled))
    assert f"10 of 10 sequences end with 4 to 6 rows of actions that are {said}" in warning.text
    assert len(warning.sequences) == 10


def test_actions_that_are_held_or_once_repeated_fill_nothing_up(tmp_path):
    def held(n, actions):
        return np.repeat(actions[:6], 4, 0)

    def repeated(n, actions):
        actions[-1] = 0
        actions[-2] = 0 if n % 2 else actions[-2]
        return actions

    for k, change in enumerate((held, repeated)):
        texts = [w.text for w in warnings(tmp_path / str(k), changed(change))]
        assert not any("end with" in text for text in texts)


# -- numbers that count ---------------------------------------------------------------------------


def beside(column):
    """Actions with a further column, of the number of the recording and of the rows."""
    return lambda n, actions: np.column_stack([column(n, np.arange(24.0)), actions])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (lambda n, row: row, "a row number"),
        (lambda n, row: 24 * n + row, "a row number"),
        (lambda n, row: row / 30, "a time or a row number"),
        (lambda n, row: row / 30 + np.random.default_rng(n).normal(0, 0.003, 24), "a time"),
        (lambda n, row: 1e4 + n + 0.1 * row, "a time"),
    ],
)
def test_row_numbers_and_times_among_the_actions_are_named(tmp_path, column, said):
    train, test = ([*changed(beside(column), count)] for count in (10, 3))
    for one in test:
        one.frames[:] = 255 - one.frames
    validate = [replace(one, frames=one.frames[:, ::-1].copy()) for one in test]
    for split, recordings in {"train": train, "validate": validate, "test": test}.items():
        with write_store(tmp_path / split) as store:
            for n, one in enumerate(recordings):
                store.add(one, f"{split[:2]}-{n}")
    found = check_dataset(tmp_path, CheckOptions(), log=lambda text: None).warnings
    told = [w.text for w in found if "counts on evenly" in w.text]
    (text,) = told  # once, for all splits
    assert "column 0 of the actions" in text
    assert said in text


def test_an_action_that_grows_now_and_then_counts_nothing(tmp_path):
    def growing(n, actions):
        actions[:, 0] = np.abs(actions[:, 0]).cumsum()
        return actions

    texts = [w.text for w in warnings(tmp_path, changed(growing))]
    assert not any("counts on" in text for text in texts)
