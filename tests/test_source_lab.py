"""The lab's folders imported: the same as when they are read where they lie."""

import shutil

import numpy as np
import pytest
from PIL import Image
from upath import UPath

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.lab import list_sequences, read_sequence
from foreframe.data.sources import lab_folders
from foreframe.data.sources.lab_folders import LabSource
from foreframe.data.store.opened import open_split
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution


def imported(root, out, options=None, **fields):
    source = LabSource(root, **fields)
    return import_dataset(
        source,
        out,
        options or ImportOptions(),
        execution=Execution(workers=1),
        log=lambda text: None,
    )


def test_an_imported_dataset_is_the_one_that_is_read_in_place(toy_data, tmp_path):
    done = imported(toy_data, tmp_path / "store", ImportOptions(recorded_rate=10.0))
    assert done.sequences == {"train": 6, "validate": 3, "test": 3}
    assert not done.skipped
    for split in done.sequences:
        there = open_split(toy_data, split, log=lambda text: None)
        here = Store(tmp_path / "store" / split)
        assert here.meta["source"]["frame_rate"] == 10.0
        for i in range(len(there)):
            for part in ("frames", "actions", "positions"):
                assert np.array_equal(getattr(here[i], part), getattr(there[i], part))


def test_large_shards_become_several_parts_in_natural_order(toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(lab_folders, "_PER_PART", 4)
    parts = LabSource(toy_data).parts()
    assert [part.name for part in parts] == [
        "train-traj_0_to_255-0",
        "train-traj_0_to_255-4",
        "validate-traj_0_to_255",
        "test-traj_0_to_255",
    ]
    imported(toy_data, tmp_path / "store")
    store = Store(tmp_path / "store" / "train")
    for i, folder in enumerate(list_sequences(toy_data, "train")):
        assert np.array_equal(store[i].frames, read_sequence(folder).frames)


def test_missing_splits_are_taken_from_train(toy_data, tmp_path):
    shutil.copytree(toy_data / "train", tmp_path / "data" / "train")
    options = ImportOptions(validate=0.2, test=0.2)
    done = imported(tmp_path / "data", tmp_path / "store", options)
    assert done.sequences == {"train": 4, "validate": 1, "test": 1}


def test_a_damaged_sequence_is_skipped_with_its_reason(toy_data, tmp_path):
    shutil.copytree(toy_data, tmp_path / "data")
    broken = tmp_path / "data" / "train" / "traj_0_to_255" / "2"
    content = (broken / "5.png").read_bytes()
    (broken / "5.png").write_bytes(content[: len(content) // 2])
    done = imported(tmp_path / "data", tmp_path / "store")
    assert done.sequences["train"] == 5
    ((name, reason),) = [(skip.name, skip.reason) for skip in done.skipped]
    assert name == "traj_0_to_255/2"
    assert str(broken / "5.png") in reason
    assert not reason.endswith(".")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_validation_is_found_by_its_other_names(toy_data, tmp_path, name):
    root = tmp_path / "data"
    shutil.copytree(toy_data / "train", root / "train")
    shutil.copytree(toy_data / "validate", root / name)
    done = imported(root, tmp_path / "store", ImportOptions(test=0))
    assert done.sequences == {"train": 6, "validate": 3}
    here, there = Store(tmp_path / "store" / "validate"), open_split(toy_data, "validate")
    for i in range(3):
        assert np.array_equal(here[i].frames, there[i].frames)


def test_training_directly_finds_validation_by_its_other_names(toy_data, tmp_path):
    shutil.copytree(toy_data / "validate", tmp_path / "data" / "val")
    here, there = open_split(tmp_path / "data", "validate"), open_split(toy_data, "validate")
    assert all(np.array_equal(here[i].frames, there[i].frames) for i in range(3))
    # A change of the folder is noticed under its own name, too.
    shutil.rmtree(tmp_path / "data" / "val" / "traj_0_to_255" / "2")
    assert len(open_split(tmp_path / "data", "validate")) == 2


def test_two_folders_of_one_split_are_refused(toy_data, tmp_path):
    for name in ("train", "val", "validation"):
        shutil.copytree(toy_data / "validate", tmp_path / "data" / name)
    with pytest.raises(ForeframeError, match="val and validation, and both mean validate"):
        LabSource(tmp_path / "data").parts()


def test_frames_are_read_one_at_a_time(toy_data, monkeypatch):
    from foreframe.data import lab

    read = []
    original = lab._read_frame
    monkeypatch.setattr(lab, "_read_frame", lambda path: read.append(path.name) or original(path))
    source = LabSource(toy_data)
    recording = next(iter(source.read(source.parts()[0])))
    frames = iter(recording.frames)
    assert read == []  # the numbers alone
    next(frames)
    next(frames)
    assert read == ["0.png", "1.png"]


def test_frames_of_two_sizes_are_named(toy_data, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(toy_data / "train", root / "train")
    odd = root / "train" / "traj_0_to_255" / "1" / "3.png"
    Image.fromarray(np.zeros((9, 11, 3), np.uint8)).save(odd)
    (skip,) = imported(root, tmp_path / "store").skipped
    assert f"{odd}: is 11x9 pixels, but 0.png is" in skip.reason


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no such folder"),
        (lambda root: root.mkdir(), "train: no such folder"),
        (lambda root: (root / "train").mkdir(parents=True), "the split is empty"),
    ],
)
def test_what_is_no_dataset_is_refused(tmp_path, make, message):
    make(tmp_path / "data")
    with pytest.raises(ForeframeError, match=message):
        LabSource(tmp_path / "data").parts()


def test_remote_folders_and_rates_that_make_no_sense_are_refused(toy_data):
    with pytest.raises(ForeframeError, match="Copy them here"):
        LabSource(UPath("memory://data")).parts()
    with pytest.raises(ForeframeError, match="--recorded-rate 0"):
        ImportOptions(recorded_rate=0.0).check()
