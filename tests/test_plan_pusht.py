"""The closed loop in PushT: tasks are honest, and the same planner does them."""

import hashlib

import numpy as np
import pytest

from foreframe.commands.app import main
from foreframe.config.model import ModelConfig
from foreframe.planning.options import PlannerOptions, PlanOptions
from foreframe.planning.plan import plan
from foreframe.planning.tasks import to_json
from foreframe.runs.hub import VideoCVAE
from foreframe.system.workers import Execution

pytest.importorskip("gym_pusht")

from foreframe.planning import pusht
from foreframe.planning.episode import tried_with_plans, tried_without
from foreframe.planning.trial import Row, cost_of

QUICK = PlannerOptions(samples=16, iterations=3, horizon=10)
OPTIONS = PlanOptions(steps=10, futures=1).of("pusht")


def test_tasks_are_frozen_and_can_be_found_again():
    found = pusht.find("validate", 3)
    assert found == pusht.frozen()["pusht validate"][:3]
    assert to_json([*pusht.frozen()["pusht validate"], *pusht.frozen()["pusht test"]]).encode() == (
        pusht.file_of_tasks()
    )
    assert len(hashlib.sha256(pusht.file_of_tasks()).hexdigest()) == 64


def test_doing_nothing_is_no_success_and_the_recorded_actions_are_one():
    from foreframe.simulator.pusht.episode import run_sequence

    for task in pusht.frozen()["pusht validate"][:6]:
        setting = pusht.prepare(task)
        still = tried_without(task, setting, OPTIONS).distances
        assert (still >= 0.4).all()  # 0.2 counts as done
        setting.live.restore(setting.start)
        actions = run_sequence(0, 1, task.number).actions
        for action in actions[task.start : task.goal]:
            setting.live.step(action.astype(np.float64))
        assert setting.away() < 1e-6


def test_the_goal_is_shown_with_the_disc_as_recorded_and_where_it_is():
    setting = pusht.prepare(pusht.frozen()["pusht validate"][0])
    recorded, parked = setting.pictures["recorded"], setting.pictures["parked"]
    assert recorded.shape == (64, 64, 3)
    assert (recorded != parked).any()
    assert (parked != setting.frames[-1]).any()


def test_the_same_planner_succeeds_with_the_true_future():
    tasks = pusht.frozen()["pusht validate"][:4]
    ends = []
    for task in tasks:
        setting = pusht.prepare(task)
        physics = pusht.PushTPhysics(setting, OPTIONS, truth=True)
        cost = cost_of(OPTIONS, setting, Row("truth"))
        ends.append(
            tried_with_plans(task, setting, physics, cost, PlannerOptions(), OPTIONS).distances[-1]
        )
    assert np.mean(ends) < 0.3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = ModelConfig(
        net="dcgan64", width=0.125, condition="actions", action_dim=2, timing="source"
    )
    VideoCVAE(config).save_pretrained(folder)
    return folder


def test_a_result_has_every_row_and_is_the_same_again(run, tmp_path, capsys):
    options = PlanOptions(episodes=1, split="validate", steps=2, futures=1)
    one = plan(run, "pusht", tmp_path / "one", options, QUICK, execution=Execution(workers=1))
    names = {row.name for row in one.rows}
    assert names >= {"nothing", "random", "truth", "model-recorded", "physics-parked"}
    nothing = one.row("nothing")
    assert nothing is not None
    assert nothing.success[0].successes == 0
    again = plan(run, "pusht", tmp_path / "two", options, QUICK, execution=Execution(workers=1))
    assert [row.distances for row in one.rows] == [row.distances for row in again.rows]
    words = ["--episodes", "1", "--split", "validate", "--steps", "2", "--futures", "1"]
    words += ["--samples", "16", "--horizon", "10", "--workers", "1"]
    main(["plan", str(run), "--task", "pusht", "--out", str(tmp_path / "one"), *words])
    said = capsys.readouterr().out
    assert "80 % covered" in said


def test_models_of_other_worlds_are_refused_in_a_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["plan", "push", "--task", "pusht", "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "simulator's 2 actions" in said
    assert len(said.splitlines()) == 1
