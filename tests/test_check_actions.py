"""The check of actions: which row goes with which change, and what the columns look like."""

import json
from dataclasses import replace

import numpy as np
import pytest

from foreframe.check import CheckOptions, check_dataset, lines
from foreframe.check.alignment import align
from foreframe.check.behaviour import behaviour
from foreframe.check.conclude import alignment_findings
from foreframe.check.excerpt import Excerpt
from foreframe.check.ridge import STEADIER, held_out_errors, standardised
from foreframe.check.suggestion import suggest
from foreframe.config.recipes import RECIPES
from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.recording import Recording
from foreframe.data.sources.rlds import RldsSource
from foreframe.data.store.store import Store
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution
from foreframe.training.splits import fitted


def noise(seed, steps):
    """Motion in pictures that has nothing to do with the actions."""
    return np.random.default_rng((seed, 1)).normal(size=(steps, 4))


def moved(excerpt, rows):
    """The same with row t + ROWS in the place of row t, as `--shift-actions ROWS` has it."""
    actions, positions, motion = excerpt.actions, excerpt.positions, excerpt.motion
    kept = len(actions) - abs(rows)
    start, first = max(rows, 0), max(-rows, 0)
    return replace(
        excerpt,
        actions=actions[start : start + kept],
        positions=None if positions is None else positions[first : first + kept],
        motion=motion[first : first + kept - 1],
    )


def remedies(excerpts):
    alignment = align(excerpts, len(excerpts), seed=0)
    texts = [finding.text for finding in alignment_findings(alignment)]
    return [int(t.split("--shift-actions ")[1].split(".")[0]) for t in texts if "--shift" in t]


def smooth(seed, length, width, slowest=50, fastest=250):
    """Sums of sines, as joints of a hand-led arm move."""
    random = np.random.default_rng(seed)
    time = np.arange(length)[:, None]
    waves = [
        random.uniform(3, 12, width)
        * np.sin(
            2 * np.pi * time / random.uniform(slowest, fastest, width)
            + random.uniform(0, 2 * np.pi, width)
        )
        for _ in range(3)
    ]
    return sum(waves) + random.uniform(-60, 60, width)


def follower(seed, gain, length=80, width=6, noise_of=0.0):
    """Absolute targets, and joints that go a part of the way in each row."""
    targets = smooth(seed, length + 40, width)
    joints = np.empty_like(targets)
    joints[0] = targets[0]
    for t in range(len(targets) - 1):
        joints[t + 1] = joints[t] + gain * (targets[t] - joints[t])
    joints += np.random.default_rng((seed, 2)).normal(0, 1, joints.shape) * noise_of
    return Excerpt(
        targets[40:].astype(np.float32), joints[40:].astype(np.float32), noise(seed, length - 1)
    )


# -- absolute targets -----------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1.0, 0.5])
@pytest.mark.parametrize("rows", [0, 1, -1])
def test_the_row_of_absolute_targets_is_told_from_its_neighbours(gain, rows):
    excerpts = [moved(follower(seed, gain), rows) for seed in range(40)]
    assert remedies(excerpts) == ([-rows] if rows else [])


def test_the_penalty_does_not_shrink_a_small_difference_of_large_numbers():
    random = np.random.default_rng(0)
    place = random.normal(size=(400, 1))
    step = 1e-3 * random.normal(size=(400, 1))
    inputs = standardised(np.hstack([place + step, place]))[None]
    errors = held_out_errors(inputs, standardised(step), np.arange(400) // 20)
    assert errors.explained()[0, 0] > 0.4
    steady = held_out_errors(inputs, standardised(step), np.arange(400) // 20, STEADIER)
    assert steady.explained()[0, 0] < 0.01


def test_many_columns_in_few_rows_are_still_told():
    def wide(seed):
        excerpt = straight(seed)
        others = np.random.default_rng((seed, 3)).normal(size=(20, 140))
        return replace(excerpt, actions=np.hstack([excerpt.actions, others]))

    (link, _) = align([wide(seed) for seed in range(12)], 12, seed=0).links
    assert link.verdict == "aligned"


def test_where_smooth_targets_and_noise_leave_it_open_nothing_is_claimed():
    excerpts = [follower(seed, 0.5, noise_of=1.0) for seed in range(40)]
    alignment = align(excerpts, len(excerpts), seed=0)
    assert alignment.links[0].verdict == "cannot be told"
    assert 0 in alignment.links[0].plausible
    assert remedies(excerpts) == []


# -- robots that answer over several frames -------------------------------------------------------


def slow_answer(seed, length=24):
    """Displacements that last a while, half of each carried out in the row after."""
    random = np.random.default_rng(seed)
    actions = np.zeros((length, 3))
    for t in range(1, length):
        actions[t] = 0.8 * actions[t - 1] + random.normal(size=3)
    changes = 0.5 * actions[:-1] + 0.5 * np.pad(actions, ((1, 0), (0, 0)))[:-2]
    positions = np.pad(changes.cumsum(0), ((1, 0), (0, 0)))
    positions += random.normal(0, 0.2, positions.shape)
    return Excerpt(
        actions.astype(np.float32), positions.astype(np.float32), noise(seed, length - 1)
    )


@pytest.mark.parametrize("rows", [0, 1, -1])
def test_no_action_acts_before_its_time(rows):
    # Two changes go with an action as well; the first of them is the one that it begins with.
    assert remedies([moved(slow_answer(seed), rows) for seed in range(40)]) == (
        [-rows] if rows else []
    )


@pytest.mark.parametrize("rows", [0, 1, -1])
def test_real_rows_that_were_moved_are_moved_back(bridge, tmp_path, rows):
    source = RldsSource(bridge, image="image_0", position="state[:3]")
    import_dataset(
        source,
        tmp_path / "data",
        ImportOptions(shift_actions=rows),
        execution=Execution(1),
        log=lambda text: None,
    )
    findings = check_dataset(tmp_path / "data", log=lambda text: None)
    texts = [finding.text for finding in findings.findings]
    assert len(texts) == (rows != 0)
    assert all(text.endswith(f"--shift-actions {-rows}.") for text in texts)
    kinds = {k: group.kind for group in findings.groups for k in group.columns}
    assert {kinds[k] for k in range(3)} == {"displacement"}


@pytest.mark.parametrize(("early", "expected"), [(False, []), (True, [-1])])
def test_pixels_alone_do_not_call_a_late_robot_misaligned(early, expected):
    def seen(seed):
        random = np.random.default_rng(seed)
        actions = np.zeros((24, 3))
        for t in range(1, 24):
            actions[t] = 0.7 * actions[t - 1] + random.normal(size=3)
        before = np.pad(actions, ((1, 0), (0, 0)))[:-1]
        motion = before if early else 0.4 * actions + 0.6 * before
        motion = motion[:-1] + random.normal(0, 0.4, (23, 3))
        return Excerpt(actions, None, np.pad(motion, ((0, 0), (0, 1))))

    assert remedies([seen(seed) for seed in range(60)]) == expected


# -- states among the actions ---------------------------------------------------------------------


def with_state(seed, positions=True):
    random = np.random.default_rng(seed)
    deltas = random.normal(0, 3, (24, 2))
    steps = deltas[:-1] + random.normal(0, 1, (23, 2))
    places = np.pad(steps.cumsum(0), ((1, 0), (0, 0)))
    motion = np.pad(steps, ((0, 0), (0, 2))) + random.normal(0, 0.5, (23, 4))
    return Excerpt(np.hstack([deltas, places]), places if positions else None, motion)


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("rows", [0, 1])
def test_states_among_the_actions_do_not_decide(positions, rows):
    excerpts = [moved(with_state(seed, positions), rows) for seed in range(40)]
    alignment = align(excerpts, 40, seed=0)
    assert alignment.states == (2, 3)
    assert remedies(excerpts) == ([-rows] if rows else [])
    text = " ".join(finding.text for finding in alignment_findings(alignment))
    assert "columns 2, 3 of the actions say where the robot is" in text


def test_commands_that_are_carried_out_exactly_are_no_states():
    excerpts = [moved(follower(seed, 1.0), -1) for seed in range(40)]  # action[t] = position[t]
    assert align(excerpts, 40, seed=0).states == ()


# -- some recordings at another lag ---------------------------------------------------------------


def straight(seed, late=0):
    random = np.random.default_rng(seed)
    actions = random.normal(size=(20, 2))
    positions = np.pad(actions[:-1].cumsum(0), ((1, 0), (0, 0)))
    positions += random.normal(0, 0.2, positions.shape)
    excerpt = Excerpt(actions, positions, noise(seed, 19), name=f"train/{seed}")
    return moved(excerpt, -late)


def test_half_of_the_recordings_that_are_late_are_named():
    excerpts = [straight(seed, late=seed % 2) for seed in range(24)]
    alignment = align(excerpts, 24, seed=0)
    assert {alignment.others.usual, alignment.others.lag} == {0, -1}
    (finding,) = alignment_findings(alignment)
    assert set(finding.sequences) == {f"train/{seed}" for seed in range(1, 24, 2)}
    assert "with --shift-actions 1, and the rest with --shift-actions 0" in finding.text


@pytest.mark.parametrize("make", [straight, slow_answer, lambda seed: follower(seed, 0.5)])
def test_recordings_that_agree_are_not_divided(make):
    assert align([make(seed) for seed in range(24)], 24, seed=0).others is None


# -- what the columns look like -------------------------------------------------------------------


def robot(seed, rate=30.0, length=300):
    """Displacements, velocities, joints reached after 5 and after 11 rows, a gripper."""
    random = np.random.default_rng(seed)
    drift = np.zeros((length, 4))
    for t in range(1, length):
        drift[t] = 0.9 * drift[t - 1] + random.normal(size=4)
    deltas, velocities = drift[:, :2] * 0.01, drift[:, 2:] * 0.3
    steps = np.hstack([deltas, velocities / rate])[:-1]
    placed = np.pad(steps.cumsum(0), ((1, 0), (0, 0)))
    targets = smooth(seed, length + 11, 4)
    targets, joints = targets[11:], np.hstack([targets[6:-5, :2], targets[:-11, 2:]])
    gripper = np.repeat(random.integers(0, 2, length // 50), 50)[:, None]
    return Excerpt(
        np.hstack([deltas, velocities, targets, gripper]),
        np.hstack([placed, joints]),
        noise(seed, length - 1),
    )


def test_columns_are_told_by_how_the_positions_follow_them():
    groups = behaviour([robot(seed) for seed in range(12)], 30.0, None)
    assert [(group.columns, group.kind, group.rule) for group in groups] == [
        ((0, 1), "displacement", "sum"),
        ((2, 3), "velocity", "mean"),
        ((4, 5), "target", "last"),
        ((6, 7), "target", "last"),
        ((8,), "switch", "last"),
    ]
    assert [group.reached_after for group in groups[2:]] == [(5, 5), (11, 11), None]


def test_without_a_rate_velocities_are_motions_of_an_unknown_unit():
    groups = behaviour([robot(seed) for seed in range(12)], None, None)
    assert groups[1].kind == "motion"


def test_actions_that_nothing_follows_are_unclear():
    others = [replace(robot(n), actions=robot(100 + n).actions[:, :4]) for n in range(12)]
    (group,) = behaviour(others, 30.0, None)
    assert (group.kind, group.rule) == ("unclear", None)


@pytest.mark.parametrize(
    ("rate", "expected"), [(30.0, 5.0), (50.0, 5.0), (24.0, 6.0), (10.0, None), (None, None)]
)
def test_a_rate_is_suggested_that_a_model_can_learn_from(rate, expected):
    suggestion = suggest((), rate)
    assert suggestion.frame_rate == expected
    assert suggestion.every == (None if expected is None else rate / expected)


def test_the_suggestion_names_a_rule_by_column():
    groups = behaviour([robot(seed) for seed in range(12)], 30.0, None)
    suggestion = suggest(groups[:1] + groups[-1:], 30.0)
    assert suggestion.resample_actions == "sum,8:last"
    # A frame should not come before the first of the targets are reached.
    assert suggest(groups, 30.0).every >= 5


# -- the whole check ------------------------------------------------------------------------------


def square(seed, length=20, gain=1):
    """A square that the actions move, in front of a pattern."""
    random = np.random.default_rng(seed)
    actions = random.integers(-4, 5, (length, 2)).astype(np.float32)
    corner = (np.array([26, 26]) + np.pad(actions[:-1].cumsum(0), ((1, 0), (0, 0)))).clip(0, 52)
    frames = np.zeros((length, 64, 64, 3), np.uint8) + np.arange(64, dtype=np.uint8)[:, None] * 2
    frames = frames + random.integers(0, 5, frames.shape, np.uint8)
    for frame, (y, x) in zip(frames, corner.astype(int), strict=True):
        frame[y : y + 12, x : x + 12] = (230, 60, 60)
    return Recording(frames, actions * gain, corner.astype(np.float32))


def dataset(root, train, rate=None, rest=square):
    meta = None if rate is None else {"source": {"frame_rate": rate}}
    splits = {"train": train, "validate": [rest(100 + n) for n in range(3)],
              "test": [rest(200 + n) for n in range(3)]}  # fmt: skip
    for split, recordings in splits.items():
        with write_store(root / split, meta) as store:
            for n, recorded in enumerate(recordings):
                store.add(recorded, f"{split[:2]}-{n}")
    return root


def check(root):
    return check_dataset(root, CheckOptions(), log=lambda text: None)


def test_the_words_and_the_suggestion_are_in_the_lines_and_in_the_json(tmp_path):
    data = dataset(tmp_path / "data", [square(n, length=60) for n in range(12)], rate=30.0)
    options = CheckOptions(pictures=1)
    findings = check_dataset(data, options, out=tmp_path / "out", log=lambda text: None)
    text = "\n".join(lines(findings))
    assert "0 to 1  displacements, as far as the positions change in a row" in text
    assert "foreframe import ... --frame-rate 5 --resample-actions sum" in text
    written = json.loads((tmp_path / "out" / "check.json").read_text())
    assert written["groups"][0]["kind"] == "displacement"
    assert written["suggestion"] == {"frame_rate": 5.0, "every": 6, "resample_actions": "sum"}


@pytest.mark.parametrize("length", [6, 11, 12])
def test_check_and_training_have_one_rule_for_short_sequences(tmp_path, length):
    data = dataset(tmp_path / "data", [*(square(n) for n in range(8)), square(9, length=length)])
    findings = check(data)
    stores = {split: Store(data / split) for split in ("train", "validate")}
    config = RECIPES["svg-small"]()
    if length < 12:
        with pytest.raises(ForeframeError, match="12 are needed"):
            fitted(config, stores)
        assert findings.flags == (f"--n-future {length - 2}",)
        assert lines(findings)[-1].startswith(f"Training can start with --n-future {length - 2} (")
        assert findings.warnings[0].sequences == ("tr-8",)
        config = replace(config, train=replace(config.train, n_future=length - 2))
    fitted(config, stores)
    if length == 12:
        assert findings.flags == ()


def test_data_without_actions_say_the_condition_that_training_needs(tmp_path):
    bare = [Recording(square(n).frames) for n in range(4)]
    data = dataset(tmp_path / "data", bare, rest=lambda n: Recording(square(n).frames))
    assert check(data).flags == ("--condition none",)


@pytest.mark.parametrize(("name", "rows"), [("late", 1), ("all", 0)])
def test_the_check_names_late_recordings_of_a_split(tmp_path, name, rows):
    def late(n):
        recorded = square(n)
        return replace(recorded, actions=np.roll(recorded.actions, rows * (n % 2), 0))

    findings = check(dataset(tmp_path / "data", [late(n) for n in range(20)]))
    named = [finding.sequences for finding in findings.findings]
    assert named == ([tuple(f"train/tr-{n}" for n in range(1, 20, 2))] if rows else [])
