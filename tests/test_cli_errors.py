"""Mistakes on the command line: status 2, one line that names the mistake, nothing lost or left."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foreframe.commands.app import main
from foreframe.data.lab import write_sequence

NETS = ["--net", "dcgan64", "--width", "0.125", "--g-dim", "16", "--rnn-size", "16"]
TINY = [
    *NETS,
    *["--z-dim", "4", "--epochs", "1", "--steps-per-epoch", "2", "--batch-size", "2"],
    *["--n-future", "4", "--kl-schedule", "constant", "--teacher-forcing", "always"],
    *["--device", "cpu"],
]
SHORT = ["--n-future", "4", "--device", "cpu"]
FOREFRAME = Path(sys.executable).with_name("foreframe")


@pytest.fixture(scope="module")
def made(toy_data, tmp_path_factory):
    """A place with data and a run, made once; a test gets a copy of it."""
    place = tmp_path_factory.mktemp("made")
    shutil.copytree(toy_data, place / "data", ignore=shutil.ignore_patterns(".*"))
    main(["train", "svg-small", "--data", f"{place}/data", "--out", f"{place}/run", *TINY])
    main(["evaluate", f"{place}/run", "--data", f"{place}/data", *SHORT])
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """The current folder: data (packed) and run."""
    # With their times of change, so that the packed copies stay good.
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if ".foreframe" not in path.parts
    }


def check_message(status, error, *words):
    assert status == 2
    assert "Traceback" not in error
    for word in words:
        assert re.search(word, " ".join(error.split())), f"{word!r} is not in: {error}"


def refused(capsys, place, arguments, *words, lines=1):
    """Run a command that must be refused, with ``words`` in its message, and change nothing."""
    before = contents(place)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    check_message(stop.value.code, error, *words)
    if lines is not None:
        assert error.startswith("foreframe: error: ")
        assert error.count("\n") == lines
    after = contents(place)
    assert {name: after.get(name) for name in before} == before, "something was lost"
    assert after.keys() - before.keys() == set(), "something was left"


def train(*more, out="new", recipe="svg-small", data="data"):
    return ["train", recipe, "--data", data, "--out", out, *TINY, *more]


# -- words that mean nothing --------------------------------------------------------------------


def test_an_unknown_command(place, capsys):
    refused(capsys, place, ["trian"], "trian: unknown command; known: .*train.*mean train")
    refused(capsys, place, ["import", "lerobto"], "import lerobto: unknown .*mean lerobot")
    refused(capsys, place, ["xyzzy"], r"xyzzy: unknown command; known: [\w, ]*\.$")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # Its own mistake is named before the required option that it was meant to be.
        (
            ["train", "svg-small", "--data", "data", "--outt", "new"],
            "--outt: .*mean --out.*train --help",
        ),
        (["schedules", "demo", "--kl_ratoi=0.5"], "--kl-ratoi: .*mean --kl-ratio"),
        (["import", "lab", "data", "new", "--worker", "2"], "mean --workers.*import lab --help"),
        (["evaluate", "run", "--data", "data", "--xyzzy"], "--xyzzy: unknown option. All options"),
        (["report", "run", "another"], "another.*report --help"),
    ],
)
def test_an_unknown_option_is_one_line_with_the_nearest_one(place, capsys, arguments, words):
    refused(capsys, place, arguments, words)


def test_an_unknown_recipe(place, capsys):
    refused(
        capsys,
        place,
        train(recipe="dmeo"),
        "dmeo: unknown recipe; known recipes: demo, foreframe-s",
    )
    refused(capsys, place, ["schedules", "dmeo"], "dmeo: unknown recipe")


def test_a_missing_recipe(place, capsys):
    refused(capsys, place, ["train", "--data", "data", "--out", "new"], "recipe comes first.*demo")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (train("--learning-rate", "1"), ["--learning-rate", "train --help"]),
        (train("--epochs", "many"), ["--epochs", "many"]),
        (train("--net", "resnet"), ["--net", "resnet", "vgg64"]),
        (["train", "svg-small", "--data", "data"], ["--out", "train --help"]),
        (["evaluate", "run"], ["--data"]),
        (["evaluate", "run", "--data", "data", "--split", "tset"], ["--split", "tset", "validate"]),
        (
            ["evaluate", "run", "--data", "data", "--protocol", "x"],
            ["--protocol", "lab.*ivideogpt"],
        ),
        (["predict", "run"], ["--sequence"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_options_that_do_not_parse(place, capsys, arguments, words):
    refused(capsys, place, arguments, *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epochs", "0"], "--epochs 0: must be at least 1"),
        (["--batch-size", "1"], "--batch-size 1: must be at least 2"),
        (["--n-past", "0"], "--n-past 0: must be at least 1"),
        (["--n-future", "0"], "--n-future 0: must be at least 1"),
        (["--seed", "-1"], "--seed -1: must be at least 0"),
        (["--lr", "0"], "--lr 0.0: must be above 0"),
        (["--lr", "nan"], "--lr nan: must be above 0"),
        (["--width", "-1"], "--width -1.0: must be above 0"),
        (["--z-dim", "0"], "--z-dim 0: must be at least 1"),
        (["--beta-max", "-1"], "--beta-max -1.0: .*0 or more"),
        (["--kl-schedule", "cyclical", "--kl-cycles", "3"], "--kl-cycles 3: .*--epochs is 1"),
        (["--device", "mps"], "--device mps: not available here; available: .*cpu"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, list) else None,
)
def test_values_without_meaning(place, capsys, options, words):
    refused(capsys, place, train(*options), words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limit", "0"], "--limit 0: must be at least 1"),
        (["--n-past", "0"], "--n-past 0: must be at least 1"),
        (["--n-future", "0"], "--n-future 0: must be at least 1"),
        (["--n-future", "-3"], "--n-future -3: must be at least 1"),
        (["--seed", "-1"], "--seed -1: must be at least 0"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, list) else None,
)
def test_evaluations_without_meaning(place, capsys, options, words):
    refused(capsys, place, ["evaluate", "run", "--data", "data", *SHORT, *options], words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--samples", "0"], "--samples 0: must be at least 1"),
        (["--n-past", "0"], "--n-past 0"),
        (["--n-past", "14"], "holds 14 frames.*Lower --n-past"),
        (["--n-future", "13"], "holds 14 frames, and 2 given and 13 predicted.*Lower"),
        (["--seed", "-1"], "--seed -1: must be at least 0"),
        (["--out", "run"], "run: exists already.*another --out"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, list) else None,
)
def test_predictions_without_meaning(place, capsys, options, words):
    sequence = "data/test/traj_0_to_255/0"
    refused(capsys, place, ["predict", "run", "--sequence", sequence, *options], words)


# -- run folders --------------------------------------------------------------------------------


def test_a_run_folder_that_exists_already(place, capsys):
    refused(capsys, place, train(out="run"), "^foreframe: error: run: .*there already.*--resume")


def test_a_folder_that_holds_something_else(place, capsys):
    refused(capsys, place, train(out="data"), "data: .*not empty.*another --out")


def test_a_file_in_place_of_the_run_folder(place, capsys):
    (place / "notes.txt").write_text("...")
    refused(capsys, place, train(out="notes.txt"), "notes.txt: is a file.*--out")
    refused(capsys, place, train(out="notes.txt/run"), "notes.txt/run/.*Not a directory")


def test_nothing_to_resume(place, capsys):
    refused(capsys, place, train("--resume"), "new.*[Nn]o such file|new: no run is there")


def test_other_settings_when_resuming(place, capsys):
    refused(
        capsys,
        place,
        train("--resume", "--lr", "0.5", out="run"),
        "run: .*--lr is 0.002 there.*--init-from",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "nowhere", "--data", "data"],
        ["predict", "nowhere", "--sequence", "data/test/traj_0_to_255/0"],
        ["report", "nowhere"],
        train("--init-from", "nowhere"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_run_that_is_not_there(place, capsys, arguments):
    refused(
        capsys, place, arguments, r"nowhere/(config|run)\.json: ", "[Tt]rain|Is this the folder"
    )


# -- checkpoints --------------------------------------------------------------------------------

USES = {
    "evaluate": ["evaluate", "run", "--data", "data", *SHORT],
    "predict": ["predict", "run", "--sequence", "data/test/traj_0_to_255/0"],
    "init-from": train("--init-from", "run"),
    "resume": train("--resume", out="run"),
}


def weights_of(use):
    return "last.safetensors" if use == "resume" else "model.safetensors"


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
@pytest.mark.parametrize("use", USES)
def test_a_truncated_checkpoint(place, capsys, use, keep):
    path = place / "run" / weights_of(use)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    refused(capsys, place, USES[use], f"run/{path.name}: .*truncated or damaged", "Restore it")


@pytest.mark.parametrize("use", USES)
def test_a_checkpoint_that_is_something_else(place, capsys, use):
    path = place / "run" / weights_of(use)
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    refused(capsys, place, USES[use], f"run/{path.name}: .*damaged", "Restore it")


@pytest.fixture(scope="module")
def other(made, tmp_path_factory):
    """A run of another configuration: another width of z."""
    out = tmp_path_factory.mktemp("other") / "run"
    main(["train", "svg-small", "--data", f"{made}/data", "--out", f"{out}", *TINY, "--z-dim", "6"])
    return out


@pytest.mark.parametrize("use", USES)
def test_a_checkpoint_of_another_configuration(place, other, capsys, use):
    name = weights_of(use)
    shutil.copy(other / name, place / "run" / name)
    refused(capsys, place, USES[use], f"run/{name}: .*another configuration", "[Uu]se them with")


def test_weights_of_another_configuration_to_start_from(place, other, capsys):
    refused(
        capsys,
        place,
        train("--init-from", str(other)),
        f"--init-from {other}: .*z_dim is 6 there and 4 here.*Give the same options",
    )


def test_a_checkpoint_without_progress(place, capsys):
    """Weights alone in place of the file that a resume needs."""
    shutil.copy(place / "run" / "model.safetensors", place / "run" / "last.safetensors")
    refused(capsys, place, USES["resume"], r"run/last\.safetensors: .*no progress to resume")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"net": "vgg64", "colour": 3}', '{"g_dim": "x"}']
)
@pytest.mark.parametrize("use", ["evaluate", "predict", "init-from"])
def test_a_damaged_model_configuration(place, capsys, use, text):
    (place / "run" / "config.json").write_text(text)
    refused(capsys, place, USES[use], r"run/config\.json: ")


def test_an_unknown_field_in_a_saved_configuration(place, capsys):
    path = place / "run" / "run.json"
    saved = json.loads(path.read_text())
    saved["train"]["momentum"] = 0.9
    path.write_text(json.dumps(saved))
    words = (r"run/run\.json: .*unknown field.*momentum", "another version|remove the field")
    refused(capsys, place, USES["resume"], *words)
    refused(capsys, place, train(recipe="run/run.json"), *words)


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"recipe": "demo", "train": 3}'])
def test_a_damaged_run_configuration(place, capsys, text):
    (place / "run" / "run.json").write_text(text)
    refused(capsys, place, USES["resume"], r"run/run\.json: ")


# -- data ---------------------------------------------------------------------------------------

READERS = {
    "train": train(),
    "evaluate": ["evaluate", "run", "--data", "data", "--split", "train", *SHORT],
    "predict": ["predict", "run", "--sequence", "data/train/traj_0_to_255/3"],
}


def test_data_that_are_not_there(place, capsys):
    refused(capsys, place, train(data="nowhere"), "nowhere: no such folder.*Give the root")
    refused(capsys, place, ["evaluate", "run", "--data", "nowhere"], "nowhere: no such folder")
    refused(capsys, place, ["predict", "run", "--sequence", "nowhere"], "nowhere: no such folder")


def test_a_split_that_is_not_there(place, capsys):
    shutil.rmtree(place / "data" / "test")
    refused(
        capsys,
        place,
        ["evaluate", "run", "--data", "data", *SHORT],
        "data/test: no such folder; data holds train, validate",
    )


@pytest.mark.parametrize("split", ["train", "validate"])
def test_an_empty_split(place, capsys, split):
    shutil.rmtree(place / "data" / split)
    (place / "data" / split).mkdir()
    refused(capsys, place, train(), f"data/{split}: the split is empty.*Expected")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "7.png").unlink(), r"3/7\.png: is missing.*Add it"),
        (lambda f: shutil.copy(f / "13.png", f / "14.png"), r"3/actions\.csv: 14 rows, .* 15"),
        (lambda f: (f / "5.png").write_bytes(b"\x89PNG\r\n"), r"3/5\.png: cannot be read.*Restore"),
        (
            lambda f: (f / "actions.csv").write_text("1,2,3,4\n" * 13 + "1,nan,3,4\n"),
            r"3/actions\.csv, row 14: .*not a finite number.*Repair",
        ),
        (
            lambda f: (f / "actions.csv").write_text("dx,dy,dz,yaw\n" + "1,2,3,4\n" * 14),
            r"3/actions\.csv, row 1: .*header",
        ),
    ],
    ids=["a frame missing", "a frame too many", "an unreadable frame", "nan", "a header"],
)
def test_a_damaged_sequence(place, capsys, reader, damage, words):
    damage(place / "data" / "train" / "traj_0_to_255" / "3")
    refused(capsys, place, READERS[reader], words)


def test_sequences_that_are_too_short(place, capsys):
    words = r"data/\w+/traj_0_to_255/\d: 14 frames, but n_past \+ n_future = 22.*Lower --n-future"
    refused(capsys, place, train("--n-future", "20"), words)
    refused(capsys, place, ["evaluate", "run", "--data", "data", "--n-future", "20"], words)


def test_positions_that_are_not_there(place, capsys):
    for path in place.rglob("endeffector_positions.csv"):
        path.unlink()
    words = "data/train/traj_0_to_255/0: there are no positions.*--condition"
    refused(capsys, place, train(recipe="lab-fp-cyclical"), words)


def test_actions_of_another_width(place, capsys):
    """Found before the first step, not at the first validation."""
    for split, length in (("validate", 14), ("test", 14)):
        for path in (place / "data" / split).rglob("actions.csv"):
            path.write_text("1,2,3,4,5\n" * length)
    words = r"traj_0_to_255/0: 5 columns of actions, but the model takes 4"
    refused(capsys, place, train(), "data/validate/" + words)
    refused(capsys, place, USES["evaluate"], "data/test/" + words)
    refused(capsys, place, USES["predict"], "data/test/" + words)


# -- no space -----------------------------------------------------------------------------------


def run_with_little_space(place, limit, *arguments):
    """In a process of its own, where no file may grow beyond ``limit`` bytes."""
    return subprocess.run(
        [FOREFRAME, *map(str, arguments)],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
        # Python would leave truncated byte code too, and other processes would trip over it.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def test_no_space_for_a_checkpoint_loses_nothing(place):
    before = contents(place)
    done = run_with_little_space(place, 20_000, *train())
    check_message(
        done.returncode, done.stderr, "new/model.safetensors: could not", "Free some space"
    )
    assert done.stderr.count("\n") == 1
    after = contents(place)
    assert {name: after[name] for name in before} == before
    left = {name for name in after.keys() - before.keys() if not name.startswith("new/tensorboard")}
    assert left == {"new", "new/run.json"}
    # With space, the same run goes on.
    main(train("--resume"))
    assert (place / "new" / "model.safetensors").exists()


def test_no_space_for_the_packed_copy_leaves_none(place):
    shutil.rmtree(place / "data" / ".foreframe")
    before = contents(place)
    done = run_with_little_space(place, 100_000, *train())
    check_message(done.returncode, done.stderr, r"data/\.foreframe/.*could not", "Free some space")
    assert contents(place) == before
    assert not (place / "data" / ".foreframe").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (USES["evaluate"], "run/evaluation.npz"),
        (USES["predict"], "run/predictions/.*0/"),
        (["report", "run"], "run/report.html"),
        (["simulate", "sim", "--sequences", "3", "--workers", "1"], "sim/"),
        (["schedules", "demo", "--plot", "plots/new.png"], "plots/new.png"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_no_space_for_results_keeps_the_old_ones(place, capsys, monkeypatch, arguments, named):
    replace = os.replace

    def full(source, target):
        if Path(target).absolute().is_relative_to(place):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("foreframe.system.files.os.replace", full)
    refused(capsys, place, arguments, f"{named}.*No space left on device", "Free some space")


# -- as a user types it -------------------------------------------------------------------------


def test_a_real_process_ends_with_status_2_and_one_line(place):
    before = contents(place)
    done = subprocess.run(
        [FOREFRAME, "evaluate", "run", "--data", "nowhere"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
    )
    check_message(done.returncode, done.stderr, "nowhere: no such folder")
    assert done.stderr.count("\n") == 1
    assert done.stdout.strip() == ""
    assert contents(place) == before


def test_sequences_of_one_frame_too_few(place, capsys):
    frames = np.zeros((5, 64, 64, 3), np.uint8)
    folder = place / "data" / "test" / "traj_0_to_255" / "10"
    write_sequence(folder, frames, np.zeros((5, 4), np.float32), np.zeros((5, 3), np.float32))
    refused(capsys, place, USES["evaluate"], f"data/test/.*/{folder.name}: 5 frames, .* 6 ")
