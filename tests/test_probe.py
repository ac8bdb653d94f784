"""The probe: what models that are known must score, and replays that are what was recorded."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from foreframe import ForeframeError, ModelConfig, VideoCVAE
from foreframe.commands.app import main
from foreframe.config.plain import to_dict
from foreframe.config.recipes import recipe
from foreframe.data.recording import Recording
from foreframe.data.statistics import Statistics
from foreframe.data.store.opened import open_split
from foreframe.data.store.writer import write_store
from foreframe.probe.calibrate import calibration, nominal_coverage, scene_spread
from foreframe.probe.inverse import Columns, fit_inverse
from foreframe.probe.listen import listen, r_squared
from foreframe.probe.moments import PixelMoments
from foreframe.probe.options import ProbeOptions
from foreframe.probe.probe import probe
from foreframe.probe.pushed import pushed_objects
from foreframe.probe.readout import Readout
from foreframe.probe.result import (
    Actions,
    Calibration,
    Cost,
    Listening,
    Pixels,
    ProbeResult,
    Recovery,
    Spreading,
)
from foreframe.probe.spread import choose_scenes, spread_of_physics, spread_of_samples
from foreframe.probe.words import words
from foreframe.runs.folder import PROBE, PROBE_FIGURE, PROBE_MAPS
from foreframe.simulator.episode import simulate_sequence
from foreframe.simulator.replay import Simulation, find_simulation
from foreframe.simulator.simulate import SimulateOptions, simulate
from foreframe.system.files import write_json
from foreframe.system.workers import Execution
from foreframe.training.checkpoint import save_best
from foreframe.visuals.probe import overlaid

SIZE, EDGE, LENGTH, N_PAST = 32, 8, 6, 2
CONFIG = ModelConfig(action_dim=3, z_dim=2)

# -- a world whose frames say exactly what was done ---------------------------------------------


def drawn(corners):
    """Frames [n, 3, H, W] of a bright square whose upper left corner is given, [n, 2]."""
    frames = torch.full((len(corners), 3, SIZE, SIZE), 0.2)
    for frame, (y, x) in zip(frames, corners.round().long().clamp(0, SIZE - EDGE), strict=True):
        frame[:, y : y + EDGE, x : x + EDGE] = 0.8
    return frames


def moves(random, length=LENGTH):
    actions = random.integers(-2, 3, (length, 3)).astype(np.float32)
    actions[:, 2] = 7.0  # a number that never changes
    return actions


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Stores of that world, by split."""
    root = tmp_path_factory.mktemp("world")
    stores = {}
    for split, count in {"train": 64, "validate": 16, "test": 24}.items():
        with write_store(root / split, source=root) as out:
            for n in range(count):
                random = np.random.default_rng((count, n))
                actions = moves(random)
                start = random.integers(8, 17, 2)
                corners = start + np.concatenate([np.zeros((1, 2)), actions[:-1, :2].cumsum(0)])
                frames = drawn(torch.from_numpy(corners)).mul(255).round().byte()
                out.add(Recording(frames.permute(0, 2, 3, 1).numpy(), actions), str(n))
        stores[split] = open_split(root, split, size=(SIZE, SIZE))
    return stores


class Square:
    """Finds the square in the last given frame and moves it by what ``step`` makes of a row."""

    def __init__(self, step=lambda action: action[:, :2]):
        self.step, self.told = step, []

    def futures(self, past, actions, positions, *, noise, n_future, at_once=None, recorded=None):
        self.told.append(actions)
        bright = past[:, -1, 0] > 0.5
        corners = torch.stack(
            [bright.any(2).float().argmax(1), bright.any(1).float().argmax(1)], 1
        ).float()
        for t in range(n_future):
            corners = corners + self.step(actions[:, past.shape[1] - 1 + t])
            yield slice(0, 1), t, drawn(corners)[:, None]


def hear(model, world, inverse=None, **options):
    return listen(
        model,
        options.pop("config", CONFIG),
        world["test"],
        inverse,
        world["train"].statistics(),
        ProbeOptions(n_past=N_PAST, n_future=LENGTH - N_PAST, limit=options.pop("sequences", 24)),
        batch_size=10,
    )


@pytest.fixture(scope="module")
def inverse(world):
    return fit_inverse(world["train"], world["validate"], seed=0, steps=200)


# -- listening ----------------------------------------------------------------------------------


def test_a_model_that_draws_what_its_actions_do_is_heard_to_the_ceiling(world, inverse):
    found = hear(Square(), world, inverse).recovered
    ceiling = found["true"].overall
    assert ceiling > 0.8
    assert found["predicted"].overall == pytest.approx(ceiling, abs=1e-6)
    assert found["permuted"].overall > ceiling - 0.15
    assert found["permuted, recorded"].overall < 0.0
    assert found["copy-last"].overall < 0.05
    low, high = found["true"].interval
    assert low < ceiling < high
    assert len(found["true"].per_step) == LENGTH - N_PAST


def test_a_model_that_ignores_its_actions_shows_none_and_loses_nothing(world, inverse):
    deaf = Square(lambda action: torch.ones(len(action), 2))
    heard = hear(deaf, world, inverse)
    assert heard.recovered["predicted"].overall < 0.1
    assert heard.recovered["permuted"].overall < 0.1
    for name in ("permuted", "zeroed", "opposed"):
        assert np.array_equal(heard.psnr[name], heard.psnr["given"])


def test_actions_that_act_a_frame_late_are_not_those_that_act_between_the_frames(world, inverse):
    """The alignment: recovered from frames t and t + 1 is action t, not the next or the last."""

    class Late(Square):
        def futures(self, past, actions, positions, **options):
            yield from super().futures(past, actions.roll(1, 1), positions, **options)

    found = hear(Late(), world, inverse).recovered
    assert found["predicted"].overall < 0.2 < found["true"].overall


def test_false_conditions_are_anothers_zeros_and_mirrored_about_the_training_mean(world):
    model = Square()
    heard = hear(model, world, sequences=10)
    given, permuted, zeroed, opposed = model.told
    mean = torch.from_numpy(world["train"].statistics()["actions"].mean).float()
    torch.testing.assert_close(opposed, 2 * mean - given)
    assert not zeroed.any()
    of = [next(k for k in range(10) if torch.equal(given[k], row)) for row in permuted]
    assert sorted(of) == list(range(10))
    assert all(k != own for own, k in enumerate(of))
    assert heard.psnr["given"].min() > 99
    assert heard.psnr["permuted"].max() < 40
    assert heard.recovered == {}


def test_what_cannot_be_false_is_left_out(world):
    none = ModelConfig(condition="none", z_dim=2)

    class Still(Square):
        def futures(self, past, actions, positions, *, n_future, **options):
            assert actions is None
            for t in range(n_future):
                yield slice(0, 1), t, past[:, -1:]

    assert list(hear(Still(), world, config=none).psnr) == ["given"]
    assert list(hear(Square(), world, sequences=1).psnr) == ["given", "zeroed", "opposed"]


def test_the_inverse_model_is_a_function_of_its_seed_and_leaves_constants_out(world):
    random_before = torch.get_rng_state()
    one, again, other = (
        fit_inverse(world["train"], world["validate"], seed=seed, steps=3) for seed in (1, 1, 2)
    )
    assert torch.equal(random_before, torch.get_rng_state())
    weights = [torch.cat([p.flatten() for p in found.net.parameters()]) for found in (one, again)]
    assert torch.equal(*weights)
    assert one.validation != other.validation
    assert one.columns.kept == (0, 1)
    assert one.columns.width == 3


def test_columns_of_any_scale_are_standardised_and_still_ones_dropped():
    rows = np.stack([np.arange(9.0), np.full(9, 1e6), 1e-9 * np.arange(9)], 1).astype(np.float32)
    columns = Columns.of(Statistics.of(rows))
    assert columns.kept == (0, 2)
    kept = columns.standardised(torch.from_numpy(rows))
    torch.testing.assert_close(kept.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(kept.std(0, correction=0), torch.ones(2))


def test_r_squared_is_what_its_definition_says():
    random = np.random.default_rng(0)
    wanted = random.normal(size=(30, 4, 3)) * [1.0, 2.0, 0.0]
    assert r_squared(wanted, wanted).overall == 1.0
    mean = np.broadcast_to(wanted.mean((0, 1)), wanted.shape)
    assert r_squared(mean, wanted).overall == pytest.approx(0)
    noisy = wanted + random.normal(size=wanted.shape) * [0.5, 0.0, 0.0]
    found = r_squared(noisy, wanted)
    expected = 1 - np.square(noisy - wanted)[..., 0].sum() / (wanted[..., 0].var() * 120)
    assert found.per_dimension[0] == pytest.approx(expected)
    assert found.per_dimension[1:] == [1.0, None]
    low, high = found.interval
    assert 0.9 < low < found.overall < high < 1
    nothing = r_squared(wanted[..., 2:], wanted[..., 2:])
    assert nothing.overall is nothing.interval is None


# -- replays ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pushes(tmp_path_factory):
    """A simulated dataset with small frames: the physics does not know their size."""
    root = tmp_path_factory.mktemp("pushes") / "data"
    simulate(
        root,
        SimulateOptions(sequences=10, validate=1, test=8, seed=3, size=SIZE),
        execution=Execution(1),
    )
    return root


def test_a_replay_with_its_own_physics_is_the_recording_bit_for_bit(pushes):
    simulation, store = find_simulation(pushes), open_split(pushes, "test", size=(SIZE, SIZE))
    for number in (0, 5):
        replay = simulation.replay("test", number, 0, frames=30)
        assert np.array_equal(replay.frames, store[number].frames)
        short = simulation.replay("test", number, 0, frames=9)
        assert np.array_equal(short.frames, replay.frames[:9])
        assert np.array_equal(short.metres, replay.metres[:9])


def test_other_physics_move_the_objects_elsewhere_from_the_same_first_frame(pushes):
    simulation = find_simulation(pushes)
    own, *others = (simulation.replay("test", 0, k, frames=14) for k in (0, 1, 2))
    for other in others:
        assert np.array_equal(other.frames[0], own.frames[0])
        assert np.array_equal(other.metres[0], own.metres[0])
        assert np.abs(other.metres[-1] - own.metres[-1]).max() > 0.005
    assert not np.array_equal(others[0].metres[-1], others[1].metres[-1])
    episode = simulate_sequence(3, 2, 0, physics=1, size=SIZE, frames=14)
    assert np.array_equal(others[0].metres, episode.centres[..., :2])
    assert np.array_equal(others[0].pixels, episode.camera.project(episode.centres, SIZE))


def test_what_cannot_be_replayed_is_refused_with_the_reason(pushes, tmp_path):
    with pytest.raises(ForeframeError, match="not made by foreframe simulate"):
        find_simulation(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(ForeframeError, match="is not a description"):
        find_simulation(tmp_path)
    values = json.loads((pushes / "dataset.json").read_text())
    write_json(tmp_path / "dataset.json", {**values, "generator": "version 0"})
    with pytest.raises(ForeframeError, match="version 0"):
        find_simulation(tmp_path)
    write_json(tmp_path / "dataset.json", {**values, "seed": 4})
    store = open_split(pushes, "test", size=(SIZE, SIZE))
    with pytest.raises(ForeframeError, match="other frames"):
        choose_scenes(store, find_simulation(tmp_path), PLAN)


# -- spreading ----------------------------------------------------------------------------------

PLAN = ProbeOptions(n_past=2, n_future=8, samples=16, scenes=4, replays=32, workers=1)


class Replays:
    """Samples what can really happen: replays of the scene that it is given, or the first only."""

    def __init__(self, simulation, store, *, constant=False):
        self.simulation, self.store, self.constant = simulation, store, constant

    def futures(self, past, actions, positions, *, noise, n_future, at_once=None, recorded=None):
        n_past, count = past.shape[1], noise.shape[1]
        given = past[0].mul(255).round().byte().permute(0, 2, 3, 1).numpy()
        number = next(
            k for k in range(len(self.store)) if (self.store[k].frames[:n_past] == given).all()
        )
        name = int(self.store.names[number].rsplit("/", 1)[-1])
        frames = [
            self.simulation.replay("test", name, 1001 + k, frames=n_past + n_future).frames
            for k in range(1 if self.constant else count)
        ]
        x = torch.from_numpy(np.stack(frames)[:, n_past:]).permute(1, 0, 4, 2, 3).float() / 255
        for group in (slice(0, count // 2), slice(count // 2, count)):
            for t in range(n_future):
                own = x[t].expand(count, -1, -1, -1) if self.constant else x[t]
                yield group, t, own[group][None]


class Remembering(Simulation):
    """Simulates nothing twice."""

    replay = cache(Simulation.replay)


@pytest.fixture(scope="module")
def spreads(pushes):
    """What replays as samples get, and what one of them again and again gets."""
    found = find_simulation(pushes)
    simulation = Remembering(found.seed, found.size)
    store = open_split(pushes, "test", size=(SIZE, SIZE))
    numbers, passed = choose_scenes(store, simulation, PLAN)
    assert len(numbers) == 4
    assert not {store.names[k] for k in numbers} & set(passed)
    return [
        spread_of_physics(
            Replays(simulation, store, constant=constant),
            ModelConfig(z_dim=2),
            store,
            simulation,
            numbers,
            PLAN,
        )
        for constant in (False, True)
    ]


def test_true_replays_are_calibrated_and_one_again_and_again_is_not(spreads):
    right, constant = (calibration(spread.scenes) for spread in spreads)
    assert right.objects == constant.objects > 4
    assert right.ratio[-1] == pytest.approx(1, abs=0.25)
    assert right.ratio_interval[-1][0] < right.ratio[-1] < right.ratio_interval[-1][1]
    assert right.coverage[-1] == pytest.approx(right.coverage_nominal, abs=0.12)
    assert max(right.rank_histogram) < 0.2
    assert right.readout_r2[-1] > 0.6
    assert constant.ratio[-1] == pytest.approx(0, abs=1e-9)
    assert constant.coverage[-1] < 0.4
    for key in ("true", "read_true", "readout_error"):
        assert getattr(right, key) == getattr(constant, key)
    assert right.true == sorted(right.true), "objects part as time goes on"


def test_pushed_objects_are_as_far_off_as_other_replays_where_samples_are_replays(spreads):
    right, constant = (pushed_objects(spread.pushed) for spread in spreads)
    assert right.pairs == constant.pairs > 10
    assert right.error == pytest.approx(right.physics, rel=0.15)
    assert right.error_of_mean == pytest.approx(right.physics_of_mean, rel=0.15)
    assert constant.error == pytest.approx(constant.error_of_mean)
    assert right.readout_error < right.error_of_mean < right.error
    assert right.still > 6
    for key in ("still", "physics", "readout_error", "copied"):
        assert getattr(right, key) == getattr(constant, key)


def test_pixels_spread_as_the_physics_does_where_samples_are_replays(spreads):
    right, constant = spreads
    samples, physics = (np.mean(v) for v in (right.sample_variance, right.physics_variance))
    assert samples == pytest.approx(physics, rel=0.3)
    assert not np.any(constant.sample_variance)
    shown = right.maps[0]
    assert len(right.maps) == 3
    assert shown.samples.shape == shown.physics.shape == (8, SIZE, SIZE)
    assert shown.physics.mean() == pytest.approx(np.sqrt(right.physics_variance[0]).mean(), rel=0.9)
    # Where nothing moves nothing spreads.
    assert np.median(shown.physics[0]) < 1e-6 < shown.physics[-1].max()


def test_scenes_are_those_whose_future_is_open(pushes):
    simulation, store = find_simulation(pushes), open_split(pushes, "test", size=(SIZE, SIZE))
    numbers, passed = choose_scenes(store, simulation, replace(PLAN, scenes=99))
    assert numbers
    assert len(numbers) + len(passed) == len(store)
    for k in numbers:
        pixels = simulation.replay("test", k, 0, frames=10).pixels
        shift = np.linalg.norm(pixels - pixels[:1], axis=-1)
        assert shift[:2].max() <= 1 < 2 <= shift.max()


def test_calibration_of_gaussians_is_what_is_known_of_them():
    random = np.random.default_rng(0)

    def found(scale, shift=0.0):
        scenes = []
        for seed in range(40):
            true = random.normal(size=(16, 2, 3, 2))
            samples = scale * random.normal(size=(19, 2, 3, 2)) + shift
            scenes.append(scene_spread(true, true + 0.1, samples + 0.1, seed))
        return calibration(scenes)

    right, narrow, aside = found(1.0), found(0.5), found(1.0, shift=3.0)
    assert right.true == pytest.approx([2**0.5] * 2, rel=0.05)
    assert right.ratio == pytest.approx([1, 1], abs=0.05)
    assert right.coverage_nominal == 0.9
    assert right.coverage == pytest.approx([0.9, 0.9], abs=0.03)
    assert right.rank_histogram == pytest.approx([0.1] * 10, abs=0.02)
    assert right.readout_error == pytest.approx([0.1 * 2**0.5] * 2)
    assert narrow.ratio == pytest.approx([0.5, 0.5], abs=0.03)
    assert narrow.coverage[0] < 0.7
    assert min(narrow.rank_histogram[0], narrow.rank_histogram[-1]) > 0.2
    assert aside.offset == pytest.approx([3 * 2**0.5] * 2, rel=0.1)
    assert aside.rank_histogram[0] > 0.8


def test_equal_values_are_ranked_anywhere_among_themselves():
    still = np.zeros((400, 1, 1, 2))
    found = scene_spread(still, still, np.zeros((9, 1, 1, 2)), 0)
    assert found.ranks.sum() == 800
    assert found.ranks.min() > 40
    (ratio,) = calibration([found]).ratio
    assert ratio is None


@pytest.mark.parametrize("samples", [4, 19, 32, 100])
def test_the_nominal_coverage_is_that_of_one_more_draw(samples):
    outside, nominal = nominal_coverage(samples)
    draws = np.sort(np.random.default_rng(samples).normal(size=(20_000, samples)))
    one_more = np.random.default_rng(0).normal(size=20_000)
    inside = (draws[:, outside - 1] < one_more) & (one_more < draws[:, samples - outside])
    assert inside.mean() == pytest.approx(nominal, abs=0.01)


def test_no_object_counts_and_nothing_is_claimed():
    empty = np.zeros((4, 3, 0, 2))
    assert calibration([scene_spread(empty, empty, empty, 0)]) is None


def test_the_readout_follows_a_blob_and_not_the_time():
    """A blob jumps by as much at each step in all replays; only their difference is read."""

    def replays(shifts):
        corners = torch.tensor([[[8.0 + 3 * t, 8 + s] for t in range(4)] for s in shifts])
        frames = drawn(corners.flatten(0, 1)).mul(255).byte().permute(0, 2, 3, 1)
        return frames.unflatten(0, (-1, 4)).numpy(), corners[:, :, None].double().numpy()

    readout = Readout.fit(*replays(np.arange(-4, 5)))
    frames, places = replays([-3, 0, 2])
    assert readout.read_all(frames) == pytest.approx(places, abs=0.7)
    moved_on = readout.read_all(frames[:, [1, 2, 3, 3]])
    assert moved_on[..., 0] != pytest.approx(places[..., 0] + 3, abs=0.7)


def test_moments_are_numpys_whatever_the_batches():
    values = np.random.default_rng(0).normal(3.0, 0.1, (23, 4, 5))
    moments = PixelMoments((4, 5))
    assert not moments.variance().any()
    for part in np.split(values, [1, 2, 9, 20]):
        moments.add(torch.from_numpy(part))
    assert moments.count == 23
    assert moments.mean.numpy() == pytest.approx(values.mean(0), abs=1e-12)
    assert moments.variance().numpy() == pytest.approx(values.var(0, ddof=1), abs=1e-12)


def test_heat_covers_the_frame_where_there_is_some():
    frame = np.full((2, 2, 3), 200, np.uint8)
    heat = np.array([[0, 1], [0, 0.5]], np.float32)
    shown = overlaid(frame, heat, lambda h: np.stack([h, 0 * h, 0 * h, 1 + 0 * h], -1))
    assert shown[0, 0] == pytest.approx([0.45 * 200 / 255] * 3)
    assert shown[0, 1] == pytest.approx([1, 0, 0])
    assert shown[1, 1, 0] > shown[1, 1, 1] > 0


# -- the words ----------------------------------------------------------------------------------


def listening(mean=1.0, low=0.5, high=1.5, predicted=0.5, given=(0.4, 0.3), recorded=(-0.2, 0.1)):
    def recovery(overall, low, high):
        return Recovery(overall, (low, high), [], [])

    recovered = {
        "true": recovery(0.8, 0.7, 0.9),
        "predicted": recovery(predicted, 0.4, 0.6),
        "permuted": recovery(given[0], given[1], 0.6),
        "permuted, recorded": recovery(recorded[0], -0.4, recorded[1]),
    }
    return Listening(
        sequences=9,
        condition="actions",
        metric="",
        psnr={},
        costs={"permuted": Cost(mean, (low, high), low > 0 or high < 0)},
        actions=Actions(3, [0, 1], [2], 10, 0.1, recovered),
        why_no_actions=None,
    )


def spreading(ratio=0.12, low=0.05, high=0.2, scenes=4, readout=0.9):
    calibrated = Calibration(
        scenes=scenes,
        objects=5,
        true=[],
        read_true=[],
        read_samples=[],
        ratio=[None, ratio],
        ratio_interval=[None, (low, high)],
        readout_error=[],
        readout_r2=[0.9, readout],
        offset=[],
        coverage=[0.5, 0.31],
        coverage_nominal=0.9,
        rank_histogram=[],
    )
    pixels = Pixels([0.01, 0.02], [0.05, 0.1])
    return Spreading(["0"], [], 16, 32, pixels, calibrated, None)


def test_the_words_follow_from_the_numbers():
    said = " ".join(words(listening(), spreading()))
    assert "Permuted actions: +1.00 dB of PSNR lost, 0.50 to 1.50: the model listens." in said
    assert "left out: 2." in said
    assert "R² 0.50 (0.40 to 0.60) from predicted frames, 0.80 from true ones" in said
    assert "the frames show the given ones" in said
    assert "spread 12 % (5 to 20 %) as much as the physics does at step 2: overconfident" in said
    assert "central 90 % in 31 % of all cases" in said
    assert "Mind" not in said


def test_nothing_is_claimed_that_the_intervals_do_not_show():
    deaf = listening(mean=0.1, low=-0.1, high=0.3, given=(-0.1, -0.2))
    said = " ".join(words(deaf, spreading(ratio=0.9, low=0.7, high=1.2, readout=0.2)))
    assert "not separable from 0 with 9 sequences" in said
    assert "listens" not in said
    assert "do not show the given ones" in said
    assert "not separable from calibrated with 4 scenes" in said
    assert "readout explains 20 %" in said
    one = " ".join(words(listening(), spreading(scenes=1)))
    assert "overconfident" not in one
    assert "underconfident" in " ".join(words(listening(), spreading(1.5, 1.2, 1.9)))
    worse = " ".join(words(listening(mean=-1, low=-1.5, high=-0.5), spreading()))
    assert "false ones predict better" in worse


# -- the whole ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of an untrained run."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    small = {"net": "dcgan64", "width": 0.125, "g_dim": 8, "z_dim": 2, "rnn_size": 8}
    model = VideoCVAE(ModelConfig(**small))
    save_best(folder, model)
    write_json(folder / "run.json", to_dict(recipe("svg-small")))
    return folder


QUICK = ProbeOptions(n_future=4, samples=3, scenes=2, replays=4, inverse_steps=3, workers=1)


def test_a_run_is_probed_on_recordings_and_says_why_it_cannot_replay(run, toy_data, tmp_path):
    found, again = (
        probe(run, toy_data, QUICK, out=tmp_path / str(k), log=lambda text: None) for k in range(2)
    )
    assert found == again, "the same seed gives the same numbers"
    assert ProbeResult.read(tmp_path / "0" / PROBE) == found
    assert found.spread.calibration is None
    assert "foreframe simulate" in found.spread.why_no_calibration
    assert found.spread.pixels.physics is None
    assert len(found.spread.sequences) == 2
    assert found.listening.actions.constant == [2, 3]
    assert set(found.listening.costs) == {"permuted", "zeroed", "opposed"}
    for name in (PROBE_FIGURE, PROBE_MAPS):
        picture = np.asarray(Image.open(tmp_path / "0" / name).convert("RGB"))
        assert picture.std() > 5


def test_a_probe_of_version_0_1_is_read_and_a_damaged_one_named(run, toy_data, tmp_path):
    result = probe(run, toy_data, QUICK, out=tmp_path, log=lambda text: None)
    path = tmp_path / PROBE
    old = path.read_text().replace('"permuted', '"shuffled')
    assert old.count('"shuffled') == 4
    path.write_text(old)
    assert ProbeResult.read(path).listening == result.listening
    path.write_text(json.dumps({**result.to_json(), "listening": []}))
    with pytest.raises(ForeframeError, match=r"probe\.json: is not a probe .*listening"):
        ProbeResult.read(path)


def test_the_command_probes_a_simulated_dataset(run, tmp_path, capsys):
    options = SimulateOptions(sequences=6, validate=1, test=4, seed=3)
    simulate(tmp_path / "data", options, execution=Execution(1))
    options = "--n-future 6 --samples 3 --scenes 1 --replays 4 --inverse-steps 2 --workers 1"
    folders = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    main(["probe", str(run), *folders, *options.split()])
    found = json.loads((tmp_path / "out" / PROBE).read_text())
    assert found["spread"]["calibration"]["scenes"] == 1
    assert found["spread"]["replays"] == 4
    assert found["command"].startswith("foreframe probe ")
    assert len(found["spread"]["pixels"]["physics"]) == 6
    printed = capsys.readouterr().out
    for sentence in found["words"]:
        assert sentence in printed
    assert "Deviation of objects' places" in printed
    pushed = found["spread"]["calibration"]["pushed"]
    assert ("Pushed objects' distance" in printed) == (pushed is not None)


def test_the_samples_are_those_of_the_model_whatever_is_imagined_at_once(
    run, toy_data, monkeypatch
):
    from foreframe.runs.hub import load_model

    model, store = load_model(run), open_split(toy_data, "test", log=lambda text: None)
    plan = ProbeOptions(n_future=3, samples=5)
    found = spread_of_samples(model, model.config, store, [1], plan)
    monkeypatch.setitem(__import__("foreframe.probe.spread").probe.spread.AT_ONCE, "cpu", 2)
    grouped = spread_of_samples(model, model.config, store, [1], plan)
    assert found.sample_variance[0] == pytest.approx(grouped.sample_variance[0], rel=1e-4)
    assert found.sample_variance[0].min() > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--samples 1", "--samples 1: must be at least 2"),
        ("--replays 3", "--replays 3: must be at least 4"),
        ("--scenes 0", "--scenes 0: must be at least 1"),
        ("--limit 0", "--limit 0"),
        ("--n-future 40", "frames, but"),
    ],
)
def test_what_makes_no_sense_is_refused(run, toy_data, options, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(["probe", str(run), "--data", str(toy_data), *options.split()])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
