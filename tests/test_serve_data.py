"""What a served run knows of its data: where they lie, what their numbers are, how fast they go."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from foreframe.commands.app import main
from foreframe.data.lab import write_sequence
from foreframe.serve.served import Served

OLD = Path(__file__).parent / "data" / "v0.1"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another folder to stand in."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def trained_by(name, played, folder):
    """The run, as if the training had been told its data by ``name``."""
    run = Path(shutil.copytree(played, folder / "run"))
    values = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**values, "data": name}))
    return run


def write_other(root):
    """A dataset of the same layout and widths with other contents."""
    for split in ("train", "test"):
        frames = np.full((14, 64, 64, 3), 90, np.uint8)
        rows = np.full((14, 7), 0.5, np.float32)
        write_sequence(root / split / "x" / "0", frames, rows[:, :4], rows[:, :3])


def test_a_run_is_served_from_any_folder(played, toy_data, tmp_path, elsewhere):
    served = Served("toy", trained_by("data/toy", played, tmp_path))
    assert len(served.test) == 3
    assert served.notes == []


def test_other_data_of_the_same_relative_name_are_not_taken(played, toy_data, tmp_path, elsewhere):
    run = trained_by("data/toy", played, tmp_path)
    values = json.loads((run / "run.json").read_text())
    values["dataset"]["path"] = "/nowhere/data/toy"
    (run / "run.json").write_text(json.dumps(values))
    write_other(elsewhere / "data" / "toy")
    served = Served("toy", run)
    assert served.test is None
    assert served.notes == [
        f"{run}: its data are not at /nowhere/data/toy; "
        "give --data DIR to offer their test sequences."
    ]
    # Names and ranges are those of the training all the same, and positions can be rolled on.
    assert (served.actions[0].low, served.actions[0].high) == (-4.0, 4.0)
    assert served.kinematics is not None
    # The very same data under that name are good.
    shutil.rmtree(elsewhere / "data" / "toy")
    shutil.copytree(toy_data, elsewhere / "data" / "toy")
    assert len(Served("toy", run).test) == 3


def test_data_that_are_not_those_of_the_training_are_said_to_be(played, tmp_path):
    write_other(tmp_path / "other")
    served = Served("toy", played, tmp_path / "other")
    assert len(served.test) == 1
    assert len(served.notes) == 1
    assert "was trained on other data" in served.notes[0]
    assert (served.actions[0].low, served.actions[0].high) == (-4.0, 4.0)


def test_the_command_says_it_before_it_serves(played, tmp_path, monkeypatch, capsys):
    write_other(tmp_path / "other")
    monkeypatch.setattr("foreframe.serve.listen.listen", lambda *args, **more: None)
    main(["serve", str(played), "--data", str(tmp_path / "other")])
    assert "was trained on other data" in capsys.readouterr().out


def test_a_run_of_an_earlier_version_says_where_it_takes_its_data_from(elsewhere, tmp_path):
    run = shutil.copytree(OLD / "run", tmp_path / "run")
    served = Served("old", Path(run))
    assert served.test is None
    assert "give --data DIR" in served.notes[0]
    shutil.copytree(OLD / "store", elsewhere / "store")
    served = Served("old", Path(run))
    assert len(served.test) == 2
    assert str(elsewhere / "store") in served.notes[0]
    assert served.actions[0].high > 1


@pytest.mark.parametrize(("source", "rate"), [({"frame_rate": 30.0}, 30.0), ({}, 5.0)])
def test_imported_data_play_at_their_own_rate(played, tmp_path, toy_data, source, rate):
    words = [] if "frame_rate" not in source else ["--recorded-rate", str(source["frame_rate"])]
    main(["import", "lab", str(toy_data), str(tmp_path / "store"), "--workers", "1", *words])
    assert Served("toy", played, tmp_path / "store").frame_rate == rate
