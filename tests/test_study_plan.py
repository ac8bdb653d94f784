"""Studies begun from another base, gone on with by a later version, and made again from results."""

import json
import shlex
from dataclasses import replace

import pytest

from foreframe import ForeframeError
from foreframe.commands.app import parse
from foreframe.config.recipes import recipe
from foreframe.config.training import RunConfig, scaled
from foreframe.runs.folder import named_config, saved_config
from foreframe.study.again import commands
from foreframe.study.definition import STUDY
from foreframe.study.definition import begin as begin_study
from foreframe.study.options import StudyOptions
from foreframe.study.plan import configured, make_plan
from foreframe.study.study import run_study

SMALL = recipe("lab-small")
SVG = recipe("svg-lp")
"""Always teacher-forced, constant KL, learned prior."""


def configs(name, base):
    plan = make_plan(name, base)
    return plan, {cell.name: configured(base, cell, 0) for cell in plan.cells}


@pytest.mark.parametrize("base", [SMALL, SVG], ids=["lab-small", "svg-lp"])
def test_teacher_forcing_is_varied_whatever_the_base_does(base):
    plan, found = configs("teacher-forcing", base)
    (comparison,) = plan.comparisons
    kinds = [
        (forcing.teacher_forcing, forcing.teacher_forcing_floor)
        for forcing in (found[name].train.forcing for name in comparison.cells)
    ]
    assert kinds[0] == ("linear", 0.0)
    assert [kind for kind, _ in kinds[1:3]] == ["always", "never"]
    assert kinds[3] == ("linear", 0.5)


def test_rates_are_held_against_the_reports_whatever_the_base_has():
    other = replace(SMALL, train=replace(SMALL.train, rate=replace(SMALL.train.rate, lr=1e-3)))
    for base in (SMALL, other):
        plan, found = configs("report", base)
        rates = next(one for one in plan.comparisons if one.name == "learning-rate")
        assert [found[name].train.rate.lr for name in rates.cells] == [2e-3, 2e-2, 2e-4]
        assert len({cell.name for cell in plan.cells}) == len(plan.cells)
    # Nothing but the rate is as the report has it: the others keep the base's.
    assert found["fp-monotonic"].train.rate.lr == 1e-3


def test_the_decay_begins_at_the_same_share_of_all_epochs():
    lab = recipe("lab-fp-cyclical").train
    starts = {
        epochs: scaled(replace(lab, epochs=epochs), lab).forcing.teacher_forcing_start
        for epochs in (150, 300, 30, 12, 6)
    }
    assert starts == {150: 11, 300: 22, 30: 2, 12: 1, 6: 0}


def test_what_cannot_be_scheduled_is_refused_before_anything_is_trained():
    short = replace(SMALL, train=replace(SMALL.train, epochs=5))
    with pytest.raises(ForeframeError, match="--kl-cycles 3: a cycle needs at least 2 epochs"):
        make_plan("kl-schedules", short)


# -- a cell again -------------------------------------------------------------------------------


def reread(config):
    """The configuration that the printed command stands for, as the command line reads it."""
    words = shlex.split(commands(config, "the data", 3)[0])
    command = parse(words[1:])
    return replace(
        RunConfig(named_config(command.recipe).recipe, command.model, command.train),
        recipe=config.recipe,
    )


@pytest.mark.parametrize(
    "base", [SMALL, SVG, recipe("svg-small"), recipe("foreframe-s")], ids=lambda c: c.recipe
)
def test_the_printed_command_is_the_cells_whole_configuration(base):
    base = replace(base, model=replace(base.model, standardise=not base.model.standardise))
    plan = make_plan("report", base)
    for cell in plan.cells:
        config = configured(base, cell, 2)
        assert reread(config) == config


def test_the_command_needs_no_file_of_the_run_that_it_makes_again():
    config = replace(SMALL, recipe="studies/x/runs/fp-cyclical/seed-0/run.json")
    train, evaluate = commands(config, "the data", 3)
    assert "run.json" not in train
    assert reread(config) == config
    assert shlex.split(evaluate)[-2:] == ["--limit", "3"]


# -- one study in a folder ----------------------------------------------------------------------


def begin(out, base=SMALL, data="data", limit=4, name="kl-schedules"):
    begin_study(out, make_plan(name, base), base, data, limit, "foreframe study ...")


def test_what_differs_is_named(tmp_path):
    begin(tmp_path / "study")
    for other, named in (
        (
            {"base": replace(SMALL, model=replace(SMALL.model, width=0.5))},
            r"another base.*model\.width is 0\.25 there and 0\.5 here",
        ),
        ({"data": "elsewhere"}, "--data is data there and elsewhere here"),
        ({"limit": None}, "--limit is 4 there and None here"),
    ):
        with pytest.raises(ForeframeError, match=named):
            begin(tmp_path / "study", **other)


def test_a_study_from_before_a_field_was_added_goes_on(tmp_path):
    begin(tmp_path / "study")
    path = tmp_path / "study" / STUDY
    definition = json.loads(path.read_text())
    del definition["base"]["train"]["ema"]
    forcing = definition["cells"][0]["settings"]
    forcing.append(["teacher_forcing", "linear"])  # says what the base has anyway
    path.write_text(json.dumps(definition))
    begin(tmp_path / "study", name="report")
    cells = json.loads(path.read_text())["cells"]
    assert len(cells) == 11
    forcing[-1][1] = "never"
    path.write_text(json.dumps(definition))
    with pytest.raises(ForeframeError, match="its cell fp-cyclical has other settings"):
        begin(tmp_path / "study")


def test_a_cell_is_the_same_again_from_its_printed_command(toy_data, tmp_path):
    from foreframe.commands.app import main

    tiny = replace(
        SMALL,
        model=replace(SMALL.model, width=0.125, g_dim=16, z_dim=4, rnn_size=16),
        train=replace(
            SMALL.train, epochs=2, steps_per_epoch=2, batch_size=2, n_future=4, precision="fp32",
            forcing=replace(SMALL.train.forcing, teacher_forcing_start=0),
            kl=replace(SMALL.train.kl, kl_schedule="constant"),
        ),
    )  # fmt: skip
    out = tmp_path / "study"
    plan = make_plan("grid", tiny, ["prior=learned"])
    run_study(plan, tiny, str(toy_data), out, StudyOptions(seeds=1, limit=2), log=lambda text: None)
    (run,) = json.loads((out / "results.json").read_text())["runs"]
    again = tmp_path / "again"
    for command in run["commands"]:
        main([word.replace("NEW_RUN", str(again)) for word in shlex.split(command)][1:])
    card = json.loads((again / "evaluation-partial.json").read_text())
    assert card["rows"][0]["psnr"] == run["card"]["rows"]["model"]["psnr"]
    assert card["hashes"]["weights"] == run["card"]["hashes"]["weights"]
    ours, theirs = saved_config(out / "runs" / run["cell"] / "seed-0"), saved_config(again)
    assert ours == theirs
