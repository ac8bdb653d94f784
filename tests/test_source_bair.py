"""TFRecords of BAIR's form with features of other names, as SAVP writes them."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources.bair import BairSource
from foreframe.data.sources.source import Skip
from foreframe.data.sources.tfrecord import encode_example, frame_record
from foreframe.system.workers import Execution


def frame(seed, t, height=64, width=64):
    return np.random.default_rng((seed, t)).integers(0, 256, (height, width, 3), np.uint8)


def raw(picture):
    return picture.tobytes()


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def example(seed, frames=6, store=raw, size=(64, 64), **extra):
    """A recording as SAVP has it: images, state and action of each step."""
    features = dict(extra)
    for t in range(frames):
        features[f"{t}/images/encoded"] = store(frame(seed, t, *size))
        features[f"{t}/state"] = np.array([seed, t, 0.5], np.float32)
        features[f"{t}/action"] = np.array([seed, t], np.float32)
    return features


def write(path, *examples):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(frame_record(encode_example(one)) for one in examples))


def everything(source):
    found = [found for part in source.parts() for found in source.read(part)]
    assert not [skip for skip in found if isinstance(skip, Skip)]
    return found


@pytest.mark.parametrize(
    ("store", "size", "extra"),
    [
        (raw, (64, 64), {}),
        (raw, (48, 48), {}),
        (raw, (32, 48), {"height": np.array([32]), "width": np.array([48])}),
        (png, (20, 30), {}),
    ],
)
def test_features_of_other_names(tmp_path, store, size, extra):
    write(tmp_path / "a.tfrecords", *(example(k, 4 + k, store, size, **extra) for k in range(3)))
    recordings = everything(BairSource(tmp_path, image="images", position="state"))
    assert len(recordings) == 3
    for k, recording in enumerate(recordings):
        n = 4 + k
        assert np.array_equal(recording.frames, [frame(k, t, *size) for t in range(n)])
        assert recording.actions.tolist() == [[k, t] for t in range(n)]
        assert recording.positions.tolist() == [[k, t, 0.5] for t in range(n)]


def test_columns_of_features_and_none(tmp_path):
    write(tmp_path / "a.tfrecords", example(3))
    (found,) = everything(
        BairSource(tmp_path, image="images/encoded", action="action[1],state[:1]", position="none")
    )
    assert found.actions.tolist() == [[t, 3] for t in range(6)]
    assert found.positions is None
    (found,) = everything(BairSource(tmp_path, image="images", action="none"))
    assert found.actions is None
    assert found.positions is None  # endeffector_pos, which may be missing


def test_an_action_less_than_frames_is_no_fault(tmp_path):
    features = example(0)
    del features["5/action"]
    write(tmp_path / "a.tfrecords", features)
    (found,) = everything(BairSource(tmp_path, image="images", position="state"))
    assert (len(found.frames), len(found.actions), len(found.positions)) == (6, 5, 6)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"3/state": None}, {}, r"6 frames, but 5 features <t>/state \(look at t = \[3\]\)"),
        ({"3/action": None}, {}, r"6 frames, but 5 features <t>/action"),
        ({"5/state": None}, {}, r"6 frames, but 5 features <t>/state"),
        ({"2/action": np.zeros(3, np.float32)}, {}, "2/action holds 3 numbers, not 2"),
        ({"2/images/encoded": b"123"}, {}, "2/images/encoded holds 3 bytes"),
        ({"0/images/encoded": b"1234"}, {}, "no PNG or JPEG"),
        ({}, {"image": "pictures"}, "there is no feature 0/pictures/encoded, only 0/action"),
        ({}, {"position": "pose"}, "0 features <t>/pose"),
        ({}, {"position": "state[:7]"}, "state has 3 columns"),
    ],
)
def test_what_is_missing_is_named(tmp_path, change, options, said):
    features = {k: v for k, v in {**example(0), **change}.items() if v is not None}
    write(tmp_path / "a.tfrecords", features)
    source = BairSource(tmp_path, **{"image": "images", "position": "state", **options})
    (skip,) = [found for part in source.parts() for found in source.read(part)]
    assert isinstance(skip, Skip)
    assert re.search(said, skip.reason)


def test_folders_name_the_splits_and_their_files_begin_anew(tmp_path):
    """In BAIR itself traj_0_to_255 is the test split."""
    for n, split in enumerate(("train", "val", "test")):
        path = tmp_path / "in" / split / "traj_0_to_255.tfrecords"
        write(path, *(example(10 * n + k) for k in range(n + 1)))
    done = import_dataset(
        BairSource(tmp_path / "in", image="images", position="state"),
        tmp_path / "out",
        ImportOptions(),
        execution=Execution(workers=1),
        log=lambda text: None,
    )
    assert done.sequences == {"train": 1, "validate": 2, "test": 3}


def test_a_single_recording_is_divided_by_its_own_length(tmp_path):
    write(tmp_path / "in" / "a.tfrecords", example(0, 40))
    done = import_dataset(
        BairSource(tmp_path / "in", image="images", position="state"),
        tmp_path / "out",
        ImportOptions(validate=0.3, test=0),
        execution=Execution(workers=1),
        log=lambda text: None,
    )
    assert done.frames == {"train": 28, "validate": 12}


def test_bairs_own_names_stay_strict(tmp_path):
    """Of BAIR an action less, or one that is wider, is damage."""
    features = {}
    for t in range(4):
        features[f"{t}/image_aux1/encoded"] = raw(frame(0, t))
        features[f"{t}/action"] = np.zeros(4, np.float32)
    write(tmp_path / "traj_0_to_255.tfrecords", features)
    (found,) = everything(BairSource(tmp_path))
    assert found.actions.shape == (4, 4)
    for broken in (
        {"3/action": None},
        {"3/action": np.zeros(5, np.float32)},
        {f"{t}/endeffector_pos": np.zeros(3, np.float32) for t in (1, 2, 3)},
    ):
        kept = {k: v for k, v in {**features, **broken}.items() if v is not None}
        write(tmp_path / "traj_0_to_255.tfrecords", kept)
        source = BairSource(tmp_path)
        (skip,) = [found for part in source.parts() for found in source.read(part)]
        assert isinstance(skip, Skip)
