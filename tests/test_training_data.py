"""What a run keeps of the data that it was trained on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from foreframe.data.lab import write_sequence
from foreframe.data.store.opened import open_split
from foreframe.data.store.store import Store
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError
from foreframe.runs.training_data import TrainingData, fingerprint

OLD = Path(__file__).parent / "data" / "v0.1"


def test_a_run_keeps_it(played, toy_data):
    train = open_split(toy_data, "train")
    kept = TrainingData.saved(played)
    assert kept == TrainingData.of(toy_data, train)
    assert kept.path == str(toy_data.absolute())
    assert kept.fingerprint == fingerprint(train)
    assert [number.label for number in kept.positions] == ["position 1", "position 2", "position 3"]
    assert (kept.actions[0].low, kept.actions[0].high) == (-4.0, 4.0)
    deviation = np.concatenate([train[i].actions for i in range(len(train))]).std(0)
    np.testing.assert_allclose([number.deviation for number in kept.actions], deviation)
    # Under the name by which the command knew it, as before.
    assert json.loads((played / "run.json").read_text())["data"] == str(toy_data)


def test_a_run_of_an_earlier_version_has_none():
    assert TrainingData.saved(OLD / "run") is None


def test_a_damaged_entry_is_named(played, tmp_path):
    values = json.loads((played / "run.json").read_text())
    values["dataset"]["actions"] = [{"name": "x"}]
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(ForeframeError, match=r"run\.json: dataset cannot be read"):
        TrainingData.saved(tmp_path)


def test_equal_contents_have_one_fingerprint(toy_data, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(toy_data / "train", moved / "train")
    same = open_split(moved, "train", log=lambda line: None)
    assert fingerprint(same) == fingerprint(open_split(toy_data, "train"))
    recording = same[0]
    write_sequence(
        moved / "train" / "x" / "0", recording.frames, recording.actions, recording.positions
    )
    assert fingerprint(open_split(moved, "train", log=lambda line: None)) != fingerprint(same)


def store(folder: Path, source: dict) -> Store:
    with write_store(folder / "train", {"source": source}) as out:
        from foreframe.data.recording import Recording

        out.add(Recording(np.zeros((4, 8, 8, 3), np.uint8), np.ones((4, 2), np.float32)), "0")
    return Store(folder / "train")


@pytest.mark.parametrize(
    ("source", "rate"),
    [({"frame_rate": 10.0}, 10.0), ({"frame_rate": None}, None), ({"frame_rate": -1}, None)],
)
def test_the_frame_rate_is_the_recordings_own(source, rate, tmp_path):
    train = store(tmp_path, source)
    assert train.frame_rate == rate
    assert TrainingData.of(tmp_path, train).frame_rate == rate


def test_a_simulated_dataset_says_its_interval_and_columns(tmp_path):
    told = {
        "generator": "foreframe simulated robot pushing",
        "frame_interval_seconds": 0.2,
        "actions": ["dx: of the tip, metres", "dy"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(told))
    kept = TrainingData.of(tmp_path, store(tmp_path, {"frame_rate": 30.0}))
    assert (kept.frame_rate, kept.generator) == (5.0, told["generator"])
    assert [number.label for number in kept.actions] == ["dx", "dy"]
    assert kept.actions[0].description == "of the tip, metres"
    assert kept.positions == ()


def test_columns_that_an_import_has_named(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"columns": {"actions": ["left", "right"]}}))
    kept = TrainingData.of(tmp_path, store(tmp_path, {}))
    assert [number.label for number in kept.actions] == ["left", "right"]
