"""Adapters: a model predicts for other people's planners what it predicts by itself.

The planners here are stand-ins. They ask for what the published ones ask for, in the same names,
shapes and ranges, and search as those do.
"""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from foreframe import ModelConfig, VideoCVAE
from foreframe.errors import ForeframeError
from foreframe.planning.adapters.stable_worldmodel import PREDICTED, GoalCost
from foreframe.planning.adapters.vp2 import VP2Model
from foreframe.runs.hub import load_model
from foreframe.runs.shipped import shipped
from foreframe.training.checkpoint import save_best

PAGE = Path(__file__).parents[1] / "docs" / "planning.md"
SMALL = {"net": "dcgan64", "width": 0.125, "g_dim": 8, "z_dim": 2, "rnn_size": 8}
HORIZON, A = 3, 4


def small(**more):
    torch.manual_seed(0)
    model = VideoCVAE(ModelConfig(**{**SMALL, **more})).eval()
    with torch.no_grad():  # so that what is done can be seen
        model.frame_predictor.embed.weight.mul_(30)
        model.frame_predictor.output[0].weight.mul_(30)
        for weight in model.decoder.parameters():
            weight.mul_(10 if weight.ndim > 1 else 1)
    return model


@pytest.fixture(scope="module")
def svg():
    return small()


@pytest.fixture(scope="module")
def push():
    return load_model(shipped("push")).eval()


@pytest.fixture(params=["svg", "push"])
def model(request):
    return request.getfixturevalue(request.param)


def frames(*shape, seed=0):
    """Channels last, in [0, 1]."""
    return np.random.default_rng(seed).random((*shape, 64, 64, 3), np.float32)


def actions(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (*shape, A))


# -- VP2 ----------------------------------------------------------------------------------------


class Cem:
    """A stand-in for VP2's planners: what they ask of a model, and how they search."""

    def __init__(self, model, samples=6, horizon=HORIZON):
        self.model, self.samples, self.horizon = model, samples, horizon
        self.random = np.random.default_rng(0)

    def plan(self, seen, done, goal, iterations=2):
        """The history of frames [T, H, W, 3] and of actions, and a goal of every frame."""
        context = self.model.num_context
        mean, deviation = np.zeros((self.horizon, A)), np.full((self.horizon, A), 0.5)
        for _ in range(iterations):
            new = self.random.normal(mean, deviation, (self.samples, self.horizon, A)).clip(-1, 1)
            before = np.tile(np.array(done[1 - context :])[None], (self.samples, 1, 1))
            history = {"rgb": seen[-context:]}[self.model.base_prediction_modality]
            video = np.tile(history[None], (self.samples, 1, 1, 1, 1))
            told = np.concatenate([before, new], 1)
            batch = {"video": video, "actions": told, "state_obs": [None]}
            made = self.model(batch, grad_enabled=False)
            rewards = -np.square(made["rgb"] - goal["rgb"]).sum((1, 2, 3, 4))
            best = told[np.argsort(-rewards)[:2], context - 1 :]
            mean, deviation = best.mean(0), best.std(0)
        return best[0], rewards


def test_vp2_gets_what_the_model_generates(model):
    adapter = VP2Model(model, n_past=2, seed=5)
    past, told = frames(2), actions(3, 1 + HORIZON)
    told[:, 0] = told[0, 0]  # one history for all candidates
    video = np.tile(past[None], (3, 1, 1, 1, 1))
    made = adapter({"video": video.astype(np.float64), "actions": told})
    assert list(made) == ["rgb"]
    rgb = made["rgb"]
    assert rgb.shape == (3, 1 + HORIZON, 64, 64, 3)
    assert rgb.dtype == np.float32
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    # The frames after the first given one, of which the first was given, too.
    assert np.array_equal(rgb[:, 0], video[:, 1])
    for own, candidate in zip(rgb, told, strict=True):
        generator = torch.Generator().manual_seed(5)
        alone = model.generate(past, candidate, n_future=HORIZON, generator=generator)
        expected = alone[0].movedim(1, -1).numpy()
        assert own[1:] == pytest.approx(expected, abs=1e-5)
    assert np.abs(rgb[0, -1] - rgb[1, -1]).max() > 1e-3, "candidates lead somewhere else"


def test_vp2_asks_a_model_for_what_its_planners_read(svg):
    adapter = VP2Model(svg, 2, ["rgb"], max_batch_size=4)
    assert adapter.num_context == 2
    assert adapter.base_prediction_modality == "rgb"
    assert adapter.planning_modalities == ["rgb"]
    assert torch.zeros(1).to(adapter.device).device.type == "cpu"
    plan, rewards = Cem(adapter).plan(frames(5), list(actions(4)), {"rgb": frames(1 + HORIZON)})
    assert plan.shape == (HORIZON, A)
    assert len(set(rewards)) > 1
    assert adapter.close() is None


def test_several_futures_are_an_ensemble_for_vp2(model):
    adapter = VP2Model(model, futures=3, seed=1)
    past, told = frames(2), actions(2, 1 + HORIZON)
    told[:, 0] = told[0, 0]
    rgb = adapter({"video": np.tile(past[None], (2, 1, 1, 1, 1)), "actions": told})["rgb"]
    assert rgb.shape == (3, 2, 1 + HORIZON, 64, 64, 3)
    generator = torch.Generator().manual_seed(1)
    alone = model.generate(past, told[1], n_samples=3, n_future=HORIZON, generator=generator)
    assert rgb[:, 1, 1:] == pytest.approx(alone.movedim(2, -1).numpy(), abs=1e-5)
    assert np.abs(rgb[0] - rgb[1]).max() > 1e-3


def test_vp2_portions_and_other_contexts_change_nothing(svg):
    video, told = frames(3, 2), actions(3, 1 + HORIZON)
    whole = VP2Model(svg)({"video": video, "actions": told})["rgb"]
    for own, given, candidate in zip(whole, video, told, strict=True):
        one = VP2Model(svg)({"video": given[None], "actions": candidate[None]})["rgb"][0]
        assert own == pytest.approx(one, abs=1e-5)
    parts = VP2Model(svg, max_batch_size=2)({"video": video, "actions": told})["rgb"]
    assert whole == pytest.approx(parts, abs=1e-5)
    first = {"video": torch.from_numpy(video).movedim(-1, 2)}  # as VP2's README has frames
    first["actions"] = torch.from_numpy(told)
    assert whole == pytest.approx(VP2Model(svg)(first)["rgb"], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"video": np.zeros((2, 2, 32, 32, 3), np.float32)}, "Resize the frames first"),
        ({"video": np.full((2, 2, 64, 64, 3), 255.0)}, r"floats lie in \[255, 255\]"),
        ({"video": np.zeros((2, 3, 64, 64, 3), np.float32)}, "3 given frames"),
        ({"actions": np.zeros((2, 4, 3))}, "3 numbers a step, but the model was built for 4"),
        ({"actions": np.zeros((2, 1, 4))}, "no actions after the given frames"),
        ({"actions": np.zeros((3, 4, 4))}, "one row a frame for each of the 2 sequences"),
        ({"actions": np.full((2, 4, 4), np.nan)}, "not finite"),
        ({"actions": None}, "has no 'actions'"),
    ],
)
def test_what_vp2_gives_wrongly_is_refused(svg, change, said):
    batch = {"video": frames(2, 2), "actions": actions(2, 1 + HORIZON), **change}
    batch = {name: values for name, values in batch.items() if values is not None}
    with pytest.raises(ForeframeError, match=said):
        VP2Model(svg)(batch)


def test_what_no_planner_can_use_is_refused(svg):
    with pytest.raises(ForeframeError, match="without gradients"):
        VP2Model(svg)({"video": frames(1, 2), "actions": actions(1, 4)}, grad_enabled=True)
    with pytest.raises(ForeframeError, match="draws rgb alone"):
        VP2Model(svg, planning_modalities=["rgb", "depth"])
    with pytest.raises(ForeframeError, match="n_past 1: must be at least 2"):
        VP2Model(svg, n_past=1)
    for condition in ("both", "none", "positions"):
        with pytest.raises(ForeframeError, match="nothing but the actions"):
            VP2Model(small(condition=condition))
    with pytest.raises(ForeframeError, match="target-time"):
        GoalCost(small(timing="target"))


def test_adapters_load_a_shipped_model_by_its_name():
    for adapter in (VP2Model.load("push", device="cpu"), GoalCost.load("push", device="cpu")):
        assert adapter is not None
    with pytest.raises(ForeframeError, match="no-such-run"):
        VP2Model.load("no-such-run", device="cpu")


def test_adapters_import_nothing_of_the_planners():
    named = set()
    for path in (PAGE.parents[1] / "src/foreframe/planning/adapters").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
    assert {"foreframe", "torch"} <= named
    assert not named & {"vp2", "stable_worldmodel", "hydra", "gymnasium"}


# -- stable-worldmodel --------------------------------------------------------------------------


class Solver:
    """A stand-in for stable-worldmodel's CEM: what it hands over, and what it asserts."""

    def __init__(self, cost, samples=8, horizon=HORIZON):
        self.cost, self.samples, self.horizon = cost, samples, horizon
        self.dtype = next(cost.parameters()).dtype
        self.action_dim = A
        self.random = torch.Generator().manual_seed(0)

    @torch.inference_mode()
    def solve(self, info_dict, iterations=2):
        envs = len(next(iter(info_dict.values())))
        expanded = {}
        for key, values in info_dict.items():
            if torch.is_tensor(values):
                values = values.to(self.dtype) if values.is_floating_point() else values
                values = values.unsqueeze(1).expand(envs, self.samples, *values.shape[1:])
            expanded[key] = values
        mean = torch.zeros(envs, self.horizon, self.action_dim, dtype=self.dtype)
        deviation = torch.full_like(mean, 0.03)
        for _ in range(iterations):
            shape = (envs, self.samples, self.horizon, self.action_dim)
            drawn = torch.randn(shape, generator=self.random, dtype=self.dtype)
            candidates = drawn * deviation[:, None] + mean[:, None]
            candidates[:, 0] = mean
            costs = self.cost.get_cost(expanded, candidates)
            assert isinstance(costs, torch.Tensor)
            assert costs.shape == (envs, self.samples)
            best = costs.topk(3, dim=1, largest=False).indices
            elites = candidates[torch.arange(envs)[:, None], best]
            mean, deviation = elites.mean(1), elites.std(1)
        return SimpleNamespace(actions=mean, costs=costs)


def information(envs=2, history=2, seed=0):
    """As a policy that keeps frames hands it over: bytes, channels last, and more keys."""
    random = np.random.default_rng(seed)

    def pictures(frames):
        return torch.from_numpy(random.integers(0, 256, (envs, frames, 64, 64, 3), np.uint8))

    return {
        "pixels": pictures(history),
        "goal": pictures(history),
        "action_history": torch.from_numpy(actions(envs, history - 1, seed=seed)),
        "action": torch.full((envs, history, A), float("nan")),
        "step_idx": torch.zeros(envs, history, dtype=torch.int64),
        "id": np.zeros((envs, history), np.int64),
    }


def with_candidates(info, count):
    return {
        name: values.unsqueeze(1).expand(len(values), count, *values.shape[1:])
        for name, values in info.items()
        if torch.is_tensor(values)
    }


@pytest.mark.parametrize("futures", [1, 2])
def test_a_candidate_costs_what_the_generated_frame_is_from_the_goal(model, futures):
    cost = GoalCost(model, futures=futures, seed=3)
    info = with_candidates(information(), 3)
    before = dict(info)
    candidates = torch.from_numpy(actions(2, 3, HORIZON)).float()
    found = cost.get_cost(info, candidates)
    assert found.shape == (2, 3)
    assert info == before, "the planner's information stays as it is"
    for env in range(2):
        for k in range(3):
            told = torch.cat([info["action_history"][env, k].float(), candidates[env, k]])
            made = model.generate(
                info["pixels"][env, k],
                told,
                n_samples=futures,
                n_future=HORIZON,
                generator=torch.Generator().manual_seed(3),
            )
            goal = info["goal"][env, k, -1].movedim(-1, 0).float() / 255
            expected = (made[:, -1] - goal).square().mean().item()
            assert found[env, k].item() == pytest.approx(expected, rel=1e-4)
    assert found.std() > 0


def test_a_solver_plans_with_it_in_inference_mode(model):
    cost = GoalCost(model)
    assert isinstance(cost, nn.Module)
    assert callable(cost.criterion)
    found = Solver(cost).solve(information())
    assert found.actions.shape == (2, HORIZON, A)
    assert torch.isfinite(found.costs).all()


def test_a_solver_finds_the_action_that_made_the_goal(push):
    """The goal is what the model itself imagines of an action; little error is left."""
    info = information(envs=1)
    info["pixels"][:] = 128
    known = torch.tensor([[0.03, -0.03, 0.0, 0.0]]).expand(HORIZON, A)
    told = torch.cat([info["action_history"][0].float(), known])
    made = push.generate(
        info["pixels"][0], told, n_future=HORIZON, generator=torch.Generator().manual_seed(0)
    )
    info["goal"] = made[:, -1:].movedim(-3, -1)
    cost = GoalCost(push)
    expanded = with_candidates(info, 2)
    candidates = torch.stack([known, torch.zeros(HORIZON, A)])[None]
    true, still = cost.get_cost(expanded, candidates)[0].tolist()
    assert true == pytest.approx(0, abs=1e-9)
    assert still >= true


def test_portions_layouts_and_longer_histories_change_nothing(svg):
    info, candidates = with_candidates(information(), 3), torch.randn(2, 3, HORIZON, A)
    whole = GoalCost(svg).get_cost(info, candidates)
    parts = GoalCost(svg, at_once=4).get_cost(info, candidates)
    torch.testing.assert_close(whole, parts)
    floats = {
        **info,
        "pixels": info["pixels"].movedim(-1, 3) / 255,
        "goal": info["goal"].movedim(-1, 3) / 255,
    }
    torch.testing.assert_close(whole, GoalCost(svg).get_cost(floats, candidates))
    longer = {
        "pixels": torch.cat([info["goal"][:, :, :1], info["pixels"]], 2),
        "goal": info["goal"],
        "action_history": torch.cat([torch.ones(2, 3, 1, A), info["action_history"]], 2),
    }
    torch.testing.assert_close(whole, GoalCost(svg).get_cost(longer, candidates))


def test_another_cost_is_another_criterion(svg):
    class Dark(GoalCost):
        def criterion(self, info_dict, action_candidates):
            return info_dict[PREDICTED].mean((2, 3, 4, 5))

    info, candidates = with_candidates(information(), 3), torch.randn(2, 3, HORIZON, A)
    found = Dark(svg, futures=2).get_cost(info, candidates)
    assert found.shape == (2, 3)
    assert 0 < found.min() < found.max() < 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pixels": torch.zeros(2, 3, 1, 64, 64, 3)}, r"PlanConfig\(history_len=2\)"),
        ({"pixels": torch.zeros(2, 3, 2, 224, 224, 3)}, "pixels.*224.*Resize the frames first"),
        ({"goal": torch.zeros(2, 3, 2, 3, 32, 32)}, "goal.*Resize the frames first"),
        ({"pixels": torch.full((2, 3, 2, 3, 64, 64), -2.1)}, "pixels.*floats lie in"),
        ({"goal": torch.zeros(2, 3, 64, 64, 3)}, "environments, candidates, frames"),
        ({"goal": None}, "has no 'goal'"),
        ({"pixels": None}, "has no 'pixels'"),
        ({"action_history": None}, "has no 'action_history'"),
        ({"action_history": torch.zeros(2, 3, 4)}, "first two axes"),
        ({"action_history": torch.zeros(2, 3, 1, 8)}, "8 numbers a step"),
    ],
)
def test_what_a_solver_gives_wrongly_is_refused(svg, change, said):
    info = {**with_candidates(information(), 3), **change}
    info = {name: values for name, values in info.items() if values is not None}
    with pytest.raises(ForeframeError, match=said):
        GoalCost(svg).get_cost(info, torch.zeros(2, 3, HORIZON, A))


def test_candidates_that_cannot_be_imagined_are_refused(svg):
    info = with_candidates(information(), 3)
    with pytest.raises(ForeframeError, match="8 numbers a step"):
        GoalCost(svg).get_cost(info, torch.zeros(2, 3, HORIZON, 8))
    with pytest.raises(ForeframeError, match="without gradients"):
        GoalCost(svg).get_cost(info, torch.zeros(2, 3, HORIZON, A, requires_grad=True))
    with pytest.raises(ForeframeError, match="one tensor"):
        GoalCost(svg).get_cost(info, {"arm": torch.zeros(2, 3, HORIZON, A)})


# -- the page -----------------------------------------------------------------------------------


def snippets(language):
    """Of the page's part about other planners."""
    text = PAGE.read_text(encoding="utf-8").partition("## In other people's planners")[2]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_configuration_for_vp2_makes_a_model(tmp_path):
    (text,) = snippets("yaml")
    save_best(tmp_path / "robodesk", small())
    settings = yaml.safe_load(text.replace("/home/me/runs", str(tmp_path)))
    settings["planning_modalities"] = ["rgb"]  # what Hydra puts there
    where, _, method = settings.pop("_target_").rpartition(".")
    module, _, name = where.rpartition(".")
    target = getattr(getattr(importlib.import_module(module), name), method)
    model = target(**settings)
    assert model.max_batch_size == 200
    made = model({"video": frames(2, model.num_context), "actions": actions(2, 4)})
    assert made["rgb"].shape == (2, 4, 64, 64, 3)


def test_the_snippet_for_vp2_runs():
    first, _ = snippets("python")
    names = {}
    exec(first, names)
    assert names["rgb"].shape == (8, 11, 64, 64, 3)
    assert np.array_equal(names["rgb"][:, 0], names["video"][:, 1].astype(np.float32))


class Policy:
    """A stand-in for stable-worldmodel's policy: it keeps frames, and acts by its solver's plan."""

    def __init__(self, solver, config):
        self.solver, self.config = solver, config
        solver.horizon, solver.action_dim = config.horizon, 2
        assert config.action_block == 1

    def get_action(self, envs):
        info = information(envs, self.config.history_len)
        info["action_history"] = info["action_history"][..., :2]
        return self.solver.solve(info).actions[:, : self.config.receding_horizon]


def test_the_snippet_for_stable_worldmodel_runs(tmp_path, monkeypatch):
    save_best(tmp_path / "runs" / "pusht", small(action_dim=2))
    monkeypatch.chdir(tmp_path)
    worlds = []

    def world(name, *, num_envs, image_shape):
        assert image_shape == (64, 64)
        worlds.append(SimpleNamespace(num_envs=num_envs))
        worlds[0].set_policy = lambda policy: setattr(worlds[0], "policy", policy)
        return worlds[0]

    package, planning = ModuleType("stable_worldmodel"), ModuleType("stable_worldmodel.planning")
    package.World, package.PlanConfig = world, lambda **fields: SimpleNamespace(**fields)
    package.policy = SimpleNamespace(WorldModelPolicy=Policy)
    planning.CEMSolver = lambda cost, num_samples: Solver(cost, num_samples // 20)
    monkeypatch.setitem(sys.modules, "stable_worldmodel", package)
    monkeypatch.setitem(sys.modules, "stable_worldmodel.planning", planning)
    exec(snippets("python")[1], {})
    (only,) = worlds
    assert only.policy.get_action(only.num_envs).shape == (4, 2, 2)
