"""The commands as a user types them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foreframe import VideoCVAE
from foreframe.commands.app import COMMANDS, main, parse
from foreframe.config.recipes import RECIPES
from foreframe.data.lab import SPLITS, list_sequences
from foreframe.runs.folder import saved_config
from foreframe.training.listener import Interrupted
from foreframe.training.loop import Training

TINY = [
    *["--net", "dcgan64", "--width", "0.125", "--g-dim", "16", "--z-dim", "4", "--rnn-size", "16"],
    *["--epochs", "2", "--steps-per-epoch", "2", "--batch-size", "2", "--n-future", "4"],
    *["--kl-schedule", "constant", "--teacher-forcing", "always", "--device", "cpu"],
]

"""Options that make SVG's nets tiny."""
TINY_DEMO = [
    *["--width", "0.25", "--g-dim", "16", "--z-dim", "64", "--rnn-size", "8", "--things", "3"],
    *["--epochs", "2", "--arm-epochs", "1", "--steps-per-epoch", "2", "--batch-size", "2"],
    *["--device", "cpu"],
]
"""Options that make the demo tiny."""


def run(*words: object) -> None:
    main([str(word) for word in words])


def test_help_lists_every_command_and_each_has_its_own(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            run(name, "--help")
        assert stop.value.code == 0


def test_train_help_explains_every_field_with_the_recipes_defaults(capsys):
    with pytest.raises(SystemExit):
        run("train", "svg-lp", "--help")
    text = " ".join(capsys.readouterr().out.split())
    for flag in ("--beta-max", "--kl-cycles", "--teacher-forcing-start", "--lr", "--skips-from"):
        assert flag in text
    assert "Adam's learning rate" in text
    assert "(default: learned)" in text
    assert "(default: 0.0001)" in text


def test_the_programs_help_fits_one_screen(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 12 + len(COMMANDS)  # one for each command and group


@pytest.mark.parametrize("words", [(), ("import",), ("export",)])
def test_too_few_words_print_the_help_and_end_with_status_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*words)
    assert stop.value.code == 2
    printed = capsys.readouterr().out
    assert all(name in printed for name in (COMMANDS[words[0]] if words else COMMANDS))


def test_a_switch_is_explained_as_what_it_switches_on(capsys):
    """--no-standardise alone, before the words "bring each number to mean 0", said the opposite."""
    for recipe in ("demo", "lab-fp-cyclical"):
        with pytest.raises(SystemExit):
            run("train", recipe, "--help")
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "--standardise, --no-standardise Bring each number" in text
    words = ("--data", "x", "--out", "y")
    assert not parse(["train", "demo", *words, "--no-standardise"]).model.standardise
    assert parse(["train", "lab-fp-cyclical", *words, "--standardise"]).model.standardise


COMPLETE = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_tyro_foreframe foreframe
echo "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def completions(tmp_path_factory):
    """The script that the documentation tells bash users to write."""
    script = tmp_path_factory.mktemp("bash") / "foreframe"
    with pytest.raises(SystemExit) as stop:
        run("--tyro-write-completion", "bash", script)
    assert not stop.value.code
    return script


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("tr", "train"),
        ("import le", "lerobot"),
        ("train demo --kl-s", "--kl-schedule"),
        ("evaluate run --split t", "test train"),
    ],
)
def test_tab_completes_commands_options_and_choices(completions, typed, completed):
    words = ["bash", "-c", COMPLETE, "bash", str(completions), "foreframe", *typed.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == completed.split()


def test_the_whole_way_by_hand(toy_data, tmp_path, capsys):
    out = tmp_path / "run"
    run("train", "lab-lp-cyclical", "--data", toy_data, "--out", out, *TINY, "--lr", "0.001")
    config = saved_config(out)
    assert config.recipe == "lab-lp-cyclical"
    assert config.model.prior == "learned"
    assert config.model.net == "dcgan64"
    assert config.train.rate.lr == 0.001
    assert VideoCVAE.from_pretrained(out).config == config.model
    run("evaluate", out, "--data", toy_data, "--n-future", "4", "--device", "cpu")
    printed = capsys.readouterr().out
    assert "actions + positions, target-time" in " ".join(printed.split())
    command = json.loads((out / "evaluation.json").read_text())["command"]
    assert command.startswith("foreframe ")
    run("predict", out, "--sequence", list_sequences(toy_data, "test")[0], "--samples", "1")
    (folder,) = (out / "predictions").iterdir()
    assert (folder / "prediction.gif").exists()
    run("report", out)
    assert (out / "report.html").exists()


def test_a_run_is_made_again_from_its_folder(toy_data, tmp_path):
    run("train", "svg-small", "--data", toy_data, "--out", tmp_path / "a", *TINY)
    run("train", tmp_path / "a" / "run.json", "--data", toy_data, "--out", tmp_path / "b")
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert a == b


def test_resume_keeps_the_saved_settings_and_refuses_others(toy_data, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["train", "svg-small", "--data", toy_data, "--out", out]
    run(*words, *TINY)
    run(*words, "--resume")
    run(*words, "--resume", *TINY)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(*words, "--resume", "--lr", "0.5")
    assert stop.value.code == 2
    assert "--lr is 0.002 there" in capsys.readouterr().err


def test_schedules_prints_and_plots(tmp_path, capsys):
    run("schedules", "lab-fp-cyclical", "--epochs", "12", "--teacher-forcing-start", "5")
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    rows = {int(cells[0]): cells for cells in lines if cells and cells[0].isdigit()}
    assert [float(rows[epoch][1]) for epoch in range(1, 5)] == [0, 0.5, 1, 1]
    assert float(rows[12][2]) == 0.0
    run("schedules", "demo", "--plot", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_schedules_without_a_recipe_are_those_of_one_whose_schedules_move(capsys):
    run("schedules")
    printed = capsys.readouterr().out
    run("schedules", "svg-small")
    assert capsys.readouterr().out == printed
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    assert len(rows) == 10
    assert all(len(set(column)) > 2 for column in zip(*rows, strict=True))


def test_simulate_writes_the_labs_layout(tmp_path):
    run("simulate", tmp_path / "push", "--sequences", "3", "--workers", "1")
    for split in SPLITS:
        (sequence,) = list_sequences(tmp_path / "push", split)
        assert len(list(sequence.glob("*.png"))) == 30


def test_demo_goes_all_the_way_and_then_on_from_what_is_there(tmp_path, capsys):
    words = ["demo", "--out", tmp_path / "run", "--data", tmp_path / "push"]
    words += ["--sequences", "3", "--workers", "1", *TINY_DEMO]
    run(*words)
    report = tmp_path / "run" / "report.html"
    assert report.stat().st_size > 50_000
    assert "(places64 of width 0.25, learned prior)" in report.read_text(encoding="utf-8")
    kept = ["last.safetensors", "evaluation.json", "prediction/strip.png"]
    before = {name: (tmp_path / "run" / name).stat().st_mtime_ns for name in kept}
    frame = tmp_path / "push" / "test" / "push_0_to_255" / "0" / "0.png"
    simulated = frame.stat().st_mtime_ns
    run(*words)
    assert {name: (tmp_path / "run" / name).stat().st_mtime_ns for name in kept} == before
    assert frame.stat().st_mtime_ns == simulated
    run(*words, "--fresh")
    assert (tmp_path / "run" / "last.safetensors").stat().st_mtime_ns != before["last.safetensors"]
    assert frame.stat().st_mtime_ns != simulated


def test_an_interrupted_demo_says_how_to_go_on_and_does(tmp_path, capsys, monkeypatch):
    words = ["demo", "--out", tmp_path / "run", "--data", tmp_path / "push"]
    words += ["--sequences", "3", "--workers", "1", *TINY_DEMO]
    original = Training.step

    def step(training, clip, global_step):
        os.kill(os.getpid(), signal.SIGINT)
        return original(training, clip, global_step)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(SystemExit) as stop:
            run(*words, "--fresh")
    assert stop.value.code == 130
    printed = capsys.readouterr().out
    assert "Go on with: foreframe demo --out" in printed
    assert "--fresh" not in printed
    run(*words)
    assert (tmp_path / "run" / "report.html").exists()


def test_a_demo_of_another_model_is_not_gone_on_with(tmp_path, capsys, monkeypatch):
    words = ["demo", "--out", tmp_path / "run", "--data", tmp_path / "push"]
    words += ["--sequences", "3", "--workers", "1", *TINY_DEMO]

    def stopped(self):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Training, "fit", stopped)
        with pytest.raises(SystemExit):
            run(*words)
    kept = (tmp_path / "run" / "run.json").read_bytes()
    for more, said in (
        (["--timing", "target"], "--timing is source there and target here"),
        (["--lr", "0.5"], "--lr is 0.002 there and 0.5 here"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run(*words, *more)
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert said in error
        assert "--fresh" in error
        where = f"--data {tmp_path / 'push'} --out {tmp_path / 'run'}"
        assert f"as it is: foreframe train demo {where} --resume" in error
    assert (tmp_path / "run" / "run.json").read_bytes() == kept


def test_schedules_of_a_recipe_follow_the_number_of_epochs(toy_data, tmp_path, capsys):
    """Of the recipe's ten epochs three are asked for; what was typed is kept, or refused."""
    sizes = [*TINY[: TINY.index("--kl-schedule")], "--device", "cpu"]
    words = ["train", "svg-small", "--data", toy_data, "--out", tmp_path / "run", *sizes]
    with pytest.raises(SystemExit) as stop:
        run(*words, "--epochs", "3", "--kl-cycles", "3")
    assert stop.value.code == 2
    assert "--kl-cycles 3" in capsys.readouterr().err
    run(*words, "--epochs", "3")
    printed = capsys.readouterr().out
    assert "--kl-cycles 1, --teacher-forcing-start 1" in " ".join(printed.split())
    lines = [line.split() for line in printed.splitlines() if line.strip()]
    assert lines.index(next(w for w in lines if w[0] == "epoch")) < lines.index(
        next(w for w in lines if w[0] == "1")
    )
    assert saved_config(tmp_path / "run").train.kl.kl_cycles == 1
    run(*words, "--epochs", "3", "--resume")


def test_fresh_never_removes_what_the_demo_did_not_make(tmp_path, capsys):
    mine = tmp_path / "thesis" / "chapter.tex"
    mine.parent.mkdir()
    mine.write_text("...")
    with pytest.raises(SystemExit) as stop:
        run("demo", "--out", mine.parent, "--data", tmp_path / "push", "--fresh")
    assert stop.value.code == 2
    assert mine.read_text() == "..."


def test_every_recipe_is_named_in_the_error_for_an_unknown_one(capsys):
    with pytest.raises(SystemExit) as stop:
        run("train", "lab", "--data", "x", "--out", "y")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert all(name in error for name in RECIPES)


def test_ctrl_c_saves_says_how_to_go_on_and_going_on_works(toy_data, tmp_path):
    """In a process of its own: a real signal, the real message, the real command."""
    command = [str(Path(sys.executable).with_name("foreframe")), "train", "svg-small"]
    command += ["--data", str(toy_data), "--out", str(tmp_path / "run")]
    long = [*TINY, "--epochs", "500"]
    training = subprocess.Popen([*command, *long], stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    for line in training.stdout:
        if line.strip().startswith("2 "):  # the second epoch's line
            training.send_signal(2)
            break
    rest = training.stdout.read()
    training.stdout.close()
    assert training.wait() == 130
    assert "Go on with: foreframe train svg-small" in rest
    assert "--resume" in rest
    epochs = len(json.loads((tmp_path / "run" / "history.json").read_text()))
    assert 2 <= epochs < 500
