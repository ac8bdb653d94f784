"""Stochastic Moving MNIST: straight on until a wall, there anew; the same for the same seed."""

import gzip
import pickle
import struct

import numpy as np
import pytest

from foreframe.data.sources.moving_mnist import (
    FASTEST,
    SIZE,
    MovingMnistSource,
    read_digits,
    trajectory,
)
from foreframe.data.sources.source import RawRecording
from foreframe.errors import ForeframeError

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


def idx(images):
    return b"\0\0\x08\x03" + struct.pack(">III", *images.shape) + images.tobytes()


def flat_digits(values, size=28):
    """Digits of one value each, by which they can be told apart in a frame."""
    return np.repeat(np.array(values, np.uint8), size * size).reshape(-1, size, size)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / TRAIN).write_bytes(idx(flat_digits(range(1, 61))))
    return tmp_path


def made(source, split):
    """The frames of a split, by name."""
    found = {}
    for part in pickle.loads(pickle.dumps(source)).parts():
        if part.split == split:
            for recording in source.read(part):
                assert isinstance(recording, RawRecording)
                assert recording.actions is None
                assert recording.positions is None
                found[recording.name] = np.stack(list(recording.frames))
    return found


def small(folder, **options):
    counts = {"sequences": 6, "validate_sequences": 5, "test_sequences": 4}
    return MovingMnistSource(folder, **{**counts, **options})


def test_velocity_changes_at_walls_and_only_there():
    limit, bounces, speeds = SIZE - 32, 0, set()
    for seed in range(200):
        path = trajectory(np.random.default_rng(seed), 40, limit)
        assert path.min() >= 0
        assert path.max() <= limit
        steps = np.diff(path, axis=0)
        assert abs(steps).max() <= FASTEST
        speeds |= {tuple(step) for step in steps.tolist()}
        wall = ((path == 0) | (path == limit)).any(1)
        for t in range(1, len(steps)):
            if not wall[t] and not wall[t + 1]:
                assert np.array_equal(steps[t], steps[t - 1])
            # Whatever came to a wall leaves it at once, so that its velocity is another.
            for axis in range(2):
                if not wall[t - 1] and path[t, axis] in (0, limit) and steps[t - 1, axis]:
                    assert steps[t, axis] * steps[t - 1, axis] < 0
                    bounces += 1
    assert bounces > 200
    assert len(speeds) == (2 * FASTEST + 1) ** 2


def test_the_speed_after_a_bounce_is_random():
    """The same approach, other random numbers: every speed away from the wall, evenly."""
    after = []
    for seed in range(3000):
        path = trajectory(np.random.default_rng(seed), 30, 32)
        steps = np.diff(path, axis=0)
        inside = (path > 0) & (path < 32)
        after += [
            int(steps[t, 0])
            for t in range(1, 28)
            if path[t, 0] == 0 and inside[t, 1] and inside[t - 1].all() and inside[t + 1].all()
        ]
    shares = np.bincount(after, minlength=FASTEST + 1)[1:] / len(after)
    assert len(after) > 1000
    assert set(after) == {1, 2, 3, 4}
    assert np.allclose(shares, 1 / FASTEST, atol=0.05)


def test_frames_hold_whole_digits_and_sums_where_they_overlap(folder):
    source = small(folder, frames=15)
    overlaps = 0
    for frames in made(source, "train").values():
        assert frames.shape == (15, SIZE, SIZE, 3)
        assert frames.dtype == np.uint8
        assert (frames == frames[..., :1]).all()
        for frame in frames[..., 0].astype(int):
            # Each value is one digit's, or the sum of both; together they fill two squares.
            assert frame.sum() == 32 * 32 * sum(digit_values(frames))
            overlaps += (frame == sum(digit_values(frames))).any()
    assert overlaps


def digit_values(frames):
    values = sorted(set(np.unique(frames).tolist()) - {0})
    pairs = [(a, b) for a in values for b in values if a <= b]
    total = int(frames[0, :, :, 0].astype(int).sum()) // 32**2
    (pair,) = {pair for pair in pairs if sum(pair) == total and set(values) <= {*pair, total}}
    return pair


def test_overlapping_digits_are_at_most_white(tmp_path):
    (tmp_path / TRAIN).write_bytes(idx(flat_digits([200] * 12)))
    frames = np.concatenate(list(made(small(tmp_path), "train").values()))
    assert set(np.unique(frames).tolist()) == {0, 200, 255}


def test_digit_size_28_leaves_the_pixels_as_they_are(tmp_path):
    digit = np.random.default_rng(0).integers(1, 256, (1, 28, 28), np.uint8)
    (tmp_path / TRAIN).write_bytes(idx(digit.repeat(6, 0)))
    for frames in made(small(tmp_path, digit_size=28, digits=1), "train").values():
        for frame in frames[..., 0]:
            rows, columns = np.flatnonzero(frame.any(1)), np.flatnonzero(frame.any(0))
            assert len(rows) == len(columns) == 28
            assert np.array_equal(frame[np.ix_(rows, columns)], digit[0])


def test_a_sequence_depends_on_seed_split_and_number_alone(folder):
    some, more = small(folder), small(folder, sequences=300, validate_sequences=0)
    first, again, longer = made(some, "train"), made(some, "train"), made(more, "train")
    assert len(longer) == 300
    for name, frames in first.items():
        assert np.array_equal(frames, again[name])
        assert np.array_equal(frames, longer[name])
    for name, frames in made(some, "test").items():
        assert np.array_equal(frames, made(more, "test")[name])
    other = made(small(folder, seed=1), "train")
    assert not any(np.array_equal(first[name], other[name]) for name in first)
    distinct = {frames.tobytes() for frames in longer.values()}
    assert len(distinct) == 300


def test_no_split_has_the_digits_of_another(folder):
    def values(split):
        frames = np.stack(list(made(small(folder, sequences=60, digits=1), split).values()))
        return set(np.unique(frames).tolist()) - {0}

    assert values("train") <= set(range(1, 41))
    assert values("validate") <= set(range(41, 51))
    assert values("test") <= set(range(51, 61))
    (folder / TEST).write_bytes(idx(flat_digits(range(100, 110))))
    assert values("train") <= set(range(1, 51))
    assert values("validate") <= set(range(51, 61))
    assert values("test") <= set(range(100, 110))


def test_parts_hold_256_sequences_and_know_their_split(folder):
    parts = small(folder, sequences=600).parts()
    assert [(part.split, len(small(folder).lengths(part))) for part in parts] == [
        ("train", 256),
        ("train", 256),
        ("train", 88),
        ("validate", 5),
        ("test", 4),
    ]
    assert len({part.name for part in parts}) == 5


@pytest.mark.parametrize("name", [TRAIN, TRAIN + ".gz", "train-images.idx3-ubyte"])
def test_file_folder_and_packed_file_give_the_same(folder, tmp_path_factory, name):
    data = (folder / TRAIN).read_bytes()
    there = tmp_path_factory.mktemp("other") / name
    there.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    expected = made(small(folder), "train")
    for place in (there, there.parent):
        found = made(small(place), "train")
        assert all(np.array_equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_refused(folder, packed):
    path = folder / TRAIN
    good = path.read_bytes()
    cuts = [good[:n] for n in (0, 3, 15, 16, 1000, len(good) - 1)]
    labels = b"\0\0\x08\x01" + struct.pack(">I", 60) + bytes(60)
    for data in (*cuts, good + b"\0", b"\0\0\x08\x04" + good[4:], labels):
        path.write_bytes(gzip.compress(data) if packed else data)
        with pytest.raises(ForeframeError, match=TRAIN):
            small(folder).parts()
    if packed:
        whole = gzip.compress(good)
        for n in (1, 5, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:n])
            with pytest.raises(ForeframeError, match=TRAIN):
                small(folder).parts()
        noticed = 0
        for bit in range(80, 8 * len(whole), 5):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                assert idx(read_digits(path)) == good  # a bit that does not matter
            except ForeframeError:
                noticed += 1
        assert noticed > len(whole)


def test_a_damaged_header_is_refused(folder):
    path = folder / TRAIN
    good = path.read_bytes()
    for bit in range(16 * 8):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(ForeframeError, match=TRAIN):
            read_digits(path)


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 1},
        {"digits": 0},
        {"digit_size": 61},
        {"digit_size": 4},
        {"seed": -1},
        {"sequences": -1},
        {"sequences": 0, "validate_sequences": 0, "test_sequences": 0},
    ],
)
def test_options_that_make_no_sense_are_refused(folder, options):
    with pytest.raises(ForeframeError, match="--"):
        small(folder, **options).parts()


def test_a_missing_file_says_what_is_expected(tmp_path):
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(ForeframeError, match=TRAIN):
            small(place).parts()
    (tmp_path / TRAIN).write_bytes(idx(flat_digits([1, 2])))
    with pytest.raises(ForeframeError, match="too few"):
        small(tmp_path).parts()
