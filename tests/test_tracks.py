"""Tracks: where objects are in the image, carried beside the frames wherever these go."""

import json

import numpy as np
import pytest
import torch

import foreframe
from foreframe import Clip, ForeframeError, ModelConfig
from foreframe.data.exports.lab import export_lab
from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.lab import TRACKS, read_sequence, write_sequence
from foreframe.data.recording import Fit, Recording, fit_recording
from foreframe.data.sources.lab_folders import LabSource
from foreframe.data.store import packed as copies
from foreframe.data.store.batches import evaluation_batches, training_batch
from foreframe.data.store.meta import META
from foreframe.data.store.opened import open_split
from foreframe.data.store.store import Store, require_alike
from foreframe.data.store.writer import write_store
from foreframe.simulator.episode import simulate_sequence
from foreframe.simulator.scene import MOST_THINGS
from foreframe.simulator.simulate import SimulateOptions, simulate
from foreframe.system.workers import Execution

ALONE = Execution(workers=1)
NAN = np.float32(np.nan)


def numbered(i, length=9, size=(64, 64)):
    """Frame t shows (i, t, 0); its tracks are i, t and an object that is there at even t only."""
    t = np.arange(length, dtype=np.float32)
    frames = np.zeros((length, *size, 3), np.uint8)
    frames[..., 0] = i
    frames[..., 1] = np.arange(length)[:, None, None]
    own = np.full(length, i, np.float32)
    rare = np.where(t % 2 == 0, t / 8, NAN)
    return Recording(frames, np.stack([own, t], 1), None, np.stack([own, t, rare, rare], 1))


def store_of(folder, recordings):
    with write_store(folder) as out:
        for n, recording in enumerate(recordings):
            out.add(recording, f"s/{n}")
    return Store(folder)


def folders_of(root, recordings, split="train"):
    for n, one in enumerate(recordings):
        folder = root / split / "s" / str(n)
        write_sequence(folder, one.frames, one.actions, one.positions, one.tracks)
    return root


def quiet(text):
    pass


# -- the lab's layout ---------------------------------------------------------------------------


def test_a_folder_gives_tracks_back_bit_by_bit(tmp_path):
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    info = np.finfo(np.float32)
    tracks = np.float32([[1 / 3, -0.2, NAN, NAN], [1.7, 0, info.tiny, NAN], [NAN] * 4])
    write_sequence(tmp_path / "0", frames, None, None, tracks)
    back = read_sequence(tmp_path / "0")
    assert (back.tracks.dtype, back.tracks.tobytes()) == (np.float32, tracks.tobytes())
    assert back.widths == {"actions": None, "positions": None, "tracks": 4}


def test_an_empty_field_and_nan_are_an_object_that_is_not_there(tmp_path):
    write_sequence(tmp_path / "0", np.zeros((3, 8, 8, 3), np.uint8), None)
    (tmp_path / "0" / TRACKS).write_text("0.5,0.25,,\n0.5,0.25, nan,NaN\n,,,\n")
    expected = np.float32([[0.5, 0.25, NAN, NAN]] * 2 + [[NAN] * 4])
    assert np.array_equal(read_sequence(tmp_path / "0").tracks, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0,0\n0,inf\n", r"tracks\.csv, row 2: '0,inf' .*not a finite number"),
        ("0,0\n0,1e39\n", r"tracks\.csv, row 2: .*not a finite number"),
        ("x0,y0\n0,0\n", r"tracks\.csv, row 1: 'x0,y0' is not a row of numbers"),
        ("0,0\n0,0,0,0\n", r"tracks\.csv, row 2: 4 columns, but row 1 has 2"),
        ("0,0,0\n0,0,0\n", r"tracks\.csv: 3 columns, but each object has two"),
        ("0,0\n", r"tracks\.csv: 1 rows, but the folder holds 2 frames"),
        ("", r"tracks\.csv: is empty"),
    ],
)
def test_wrong_tracks_are_refused_with_the_file_and_the_row(tmp_path, content, message):
    write_sequence(tmp_path / "0", np.zeros((2, 8, 8, 3), np.uint8), None)
    (tmp_path / "0" / TRACKS).write_text(content)
    with pytest.raises(ForeframeError, match=message):
        read_sequence(tmp_path / "0")


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        (np.full((2, 2), np.inf), "not a finite number"),
        (np.zeros((2, 3)), "3 columns, but each object has two"),
        (np.zeros((3, 2)), "one row for each of the 2 frames"),
    ],
)
def test_tracks_that_could_not_be_read_back_are_not_written(tmp_path, tracks, message):
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ForeframeError, match=rf"tracks\.csv: .*{message}"):
        write_sequence(tmp_path / "0", frames, None, None, tracks)
    assert list(tmp_path.iterdir()) == []


def test_actions_with_nan_are_still_refused(tmp_path):
    write_sequence(tmp_path / "0", np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 2), np.float32))
    (tmp_path / "0" / "actions.csv").write_text("0,0\n0,nan\n")
    with pytest.raises(ForeframeError, match=r"actions\.csv, row 2: .*not a finite number"):
        read_sequence(tmp_path / "0")


# -- stores and batches -------------------------------------------------------------------------


def test_a_store_gives_tracks_back_and_measures_only_what_a_model_is_told(tmp_path):
    given = [numbered(i, length) for i, length in enumerate((9, 4, 7))]
    store = store_of(tmp_path / "store", given)
    assert store.track_dim == 4
    for i, one in enumerate(given):
        assert store[i].tracks.tobytes() == one.tracks.tobytes()
    assert set(store.statistics()) == {"actions", "positions"}
    assert list(store.verify()) == []
    (store.folder / "tracks.bin").write_bytes(b"")
    with pytest.raises(ForeframeError, match=r"tracks\.bin: no bytes, 320 expected"):
        Store(store.folder)


def test_a_store_without_tracks_says_nothing_of_them(tmp_path):
    """Its metadata, and so its fingerprint, are those of versions that knew no tracks."""
    one = numbered(0)
    store = store_of(tmp_path / "store", [Recording(one.frames, one.actions)])
    assert json.loads((store.folder / META).read_text())["widths"] == {
        "actions": 2,
        "positions": None,
    }
    assert (store.track_dim, store[0].tracks) == (None, None)
    assert not (store.folder / "tracks.bin").exists()
    (clip,) = evaluation_batches(store, n_frames=4, batch_size=1)
    assert clip.tracks is None


def test_recordings_with_and_without_tracks_do_not_share_a_store(tmp_path):
    one = numbered(0)
    bare = Recording(one.frames, one.actions)
    with pytest.raises(ForeframeError, match=r"s/1: tracks: none, but s/0 has 4 numbers"):
        store_of(tmp_path / "store", [one, bare])
    stores = [store_of(tmp_path / name, [part]) for name, part in (("a", one), ("b", bare))]
    with pytest.raises(ForeframeError, match="numbers in a row of tracks: None, but 4 in a"):
        require_alike(stores, "")
    require_alike(stores, "", tracks=False)


def test_tracks_stay_with_their_frames_in_a_batch(tmp_path):
    store = store_of(tmp_path / "store", [numbered(i, 12) for i in range(5)])
    for step in range(5):
        clip = training_batch(store, n_frames=5, batch_size=3, seed=0, global_step=step)
        assert torch.equal(clip.tracks[..., :2], clip.frames[:, :, :2, 0, 0].float())
        there = clip.frames[:, :, 1, 0, 0] % 2 == 0
        assert torch.equal(~clip.tracks[..., 2].isnan(), there)


def test_a_packed_copy_that_passed_tracks_over_is_made_again(tmp_path, monkeypatch):
    root = folders_of(tmp_path / "data", [numbered(0)])
    with monkeypatch.context() as before:
        before.setattr(copies, "TRACKS", "none")
        before.setattr(
            copies,
            "read_sequence",
            lambda path: Recording(read_sequence(path).frames, read_sequence(path).actions),
        )
        assert open_split(root, "train", log=quiet).track_dim is None
    assert open_split(root, "train", log=quiet).track_dim == 4
    assert len(list((root / copies.CACHE).iterdir())) == 1


def test_a_clip_checks_and_moves_tracks():
    frames = torch.zeros(2, 3, 3, 8, 8)
    clip = Clip(frames, tracks=torch.zeros(2, 3, 4))
    assert clip.to("meta").tracks.is_meta
    assert clip.as_float().tracks is clip.tracks
    object.__setattr__(clip, "tracks", torch.zeros(2, 4))  # past the run-time check of the tests
    with pytest.raises(ForeframeError, match=r"Clip\.tracks: expected \[B, T, width\]"):
        Clip.__post_init__(clip)


def test_no_model_asks_for_tracks():
    assert set(ModelConfig(condition="both").needs) == {"actions", "positions"}


# -- cropping, imports and exports --------------------------------------------------------------


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        # The middle 40 of 80 columns begin at 20; all 40 rows stay.
        ("middle", [[0.5, 0.5, -0.5, 0], [0, 1, NAN, NAN]]),
        ("whole", [[0.5, 0.5, 0, 0], [0.25, 1, NAN, NAN]]),
        ("20,10,60,20", [[1 / 3, 0.5, -1 / 3, -0.5], [0, 1.5, NAN, NAN]]),
    ],
)
def test_tracks_are_cropped_with_the_frames(crop, expected):
    tracks = np.float32([[0.5, 0.5, 0, 0], [0.25, 1, NAN, NAN]])
    given = Recording(np.zeros((2, 40, 80, 3), np.uint8), None, None, tracks)
    found = fit_recording(given, Fit(16, crop)).tracks
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.float32(expected), rtol=1e-6, equal_nan=True)


def test_a_bright_point_stays_under_its_track():
    frames = np.zeros((1, 96, 128, 3), np.uint8)
    frames[0, 30:33, 61:64] = 255
    tracks = np.float32([[62.5 / 128, 31.5 / 96]])
    found = fit_recording(Recording(frames, None, None, tracks), Fit(32))
    row, column = np.argwhere(found.frames[0, :, :, 0] > 200)[0]
    assert [column, row] == np.floor(found.tracks[0] * 32).tolist()


def test_tracks_are_imported_with_their_clips_and_exported_again(tmp_path):
    root = folders_of(tmp_path / "data", [numbered(i, size=(64, 128)) for i in range(3)])
    options = ImportOptions(size=32, clip_frames=4, shift_actions=1, split="train")
    import_dataset(LabSource(root), tmp_path / "store", options, execution=ALONE, log=quiet)
    store = Store(tmp_path / "store" / "train")
    assert (len(store), store.track_dim) == (6, 4)
    for i in range(len(store)):
        shown = store[i].frames[:, 0, 0, :2].astype(float)
        # Columns 32 to 96 of 128 remain: x becomes (128 x - 32) / 64.
        assert np.array_equal(store[i].tracks[:, 0], 2 * shown[:, 0] - 0.5)
        assert np.array_equal(store[i].tracks[:, 1], shown[:, 1])
        assert np.array_equal(np.isnan(store[i].tracks[:, 3]), shown[:, 1] % 2 == 1)
    export_lab(tmp_path / "store", tmp_path / "lab", execution=ALONE)
    for i in range(len(store)):
        folder = tmp_path / "lab" / "train" / "traj_0_to_255.tfrecords" / str(i)
        assert read_sequence(folder).tracks.tobytes() == store[i].tracks.tobytes()


def test_an_import_skips_a_recording_without_the_tracks_of_the_others(tmp_path):
    root = folders_of(tmp_path / "data", [numbered(i) for i in range(3)])
    (root / "train" / "s" / "1" / TRACKS).unlink()
    done = import_dataset(
        LabSource(root),
        tmp_path / "store",
        ImportOptions(split="train"),
        execution=ALONE,
        log=quiet,
    )
    assert done.sequences == {"train": 2}
    assert [skip.reason for skip in done.skipped] == [
        "no numbers in the tracks, but 4 numbers in those of the first recording"
    ]


def test_fit_keeps_tracks_beside_the_frames(tmp_path):
    recordings = [numbered(i, 8) for i in range(4)]
    frames, actions, tracks = (
        [getattr(one, part) for one in recordings] for part in ("frames", "actions", "tracks")
    )
    tiny = {"width": 0.125, "g_dim": 16, "z_dim": 64, "rnn_size": 16, "n_future": 4, "epochs": 1}
    tiny |= {"steps_per_epoch": 1, "batch_size": 2, "kl_schedule": "constant"}
    with pytest.raises(ForeframeError, match=r"tracks\[0\]: has 3 columns"):
        foreframe.fit(frames, actions, tracks=[one[:, :3] for one in tracks], **tiny)
    out = tmp_path / "run"
    foreframe.fit(frames, actions, tracks=tracks, out=out, device="cpu", log=quiet, **tiny)
    for split in ("train", "validate"):
        for one in Store(tmp_path / "run-data" / split):
            assert one.tracks.tobytes() == tracks[int(one.frames[0, 0, 0, 0])].tobytes()


# -- the simulator ------------------------------------------------------------------------------


def test_the_simulator_writes_where_the_camera_sees_the_centres(tmp_path):
    out = tmp_path / "data"
    simulate(out, SimulateOptions(sequences=3, seed=7, size=16), execution=ALONE)
    assert json.loads((out / "dataset.json").read_text())["tracks"]["objects"] == MOST_THINGS
    for split, name in enumerate(("train", "validate", "test")):
        folder = out / name / "push_0_to_255" / "0"
        found, episode = read_sequence(folder), simulate_sequence(7, split, 0, size=16)
        for part in ("frames", "actions", "positions"):
            assert getattr(found, part).tobytes() == getattr(episode, part).tobytes()
        count = episode.centres.shape[1]
        seen = (episode.camera.project(episode.centres, 16) / 16).reshape(30, -1)
        assert found.tracks.shape == (30, 2 * MOST_THINGS)
        np.testing.assert_allclose(found.tracks[:, : 2 * count], seen, atol=1e-6)
        assert np.isnan(found.tracks[:, 2 * count :]).all()
        cells = (folder / TRACKS).read_text().replace("\n", ",").split(",")
        assert max(map(len, cells)) <= len("-0.123456")


def test_a_dataset_begun_without_tracks_goes_on_without(tmp_path):
    out = tmp_path / "data"
    simulate(out, SimulateOptions(sequences=3, size=16), execution=ALONE)
    told = json.loads((out / "dataset.json").read_text())
    del told["tracks"]
    (out / "dataset.json").write_text(json.dumps(told))
    for path in out.rglob(TRACKS):
        path.unlink()
    simulate(out, SimulateOptions(sequences=4, size=16), execution=ALONE)
    assert len(list(out.rglob("actions.csv"))) == 4
    assert list(out.rglob(TRACKS)) == []
    told = json.loads((out / "dataset.json").read_text())
    assert "tracks" not in told
    assert told["complete"] is True
    with pytest.raises(ForeframeError, match="seed is 0 there and 1 here"):
        simulate(out, SimulateOptions(sequences=4, size=16, seed=1), execution=ALONE)
