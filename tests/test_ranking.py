"""Policies judged inside a model and in the simulator."""

import numpy as np
import pytest

from foreframe.commands.app import main
from foreframe.config.model import ModelConfig
from foreframe.planning import judging
from foreframe.planning.options import PlanOptions
from foreframe.planning.policies import NAMES, Sight, policy
from foreframe.planning.rank import RankResult, _agreement, rank
from foreframe.planning.tasks import frozen, place_of, prepare
from foreframe.runs.hub import VideoCVAE
from foreframe.runs.shipped import shipped
from foreframe.simulator.actions import next_target
from foreframe.system.workers import Execution

FEW = PlanOptions(episodes=2, split="validate", steps=15, futures=2)
HERE = Execution(workers=1)


def ends(name, tasks, steps=15):
    """Metres from the goal after each task, in the simulator."""
    found = []
    for task in tasks:
        setting = prepare(task)
        act, gripper = policy(name, (0, task.number), steps), setting.start.target
        for step in range(steps):
            action = act(Sight(gripper, place_of(task, setting.live), setting.goal, step))
            setting.live.step(action)
            gripper = next_target(gripper, action)
        found.append(float(np.linalg.norm(place_of(task, setting.live) - setting.goal)))
    return np.array(found)


def test_policies_differ_in_skill():
    tasks = frozen()["push validate"][:10]
    still, careful = ends("still", tasks), ends("careful", tasks)
    assert (still > 0.05).all()
    assert (careful < 0.05).mean() >= 0.6
    assert ends("straight", tasks).mean() > careful.mean()


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_is_a_function_of_its_seed_and_keeps_to_the_robot(name):
    sight = Sight(np.array([0.0, 0.0, 0.02, 0.0]), np.array([0.1, 0.0]), np.array([0.0, 0.1]), 0)
    one, again = (policy(name, (3, 1), 15)(sight) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert (np.abs(one[:2]) <= 0.1 + 1e-9).all()
    assert 0 <= one[2] <= 0.09


def test_a_ranking_is_the_same_again_and_goes_on(tmp_path, monkeypatch):
    whole = rank(shipped("push"), tmp_path / "a", FEW, execution=HERE)
    assert [one.name for one in whole.policies] == list(NAMES)
    assert whole.policies[0].happened == whole.policies[0].imagined == 0
    record = tmp_path / "a" / "episodes" / frozen()["push validate"][0].name / "careful.json"
    kept = record.read_bytes()
    record.unlink()
    tried = []
    real = judging._imagined
    monkeypatch.setattr(judging, "_imagined", lambda *a: tried.append(1) or real(*a))
    again = rank(shipped("push"), tmp_path / "a", FEW, execution=HERE)
    assert len(tried) == 2  # with its own actions, and with another task's: that episode alone
    assert record.read_bytes() == kept
    assert again == whole
    read = RankResult.read(tmp_path / "a" / "rank.json")
    assert read == whole
    assert (tmp_path / "a" / "rank.png").stat().st_size > 5000


def test_two_workers_judge_as_one_does(tmp_path):
    few = PlanOptions(episodes=1, split="validate", steps=5, futures=1)
    one = rank(shipped("push"), tmp_path / "one", few, execution=HERE)
    two = rank(shipped("push"), tmp_path / "two", few, execution=Execution(workers=2))
    assert one == two


def test_a_model_of_svgs_kind_judges_too(tmp_path):
    config = ModelConfig(
        net="dcgan64", width=0.125, condition="actions", action_dim=4, timing="source"
    )
    VideoCVAE(config).save_pretrained(tmp_path / "run")
    few = PlanOptions(episodes=1, split="validate", steps=3, futures=2)
    made = rank(tmp_path / "run", tmp_path / "out", few, execution=HERE)
    assert all(0 <= one.imagined <= 1 for one in made.policies)


def table(happened, imagined):
    """Judgements of one task each, of policies that succeed or not."""
    return [
        [
            judging.Judgement(
                task=f"t{k}", policy=str(p), start=0.2, happened=h, imagined=[i], shuffled=[0.2]
            )
            for k, (h, i) in enumerate(zip(hs, is_, strict=True))
        ]
        for p, (hs, is_) in enumerate(zip(happened, imagined, strict=True))
    ]


def test_agreement_is_told_from_its_opposite():
    near, far = 0.01, 0.2
    rows = [[near] * k + [far] * (20 - k) for k in (1, 6, 12, 19)]
    same = _agreement(table(rows, rows), "imagined")
    assert same.rank == 1
    assert same.interval is not None
    assert same.interval[0] > 0.5
    assert same.difference == 0
    assert same.episodes == pytest.approx(1)
    turned = _agreement(table(rows, rows[::-1]), "imagined")
    assert turned.rank == -1
    alike = _agreement(table(rows, rows), "shuffled")
    assert alike.rank is None
    assert alike.interval is None


def test_what_cannot_be_ranked_is_refused_in_a_line(tmp_path, capsys):
    def refused(*words):
        with pytest.raises(SystemExit) as ended:
            main(["plan", *map(str, words), "--rank"])
        assert ended.value.code == 2
        said = capsys.readouterr().err.strip()
        assert "\n" not in said
        return said

    assert "policies" in refused("push", "--task", "reach", "--out", tmp_path / "a")
    config = ModelConfig(net="dcgan64", width=0.125, condition="none")
    VideoCVAE(config).save_pretrained(tmp_path / "blind")
    assert "is told nothing" in refused(tmp_path / "blind", "--out", tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine.txt").write_text("mine")
    assert "holds other files" in refused("push", "--out", tmp_path / "c")
    assert (tmp_path / "c" / "mine.txt").read_text() == "mine"
