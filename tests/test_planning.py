"""Planning: what is found costs little, tasks are honest, and a result is the same again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from foreframe.commands.app import main
from foreframe.config.model import ModelConfig
from foreframe.errors import ForeframeError
from foreframe.metrics.intervals import wilson
from foreframe.planning.costs import ObjectCost, PixelCost, picture
from foreframe.planning.dynamics import CopiedLast, Imagined, Now, Physics
from foreframe.planning.episode import SPACE, tried_with_plans, tried_without
from foreframe.planning.options import OwnTask, PlannerOptions, PlanOptions
from foreframe.planning.plan import plan
from foreframe.planning.planner import ActionSpace, coloured_noise, make_plan
from foreframe.planning.registration import Template
from foreframe.planning.result import PlanResult
from foreframe.planning.rows import rows_of
from foreframe.planning.tasks import THRESHOLDS, find, frozen, own_task, place_of, prepare
from foreframe.runs.hub import VideoCVAE, load_model
from foreframe.runs.shipped import shipped

LINE = ActionSpace(*(np.full(2, value) for value in (-1.0, 1.0, 0.0, 0.3)))
QUICK = PlannerOptions(samples=12, iterations=2, horizon=6)


@pytest.fixture(scope="module")
def push():
    return load_model(shipped("push")).eval()


@pytest.fixture(scope="module")
def task():
    return frozen()["push validate"][0]


@pytest.fixture
def setting(task):
    return prepare(task)


def object_cost(setting):
    return ObjectCost(setting.pixels, Template.of(picture(setting.frames[-1]), setting.thing))


def now_of(setting):
    empty = np.empty((0, 4))
    return Now(setting.frames, setting.action, setting.start, setting.thing, empty)


# -- the planner --------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("horizon", [1, 2, 9, 10])
def test_coloured_noise_has_variance_1_at_every_step_and_lasts(exponent, horizon):
    noise = coloured_noise(np.random.default_rng(0), 20_000, horizon, 1, exponent)
    assert noise.shape == (20_000, horizon, 1)
    assert noise.var(0) == pytest.approx(1, abs=0.05)
    if horizon > 2:
        after = (noise[:, 1:] * noise[:, :-1]).mean()
        expected = {0.0: (-0.02, 0.02), 1.0: (0.2, 0.6), 2.0: (0.6, 0.9), 3.0: (0.75, 1.0)}
        low, high = expected[exponent]
        assert low <= after <= high


@pytest.mark.parametrize("kind", ["icem", "mppi"])
def test_the_planner_finds_the_way_to_a_place(kind):
    goal = np.array([1.5, -0.8])

    def evaluate(candidates):
        return np.linalg.norm(candidates.sum(1) - goal, axis=1)

    options = PlannerOptions(planner=kind, samples=200, iterations=4)
    found = make_plan(evaluate, LINE, 8, options, np.random.default_rng(0))
    assert evaluate(found.actions[None])[0] < 0.15
    drawn = np.clip(0.3 * coloured_noise(np.random.default_rng(1), 200, 8, 2, 2.0), -1, 1)
    assert evaluate(found.actions[None])[0] < evaluate(drawn).min()
    assert (np.abs(found.actions) <= 1).all()


def test_a_plan_is_a_function_of_its_arguments_and_begins_with_the_rest_of_the_one_before():
    seen = []

    def evaluate(candidates):
        seen.append(candidates)
        return np.square(candidates - 0.7).sum((1, 2))

    options = PlannerOptions(samples=20, iterations=2)
    first = make_plan(evaluate, LINE, 6, options, np.random.default_rng(3))
    again = make_plan(evaluate, LINE, 6, options, np.random.default_rng(3))
    assert (first.actions == again.actions).all()
    seen.clear()
    make_plan(evaluate, LINE, 6, options, np.random.default_rng(4), first, 2)
    rest = np.concatenate([first.elites[0][2:], np.zeros((2, 2))])
    assert any((candidate == rest).all() for candidate in seen[0])
    assert any((candidate == 0).all() for candidate in seen[0])  # staying is always a candidate


def test_nothing_need_be_kept():
    options = PlannerOptions(samples=10, iterations=2, keep=0.0)
    first = make_plan(lambda x: np.abs(x).sum((1, 2)), LINE, 4, options, np.random.default_rng(0))
    make_plan(lambda x: np.abs(x).sum((1, 2)), LINE, 4, options, np.random.default_rng(1), first, 1)


def test_later_iterations_never_lose_the_best():
    for seed in range(5):
        costs = []

        def evaluate(candidates, costs=costs):
            found = np.abs(candidates.sum((1, 2)) - 2)
            costs.append(found.min())
            return found

        plan = make_plan(evaluate, LINE, 5, PlannerOptions(), np.random.default_rng(seed))
        assert plan.cost == min(costs)


def test_a_cost_that_is_no_number_is_an_error():
    with pytest.raises(ForeframeError, match="not a finite number"):
        make_plan(
            lambda candidates: np.full(len(candidates), np.nan),
            LINE,
            4,
            PlannerOptions(),
            np.random.default_rng(0),
        )


# -- tasks --------------------------------------------------------------------------------------


def test_tasks_are_frozen_and_can_be_found_again():
    assert {name: len(tasks) for name, tasks in frozen().items()} == {
        "push validate": 30,
        "push test": 100,
        "reach validate": 30,
        "reach test": 100,
    }
    for kind in ("push", "reach"):
        assert find(kind, "test", 3) == frozen()[f"{kind} test"][:3]


@pytest.mark.parametrize("kind", ["push", "reach"])
def test_doing_nothing_is_no_success_and_the_recorded_actions_are_one(kind):
    for one in frozen()[f"{kind} test"][::20]:
        ready = prepare(one)
        tried = tried_without(one, ready, PlanOptions())
        least = 2 * THRESHOLDS[kind][0]
        assert tried.distances[0] >= least
        assert tried.distances[-1] >= least * 0.9
        assert (tried.frames[:2] == ready.frames).all()
        from foreframe.simulator.episode import draw_sequence

        ready.live.restore(ready.start)
        for action in draw_sequence(0, 2, one.number).actions[one.start : one.goal]:
            ready.live.step(action)
        assert place_of(one, ready.live) == pytest.approx(ready.goal, abs=1e-12)


def test_a_scene_goes_back_to_a_moment_exactly(setting, task):
    live = setting.live
    random = np.random.default_rng(0)
    actions = np.clip(SPACE.deviation * random.normal(size=(8, 4)), SPACE.low, SPACE.high)
    courses = []
    for _ in range(2):
        live.restore(setting.start)
        courses.append([])
        for action in actions:
            live.step(action)
            courses[-1].append(np.concatenate([live.centres().ravel(), live.positions()]))
    assert np.array_equal(*courses)


def test_the_parked_goal_differs_in_the_arm_alone(setting):
    recorded, parked = (picture(setting.pictures[name]) for name in ("recorded", "parked"))
    given = picture(setting.frames[-1])
    assert (recorded - parked).abs().max() > 0.2
    # The arm stands as it does in the given frame: that is nearer to it.
    assert (parked - given).square().mean() < (recorded - given).square().mean()


# -- who imagines -------------------------------------------------------------------------------


def test_candidates_are_imagined_as_one_batch_as_they_are_alone(push, setting):
    now = now_of(setting)
    random = np.random.default_rng(0)
    candidates = np.clip(SPACE.deviation * random.normal(size=(5, 4, 4)), SPACE.low, SPACE.high)
    for cost in (object_cost(setting), PixelCost(picture(setting.pictures["recorded"]))):
        together = Imagined(push, PlanOptions(futures=2)).costs(now, cost)(candidates)
        alone = [
            Imagined(push, PlanOptions(futures=2)).costs(now, cost)(candidates[k : k + 1])[0]
            for k in range(5)
        ]
        assert together == pytest.approx(alone, rel=1e-4)
        misled = Imagined(push, PlanOptions(futures=2), shuffled=True)
        assert misled.costs(now, cost)(candidates) == pytest.approx(np.roll(together, 1))


def test_the_worst_future_costs_no_less_than_the_mean(push, setting):
    now, cost = now_of(setting), object_cost(setting)
    candidates = SPACE.deviation * np.random.default_rng(0).normal(size=(6, 5, 4))
    mean, worst = (
        Imagined(push, PlanOptions(futures=4, judge=judge)).costs(now, cost)(candidates)
        for judge in ("mean", "worst")
    )
    assert (worst >= mean - 1e-6).all()
    assert (worst > mean + 1e-6).any()


def test_things_move_without_a_scene_as_they_do_with_one(push, setting):
    start = Imagined(push, PlanOptions(futures=3)).begin(now_of(setting))
    actions = torch.from_numpy(SPACE.deviation * np.random.default_rng(1).normal(size=(1, 6, 4)))
    moved = push.things_moved(start, actions.float())
    moment = start
    for t in range(6):
        _, drawn = push.step(moment, actions[:, t].float())
        moment = push.step_unseen(moment, actions[:, t].float())
        assert torch.equal(drawn.now.motion.place, moment.now.motion.place)
        torch.testing.assert_close(moved[t], moment.now.motion.place)


def test_a_model_of_svgs_kind_plans_too(setting):
    torch.manual_seed(0)
    config = ModelConfig(
        net="dcgan64", width=0.05, g_dim=8, z_dim=2, rnn_size=8, condition="actions",
        timing="source",
    )  # fmt: skip
    model = VideoCVAE(config).eval()
    candidates = SPACE.deviation * np.random.default_rng(0).normal(size=(3, 4, 4))
    for cost in (object_cost(setting), PixelCost(picture(setting.pictures["recorded"]))):
        costs = Imagined(model, PlanOptions(futures=2)).costs(now_of(setting), cost)(candidates)
        assert costs.shape == (3,)
        assert np.isfinite(costs).all()


def test_the_physics_knows_what_will_happen_and_leaves_the_scene_as_it_was(setting, task):
    now, options = now_of(setting), PlanOptions()
    physics = Physics(setting.live, options, task, setting.goal)
    from foreframe.simulator.episode import draw_sequence

    right = draw_sequence(0, 1, task.number).actions[task.start : task.goal].astype(float)
    costs = physics.costs(now, object_cost(setting))(np.stack([right, np.zeros_like(right)]))
    assert costs[0] == pytest.approx(0, abs=1e-9)
    assert costs[1] > 0.09
    after = setting.live.snapshot()
    assert (after.state == setting.start.state).all()


def test_copying_the_last_frame_prefers_nothing(setting):
    costs = CopiedLast().costs(now_of(setting), object_cost(setting))(np.zeros((4, 3, 4)))
    assert (costs == costs[0]).all()
    assert costs[0] == pytest.approx(np.linalg.norm(setting.pixels - setting.thing), abs=1e-4)


def test_an_object_is_found_where_it_went():
    random = np.random.default_rng(0)
    ground = random.integers(90, 110, (64, 64, 3), np.uint8)
    patch = random.integers(0, 256, (9, 9, 3), np.uint8)

    def scene(column, row):
        frame = ground.copy()
        frame[row - 4 : row + 5, column - 4 : column + 5] = patch
        return picture(frame)

    template = Template.of(scene(20, 30), np.array([20.5, 30.5]))
    found = template.find(torch.stack([scene(20, 30), scene(31, 24), scene(8, 40)]))
    assert found.numpy() == pytest.approx(
        np.array([[20.5, 30.5], [31.5, 24.5], [8.5, 40.5]]), abs=0.1
    )


# -- episodes and results -----------------------------------------------------------------------


def test_the_model_pushes_an_object_nearer_and_random_actions_do_not(push):
    """The first validation tasks, quickly: the figure proper stands in docs/results."""
    planner, options = PlannerOptions(samples=40, iterations=2), PlanOptions(futures=2, steps=12)
    left = {"model": [], "random": []}
    for one in frozen()["push validate"][:4]:
        ready = prepare(one)
        tried = tried_with_plans(
            one, ready, Imagined(push, options), object_cost(ready), planner, options, film=True
        )
        assert tried.plans == 4
        assert tried.foreseen.shape == tried.frames.shape
        left["model"].append(tried.distances[-1] / tried.distances[0])
        ready = prepare(one)
        tried = tried_without(one, ready, options, random=planner)
        left["random"].append(tried.distances[-1] / tried.distances[0])
    assert np.mean(left["model"]) < 0.8
    assert np.mean(left["model"]) < np.mean(left["random"])


def words_of(out, *more):
    quick = "--episodes 2 --cost object --samples 8 --iterations 1 --steps 6 --horizon 5"
    return ["plan", "push", "--out", str(out), *quick.split(), *more]


def test_a_result_is_the_same_again_whoever_does_the_work(tmp_path, capsys):
    main(words_of(tmp_path / "a", "--workers", "1"))
    said = capsys.readouterr().out
    assert "doing nothing" in said
    assert "the simulator's physics" in " ".join(said.split())
    main(words_of(tmp_path / "b", "--workers", "2"))
    results = [json.loads((tmp_path / name / "plan.json").read_text()) for name in "ab"]
    for result in results:
        for row in result["rows"]:
            row.pop("seconds")
        result.pop("command")
    assert results[0] == results[1]
    read = PlanResult.read(tmp_path / "a" / "plan.json")
    assert read.row("nothing").success[0].successes == 0
    assert [row.name for row in read.rows] == [
        "nothing", "random", "copy-last", "shuffled", "model", "physics", "truth",
    ]  # fmt: skip
    gifs = sorted((tmp_path / "a" / "episodes").glob("*/*.gif"))
    assert len(gifs) == 2


def test_an_interrupted_result_goes_on_and_may_grow(tmp_path, monkeypatch, capsys):
    from foreframe.planning import plan

    original, calls = plan.try_once, []

    def stopped(trial):
        calls.append(trial)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(trial)

    with monkeypatch.context() as patch:
        patch.setattr(plan, "try_once", stopped)
        with pytest.raises(SystemExit):
            main(words_of(tmp_path / "out", "--workers", "1", "--no-oracle"))
    assert "Go on with: foreframe plan push" in " ".join(capsys.readouterr().out.split())
    there = {path: path.read_bytes() for path in (tmp_path / "out").glob("episodes/*/*.json")}
    assert len(there) == 5
    main(words_of(tmp_path / "out", "--workers", "1", "--no-oracle"))
    assert all(path.read_bytes() == content for path, content in there.items())
    grown = [word if word != "2" else "3" for word in words_of(tmp_path / "out", "--no-oracle")]
    main([*grown, "--workers", "1"])
    assert PlanResult.read(tmp_path / "out" / "plan.json").episodes == 3


def stopped_with(capsys, words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.split())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--episodes", "101"], "there are 100 tasks of this kind in test"),
        (["--episodes", "0"], "--episodes 0"),
        (["--samples", "1"], "--samples 1"),
        (["--elites", "2"], "--elites 2.0: is a share"),
        (["--task", "reach"], "reaching a place moves no object"),
        (["--gamma", "0"], "--gamma 0.0: must be above 0"),
    ],
)
def test_options_without_meaning_are_refused(tmp_path, capsys, more, said):
    assert said in stopped_with(capsys, words_of(tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


def test_models_that_cannot_plan_are_refused(tmp_path, capsys):
    for number, (settings, said) in enumerate(
        [
            ({"condition": "none"}, "is told nothing"),
            ({"condition": "both"}, "is told actions and positions"),
            ({"condition": "actions", "action_dim": 7}, "told actions (7 numbers a step)"),
        ]
    ):
        run = tmp_path / str(number)
        small = {"net": "dcgan64", "width": 0.05, "g_dim": 8, "z_dim": 2, "rnn_size": 8}
        VideoCVAE(ModelConfig(**small, **settings)).save_pretrained(run)
        words = ["plan", str(run), "--out", str(tmp_path / "out"), "--cost", "object"]
        assert said in stopped_with(capsys, words)
    words = ["plan", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]
    assert "a trained run is needed" in stopped_with(capsys, words)


def test_other_settings_and_other_folders_are_refused(tmp_path, capsys):
    main(words_of(tmp_path / "out", "--no-oracle", "--workers", "1", "--episodes", "1"))
    capsys.readouterr()
    words = words_of(tmp_path / "out", "--no-oracle", "--seed", "1")
    assert "seed is 0 there and 1 here" in stopped_with(capsys, words)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    assert "holds other files" in stopped_with(capsys, words_of(tmp_path / "other"))


def test_wilsons_interval():
    """(p + z^2 / 2n +- z sqrt(p q / n + z^2 / 4 n^2)) / (1 + z^2 / n), Wilson 1927."""
    for k, n in ((0, 10), (3, 10), (10, 10), (37, 100)):
        z, p = 1.959963984540054, k / n
        middle, spread = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        expected = [(middle + sign * spread) / (1 + z**2 / n) for sign in (-1, 1)]
        assert wilson(k, n) == pytest.approx(expected, abs=1e-9)


def test_rows_of_each_cost():
    names = [row.name for row in rows_of("push", PlanOptions(cost="pixels"))]
    assert names == [
        "nothing", "random",
        "copy-last-recorded", "shuffled-recorded", "model-recorded", "physics-recorded",
        "copy-last-parked", "shuffled-parked", "model-parked", "physics-parked",
        "truth",
    ]  # fmt: skip
    assert [row.name for row in rows_of("reach", PlanOptions(oracle=False))][2:] == [
        "copy-last-recorded", "shuffled-recorded", "model-recorded",
    ]  # fmt: skip


# -- tasks of one's own -------------------------------------------------------------------------


def test_a_task_of_ones_own_is_tried(tmp_path):
    """An object of a scene, and a place: the goal's picture shows it there."""
    own = OwnTask(goal=(0.05, -0.1), thing=2, sequence=3)
    task = own_task(own, "test")
    setting = prepare(task)
    np.testing.assert_allclose(setting.goal, own.goal, atol=1e-9)
    before = setting.frames[-1].astype(int)
    column, row = setting.pixels.astype(int)
    moved = np.abs(setting.pictures["parked"].astype(int) - before).sum(-1)
    assert moved[row - 2 : row + 3, column - 2 : column + 3].mean() > 30
    options = PlanOptions(steps=2, futures=1, oracle=False)
    made = plan(Path("push"), "push", tmp_path / "own", options, QUICK, own=own)
    assert made.episodes == 1
    record = json.loads((tmp_path / "own" / "episodes" / task.name / "nothing.json").read_text())
    away = np.linalg.norm(place_of(task, setting.live) - setting.goal)
    assert record["distances"][0] == pytest.approx(away, abs=1e-6)
    with pytest.raises(ForeframeError, match="other settings"):
        plan(Path("push"), "push", tmp_path / "own", options, QUICK)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--thing 99 --goal 0 0", "--thing 99: the scene of sequence 0 has 8 objects, numbered 0"),
        ("--thing 0 --goal 0.5 0", "--goal 0.5 0: lies outside the bin"),
        ("--thing 0", "both --goal X Y and --thing N"),
        ("--goal 0 0", "both --goal X Y and --thing N"),
        ("--thing 0 --goal 0 0 --sequence -1", "--sequence -1"),
        ("--thing 0 --goal 0 0 --task reach", "--task reach: --goal and --thing"),
    ],
)
def test_goals_outside_the_bin_and_objects_that_are_not_there(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        main(["plan", "push", "--out", str(tmp_path / "out"), *words.split()])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
