"""Arrays by name: what was saved comes out as recordings, what is not certain is refused."""

import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from foreframe.data.sources.npz import NpzSource
from foreframe.data.sources.source import RawRecording, Skip
from foreframe.errors import ForeframeError

BAIR = Path(__file__).parents[2] / "shared" / "data" / "bair" / "bair_sample.npz"


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def everything(source):
    """Frames, actions and positions by recording, and the skips."""
    recordings, skips = {}, []
    for part in pickle.loads(pickle.dumps(source)).parts():
        for found in source.read(part):
            if isinstance(found, Skip):
                skips.append(found)
            else:
                frames = np.stack(list(found.frames))
                assert frames.dtype == np.uint8
                recordings[found.name] = (frames, found.actions, found.positions)
    return recordings, skips


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, ">i2", np.float32])
def test_one_recording_comes_back(tmp_path, save, dtype):
    video, actions, positions = pixels(7, 6, 5, 3), numbers(7, 4), numbers(7, 3)
    save(tmp_path / "a.npz", video=video.astype(dtype), act=actions, pos=positions)
    source = NpzSource(tmp_path / "a.npz", "video", "act", "pos")
    recordings, skips = everything(source)
    assert not skips
    frames, found_actions, found_positions = recordings["a.npz"]
    assert np.array_equal(frames, video)
    assert found_actions.dtype == np.float32
    assert np.array_equal(found_actions, actions.astype(np.float32))
    assert np.array_equal(found_positions, positions.astype(np.float32))
    (part,) = source.parts()
    assert source.lengths(part) == [("a.npz", 7)]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_many_recordings_are_divided_over_parts(tmp_path, save):
    video, actions = pixels(600, 2, 3, 4, 3), numbers(600, 2, 5)
    save(tmp_path / "all.npz", video=video, act=actions)
    source = NpzSource(tmp_path / "all.npz", "video", "act")
    parts = source.parts()
    assert [len(source.lengths(part)) for part in parts] == [256, 256, 88]
    assert len({part.name for part in parts}) == 3
    recordings, skips = everything(source)
    assert not skips
    assert list(recordings) == [name for part in parts for name, _ in source.lengths(part)]
    for k, (frames, found, positions) in enumerate(recordings.values()):
        assert np.array_equal(frames, video[k])
        assert np.array_equal(found, actions[k].astype(np.float32))
        assert positions is None


def test_frames_may_be_taken_late_or_in_another_order(tmp_path):
    video = pixels(3, 4, 8, 8, 3)
    np.savez_compressed(tmp_path / "all.npz", video=video)
    source = NpzSource(tmp_path / "all.npz", "video")
    (part,) = source.parts()
    recordings = list(source.read(part))
    for k in (2, 0, 1):
        assert np.array_equal(np.stack(list(recordings[k].frames)), video[k])


def test_a_folder_is_read_in_natural_order(tmp_path):
    for n in (10, 9, 1):
        np.savez(tmp_path / f"run{n}.npz", video=np.full((n, 4, 4, 3), n, np.uint8))
    (tmp_path / "notes.txt").write_text("not an array")
    recordings, skips = everything(NpzSource(tmp_path, "video"))
    assert not skips
    assert [(name, len(frames)) for name, (frames, _, _) in recordings.items()] == [
        ("run1.npz", 1),
        ("run9.npz", 9),
        ("run10.npz", 10),
    ]


def test_many_files_share_a_part(tmp_path):
    for n in range(70):
        np.savez(tmp_path / f"{n}.npz", video=np.zeros((2, 4, 4, 3), np.uint8))
    source = NpzSource(tmp_path, "video")
    assert [len(source.lengths(part)) for part in source.parts()] == [64, 6]


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 1)])
def test_grey_becomes_rgb(tmp_path, shape):
    video = pixels(*shape)
    np.savez(tmp_path / "a.npz", video=video)
    recordings, _ = everything(NpzSource(tmp_path / "a.npz", "video"))
    frames, _, _ = recordings["a.npz"]
    assert frames.shape == (5, 6, 7, 3)
    assert all(np.array_equal(frames[..., c], video.reshape(5, 6, 7)) for c in range(3))


@pytest.mark.parametrize(
    "shape",
    [(6, 7), (6, 7, 3), (5, 6, 7, 4), (5, 3, 6, 7), (2, 5, 6, 7), (2, 5, 3, 6, 7), (0, 6, 7, 3)],
)
def test_a_shape_of_uncertain_meaning_is_refused(tmp_path, shape):
    np.savez(tmp_path / "a.npz", video=np.zeros(shape, np.uint8))
    with pytest.raises(ForeframeError, match=str(list(shape)).replace("[", r"\[")):
        NpzSource(tmp_path / "a.npz", "video").parts()


@pytest.mark.parametrize(
    ("video", "said"),
    [
        (pixels(3, 4, 4, 3) / 255, "not all of them whole numbers"),
        (np.ones((3, 4, 4, 3)), "from 1 to 1: if 1 is to be white"),
        (np.full((3, 4, 4, 3), np.nan), "nan"),
        (np.full((3, 4, 4, 3), 256), "from 256 to 256"),
        (np.full((3, 4, 4, 3), -1), "from -1 to -1"),
    ],
)
def test_values_that_are_no_pixels_are_skipped(tmp_path, video, said):
    np.savez(tmp_path / "a.npz", video=video)
    recordings, (skip,) = everything(NpzSource(tmp_path / "a.npz", "video"))
    assert not recordings
    assert said in skip.reason


def test_a_name_that_is_not_there_lists_those_that_are(tmp_path):
    np.savez(tmp_path / "a.npz", video=pixels(3, 4, 4, 3), act=numbers(3, 2))
    for options in (("image",), ("video", "action"), ("video", "act", "state")):
        with pytest.raises(ForeframeError, match=r"video uint8 \[3, 4, 4, 3\], act float64 \[3"):
            NpzSource(tmp_path / "a.npz", *options).parts()


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", video=pixels(2, 4, 4, 3), act=np.array([{}, 1], object))
    with pytest.raises(ForeframeError, match="array of object"):
        NpzSource(tmp_path / "a.npz", "video", "act").parts()


def test_fortran_order_is_refused_for_frames_and_read_for_actions(tmp_path):
    video, actions = pixels(3, 4, 4, 3), np.asfortranarray(numbers(3, 2))
    np.savez(tmp_path / "a.npz", video=np.asfortranarray(video), fine=video, act=actions)
    with pytest.raises(ForeframeError, match="Fortran"):
        NpzSource(tmp_path / "a.npz", "video").parts()
    recordings, _ = everything(NpzSource(tmp_path / "a.npz", "fine", "act"))
    assert np.array_equal(recordings["a.npz"][1], actions.astype(np.float32))


@pytest.mark.parametrize("shape", [(4, 2), (1, 2), (3, 2, 2), (3, 0)])
def test_actions_that_do_not_fit_are_refused(tmp_path, shape):
    np.savez(tmp_path / "a.npz", video=pixels(3, 4, 4, 3), act=numbers(*shape))
    with pytest.raises(ForeframeError, match="actions act have the shape"):
        NpzSource(tmp_path / "a.npz", "video", "act").parts()


def test_one_number_a_step_is_an_action_of_width_one(tmp_path):
    np.savez(tmp_path / "a.npz", video=pixels(2, 3, 4, 4, 3), act=numbers(2, 3))
    recordings, _ = everything(NpzSource(tmp_path / "a.npz", "video", "act"))
    assert [actions.shape for _, actions, _ in recordings.values()] == [(3, 1), (3, 1)]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_number_that_is_none_skips_its_recording_alone(tmp_path, value):
    actions = numbers(3, 4, 2)
    actions[1, 2, 0] = value
    np.savez(tmp_path / "a.npz", video=pixels(3, 4, 4, 4, 3), act=actions)
    recordings, (skip,) = everything(NpzSource(tmp_path / "a.npz", "video", "act"))
    assert list(recordings) == ["a.npz/0", "a.npz/2"]
    assert skip.name == "a.npz/1"
    assert "act, row 2" in skip.reason


def test_columns_of_arrays(tmp_path):
    state, grip = numbers(3, 5), numbers(3)
    np.savez(tmp_path / "a.npz", video=pixels(3, 4, 4, 3), state=state, grip=grip)
    source = NpzSource(tmp_path / "a.npz", "video", "state[3:],grip", "state[:3]")
    _, actions, positions = everything(source)[0]["a.npz"]
    assert np.array_equal(actions, np.column_stack([state[:, 3:], grip]).astype(np.float32))
    assert np.array_equal(positions, state[:, :3].astype(np.float32))
    with pytest.raises(ForeframeError, match="5 columns"):
        NpzSource(tmp_path / "a.npz", "video", "state[3:7]").parts()


def test_episode_ends_divide_a_long_array(tmp_path):
    video, actions = pixels(10, 4, 4, 3), numbers(10, 2)
    np.savez(tmp_path / "a.npz", video=video, act=actions, ends=np.array([3, 4, 9]))
    source = NpzSource(tmp_path / "a.npz", "video", "act", episode_ends="ends")
    recordings, (skip,) = everything(source)
    assert [len(frames) for frames, _, _ in recordings.values()] == [3, 1, 5]
    joined = [np.concatenate([found[k] for found in recordings.values()]) for k in (0, 1)]
    assert np.array_equal(joined[0], video[:9])
    assert np.array_equal(joined[1], actions[:9].astype(np.float32))
    assert "9 to 10" in skip.name


@pytest.mark.parametrize(
    ("ends", "said"),
    [([3, 3], "not after"), ([0, 3], "not after"), ([3, 11], "10 frames"), ([], "float64")],
)
def test_wrong_episode_ends_are_refused(tmp_path, ends, said):
    np.savez(tmp_path / "a.npz", video=pixels(10, 4, 4, 3), ends=np.array(ends))
    with pytest.raises(ForeframeError, match=said):
        NpzSource(tmp_path / "a.npz", "video", episode_ends="ends").parts()


def test_a_missing_input_and_an_empty_folder(tmp_path):
    for place in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(ForeframeError, match=r"npz"):
            NpzSource(place, "video").parts()
    (tmp_path / "a.npz").write_bytes(b"not a zip file")
    with pytest.raises(ForeframeError, match=r"cannot be read as an \.npz file"):
        NpzSource(tmp_path / "a.npz", "video").parts()


def test_a_damaged_file_is_skipped_and_the_others_kept(tmp_path):
    for n in range(3):
        np.savez(tmp_path / f"{n}.npz", video=pixels(4, 8, 8, 3, seed=n))
    data = bytearray((tmp_path / "0.npz").read_bytes())
    data[500] ^= 1
    (tmp_path / "0.npz").write_bytes(data)
    (tmp_path / "1.npz").write_bytes(data[:700])
    source = NpzSource(tmp_path, "video")
    recordings, skips = everything(source)
    assert list(recordings) == ["2.npz"]
    assert [skip.name for skip in skips] == ["0.npz", "1.npz"]
    assert "CRC" in skips[0].reason
    assert source.lengths(source.parts()[0])[-1] == ("2.npz", 4)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_flipped_bit_and_no_cut_changes_anything_unnoticed(tmp_path, save):
    video, actions = pixels(2, 3, 6, 6, 3), numbers(2, 3, 2)
    save(tmp_path / "good.npz", video=video, act=actions)
    good = (tmp_path / "good.npz").read_bytes()
    random = np.random.default_rng(0)
    damaged = [good[:n] for n in random.integers(0, len(good), 60)]
    for n in random.integers(0, 8 * len(good), 600):
        data = bytearray(good)
        data[n // 8] ^= 1 << n % 8
        damaged.append(bytes(data))
    noticed = 0
    for data in damaged:
        (tmp_path / "bad.npz").write_bytes(data)
        try:
            recordings, skips = everything(NpzSource(tmp_path / "bad.npz", "video", "act"))
        except ForeframeError:
            noticed += 1
            continue
        noticed += bool(skips)
        for k in range(2):
            if f"bad.npz/{k}" in recordings:
                frames, found, _ = recordings[f"bad.npz/{k}"]
                assert np.array_equal(frames, video[k])
                assert np.array_equal(found, actions[k].astype(np.float32))
        assert len(recordings) == 2 or skips
    assert noticed > 400


def test_a_recording_larger_than_the_memory_is_streamed(tmp_path):
    video = np.zeros((40, 10, 64, 64, 3), np.int64)
    video[...] = np.arange(40)[:, None, None, None, None]
    np.savez_compressed(tmp_path / "a.npz", video=video)
    size = video.nbytes
    del video
    source = NpzSource(tmp_path / "a.npz", "video")
    tracemalloc.start()
    try:
        for part in source.parts():
            for k, recording in enumerate(source.read(part)):
                assert isinstance(recording, RawRecording)
                assert all((frame == k).all() for frame in recording.frames)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 8


def test_a_remote_file_is_read(tmp_path):
    place = UPath("memory://npz-source/a.npz")
    video = pixels(3, 4, 4, 3)
    with place.open("wb") as file:
        np.savez(file, video=video)
    recordings, _ = everything(NpzSource(place, "video"))
    assert np.array_equal(recordings["a.npz"][0], video)


def test_a_member_that_is_no_array_does_not_matter(tmp_path):
    np.savez(tmp_path / "a.npz", video=pixels(3, 4, 4, 3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("README.txt", "what this is")
    recordings, skips = everything(NpzSource(tmp_path / "a.npz", "video"))
    assert list(recordings) == ["a.npz"]
    assert not skips


@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_actions_between_frames_are_one_less(tmp_path, lead):
    video, actions = pixels(*lead, 4, 4, 3), numbers(*lead[:-1], 2, 2)
    np.savez(tmp_path / "a.npz", video=video, act=actions)
    recordings, skips = everything(NpzSource(tmp_path / "a.npz", "video", "act"))
    assert not skips
    own = actions.astype(np.float32).reshape(-1, 2, 2)
    for (frames, found, _), wanted in zip(recordings.values(), own, strict=True):
        assert len(frames) == 3
        assert np.array_equal(found[:2], wanted)  # row 2 leads nowhere
    with pytest.raises(ForeframeError, match="positions act have the shape"):
        NpzSource(tmp_path / "a.npz", "video", "", "act").parts()


def test_true_and_false_are_one_and_zero(tmp_path):
    grip = np.array([True, False, True])
    np.savez(tmp_path / "a.npz", video=pixels(3, 4, 4, 3), act=numbers(3, 2), grip=grip)
    _, actions, _ = everything(NpzSource(tmp_path / "a.npz", "video", "act,grip"))[0]["a.npz"]
    assert actions.dtype == np.float32
    assert actions[:, 2].tolist() == [1, 0, 1]


@pytest.mark.parametrize("kind", ["npz", "npy"])
@pytest.mark.parametrize(
    "axes", ["TNHWC", "NTCHW", "TNCHW", "NTHWC", "TNHW", "NTHW", "TCHW", "THWC", "TWH", "tnhw"]
)
def test_axes_in_any_order_give_the_same_recordings(tmp_path, axes, kind):
    names = axes.upper()
    video = pixels(5, 4, 6, 7, 3)[..., : 3 if "C" in names else 1]  # NTHWC
    if "N" not in names:
        video = video[:1]
    kept = video[..., 0] if "C" not in names else video
    kept = kept[0] if "N" not in names else kept
    full = "".join(name for name in "NTHWC" if name in names)
    stored = np.ascontiguousarray(kept.transpose([full.index(name) for name in names]))
    place = tmp_path / f"a.{kind}"
    if kind == "npz":
        np.savez_compressed(place, video=stored)
    else:
        np.save(place, stored)
    source = NpzSource(place, "video" if kind == "npz" else "", axes=axes)
    recordings, skips = everything(source)
    assert not skips
    assert len(recordings) == len(video)
    for (frames, _, _), wanted in zip(recordings.values(), video, strict=True):
        assert np.array_equal(frames, np.broadcast_to(wanted, (4, 6, 7, 3)))


def test_interleaved_recordings_are_read_in_blocks(tmp_path, monkeypatch):
    from foreframe.data.sources import npz_axes

    video, actions = pixels(4, 50, 6, 7), numbers(4, 50, 2)
    np.savez_compressed(tmp_path / "a.npz", video=video, act=actions)
    monkeypatch.setattr(npz_axes, "_BLOCK_BYTES", 4 * 6 * 7 * 8)
    read = []
    original = npz_axes.FrameReader._read_block
    monkeypatch.setattr(
        npz_axes.FrameReader,
        "_read_block",
        lambda self, stream, k: read.append(k) or original(self, stream, k),
    )
    recordings, _ = everything(NpzSource(tmp_path / "a.npz", "video", "act", axes="TNHW"))
    assert read == list(range(0, 50, 8))
    for k, (frames, found, _) in enumerate(recordings.values()):
        assert np.array_equal(frames[..., 0], video[:, k])
        assert np.array_equal(found, actions[:, k].astype(np.float32))


def test_moving_mnists_test_set_is_asked_about(tmp_path):
    """[20, 10000, 64, 64], or with a channel behind: time comes first, which nothing says."""
    video = pixels(4, 40, 6, 7)
    np.save(tmp_path / "mnist_test_seq.npy", video)
    with pytest.raises(ForeframeError, match=r"--axes"):
        NpzSource(tmp_path / "mnist_test_seq.npy").parts()
    np.savez(tmp_path / "a.npz", video=video[..., None], act=numbers(4, 40, 2))
    with pytest.raises(ForeframeError, match=r"--axes NTHWC or --axes TNHWC"):
        NpzSource(tmp_path / "a.npz", "video").parts()
    # Rows of actions are for recordings first, then time.
    assert len(everything(NpzSource(tmp_path / "a.npz", "video", "act"))[0]) == 4


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ("TNH", "H and W height and width"),
        ("NTHWX", "H and W height and width"),
        ("NTTHW", "H and W height and width"),
        ("NHWTC", "N and T come first"),
        ("NTHW", "5 axes, and --axes names 4"),
        ("NTHCW", "must be 1"),
    ],
)
def test_axes_that_cannot_be_are_refused(tmp_path, axes, said):
    np.savez(tmp_path / "a.npz", video=pixels(2, 3, 4, 4, 3))
    with pytest.raises(ForeframeError, match=said):
        NpzSource(tmp_path / "a.npz", "video", axes=axes).parts()


def test_arrays_beside_a_npy_file_are_found_by_name(tmp_path):
    video, actions = pixels(3, 4, 4, 3), numbers(3, 2)
    np.save(tmp_path / "rgb.npy", video)
    np.save(tmp_path / "act.npy", actions)
    for source in (
        NpzSource(tmp_path / "rgb.npy", actions="act"),
        NpzSource(tmp_path, "rgb", "act"),
    ):
        recordings, skips = everything(source)
        assert not skips
        frames, found, _ = recordings["rgb.npy"]
        assert np.array_equal(frames, video)
        assert np.array_equal(found, actions.astype(np.float32))
        assert [place.name for place in source.parts()[0].others] == ["act.npy"]


def test_a_folder_of_npy_files_is_a_recording_each(tmp_path):
    for n in (10, 9):
        np.save(tmp_path / f"{n}.npy", np.full((n, 4, 4, 3), n, np.uint8))
    (tmp_path / "11.npy").write_bytes((tmp_path / "10.npy").read_bytes()[:300])
    recordings, (skip,) = everything(NpzSource(tmp_path))
    assert [(name, len(found[0])) for name, found in recordings.items()] == [
        ("9.npy", 9),
        ("10.npy", 10),
    ]
    assert skip.name == "11.npy"


def test_frames_have_to_be_named_in_a_file_of_many(tmp_path):
    np.savez(tmp_path / "a.npz", video=pixels(3, 4, 4, 3), act=numbers(3, 2))
    with pytest.raises(ForeframeError, match=r"--frames; it holds video uint8 \[3, 4, 4, 3\], act"):
        NpzSource(tmp_path / "a.npz").parts()


@pytest.mark.skipif(not BAIR.exists(), reason="the real sequence is not here")
def test_the_real_sequence():
    recordings, skips = everything(NpzSource(BAIR, "aux1_image", "action"))
    assert not skips
    frames, actions, positions = recordings["bair_sample.npz"]
    with np.load(BAIR) as arrays:
        assert np.array_equal(frames, arrays["aux1_image"])
        assert np.array_equal(actions, arrays["action"].astype(np.float32))
    assert positions is None
