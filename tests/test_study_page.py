"""The page of a study from records that were written by hand: nothing is trained here."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreframe import ForeframeError
from foreframe.commands.app import main
from foreframe.config.plain import to_dict
from foreframe.config.recipes import recipe
from foreframe.metrics.intervals import bootstrap
from foreframe.study.definition import begin
from foreframe.study.page import write_page
from foreframe.study.plan import configured, make_plan
from foreframe.study.read import RUNS
from foreframe.study.record import Results

SMALL = recipe("lab-small")
RATES = "0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08"
SEQUENCES = [20.0, 21.0, 22.0, 25.0]


def put(out, cell, seed=0, *, diverged=None, sequences=SEQUENCES):
    folder = out / RUNS / cell.name / f"seed-{seed}"
    folder.mkdir(parents=True)
    card = None
    if sequences is not None:
        mean = float(np.mean(sequences))
        score = {
            "value": mean,
            "per_sequence": list(sequences),
            "interval": [mean] * 2,
            "per_step": [],
        }
        row = {"name": "model", "label": "foreframe", "scores": {"psnr": score, "ssim": score}}
        (folder / "evaluation.json").write_text(json.dumps({"protocol": {}, "rows": [row]}))
        card = {"rows": {"model": {"psnr": mean, "ssim": 0.5}}}
    history = [
        {"epoch": k, "beta": 1.0, "kld": 1.0, "loss": 0.1, "mse": 0.1,
         "teacher_forcing_ratio": 1.0, "validation_psnr": 20.0}
        for k in range(3)
    ]  # fmt: skip
    record = {
        "cell": cell.name,
        "label": cell.label,
        "seed": seed,
        "settings": dict(cell.settings),
        "config": to_dict(configured(SMALL, cell, seed)),
        "diverged": diverged,
        "history": history,
        "seconds": 5.0,
        "card": card,
    }
    (folder / "cell.json").write_text(json.dumps(record))


@pytest.fixture
def rates(tmp_path):
    """A study of eight rates, none of which has been run."""
    plan = make_plan("grid", SMALL, [f"lr={RATES}"])
    begin(tmp_path / "study", plan, SMALL, "data", None, "foreframe study grid ...")
    return plan, tmp_path / "study"


def row_of(out, label):
    lines = (out / "study.md").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"| {label} ("))


def test_a_study_that_has_just_begun_has_a_page_with_blank_cells(rates):
    _, out = rates
    page = write_page(out).read_text()
    assert "No run has ended yet." in page
    assert page.count("(not run)") == 8
    assert row_of(out, "lr 0.03") == "| lr 0.03 (not run) |  |  |  |  |  |  |  |"
    assert "8 of 8 cells were not run." in page


def test_no_system_is_left_out_of_the_curves_however_many_there_are(rates):
    plan, out = rates
    for cell in plan.cells:
        put(out, cell)
    page = write_page(out).read_text()
    for rate in RATES.split(","):
        assert page.count(f'data-series="lr {rate}"') == 6
    assert len(re.findall("<h3>KL weight beta</h3>", page)) == 2


def test_intervals_over_sequences_are_those_of_the_mean_of_the_seeds(rates):
    plan, out = rates
    put(out, plan.cells[0], 0)
    put(out, plan.cells[0], 1, sequences=[value + 2 for value in SEQUENCES])
    write_page(out)
    low, high = bootstrap([value + 1 for value in SEQUENCES])
    assert f"[sequences {low:.2f}, {high:.2f}]" in row_of(out, "lr 0.01")


def test_published_results_are_read_and_say_what_their_tables_say():
    """The results of version 0.1 in the documentation: nothing is lost, the means are the same."""
    folder = Path(__file__).parent.parent / "docs" / "results" / "study-short"
    values = json.loads((folder / "results.json").read_text())
    results = Results.from_json(values, "results.json")
    again = json.loads(json.dumps(results.to_json()))
    assert {**again, "base": values["base"]} == values
    assert results.base == SMALL  # fields that came later have the values that were in force
    table = (folder / "study.md").read_text()
    for label in {run.label for run in results.runs}:
        scored = [run.card.row("model").psnr for run in results.runs if run.label == label]
        (row, *_) = [line for line in table.splitlines() if line.startswith(f"| {label} (")]
        assert row.split("|")[2].startswith(f" {np.mean(scored):.2f} [")


def test_a_damaged_record_is_named(rates):
    plan, out = rates
    put(out, plan.cells[0])
    path = out / RUNS / plan.cells[0].name / "seed-0" / "cell.json"
    record = json.loads(path.read_text())
    for damaged in ([], {**record, "history": 3}, {**record, "config": {"recipe": 1}}):
        path.write_text(json.dumps(damaged))
        with pytest.raises(ForeframeError, match=re.escape(str(path))):
            write_page(out)


def test_a_run_without_any_weights_is_shown_with_the_others(rates):
    plan, out = rates
    put(out, plan.cells[0])
    put(out, plan.cells[1], diverged=1, sequences=None)
    page = write_page(out).read_text()
    assert row_of(out, "lr 0.02").split("|")[2:4] == [" none ", " none "]
    assert "1 of them collapsed; they are shown with the others." in page
    assert "lr 0.02 and lr 0.01 have no seed in common that was scored." in page


def test_where_the_schedules_stand_is_said(tmp_path):
    longer = replace(SMALL, train=replace(SMALL.train, epochs=24))
    begin(tmp_path / "s", make_plan("kl-schedules", longer), longer, "data", None, "")
    page = write_page(tmp_path / "s").read_text()
    assert "drawn over the 24 epochs" in page
    # Counted from 1, as the charts are: the last epoch that is always forced.
    assert "falls after epoch 2 (in the report after 12 of 150)" in page


def test_ctrl_c_says_how_to_go_on_wherever_it_comes(monkeypatch, tmp_path, capsys):
    def stopped(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("foreframe.study.study.run_study", stopped)
    words = ["study", "kl-schedules", "--data", "d", "--out", str(tmp_path / "s")]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 130
    assert " ".join(["foreframe", *words]) in capsys.readouterr().out.replace("\n", "")
