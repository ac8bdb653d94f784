"""RLDS as others write it: dictionaries of actions, what the robot was told, images of depth."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from foreframe.data.sources.rlds import RldsSource
from foreframe.data.sources.source import Skip
from foreframe.data.sources.tfrecord import encode_example, frame_record
from foreframe.errors import ForeframeError

STEPS = 5


def pictures(seed, *, deep=False):
    random = np.random.default_rng(seed)
    contents = []
    for _ in range(STEPS):
        file = io.BytesIO()
        frame = random.integers(0, 256, (8, 9, 3), np.uint8)
        image = Image.fromarray(frame[..., 0].astype(np.uint16) * 200 if deep else frame)
        image.save(file, "PNG")
        contents.append(file.getvalue())
    return contents


def numbers(seed, width):
    return np.random.default_rng(seed).normal(size=(STEPS, width)).astype(np.float32)


def write(folder, *, episodes=1, **features):
    """A file of episodes with a picture and these features; of each a value for all steps."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for seed in range(episodes):
        steps = {"observation/image": pictures(seed), **features}
        example = {f"steps/{name.replace('__', '/')}": value for name, value in steps.items()}
        records.append(frame_record(encode_example(example)))
    (folder / "toy-train.tfrecord-00000-of-00001").write_bytes(b"".join(records))
    (folder / "dataset_info.json").write_text(json.dumps({"name": "toy", "version": "1.0.0"}))


def everything(source):
    return [found for part in source.parts() for found in source.read(part)]


DICTIONARY = {
    "action__world_vector": numbers(0, 3),
    "action__rotation_delta": numbers(1, 3),
    "action__gripper_closedness_action": np.arange(STEPS),  # whole numbers
    "observation__state__pose": numbers(2, 6),
    "observation__state__grip": numbers(3, 1),
}


def test_the_parts_of_an_action_are_joined_in_the_order_that_is_named(tmp_path):
    write(tmp_path, **DICTIONARY)
    source = RldsSource(
        tmp_path,
        action="action/gripper_closedness_action,action/world_vector,action/rotation_delta[2]",
        position="state/pose[:3],state/grip",
    )
    (recording,) = everything(source)
    assert recording.actions.dtype == np.float32
    assert np.array_equal(
        recording.actions, np.c_[np.arange(STEPS), numbers(0, 3), numbers(1, 3)[:, 2:]]
    )
    assert np.array_equal(recording.positions, np.c_[numbers(2, 6)[:, :3], numbers(3, 1)])


def test_an_action_that_is_a_dictionary_names_its_parts(tmp_path):
    write(tmp_path, **DICTIONARY)
    with pytest.raises(ForeframeError) as caught:
        RldsSource(tmp_path).parts()
    command = "action/gripper_closedness_action,action/rotation_delta,action/world_vector"
    assert str(caught.value).endswith(f"as in --action {command}.")
    (recording,) = everything(RldsSource(tmp_path, action=command))
    assert recording.actions.shape == (STEPS, 7)


@pytest.mark.parametrize(
    ("name", "said", "task"),
    [
        ("language_instruction", ["pick up the cup"] * STEPS, "pick up the cup"),
        ("observation__natural_language_instruction", ["öffne die Tür"] * STEPS, "öffne die Tür"),
        ("language_instruction", ["", "", "push", "push", "pull"], "push; pull"),
        ("language_instruction", [""] * STEPS, ""),
        ("language_embedding", ["no words"], ""),
    ],
)
def test_what_the_robot_was_told_is_kept(tmp_path, name, said, task):
    write(tmp_path, action=numbers(0, 3), **{name: [text.encode() for text in said]})
    (recording,) = everything(RldsSource(tmp_path))
    assert recording.task == task


def test_damaged_words_cost_no_recording(tmp_path):
    write(tmp_path, action=numbers(0, 3), language_instruction=[b"\xff\xfe push"] * STEPS)
    (recording,) = everything(RldsSource(tmp_path))
    assert recording.task.endswith("push")


def test_images_of_depth_are_refused_and_passed_over_where_none_is_named(tmp_path):
    """Clipped to 255 they would be white."""
    write(tmp_path, action=numbers(0, 3), observation__depth=pictures(0, deep=True))
    (recording,) = everything(RldsSource(tmp_path))
    assert np.ptp(next(iter(recording.frames))) > 100  # the pictures in colour
    (recording,) = everything(RldsSource(tmp_path, image="depth"))
    with pytest.raises(ForeframeError, match="16 or 32 bits a pixel"):
        next(iter(recording.frames))


def test_a_folder_of_several_datasets_lists_them(tmp_path):
    for name in ("bridge/1.0.0", "bridge/2.0.0", "toy/1.0.0"):
        write(tmp_path / "all" / name, action=numbers(0, 3))
    said = "3 datasets: bridge/1.0.0, bridge/2.0.0, toy/1.0.0. Import one"
    with pytest.raises(ForeframeError, match=said):
        RldsSource(tmp_path / "all").parts()
    assert not any(
        isinstance(found, Skip) for found in everything(RldsSource(tmp_path / "all/toy"))
    )
