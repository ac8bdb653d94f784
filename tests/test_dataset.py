"""Batches: functions of the seed and the step, fair to every sequence and start, well aligned."""

import shutil
import threading
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from foreframe.data.lab import write_sequence
from foreframe.data.recording import Fit, Recording, fit_recording
from foreframe.data.store import batches
from foreframe.data.store import opened as dataset
from foreframe.data.store.batches import evaluation_batches, prefetch, training_batch
from foreframe.data.store.opened import open_split
from foreframe.data.store.store import Store
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError


def numbered(folder, lengths=(12, 5, 9, 20, 6)):
    """Frame t of sequence i has pixels (i, t, 0), the action (i, t) and the position (i, -t)."""
    with write_store(folder) as out:
        for i, length in enumerate(lengths):
            t = np.arange(length, dtype=np.float32)
            frames = np.zeros((length, 4, 4, 3), np.uint8)
            frames[..., 0] = i
            frames[..., 1] = np.arange(length)[:, None, None]
            own = np.full(length, i, np.float32)
            out.add(Recording(frames, np.stack([own, t], 1), np.stack([own, -t], 1)), f"s/{i}")
    return Store(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return numbered(tmp_path_factory.mktemp("packed") / "store")


def where(clip):
    """(sequence, start) of each clip of a batch of numbered sequences."""
    return [tuple(row) for row in clip.frames[:, 0, :2, 0, 0].tolist()]


def same(a, b):
    return (
        torch.equal(a.frames, b.frames)
        and torch.equal(a.actions, b.actions)
        and torch.equal(a.positions, b.positions)
    )


def batch(store, step, batch_size=3, n_frames=5, seed=0):
    return training_batch(
        store, n_frames=n_frames, batch_size=batch_size, seed=seed, global_step=step
    )


# -- training -----------------------------------------------------------------------------------


def test_a_batch_has_the_shapes_and_types_of_a_clip(store):
    clip = batch(store, 0)
    assert (clip.frames.shape, clip.frames.dtype) == ((3, 5, 3, 4, 4), torch.uint8)
    assert (clip.actions.shape, clip.actions.dtype) == ((3, 5, 2), torch.float32)
    assert (clip.positions.shape, clip.positions.dtype) == ((3, 5, 2), torch.float32)


def test_a_batch_depends_on_the_seed_and_the_step_alone(store):
    forwards = [batch(store, step) for step in range(8)]
    np.random.default_rng(0).random(3)
    torch.rand(3)
    backwards = [batch(store, step) for step in reversed(range(8))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert len({tuple(where(clip)) for clip in forwards}) == 8
    assert [where(batch(store, step, seed=1)) for step in range(8)] != [
        where(clip) for clip in forwards
    ]


def test_the_starts_depend_on_the_seed_too(tmp_path):
    alone = numbered(tmp_path / "store", lengths=[200])  # no order that could differ
    starts = {tuple(where(batch(alone, 0, batch_size=8, seed=seed))) for seed in range(5)}
    assert len(starts) == 5


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 7, 11, 40])
def test_every_sequence_is_seen_equally_often(store, batch_size):
    """Also where batches run across passes, and where a batch is larger than the dataset."""
    steps = len(store)  # batch_size passes
    seen = Counter(
        i for step in range(steps) for i, _ in where(batch(store, step, batch_size=batch_size))
    )
    assert seen == dict.fromkeys(range(len(store)), batch_size)


def test_each_pass_has_an_order_of_its_own(store):
    orders = {tuple(i for i, _ in where(batch(store, step, len(store)))) for step in range(20)}
    assert len(orders) > 10
    assert all(sorted(order) == list(range(len(store))) for order in orders)


def test_every_start_that_fits_is_reached_and_none_else(store):
    seen = Counter(start for step in range(400) for start in where(batch(store, step, 5)))
    wanted = {(i, t) for i, n in enumerate(store.lengths) for t in range(n - 5 + 1)}
    assert set(seen) == wanted
    starts = np.array([seen[3, t] for t in range(16)])  # the longest: 400 draws of 16 starts
    assert starts.min() > 8
    assert starts.max() < 50


def test_a_sequence_just_long_enough_has_one_start(store):
    starts = {start for step in range(20) for i, start in where(batch(store, step)) if i == 1}
    assert starts == {0}


def test_rows_stay_with_their_frames(store):
    for step in range(10):
        clip = batch(store, step)
        for b, (i, start) in enumerate(where(clip)):
            t = torch.arange(start, start + 5)
            assert torch.equal(clip.frames[b, :, 1, 2, 2], t.byte())
            assert torch.equal(clip.actions[b], torch.stack([torch.full((5,), i), t], 1).float())
            assert torch.equal(clip.positions[b], torch.stack([torch.full((5,), i), -t], 1).float())


def test_action_t_moves_what_frame_t_plus_1_shows(toy_data):
    """From PNG and CSV to a batch: in the toy data an action is the square's next step."""
    split = open_split(toy_data, "train", log=lambda text: None)
    checked = 0
    for step in range(12):
        clip = batch(split, step, batch_size=4, n_frames=6)
        square = clip.frames[:, :, 0] == 230
        corner = torch.stack([square.any(3).byte().argmax(2), square.any(2).byte().argmax(2)], 2)
        assert torch.allclose(clip.positions[..., :2] * 64, corner.float())
        free = ((corner > 0) & (corner < 52)).all(2)  # walls stop the square
        moved = (corner[:, 1:] - corner[:, :-1]).float()
        both = free[:, 1:] & free[:, :-1]
        assert torch.equal(moved[both], clip.actions[:, :-1, :2][both])
        checked += int(both.sum())
    assert checked > 100


def test_absent_parts_are_absent_from_batches(tmp_path):
    with write_store(tmp_path / "store") as out:
        out.add(Recording(np.zeros((6, 4, 4, 3), np.uint8)), "0")
    clip = batch(Store(tmp_path / "store"), 0)
    assert (clip.actions, clip.positions) == (None, None)


def test_batches_do_not_share_memory_with_the_store(store):
    clip = batch(store, 0)
    clip.frames.fill_(9)
    clip.actions.fill_(9)
    assert not same(clip, batch(store, 0))


# -- evaluation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "limit", "sizes"),
    [(2, None, [2, 2, 1]), (5, None, [5]), (16, None, [5]), (2, 3, [2, 1]), (2, 99, [2, 2, 1])],
)
def test_evaluation_goes_in_order_from_frame_0(store, batch_size, limit, sizes):
    clips = list(evaluation_batches(store, n_frames=5, batch_size=batch_size, limit=limit))
    assert [len(clip) for clip in clips] == sizes
    assert [row for clip in clips for row in where(clip)] == [(i, 0) for i in range(sum(sizes))]
    for clip in clips:
        assert clip.actions[0, :, 1].tolist() == [0, 1, 2, 3, 4]


# -- batches made ahead -------------------------------------------------------------------------


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "foreframe-batches"]


@pytest.mark.parametrize("first", [0, 7])
def test_batches_made_ahead_are_the_same(store, first):
    with prefetch(store, n_frames=5, batch_size=3, seed=4, first_step=first) as clips:
        ahead = list(islice(clips, 9))
    assert all(same(clip, batch(store, first + k, seed=4)) for k, clip in enumerate(ahead))
    assert workers() == []


def test_only_a_few_batches_are_made_ahead(store, monkeypatch):
    made = []
    original = batches.training_batch

    def spy(*args, **more):
        made.append(more["global_step"])
        return original(*args, **more)

    monkeypatch.setattr(batches, "training_batch", spy)
    with prefetch(store, n_frames=5, batch_size=3, seed=0, first_step=0, depth=2) as clips:
        next(clips)
        threading.Event().wait(0.2)
        assert len(made) <= 4
    assert workers() == []


def test_an_error_on_the_way_reaches_whoever_asks(store, monkeypatch):
    original = batches.training_batch

    def failing(*args, **more):
        if more["global_step"] == 2:
            raise OSError(5, "Input/output error")
        return original(*args, **more)

    monkeypatch.setattr(batches, "training_batch", failing)
    got = []
    with (
        pytest.raises(OSError, match="Input/output"),
        prefetch(store, n_frames=5, batch_size=3, seed=0, first_step=0) as clips,
    ):
        got.extend(clips)
    assert len(got) == 2
    assert workers() == []


def test_leaving_by_an_error_ends_the_thread(store):
    with (
        pytest.raises(KeyboardInterrupt),
        prefetch(store, n_frames=5, batch_size=3, seed=0, first_step=0),
    ):
        raise KeyboardInterrupt
    assert workers() == []


def test_batches_asked_for_after_the_end_do_not_wait_for_ever(store):
    with prefetch(store, n_frames=5, batch_size=3, seed=0, first_step=0) as clips:
        next(clips)
    assert list(islice(clips, 9)) == []


# -- other image sizes --------------------------------------------------------------------------


def test_the_middle_square_is_averaged_over_areas():
    frames = np.zeros((1, 128, 192, 3), np.uint8)
    frames[:, :, :32] = frames[:, :, 160:] = 255  # left and right of the middle square
    frames[:, 0::2, 32:160] = 100
    frames[:, 1::2, 32:160] = 50
    small = fit_recording(Recording(frames), Fit(64)).frames
    assert small.shape == (1, 64, 64, 3)
    assert (small == 75).all()


def test_small_frames_are_enlarged_and_right_ones_left_alone():
    frames = np.full((2, 16, 16, 3), 80, np.uint8)
    large = fit_recording(Recording(frames), Fit(64)).frames
    assert large.shape == (2, 64, 64, 3)
    assert (large == 80).all()
    right = Recording(large)
    assert fit_recording(right, Fit(64)) is right


def test_a_resize_is_announced_once(tmp_path):
    random = np.random.default_rng(0)
    for n, shape in enumerate([(96, 128), (64, 64), (96, 128), (80, 80)]):
        frames = random.integers(0, 256, (3, *shape, 3), np.uint8)
        write_sequence(tmp_path / "train" / "s" / str(n), frames, None)
    said = []
    split = open_split(tmp_path, "train", log=said.append)
    assert split.size == (64, 64)
    resizes = [text for text in said if "resized to 64x64" in text]
    assert len(resizes) == 2
    assert "80x80 pixels were resized" in resizes[0]
    assert "128x96 pixels were cropped to the middle square and resized" in resizes[1]
    said.clear()
    open_split(tmp_path, "train", log=said.append)
    assert said == []


# -- what a model needs -------------------------------------------------------------------------


def test_a_split_that_serves_is_let_through(store):
    dataset.require(store, n_frames=5, needs={"actions": 2, "positions": 2})


def test_too_few_frames_name_the_sequence(toy_data, tmp_path):
    shutil.copytree(toy_data / "train", tmp_path / "train")
    short = tmp_path / "train" / "traj_0_to_255" / "6"
    write_sequence(
        short,
        np.zeros((11, 64, 64, 3), np.uint8),
        np.zeros((11, 4), np.float32),
        np.zeros((11, 3), np.float32),
    )
    split = open_split(tmp_path, "train", log=lambda text: None)
    needs = {"actions": 4, "positions": 3}
    dataset.require(split, n_frames=11, needs=needs)
    with pytest.raises(ForeframeError, match=rf"{short}: 11 frames, .* 12 .*--n-future"):
        dataset.require(split, n_frames=12, needs=needs)


@pytest.mark.parametrize("part", ["actions", "positions"])
def test_absent_conditions_are_refused_only_when_asked_for(tmp_path, part):
    rows = {"actions": np.zeros((6, 4), np.float32), "positions": np.zeros((6, 3), np.float32)}
    rows[part] = None
    write_sequence(tmp_path / "test" / "s" / "0", np.zeros((6, 64, 64, 3), np.uint8), **rows)
    split = open_split(tmp_path, "test", log=lambda text: None)
    needs = {"actions": None, "positions": None}
    dataset.require(split, n_frames=6, needs=needs)
    needs[part] = 3
    with pytest.raises(ForeframeError, match=rf"test/s/0: there are no {part}.*--condition"):
        dataset.require(split, n_frames=6, needs=needs)


@pytest.mark.parametrize("part", ["actions", "positions"])
def test_conditions_of_another_width_are_refused_only_when_asked_for(store, part):
    needs = {"actions": None, "positions": None}
    dataset.require(store, n_frames=5, needs=needs)
    needs[part] = 7
    with pytest.raises(ForeframeError, match=rf"s/0: 2 columns of {part}, .* takes 7.*Give"):
        dataset.require(store, n_frames=5, needs=needs)
