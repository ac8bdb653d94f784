"""The lab's layout: what is written comes back, in the order of the numbers, and whole."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreframe.data.lab import (
    ACTIONS,
    POSITIONS,
    SPLITS,
    list_sequences,
    natural_key,
    read_sequence,
    write_sequence,
)
from foreframe.data.store.opened import open_split
from foreframe.errors import ForeframeError

BAIR = Path(__file__).parents[2] / "shared" / "data" / "bair" / "bair_sample.npz"


def recording(length=12, size=16, seed=0):
    random = np.random.default_rng(seed)
    return (
        random.integers(0, 256, (length, size, size, 3), np.uint8),
        random.normal(size=(length, 4)).astype(np.float32),
        random.normal(size=(length, 3)).astype(np.float32),
    )


def test_what_is_written_comes_back_bit_by_bit(tmp_path):
    frames, actions, positions = recording()
    info = np.finfo(np.float32)
    actions[0] = [info.max, info.tiny, -info.smallest_subnormal, 1 / 3]
    actions[1] = np.nextafter(np.float32(1), np.float32([0, 2, 0, 2]))
    write_sequence(tmp_path / "0", frames, actions, positions)
    sequence = read_sequence(tmp_path / "0")
    for back, given in (
        (sequence.frames, frames),
        (sequence.actions, actions),
        (sequence.positions, positions),
    ):
        assert back.dtype == given.dtype
        assert back.tobytes() == given.tobytes()


def test_the_files_are_the_labs(tmp_path):
    frames, actions, positions = recording(length=11)
    write_sequence(tmp_path / "0", frames, actions, positions)
    names = {path.name for path in (tmp_path / "0").iterdir()}
    assert names == {f"{t}.png" for t in range(11)} | {ACTIONS, POSITIONS}
    rows = (tmp_path / "0" / ACTIONS).read_text().splitlines()
    assert len(rows) == 11  # no header
    assert [len(row.split(",")) for row in rows] == [4] * 11


def test_frames_are_ordered_by_number_not_by_name(tmp_path):
    frames = np.empty((30, 8, 8, 3), np.uint8)
    frames[:] = np.arange(30)[:, None, None, None]
    write_sequence(tmp_path / "0", frames, None)
    assert read_sequence(tmp_path / "0").frames[:, 0, 0, 0].tolist() == list(range(30))


def test_padded_numbers_are_read_too(tmp_path):
    frames, _, _ = recording(length=11)
    write_sequence(tmp_path / "0", frames, None)
    for t in range(10):
        (tmp_path / "0" / f"{t}.png").rename(tmp_path / "0" / f"{t:04d}.png")
    assert np.array_equal(read_sequence(tmp_path / "0").frames, frames)


def test_actions_and_positions_may_be_absent(tmp_path):
    frames, actions, positions = recording()
    write_sequence(tmp_path / "0", frames, actions)
    write_sequence(tmp_path / "1", frames, None, positions)
    write_sequence(tmp_path / "2", frames, None)
    absent = [
        (part.actions is None, part.positions is None)
        for part in (read_sequence(tmp_path / name) for name in "012")
    ]
    assert absent == [(False, True), (True, False), (True, True)]


def test_other_writers_csv_is_read(tmp_path):
    """Carriage returns, blanks after commas, a blank line at the end, Excel's byte-order mark."""
    frames, _, _ = recording(length=2)
    write_sequence(tmp_path / "0", frames, None)
    (tmp_path / "0" / ACTIONS).write_bytes(b"\xef\xbb\xbf1, 2e-1,3\r\n4, -5,6\r\n\r\n")
    actions = read_sequence(tmp_path / "0").actions
    assert np.array_equal(actions, np.float32([[1, 0.2, 3], [4, -5, 6]]))


def test_grey_and_transparent_pngs_become_rgb(tmp_path):
    Image.new("L", (8, 8), 7).save(tmp_path / "0.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(tmp_path / "1.png")
    frames = read_sequence(tmp_path).frames
    assert frames[:, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]


def test_shards_and_sequences_are_in_natural_order(tmp_path):
    wanted = [
        tmp_path / "train" / shard / str(n)
        for shard in ("traj_0_to_255.tfrecords", "traj_256_to_511.tfrecords", "traj_1024_to_1279")
        for n in (1, 2, 10, 100)
    ]
    for folder in reversed(wanted):
        folder.mkdir(parents=True)
    (tmp_path / "train" / ".cache" / "0").mkdir(parents=True)
    (tmp_path / "train" / "README.txt").write_text("not a shard")
    assert list_sequences(tmp_path, "train") == wanted


def test_sequences_may_count_from_zero(toy_data):
    assert [path.name for path in list_sequences(toy_data, "test")] == ["0", "1", "2"]


def test_natural_order_holds_for_mixed_names():
    names = ["b", "a10", "a9", "9", "10", "a"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "a9", "a10", "b"]


def test_digits_that_are_no_numbers_are_letters():
    assert sorted(["3²", "10", "3"], key=natural_key) == ["3", "3²", "10"]


def test_a_half_written_sequence_is_never_seen(tmp_path, monkeypatch):
    frames, actions, _ = recording()
    shard = tmp_path / "train" / "traj_0_to_255"
    write_sequence(shard / "0", frames, actions)
    seen = []
    save = Image.Image.save

    def full_disk(image, path, **more):
        seen.append([folder.name for folder in list_sequences(tmp_path, "train")])
        if len(seen) > 5:
            raise OSError(28, "No space left on device")
        save(image, path, **more)

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(ForeframeError, match=r"traj_0_to_255/1: .*No space left.*Free some space"):
        write_sequence(shard / "1", frames, actions)
    assert seen == [["0"]] * 6
    assert [path.name for path in shard.iterdir()] == ["0"]


def test_an_existing_sequence_is_not_overwritten(tmp_path):
    frames, actions, _ = recording()
    write_sequence(tmp_path / "0", frames, actions)
    before = {path.name: path.read_bytes() for path in (tmp_path / "0").iterdir()}
    with pytest.raises(ForeframeError, match=r"0: exists already.*Remove it"):
        write_sequence(tmp_path / "0", frames[::-1].copy(), actions)
    assert {path.name: path.read_bytes() for path in (tmp_path / "0").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


@pytest.mark.parametrize("part", ["actions", "positions"])
def test_parts_of_differing_lengths_are_not_written(tmp_path, part):
    frames, actions, positions = recording()
    parts = {"actions": actions, "positions": positions}
    parts[part] = parts[part][:-1]
    with pytest.raises(ForeframeError, match=rf"{part}\.csv: .*each of the 12.*\[11, "):
        write_sequence(tmp_path / "0", frames, **parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frames", "actions", "message"),
    [
        (np.zeros((2, 8, 8, 3)), None, r"must be uint8 .*are float64 \[2, 8, 8, 3\]"),
        (np.zeros((2, 3, 8, 8), np.uint8), None, r"\[2, 3, 8, 8\].*order of axes"),
        (np.zeros((0, 8, 8, 3), np.uint8), None, r"\[0, 8, 8, 3\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2), r"actions\.csv: .*shape \[2\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.full((2, 4), np.nan), r"actions\.csv: .*finite"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.full((2, 4), 1e50), r"actions\.csv: .*finite"),
    ],
)
def test_arrays_that_could_not_be_read_back_are_not_written(tmp_path, frames, actions, message):
    with pytest.raises(ForeframeError, match=message):
        write_sequence(tmp_path / "0", frames, actions)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not BAIR.exists(), reason="the real BAIR sample is not here")
def test_a_real_bair_recording_goes_into_the_layout_and_back(tmp_path):
    sample = np.load(BAIR)
    frames = sample["aux1_image"].astype(np.uint8)
    actions = sample["action"].astype(np.float32)
    write_sequence(tmp_path / "test" / "traj_0_to_255" / "0", frames, actions)
    store = open_split(tmp_path, "test", log=lambda text: None)
    assert (len(store), store.size, store.action_dim, store.position_dim) == (1, (64, 64), 4, None)
    assert np.array_equal(store[0].frames, sample["aux1_image"])
    assert np.array_equal(store[0].actions, actions)


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/data.md", "exec"), {})
    counts = {
        split: len(open_split(tmp_path / "my-data", split, log=lambda text: None))
        for split in SPLITS
    }
    assert counts == {"train": 16, "validate": 4, "test": 4}
    sequence = read_sequence(tmp_path / "my-data" / "test" / "recordings" / "0")
    assert np.allclose(np.diff(sequence.positions, axis=0), sequence.actions[:-1], atol=1e-4)
