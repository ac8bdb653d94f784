"""Studies: what is planned, what is done again and what is not, and what may be said."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from foreframe import ForeframeError
from foreframe.commands.app import main
from foreframe.config.recipes import recipe
from foreframe.config.schedules import TeacherForcing
from foreframe.runs.folder import saved_config
from foreframe.study.options import StudyOptions
from foreframe.study.plan import configured, make_plan
from foreframe.study.study import run_study
from foreframe.system.files import read_json
from foreframe.training.loop import Training

SMALL = recipe("lab-small")
TINY = replace(
    SMALL,
    model=replace(SMALL.model, width=0.125, g_dim=16, z_dim=4, rnn_size=16),
    train=replace(
        SMALL.train,
        epochs=6,
        steps_per_epoch=1,
        batch_size=2,
        n_future=4,
        forcing=TeacherForcing("linear", teacher_forcing_start=1),
        precision="fp32",
    ),
)


def quiet(text: str) -> None:
    pass


# -- plans --------------------------------------------------------------------------------------


def test_the_reports_systems_differ_in_what_defines_them():
    plan = make_plan("kl-schedules", SMALL)
    configs = {cell.name: configured(SMALL, cell, 3) for cell in plan.cells}
    assert len(configs) == 4
    kinds = {
        name: (config.model.prior, config.train.kl.kl_schedule, config.train.kl.beta_max)
        for name, config in configs.items()
    }
    assert kinds == {
        "fp-cyclical": ("fixed", "cyclical", 1.0),
        "fp-monotonic": ("fixed", "monotonic", 1.0),
        "lp-cyclical": ("learned", "cyclical", 1.0),
        "fp-constant": ("fixed", "constant", 1.0),
    }
    assert all(config.train.seed == 3 for config in configs.values())
    assert configs["fp-monotonic"].train.forcing == SMALL.train.forcing


def test_all_of_the_report_shares_its_common_cell():
    plan = make_plan("report", SMALL)
    assert len(plan.comparisons) == 4
    assert all(comparison.cells[0] == "fp-cyclical" for comparison in plan.comparisons)
    assert len({cell.name for cell in plan.cells}) == len(plan.cells) == 11


def test_a_grid_varies_one_factor_at_a_time_or_all():
    vary = ["lr=0.02,0.002", "prior=fixed,learned", "standardise=true,false"]
    assert len(make_plan("grid", SMALL, vary).cells) == 6
    plan = make_plan("grid", SMALL, vary, full=True)
    assert len(plan.cells) == 8
    last = configured(SMALL, plan.cells[-1], 0)
    assert (last.train.rate.lr, last.model.prior, last.model.standardise) == (
        0.002,
        "learned",
        False,
    )


REFUSED = {
    "no such study": ("monotonic", []),
    "nothing to vary": ("grid", []),
    "a study that varies by itself": ("kl-weight", ["lr=1"]),
    "no such field": ("grid", ["rate=1"]),
    "no such value": ("grid", ["prior=none"]),
    "not a number": ("grid", ["lr=fast"]),
    "no value": ("grid", ["lr="]),
    "the seed": ("grid", ["seed=1,2"]),
    "twice": ("grid", ["lr=0.1", "lr=0.2"]),
    "no training": ("grid", ["epochs=0"]),
}


@pytest.mark.parametrize(("name", "vary"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_studied_is_refused(name, vary):
    with pytest.raises(ForeframeError):
        make_plan(name, SMALL, vary)


# -- runs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studied(toy_data, tmp_path_factory):
    """Two priors, two seeds."""
    out = tmp_path_factory.mktemp("studies") / "priors"
    plan = make_plan("grid", TINY, ["prior=fixed,learned"])
    run_study(
        plan,
        TINY,
        str(toy_data),
        out,
        StudyOptions(seeds=2),
        command="foreframe study ...",
        log=quiet,
    )
    return plan, out


def test_every_run_is_a_run_and_the_page_shows_all(studied):
    _, out = studied
    page = (out / "index.html").read_text()
    text = (out / "study.md").read_text()
    results = json.loads((out / "results.json").read_text())
    assert len(results["runs"]) == 4
    for run in results["runs"]:
        folder = out / "runs" / run["cell"] / f"seed-{run['seed']}"
        card = json.loads((folder / "evaluation.json").read_text())
        assert run["card"]["rows"]["model"]["psnr"] == card["rows"][0]["psnr"]
        assert saved_config(folder).train.seed == run["seed"]
    for label in ("prior fixed", "prior learned"):
        values = [
            run["card"]["rows"]["model"]["psnr"] for run in results["runs"] if run["label"] == label
        ]
        assert values[0] != values[1]
        row = next(line for line in text.splitlines() if line.startswith(f"| {label}"))
        assert f"{np.mean(values):.2f} [" in row
        assert label in page
    assert page.count("data:image/gif") == 2
    assert not re.search(r'(src|href)="http', page)
    assert "None of these 4 runs collapsed" in text or "seeds of prior" in text


def test_what_is_done_is_not_done_again_and_seeds_may_be_added(
    studied, toy_data, tmp_path, monkeypatch
):
    plan, out = studied
    steps = []
    step = Training.step
    monkeypatch.setattr(
        Training, "step", lambda self, clip, at: steps.append(at) or step(self, clip, at)
    )
    run_study(plan, TINY, str(toy_data), out, StudyOptions(seeds=2), log=quiet)
    assert steps == []
    run_study(
        make_plan("grid", TINY, ["prior=fixed"]),
        TINY,
        str(toy_data),
        out,
        StudyOptions(seeds=3),
        log=quiet,
    )
    assert len(steps) == 6
    text = (out / "study.md").read_text()
    assert "prior fixed (3 seeds)" in text


def test_a_study_goes_on_from_its_results_without_any_run_folder(
    studied, toy_data, tmp_path, monkeypatch
):
    """What a repository keeps of a study (no weights, no run folders) is enough to go on."""
    plan, studied_out = studied
    out, kept = tmp_path / "whole" / "priors", tmp_path / "priors"
    shutil.copytree(
        studied_out, out, ignore=shutil.ignore_patterns("seed-2*", "*.safetensors", "results")
    )
    record = out / "runs" / "prior-fixed" / "seed-0" / "cell.json"
    old = read_json(record)
    assert len(old.pop("per_sequence")["psnr"]) == old["card"]["protocol"]["sequences"]
    record.write_text(json.dumps(old))  # as version 0.1 wrote it
    run_study(plan, TINY, str(toy_data), out, StudyOptions(seeds=2), log=quiet)
    shutil.copytree(out, kept, ignore=shutil.ignore_patterns("runs"))
    published = sorted(path.relative_to(kept).as_posix() for path in kept.glob("results/*/*"))
    assert published == [
        f"results/prior-{prior}/seed-{seed}.{kind}"
        for prior in ("fixed", "learned")
        for seed in ("0", "1")
        for kind in ("gif", "json")
    ]
    before = (kept / "study.md").read_text()
    steps = []
    step = Training.step
    monkeypatch.setattr(
        Training, "step", lambda self, clip, at: steps.append(at) or step(self, clip, at)
    )
    said = []
    run_study(plan, TINY, str(toy_data), kept, StudyOptions(seeds=2), log=said.append)
    assert steps == []
    assert len(said) == 4
    assert not (kept / "runs").exists()
    assert (kept / "study.md").read_text() == before
    assert (kept / "results.json").read_bytes() == (out / "results.json").read_bytes()
    assert (kept / "index.html").read_text().count("data:image/gif") == 1
    fixed = make_plan("grid", TINY, ["prior=fixed"])
    run_study(fixed, TINY, str(toy_data), kept, StudyOptions(seeds=3), log=quiet)
    assert len(steps) == 6
    assert "prior fixed (3 seeds)" in (kept / "study.md").read_text()


def test_another_study_in_the_same_folder_is_refused(studied, toy_data):
    plan, out = studied
    other = replace(TINY, train=replace(TINY.train, batch_size=3))
    before = (out / "study.json").read_bytes()
    with pytest.raises(ForeframeError, match="another base"):
        run_study(plan, other, str(toy_data), out, StudyOptions(seeds=2), log=quiet)
    assert (out / "study.json").read_bytes() == before


def test_a_cell_again_from_its_record_gives_the_same_numbers(studied, toy_data, tmp_path, capsys):
    _, out = studied
    run = json.loads((out / "results.json").read_text())["runs"][2]
    again = tmp_path / "again"
    for command in run["commands"]:
        main(command.replace("NEW_RUN", str(again)).split()[1:])
    card = json.loads((again / "evaluation.json").read_text())
    assert card["rows"][0]["psnr"] == run["card"]["rows"]["model"]["psnr"]
    assert card["hashes"]["weights"] == run["card"]["hashes"]["weights"]


def test_a_killed_cell_goes_on_and_a_diverged_one_is_finished_and_shown(
    toy_data, tmp_path, monkeypatch
):
    out = tmp_path / "study"
    plan = make_plan("grid", TINY, ["lr=0.002,1e30"])
    step, taken = Training.step, []

    def dies(self, clip, at):
        taken.append(at)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return step(self, clip, at)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            run_study(plan, TINY, str(toy_data), out, StudyOptions(seeds=1), log=quiet)
    said = []
    run_study(plan, TINY, str(toy_data), out, StudyOptions(seeds=1), log=said.append)
    assert any("diverged in epoch" in text for text in said)
    text = (out / "study.md").read_text()
    assert "1 of 1 seeds of lr 1e+30 collapsed, 1 of them to numbers that are not finite" in text
    history = read_json(out / "runs" / "lr-0.002" / "seed-0" / "history.json")
    assert [row["epoch"] for row in history] == list(range(6))


def test_cells_on_a_ray_cluster_are_those_of_one_process(studied, toy_data, tmp_path):
    pytest.importorskip("ray")
    plan, out = studied
    other = tmp_path / "ray"
    run_study(plan, TINY, str(toy_data), other, StudyOptions(seeds=1, ray="local"), log=quiet)
    ours, theirs = (
        {
            (run["cell"], run["seed"]): run["card"]["rows"]["model"]["psnr"]
            for run in json.loads((folder / "results.json").read_text())["runs"]
        }
        for folder in (out, other)
    )
    assert len(theirs) == 2
    for key, value in theirs.items():
        assert value == pytest.approx(ours[key], abs=1e-3)


def test_the_command_says_where_the_page_is_and_what_is_wrong(toy_data, tmp_path, capsys):
    small = [
        "--epochs",
        "6",
        "--steps-per-epoch",
        "1",
        "--batch-size",
        "2",
        "--n-future",
        "4",
        "--width",
        "0.125",
        "--g-dim",
        "16",
        "--z-dim",
        "4",
        "--rnn-size",
        "16",
        "--limit",
        "2",
        "--seeds",
        "1",
    ]
    out = tmp_path / "study"
    words = ["study", "grid", "--data", str(toy_data), "--out", str(out), *small]
    main([*words, "--vary", "beta-max=1,0.01"])
    assert f"{out}/index.html" in capsys.readouterr().out.replace("\n", "")
    for wrong in (["--vary", "beta-max=x"], ["--vary", "lr=1", "--seeds", "0"]):
        with pytest.raises(SystemExit) as stopped:
            main([*words[:-2], *wrong])
        assert stopped.value.code == 2
