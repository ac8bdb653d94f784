"""The landscape of actions: where the least cost must lie for models that are known."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from foreframe import ForeframeError, ModelConfig, VideoCVAE
from foreframe.commands.app import main
from foreframe.commands.probe import show_probe
from foreframe.config.plain import to_dict
from foreframe.config.recipes import recipe
from foreframe.data.recording import Recording
from foreframe.data.store.opened import open_split
from foreframe.data.store.writer import write_store
from foreframe.evaluation.sampling import sequence_noise
from foreframe.probe import landscape as module
from foreframe.probe.inverse import Columns
from foreframe.probe.landscape import Grid, check_columns, chosen_columns, landscape, why_none
from foreframe.probe.options import ProbeOptions
from foreframe.probe.result import Landscape, Pixels, ProbeResult, Recovery
from foreframe.probe.words import words
from foreframe.report.findings import findings
from foreframe.runs.folder import PROBE, PROBE_LANDSCAPE
from foreframe.runs.hub import load_model
from foreframe.system.files import write_json
from foreframe.training.checkpoint import save_best
from foreframe.visuals import landscape_figure

SIZE, EDGE, LENGTH, N_PAST = 32, 6, 8, 2
CONFIG = ModelConfig(action_dim=3, z_dim=2)
OPTIONS = ProbeOptions(n_past=N_PAST, n_future=LENGTH - N_PAST, starts=10, grid=7)


def drawn(corners):
    """Frames [n, 3, H, W] of a soft square about places [n, 2]: errors grow with distance."""
    rows = torch.arange(SIZE) - SIZE / 2
    near = [torch.exp(-((rows - corners[:, k, None]) ** 2) / (2 * EDGE**2)) for k in (0, 1)]
    return (0.2 + 0.6 * near[0][:, :, None] * near[1][:, None, :])[:, None].expand(-1, 3, -1, -1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Stores of a world whose first two numbers move a square; the third never changes."""
    root = tmp_path_factory.mktemp("world")
    stores = {}
    for split, count in {"train": 24, "test": 14}.items():
        with write_store(root / split, source=root) as out:
            for n in range(count):
                random = np.random.default_rng((count, n))
                actions = random.normal(0, 1, (LENGTH, 3)).astype(np.float32)
                actions[:, 2] = 7.0
                places = np.concatenate([np.zeros((1, 2)), actions[:-1, :2].cumsum(0)])
                frames = drawn(torch.from_numpy(places).float()).mul(255).round().byte()
                out.add(Recording(frames.permute(0, 2, 3, 1).numpy(), actions), str(n))
        stores[split] = open_split(root, split, size=(SIZE, SIZE))
    return stores


class Moment(NamedTuple):
    places: Tensor
    t: int

    @staticmethod
    def join(parts):
        return Moment(torch.cat([part.places for part in parts]), parts[0].t)


class Square:
    """Moves the square by what ``step`` makes of an action; knows where each sequence begins."""

    def __init__(self, store, step=lambda action: action[:, :2]):
        self.store, self.move, self.begun = store, step, 0

    def begin(self, past, actions, *, noise):
        self.begun += 1
        assert past.shape[:2] == (1, N_PAST)
        # The square begins in the middle and has gone one action on.
        return Moment(actions[:, 0, :2], 0)

    def step_unseen(self, now, action, *, noise):
        return Moment(now.places + self.move(action), now.t + 1)

    def step(self, now, action, *, noise):
        after = self.step_unseen(now, action, noise=noise)
        return drawn(after.places)[:, None], after


def explored(world, step=lambda action: action[:, :2], options=OPTIONS, config=CONFIG):
    model = Square(world["test"], step)
    statistics = world["train"].statistics()["actions"]
    found = landscape(model, config, world["test"], [0, 1], statistics, options)
    assert model.begun == options.starts, "given frames are encoded once a start"
    return found


def test_the_true_action_costs_least_where_the_model_does_what_it_is_told(world):
    found = explored(world)
    assert found.least.mean == 0
    assert found.at_truth == 10
    assert found.at_edge == 0
    assert found.minima == [(0.0, 0.0)] * 10
    assert np.unravel_index(np.argmin(found.surface), (7, 7)) == (3, 3)
    assert found.chance == pytest.approx(np.linalg.norm(Grid(7).points, axis=1).mean())
    assert all(gain.separable and gain.mean > 0 for gain in found.nearer.values())
    assert found.borrowed.mean > 0.5, "the middle alone is worth nothing"
    assert np.mean(found.surface) == pytest.approx(1)


def test_a_deaf_model_has_the_distance_of_chance_and_nothing_is_claimed(world):
    found = explored(world, lambda action: 0 * action[:, :2])
    assert found.least.mean == pytest.approx(found.chance)
    assert found.at_truth == 0
    assert found.minima == [None] * 10, "all points are as good"
    assert not found.nearer["a random point"].separable
    assert not found.nearer["another recording's actions"].separable


def test_a_model_that_goes_too_far_wants_less_than_the_true_action(world):
    """Twice as far as it should: of a true action, half would be right, toward standing still."""
    found = explored(world, lambda action: 2 * action[:, :2])
    assert found.least.mean > 0.2
    toward = []
    for name, minimum in zip(found.starts, found.minima, strict=True):
        number = world["test"].names.index(name)
        true = world["test"].rows(number, N_PAST - 1, N_PAST - 1 + module.FRAMES).actions
        toward.append(np.dot(true[:, :2].mean(0), minimum))
    assert np.mean(toward) < 0


def test_a_shift_is_found_in_its_column_and_in_the_actions_own_units(world):
    deviation = world["train"].statistics()["actions"].deviation[:2]
    step = torch.tensor([2 / 3 * deviation[0], 0]).float()  # two of the grid's steps
    found = explored(world, lambda action: action[:, :2] - step)
    assert np.array(found.minima) == pytest.approx(np.array([(2 / 3, 0.0)] * 10))
    assert found.least.mean == pytest.approx(2 / 3)
    assert found.per_column[0].mean == pytest.approx(2 / 3 * deviation[0])
    assert found.per_column[1].mean == 0
    surface = np.array(found.surface)
    assert np.unravel_index(surface.argmin(), surface.shape) == (5, 3)
    assert found.at_edge == 0
    assert explored(world, lambda action: action[:, :2] - 3 * step).at_edge == 10


def test_rows_are_those_that_lead_to_the_frames_in_either_timing(world):
    """A model in target-time is told the row of the frame itself."""
    told = []

    def step(action):
        told.append(action.clone())
        return action[:, :2]

    for timing, first in (("source", N_PAST - 1), ("target", N_PAST)):
        told.clear()
        config = replace(CONFIG, timing=timing)
        explored(world, step, replace(OPTIONS, starts=1), config)
        middle = torch.stack(told)[:, 24]
        own = world["test"].rows(0, first, first + module.FRAMES).actions
        np.testing.assert_allclose(middle.numpy(), own, atol=1e-6)
        assert torch.stack(told)[..., 2].eq(7).all(), "what is not varied stays as recorded"


def test_starts_are_the_first_sequences_of_other_recordings():
    assert module._starts(["a", "a", "b", "c", "b", "d"], 3) == [0, 2, 3]
    assert module._starts(["a", "a"], 3) == [0]


def test_one_recording_lends_no_actions_and_claims_nothing(world):
    found = explored(world, options=replace(OPTIONS, starts=1))
    assert found.borrowed is None
    assert list(found.nearer) == ["a random point", "the mean action"]
    assert not any(gain.separable for gain in found.nearer.values())


def test_portions_change_nothing(world, monkeypatch):
    whole = explored(world)
    monkeypatch.setattr(module, "AT_ONCE", 10)
    assert explored(world).surface == pytest.approx(np.array(whole.surface), abs=1e-6)


def test_columns_are_those_that_true_frames_show_best():
    columns = Columns(5, (0, 2, 3, 4), torch.zeros(4), torch.ones(4))
    assert chosen_columns(columns, Recovery(0.5, None, [0.3, 0.8, None, 0.5], [])) == [2, 4]
    assert chosen_columns(columns, Recovery(0.5, None, [0.3, None, None, None], [])) == [0]


def test_columns_that_do_not_vary_are_refused_and_named(world):
    statistics = world["train"].statistics()["actions"]
    check_columns((1, 0), statistics)
    check_columns(None, statistics)
    with pytest.raises(ForeframeError, match=r"--columns 0 2: of the 3 .* split are 0, 1\."):
        check_columns((0, 2), statistics)
    with pytest.raises(ForeframeError, match="--columns 0 3"):
        check_columns((0, 3), statistics)


def test_models_that_have_no_landscape_say_why():
    assert why_none(CONFIG, [0, 1]) is None
    assert "no actions" in why_none(replace(CONFIG, condition="none"), [0, 1])
    assert "no actions" in why_none(replace(CONFIG, condition="positions"), [0, 1])
    assert "positions, too" in why_none(replace(CONFIG, condition="both"), [0, 1])
    assert "fewer than two" in why_none(CONFIG, [0])
    assert "fewer than two" in why_none(CONFIG, None)


# -- in words -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def said(world):
    """What the words say of the landscape of a model."""
    heard = SimpleNamespace(costs={}, actions=None, why_no_actions="none")
    spread = SimpleNamespace(pixels=Pixels([0.1], None), calibration=None, why_no_calibration="")

    def say(step, **options):
        found = explored(world, step, replace(OPTIONS, **options))
        return " ".join(words(heard, spread, found))

    return say


def test_the_words_follow_from_the_intervals(said):
    listens = said(lambda action: action[:, :2])
    assert "is 0.00 (0.00 to 0.00) standard deviations from the true action" in listens
    assert "in 10 of 10 starts it is the true action itself" in listens
    assert "nearer than a random point and the mean action" in listens
    assert "being in the middle does not explain it" in listens
    assert "edge" not in listens
    assert "edge of the grid: the least may be beyond" in said(lambda action: action[:, :2] - 2)
    deaf = said(lambda action: 0 * action[:, :2])
    assert "not separable from a random point" in deaf
    assert "nearer than a random point" not in deaf
    assert "not separable from that with the true ones there" in deaf
    one = said(lambda action: action[:, :2], starts=1)
    assert "one start shows nothing more" in one
    assert "nearer" not in one.replace("nearest", "")


def test_nothing_is_said_where_nothing_was_asked_for():
    heard = SimpleNamespace(costs={}, actions=None, why_no_actions="none")
    spread = SimpleNamespace(pixels=Pixels([0.1], None), calibration=None, why_no_calibration="")
    assert "andscape" not in " ".join(words(heard, spread))
    assert "Landscape of actions: n/a, the model is told" in " ".join(
        words(heard, spread, None, "the model is told no actions.")
    )


def test_the_picture_shows_the_first_number_to_the_right(tmp_path):
    surface = np.ones((5, 5))
    surface[4, 2] = 0  # a high first number is cheap
    for name, values in (("right", surface), ("up", surface.T)):
        landscape_figure(tmp_path / name, values.tolist(), 1.0, [(0.0, 0.0), None], [0, 2])
    right, up = (
        np.asarray(Image.open(tmp_path / name).convert("L")).astype(float)
        for name in ("right", "up")
    )
    # The cheap cell is dark: the pictures differ to the right of the middle and above it.
    rows, columns = np.nonzero(np.abs(right - up) > 50)
    darker_right = columns[right[rows, columns] < up[rows, columns]]
    darker_up = rows[up[rows, columns] < right[rows, columns]]
    assert darker_right.min() > np.median(columns[up[rows, columns] < right[rows, columns]])
    assert darker_up.max() < np.median(rows[right[rows, columns] < up[rows, columns]])


# -- the whole ----------------------------------------------------------------------------------

QUICK = "--n-future 4 --samples 3 --scenes 1 --replays 4 --inverse-steps 3 --starts 3 --grid 3"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of an untrained run."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    small = {"net": "dcgan64", "width": 0.125, "g_dim": 8, "z_dim": 2, "rnn_size": 8}
    save_best(folder, VideoCVAE(ModelConfig(**small)))
    write_json(folder / "run.json", to_dict(recipe("svg-small")))
    return folder


def test_the_middle_of_the_grid_is_what_the_model_generates(run, toy_data):
    model, store = load_model(run), open_split(toy_data, "test", log=lambda text: None)
    statistics = open_split(toy_data, "train", log=lambda text: None).statistics()["actions"]
    options = ProbeOptions(n_future=6, seed=4, starts=1, grid=3)
    surfaces = module._Surfaces(model, model.config, store, [0, 1], statistics, options, "cpu")
    (costs,) = surfaces.costs(0, [0])
    recorded = store.rows(0, 0, 2 + module.FRAMES)
    made = model.generate(
        recorded.frames[:2].copy(),
        recorded.actions.copy(),
        n_future=module.FRAMES,
        noise=sequence_noise(4, 0, 1, 2 + module.FRAMES - 1, 2)[None],
    )
    truth = torch.from_numpy(recorded.frames[-1].copy()).permute(2, 0, 1) / 255
    assert costs[4] == pytest.approx((made[0, -1] - truth).square().mean().item(), rel=1e-5)


def test_the_command_measures_draws_and_reports_it(run, toy_data, tmp_path, capsys):
    main(["probe", str(run), "--data", str(toy_data), "--out", str(tmp_path), *QUICK.split()])
    result = ProbeResult.read(tmp_path / PROBE)
    found = result.landscape
    assert isinstance(found, Landscape)
    assert (found.side, found.frames, len(found.starts), found.columns) == (3, 4, 3, [0, 1])
    picture = np.asarray(Image.open(tmp_path / PROBE_LANDSCAPE).convert("RGB"))
    assert picture.std() > 5
    printed = capsys.readouterr().out
    assert "Where actions cost least" in printed
    assert PROBE_LANDSCAPE in printed
    assert all(sentence in printed for sentence in result.words)
    for folder, shown in ((tmp_path, True), (run, False)):
        page = findings(
            SimpleNamespace(
                folder=folder, probe=result, diagnosis=None, plans=None, stale=(), config={}
            )
        )
        titles = [picture["title"] for picture in page[0]["pictures"]]
        assert any("actions around the true one" in title for title in titles) == shown


def test_no_starts_leave_it_out_and_take_an_older_picture_away(run, toy_data, tmp_path, capsys):
    (tmp_path / PROBE_LANDSCAPE).write_bytes(b"of a probe before")
    quick = QUICK.replace("--starts 3", "--starts 0").split()
    main(["probe", str(run), "--data", str(toy_data), "--out", str(tmp_path), *quick])
    result = ProbeResult.read(tmp_path / PROBE)
    assert result.landscape is None
    assert result.why_no_landscape is None
    assert not (tmp_path / PROBE_LANDSCAPE).exists()
    assert "andscape" not in capsys.readouterr().out


def test_a_probe_that_was_written_before_is_read(run, toy_data, tmp_path):
    main(["probe", str(run), "--data", str(toy_data), "--out", str(tmp_path), *QUICK.split()])
    values = json.loads((tmp_path / PROBE).read_text())
    del values["landscape"], values["why_no_landscape"]
    write_json(tmp_path / PROBE, values)
    old = ProbeResult.read(tmp_path / PROBE)
    assert old.landscape is None
    show_probe(old)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--grid 4", "--grid 4: must be odd"),
        ("--grid 1", "--grid 1: must be at least 3"),
        ("--starts -1", "--starts -1: must be at least 0"),
        ("--columns 1 1", "--columns 1 1: are the same"),
        ("--columns 0 3", "those that vary in the training split are 0, 1"),
    ],
)
def test_what_makes_no_sense_is_refused(run, toy_data, options, expected, capsys):
    with pytest.raises(SystemExit) as end:
        main(["probe", str(run), "--data", str(toy_data), *options.split()])
    assert end.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.split())


def test_a_shipped_model_needs_a_folder_for_what_is_written(
    toy_data, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["probe", "push", "--data", str(toy_data)])
    assert end.value.code == 2
    assert "push: comes with foreframe; say where to write with --out" in capsys.readouterr().err
