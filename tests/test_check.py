"""The check of a dataset: it finds what was hidden in the data, and nothing in good data."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foreframe.check import CHECK, CheckOptions, check_dataset, lines
from foreframe.check import look as look_module
from foreframe.check.alignment import Excerpt, align
from foreframe.check.look import look_at
from foreframe.check.motion import GRID, picture_motion, small_copies
from foreframe.data.recording import Recording
from foreframe.data.store.store import file_sha256
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError
from foreframe.metrics import psnr
from foreframe.simulator.simulate import SimulateOptions, simulate
from foreframe.system.workers import Execution

BAIR = Path(__file__).parents[2] / "shared" / "data" / "bair" / "bair_sample.npz"
T = 16
BACKGROUND = np.kron(
    np.random.default_rng(0).integers(40, 200, (8, 8, 3)), np.ones((8, 8, 1))
).astype(np.uint8)


def recording(seed, hold=1, length=T, size=64, fastest=4):
    """A square in front of a background that all recordings share; actions move it at once."""
    random = np.random.default_rng(seed)
    actions = np.repeat(random.integers(-fastest, fastest + 1, (-(-length // hold), 3)), hold, 0)[
        :length
    ]
    corner = random.integers(10, 42, 2) + np.concatenate(
        [np.zeros((1, 2), int), actions[:-1, :2].cumsum(0)]
    )
    corner = corner.clip(0, 52)
    frames = np.repeat(BACKGROUND[None], length, 0)
    frames = frames + random.integers(0, 5, (length, 64, 64, 1), np.uint8)  # a camera's noise
    for frame, (y, x) in zip(frames, corner, strict=True):
        frame[y : y + 12, x : x + 12] = (230, 60, 60)
    positions = np.concatenate([corner, np.ones((length, 1))], 1) + random.normal(0, 0.1)
    if size != 64:
        frames = frames[:, :: 64 // size, :: 64 // size]
    return Recording(frames, actions.astype(np.float32), positions.astype(np.float32))


def write(root, train=None, validate=None, test=None, meta=None):
    """A dataset of stores; by default 12, 4 and 4 good recordings."""
    given = {"train": train, "validate": validate, "test": test}
    for k, (split, count) in enumerate({"train": 12, "validate": 4, "test": 4}.items()):
        sequences = given[split]
        if sequences is None:
            sequences = [recording(100 * k + n) for n in range(count)]
        if sequences:
            with write_store(root / split, meta) as store:
                for n, sequence in enumerate(sequences):
                    store.add(sequence, f"{split[:2]}-{n}")
    return root


def check(root, **options):
    return check_dataset(root, CheckOptions(**options), log=lambda text: None)


def texts(findings, level):
    return [f"{f.split}: {f.text}" for f in findings.findings if f.level == level]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    root = tmp_path_factory.mktemp("good")
    return write(root / "data", meta={"source": {"frame_rate": 5.0}})


# -- good data ------------------------------------------------------------------------------------


def test_good_data_are_found_good_and_their_facts_are_right(good):
    findings = check(good)
    assert findings.ok
    assert findings.findings == ()
    train, validate, _ = findings.splits
    assert (train.sequences, train.frames) == (12, 12 * T)
    assert (train.shortest, train.median, train.longest) == (T, T, T)
    assert train.size == (64, 64)
    assert train.frame_rate == 5.0
    rows = np.concatenate([recording(n).actions for n in range(12)])
    for k, column in enumerate(train.actions):
        assert column.mean == pytest.approx(rows[:, k].mean(), abs=1e-5)
        assert column.std == pytest.approx(rows[:, k].std(), rel=1e-5)
        assert (column.low, column.high) == (rows[:, k].min(), rows[:, k].max())
    pixels = np.stack([recording(100 + n).frames for n in range(4)])
    assert (validate.pixel_low, validate.pixel_high) == (pixels.min(), pixels.max())
    assert validate.pixel_mean == pytest.approx(pixels.mean(), rel=1e-5)


def test_the_lines_say_it_all(good):
    text = "\n".join(lines(check(good)))
    for part in ("train", "validate", "test", "192", "16 / 16 / 16", "5 Hz", "dB", "aligned"):
        assert part in text
    assert "Room for --n-future up to 14" in text
    assert text.endswith("Training can start: nothing to complain of.")
    assert max(map(len, text.splitlines())) <= 110


def test_the_same_data_give_the_same_findings(good):
    assert check(good) == check(good)


def test_folders_of_png_are_checked_too(toy_data, tmp_path):
    root = shutil.copytree(toy_data, tmp_path / "data")
    done = []
    findings = check_dataset(
        root, log=lambda text: None, progress=lambda *numbers: done.append(numbers)
    )
    assert findings.ok
    assert done[-1] == (12, 12)
    assert [split.sequences for split in findings.splits] == [6, 3, 3]
    # Its fourth action column is always 0, and so is the third.
    assert any(
        "columns 2, 3 of the actions: no variation" in text for text in texts(findings, "warning")
    )


@pytest.mark.parametrize(("n_past", "n_future"), [(2, 10), (2, 4), (5, 3)])
def test_copy_last_is_the_projects_own_psnr(good, n_past, n_future):
    findings = check(good, n_past=n_past, n_future=n_future)
    expected = []
    for n in range(4):
        frames = torch.from_numpy(recording(100 + n).frames).permute(0, 3, 1, 2).float() / 255
        truth = frames[n_past : n_past + n_future]
        expected.append(psnr(frames[n_past - 1 : n_past].expand_as(truth), truth).mean().item())
    assert findings.splits[1].copy_last_psnr == pytest.approx(np.mean(expected), rel=1e-6)


@pytest.mark.skipif(not BAIR.exists(), reason="the real BAIR sequence is not there")
def test_copy_last_of_a_real_sequence_is_the_known_one():
    with np.load(BAIR) as arrays:
        frames = arrays["aux1_image"].astype(np.uint8)
    look = look_at(Recording(frames), n_past=2, n_future=10, motion=False)
    assert look.copy_last == pytest.approx(14.8, abs=0.05)


def test_a_long_sequence_is_read_in_pieces_with_the_same_result(monkeypatch):
    frames = recording(0, length=50).frames.copy()
    frames[20:] = 255 - frames[20:]
    frames[30] = 7
    sequence = Recording(frames)
    whole = look_at(sequence, n_past=2, n_future=10, motion=True)
    monkeypatch.setattr(look_module, "_CHUNK_BYTES", 7 * 64 * 64 * 3 * 4)
    pieces = look_at(sequence, n_past=2, n_future=10, motion=True)
    assert whole.cuts.tolist() == pieces.cuts.tolist() == [20]
    assert np.flatnonzero(whole.blank).tolist() == np.flatnonzero(pieces.blank).tolist() == [30]
    assert (whole.hashes == pieces.hashes).all()
    assert whole.total == pytest.approx(pieces.total)
    np.testing.assert_allclose(whole.motion, pieces.motion, atol=1e-5)
    np.testing.assert_allclose(whole.sketch, pieces.sketch, atol=1e-6)


# -- splits and lengths ---------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "level"), [("train", "error"), ("validate", "error"),
                                              ("test", "warning")])  # fmt: skip
def test_a_missing_split_is_a_finding(good, tmp_path, split, level):
    root = shutil.copytree(good, tmp_path / "data")
    shutil.rmtree(root / split)
    findings = check(root)
    assert findings.ok == (level == "warning")
    assert [f.split for f in findings.findings if f.level == level] == [split]
    assert "is missing" in texts(findings, level)[0]
    assert len(findings.splits) == 2


def test_a_damaged_split_is_an_error_and_the_others_are_checked(good, tmp_path):
    root = shutil.copytree(good, tmp_path / "data")
    with open(root / "validate" / "frames.bin", "r+b") as file:
        file.truncate(1000)
    findings = check(root)
    assert not findings.ok
    assert "frames.bin" in texts(findings, "error")[0]
    assert [split.name for split in findings.splits] == ["train", "test"]


def test_an_empty_split_is_an_error(good, tmp_path):
    root = shutil.copytree(good, tmp_path / "data")
    shutil.rmtree(root / "validate")
    (root / "validate").mkdir()
    findings = check(root)
    assert not findings.ok
    assert "empty" in texts(findings, "error")[0]


@pytest.mark.parametrize("make", ["nothing", "file", "split", "other"])
def test_what_is_no_dataset_is_refused(good, tmp_path, make):
    root = tmp_path / "data"
    if make == "file":
        root.write_text("")
    elif make == "split":
        root = good / "train"
    elif make == "other":
        (root / "pictures").mkdir(parents=True)
    with pytest.raises(ForeframeError, match="root of"):
        check(root)


@pytest.mark.parametrize("option", ["n_past", "n_future", "sample", "pictures"])
def test_options_that_make_no_sense_are_refused(good, option):
    with pytest.raises(ForeframeError, match=f"--{option.replace('_', '-')} 0"):
        check(good, **{option: 0})


def test_short_sequences_stop_training_but_not_the_check(tmp_path):
    train = [recording(n) for n in range(8)] + [recording(9, length=6)]
    root = write(tmp_path / "data", train=train)
    findings = check(root)  # 2 -> 4 is possible
    assert findings.ok
    assert (findings.n_future, findings.n_future_max) == (4, 4)
    findings = check(root, n_future=10)
    (error,) = findings.errors
    assert error.sequences == ("tr-8",)
    assert "--n-future to 4" in error.text
    assert findings.splits[0].copy_last_sequences == 8
    findings = check(root, n_past=6)  # not even one frame to predict
    assert not findings.ok
    assert findings.n_future_max == 0


def test_frames_of_another_size_are_an_error_that_says_what_to_do(tmp_path):
    small = [[recording(10 * k + n, size=32) for n in range(3)] for k in range(3)]
    findings = check(write(tmp_path / "data", *small))
    assert len(findings.errors) == 3
    assert "--size 64" in findings.errors[0].text


def test_larger_frames_are_for_the_larger_nets(tmp_path):
    def enlarged(seed):
        recorded = recording(seed)
        return replace(recorded, frames=recorded.frames.repeat(2, 1).repeat(2, 2))

    large = [[enlarged(10 * k + n) for n in range(3)] for k in range(3)]
    findings = check(write(tmp_path / "large", *large))
    assert not findings.errors
    assert findings.nets == ("vgg128", "dcgan128")
    mixed = [large[0], [recording(20 + n) for n in range(3)], large[2]]
    findings = check(write(tmp_path / "mixed", *mixed))
    (error,) = findings.errors
    assert error.split == "validate"
    assert "--size 128" in error.text
    assert "--size 64" in error.text
    assert findings.nets == ()


def test_splits_of_other_columns_do_not_fit_together(tmp_path):
    narrow = [replace(s, actions=s.actions[:, :2]) for s in map(recording, range(100, 104))]
    bare = [Recording(recording(n).frames) for n in range(200, 204)]
    findings = check(write(tmp_path / "data", validate=narrow, test=bare))
    errors = texts(findings, "error")
    assert len(errors) == 3
    assert any("validate: 2 numbers" in text for text in errors)
    assert any("test: has no positions" in text for text in errors)


def test_other_units_in_a_split_are_noticed(tmp_path):
    millimetres = [
        replace(s, positions=s.positions * 1000) for s in map(recording, range(100, 110))
    ]
    findings = check(write(tmp_path / "data", validate=millimetres))
    assert any("units" in text for text in texts(findings, "warning"))


# -- frames ---------------------------------------------------------------------------------------


def filled(value, seed=0):
    return replace(recording(seed), frames=np.full((T, 64, 64, 3), value, np.uint8))


def still(seed):
    sequence = recording(seed)
    return replace(sequence, frames=sequence.frames[:1].repeat(T, 0))


def test_black_blank_and_frozen_sequences_are_told_apart(tmp_path):
    train = [recording(n) for n in range(8)] + [filled(0), filled(180), still(8), still(9)]
    findings = check(write(tmp_path / "data", train=train))
    assert findings.ok
    found = {f.text.split(" (")[0]: f.sequences for f in findings.warnings}
    assert found == {
        "1 sequence is black from beginning to end": ("tr-8",),
        "1 sequence is of a single colour from beginning to end": ("tr-9",),
        "2 sequences are frozen": ("tr-10", "tr-11"),
    }


@pytest.mark.parametrize("make", [lambda n: filled(0), still])
def test_a_split_of_nothing_else_stops_training(tmp_path, make):
    findings = check(write(tmp_path / "data", train=[make(n) for n in range(4)]))
    assert not findings.ok
    assert "every sequence is" in findings.errors[0].text


def test_frames_stored_as_fractions_are_recognised(tmp_path):
    def fractions(n):
        return replace(recording(n), frames=(recording(n).frames / 255).round().astype(np.uint8))

    findings = check(write(tmp_path / "data", train=[fractions(n) for n in range(4)]))
    assert any("Multiply them by 255" in text for text in texts(findings, "error"))


def test_blank_frames_standstills_and_cuts_are_found(tmp_path):
    train = [recording(n) for n in range(9)]
    train[2].frames[5:7] = 12
    train[4].frames[6:12] = train[4].frames[6]
    train[6].frames[9:] = 255 - train[6].frames[9:]
    findings = check(write(tmp_path / "data", train=train))
    found = {f.sequences: f.text for f in findings.warnings}
    assert set(found) == {("tr-2",), ("tr-4",), ("tr-6",)}
    assert "2 frames are blank" in found[("tr-2",)]
    assert "6 equal frames in a row" in found[("tr-4",)]
    assert "sudden changes" in found[("tr-6",)]


def test_frames_that_were_doubled_are_noticed(tmp_path):
    train = [recording(n) for n in range(8)]
    for sequence in train:
        sequence.frames[1::2] = sequence.frames[::2]
    findings = check(write(tmp_path / "data", train=train))
    assert any("exactly the frame before" in text for text in texts(findings, "warning"))


# -- repetitions ----------------------------------------------------------------------------------


def test_duplicates_within_a_split_are_a_warning(tmp_path):
    train = [recording(n) for n in (0, 1, 2, 1, 3, 1)]
    findings = check(write(tmp_path / "data", train=train))
    assert findings.ok
    (warning,) = findings.warnings
    assert warning.sequences == ("tr-3", "tr-5")
    assert "tr-3 = tr-1" in warning.text


def test_training_sequences_among_the_others_stop_training(tmp_path):
    test = [recording(n) for n in (200, 3, 201)]
    findings = check(write(tmp_path / "data", test=test))
    (error,) = findings.errors
    assert error.split == "test"
    assert error.sequences == ("te-1",)
    assert "te-1 = train's tr-3" in error.text
    assert not findings.warnings  # not once more as single frames or as near duplicates


def test_clips_of_one_recording_in_two_splits_are_found_by_their_frames(tmp_path):
    long = recording(7, length=40)
    train = [recording(n) for n in range(8)] + [
        Recording(long.frames[:20], long.actions[:20], long.positions[:20])
    ]
    validate = [recording(n) for n in range(100, 103)] + [
        Recording(long.frames[15:35], long.actions[15:35], long.positions[15:35])
    ]
    findings = check(write(tmp_path / "data", train=train, validate=validate))
    (warning,) = findings.warnings
    assert warning.sequences == ("va-3",)
    assert "5 frames are also in train" in warning.text


def test_blank_frames_are_no_leak(tmp_path):
    train, validate = ([recording(k + n) for n in range(4)] for k in (0, 100))
    for sequence in (*train, *validate):
        sequence.frames[0] = 0
    findings = check(write(tmp_path / "data", train=train, validate=validate))
    assert not any("also in" in text for text in texts(findings, "warning"))


def encoded_again(sequence, quality):
    frames = []
    for frame in sequence.frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            frames.append(np.asarray(image))
    return replace(sequence, frames=np.stack(frames))


@pytest.mark.parametrize("quality", [60, 90])
def test_a_recording_encoded_again_is_a_near_duplicate(tmp_path, quality):
    test = [recording(n) for n in (200, 201)] + [encoded_again(recording(3), quality)]
    findings = check(write(tmp_path / "data", test=test))
    (warning,) = findings.warnings
    assert warning.sequences == ("te-2",)
    assert "te-2 ~ train's tr-3" in warning.text


def test_one_background_does_not_make_near_duplicates(tmp_path):
    # 300 x 60 pairs of recordings that share all but the square's way.
    splits = [[recording(1000 * k + n, length=12) for n in range(count)]
              for k, count in enumerate((300, 30, 30))]  # fmt: skip
    findings = check(write(tmp_path / "data", *splits), sample=20)
    assert findings.findings == ()


# -- numbers --------------------------------------------------------------------------------------


def with_actions(change):
    sequences = [recording(n) for n in range(40)]
    for n, sequence in enumerate(sequences):
        change(n, sequence.actions)
    return sequences


def warned(tmp_path, change):
    findings = check(write(tmp_path / "data", train=with_actions(change)))
    return findings, " ".join(texts(findings, "warning"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_numbers_stop_training(tmp_path, value):
    root = write(tmp_path / "data")
    # No importer of ours lets them in: somebody else's store, whose checksums say so.
    rows = np.fromfile(root / "train" / "actions.bin", np.float32).reshape(12, T, 3)
    rows[5, 3, 1] = value
    rows.tofile(root / "train" / "actions.bin")
    meta = json.loads((root / "train" / "meta.json").read_text())
    meta["sha256"]["actions"] = file_sha256(root / "train" / "actions.bin")
    (root / "train" / "meta.json").write_text(json.dumps(meta))
    findings = check(root)
    (error,) = findings.errors
    assert error.sequences == ("tr-5",)
    assert "row 3 of tr-5" in error.text
    assert np.isfinite([column.std for column in findings.splits[0].actions]).all()
    json.dumps(findings.to_json(), allow_nan=False)


def test_constant_columns_are_named(tmp_path):
    def change(n, actions):
        actions[:, 1] = 0.5

    _, text = warned(tmp_path, change)
    assert "column 1 of the actions: no variation" in text


def test_actions_that_never_vary_are_a_warning(tmp_path):
    def change(n, actions):
        actions[:] = 1

    findings, text = warned(tmp_path, change)
    assert findings.ok
    assert "all actions are constant" in text


def test_a_column_of_rounding_noise_is_named(tmp_path):
    def change(n, actions):
        actions[:, 2] = 100 + 1e-4 * actions[:, 2]

    _, text = warned(tmp_path, change)
    assert "column 2 of the actions: hardly any" in text


def test_outliers_are_named_with_their_sequence(tmp_path):
    random = np.random.default_rng(0)

    def change(n, actions):
        actions[:, 2] = random.normal(size=len(actions))
        if n == 7:
            actions[4, 2] = -1e6

    _, text = warned(tmp_path, change)
    assert "-1e+06, in column 2 of tr-7" in text


def test_a_gripper_that_is_rarely_closed_is_no_outlier(tmp_path):
    def change(n, actions):
        actions[:, 2] = 0
        if n == 7:
            actions[4, 2] = 1

    _, text = warned(tmp_path, change)
    assert text == ""


# -- alignment ------------------------------------------------------------------------------------


def excerpt(sequence, shift=0, positions=True):
    return Excerpt(
        np.roll(sequence.actions, shift, 0),
        sequence.positions if positions else None,
        picture_motion(small_copies(sequence.frames)),
    )


def links(excerpts):
    return {link.kind: link for link in align(excerpts, len(excerpts), seed=0).links}


@pytest.mark.parametrize("hold", [1, 2, 3])
@pytest.mark.parametrize("shift", [0, 1, -1, 2])
def test_the_lag_is_found_in_positions_and_in_images(hold, shift):
    # Rows that come `shift` later go with the change `shift` steps before.
    excerpts = [excerpt(recording(n, hold), shift) for n in range(24)]
    found = links(excerpts)
    assert set(found) == {"positions", "images"}
    for link in found.values():
        assert link.best == -shift
        assert link.verdict == ("shifted" if shift else "aligned")
        assert link.r2[link.lags.index(-shift)] > 0.6
        assert link.chance < 0.1
        assert set(link.columns) == {0, 1}  # the third of the actions moves nothing


@pytest.mark.parametrize("hold", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_actions_of_other_recordings_do_not_explain_the_motion(hold, seed):
    excerpts = [
        replace(excerpt(recording(n, hold)), actions=recording(500 + 50 * seed + n, hold).actions)
        for n in range(30)
    ]
    for link in links(excerpts).values():
        assert link.verdict == "no link"
        assert max(link.r2) < 0.05


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("positions", [True, False])
def test_actions_that_are_places_to_go_to_are_understood(shift, positions):
    def target(n):
        one = recording(n)
        places = np.concatenate([one.positions[1:], one.positions[-1:]])
        return excerpt(replace(one, actions=places.astype(np.float32)), shift, positions)

    for link in links([target(n) for n in range(30)]).values():
        assert link.best == -shift
        assert link.verdict == ("shifted" if shift else "aligned")


def test_a_lag_that_the_data_cannot_tell_is_not_claimed():
    # An action that is held throughout goes with every change alike.
    excerpts = [excerpt(recording(n, hold=T, fastest=1)) for n in range(30)]
    for link in links(excerpts).values():
        assert link.verdict == "cannot be told"
        assert 0 in link.plausible


def test_a_single_fault_of_recording_does_not_decide():
    excerpts = [excerpt(recording(n)) for n in range(24)]
    excerpts[3].actions[5] = 1e9
    for link in links(excerpts).values():
        assert link.verdict == "aligned"


def test_few_long_recordings_are_enough_and_few_short_ones_are_not():
    long = [excerpt(recording(n, length=400)) for n in range(3)]
    assert {link.verdict for link in links(long).values()} == {"aligned"}
    assert align([excerpt(recording(n)) for n in range(5)], 5, seed=0) is None
    assert align([excerpt(recording(n, length=5)) for n in range(40)], 40, seed=0) is None


@pytest.mark.parametrize("shift", [0, 1, -1])
def test_the_check_says_how_to_shift_the_actions(tmp_path, shift):
    def late(n):
        one = recording(n)
        return replace(one, actions=np.roll(one.actions, shift, 0))

    splits = [[late(100 * k + n) for n in range(count)] for k, count in enumerate((12, 4, 4))]
    findings = check(write(tmp_path / "data", *splits))
    assert findings.ok
    assert findings.alignment.sequences == 20
    if shift == 0:
        assert not findings.warnings
    else:
        (warning,) = findings.warnings
        assert f"--shift-actions {shift}." in warning.text
        expected = "t-1 to t " if shift == 1 else "t+1 to t+2 "
        assert f"goes with the change from {expected}" in warning.text


def test_images_that_are_late_are_told_from_actions_that_are(tmp_path):
    def late_camera(n):
        one = recording(n)
        return replace(one, frames=np.concatenate([one.frames[:1], one.frames[:-1]]))

    splits = [
        [late_camera(100 * k + n) for n in range(count)] for k, count in enumerate((16, 6, 6))
    ]
    findings = check(write(tmp_path / "data", *splits))
    assert any("the images are one frame behind" in w.text for w in findings.warnings)


def test_a_changed_byte_is_an_error(tmp_path):
    data = write(tmp_path / "data")
    assert check(data).ok
    path = data / "validate" / "frames.bin"
    content = bytearray(path.read_bytes())
    content[5] ^= 4
    path.write_bytes(bytes(content))
    (error,) = check(data).errors
    assert error.split == "validate"
    assert f"{path}: has changed since it was made" in error.text


def test_actions_that_explain_nothing_are_a_warning(tmp_path):
    def strange(n):
        return replace(recording(n), actions=recording(1000 + n).actions)

    splits = [[strange(100 * k + n) for n in range(count)] for k, count in enumerate((20, 4, 4))]
    findings = check(write(tmp_path / "data", *splits))
    assert findings.ok
    assert any("do not explain the motion" in w.text for w in findings.warnings)


def test_the_alignment_is_measured_on_as_many_sequences_as_asked_for(good):
    findings = check(good, sample=10)
    assert findings.alignment.sequences == 10
    assert "10 of 20 sequences" in "\n".join(lines(findings))


def test_a_dataset_without_actions_is_checked(tmp_path):
    splits = [
        [Recording(recording(100 * k + n).frames) for n in range(count)]
        for k, count in enumerate((6, 2, 2))
    ]
    findings = check(write(tmp_path / "data", *splits))
    assert findings.ok
    assert findings.alignment is None
    assert "actions: none" in lines(findings)


def test_a_shift_of_the_picture_is_measured_in_its_direction():
    big = np.zeros((96, 96, 3), np.uint8)
    big[30:60, 30:60] = np.random.default_rng(0).integers(50, 255, (5, 5, 3)).repeat(
        6, 0
    ).repeat(6, 1)  # fmt: skip
    ways = {"right": (0, 2), "down": (2, 0), "left": (0, -2), "up": (-2, 0)}
    for name, (y, x) in ways.items():
        pair = np.stack([big[16:80, 16:80], big[16 - y : 80 - y, 16 - x : 80 - x]])
        right, down = picture_motion(small_copies(pair))[0, :2] * (64 / GRID)
        along, across = (right, down) if name in ("right", "left") else (down, right)
        assert np.sign(along) == (1 if name in ("right", "down") else -1)
        assert 1 < abs(along) < 5
        assert abs(across) < 0.2 * abs(along)


def test_the_simulators_actions_are_found_aligned(tmp_path):
    simulate(tmp_path / "data", SimulateOptions(sequences=14), execution=Execution(1))
    findings = check(tmp_path / "data")
    assert findings.ok
    assert findings.findings == ()
    assert {link.verdict for link in findings.alignment.links} == {"aligned"}


# -- what is written ------------------------------------------------------------------------------


def test_json_and_pictures_are_written(good, tmp_path):
    findings = check_dataset(good, out=tmp_path / "deep" / "out", log=lambda text: None)
    out = tmp_path / "deep" / "out"
    assert {path.name for path in out.iterdir()} == {CHECK, "contact-sheet.png", "sequences.gif"}
    written = json.loads((out / CHECK).read_text())
    assert written["ok"] is True
    assert written["splits"][0]["sequences"] == 12
    assert written["alignment"]["links"][0]["verdict"] == "aligned"
    assert written == json.loads(json.dumps(findings.to_json()))
    with Image.open(out / "sequences.gif") as gif:
        assert gif.n_frames == T
        assert gif.info["duration"] == 200  # 5 Hz, as the data say
        assert gif.info["loop"] == 0


def test_the_contact_sheet_shows_all_that_were_drawn(good, tmp_path):
    check_dataset(good, CheckOptions(pictures=20), out=tmp_path / "out", log=lambda text: None)
    with Image.open(tmp_path / "out" / "contact-sheet.png") as image:
        sheet = np.asarray(image.convert("RGB"))
    corner = sheet[:, 206]  # of the first frame in each row
    for k, count in enumerate((12, 4, 4)):
        for n in range(count):
            frame = recording(100 * k + n).frames[0].repeat(2, 0).repeat(2, 1)
            rows = np.flatnonzero((corner == frame[0, 0]).all(1))
            assert any(np.array_equal(sheet[y : y + 128, 206:334], frame) for y in rows)


def test_nothing_is_written_where_nothing_was_asked_for(good):
    before = {path: path.stat().st_mtime_ns for path in good.rglob("*")}
    check(good)
    assert before == {path: path.stat().st_mtime_ns for path in good.rglob("*")}


def test_sequences_of_other_lengths_and_sizes_can_be_shown(tmp_path):
    train = [recording(n, length=length) for n, length in enumerate((3, 90, 14, 1))]
    check_dataset(
        write(tmp_path / "data", train=train), out=tmp_path / "out", log=lambda text: None
    )
    with Image.open(tmp_path / "out" / "sequences.gif") as gif:
        assert gif.n_frames == 45  # every second frame of the longest


def test_an_out_folder_that_cannot_be_made_is_said(good, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ForeframeError, match="file"):
        check_dataset(good, out=tmp_path / "file" / "out", log=lambda text: None)
