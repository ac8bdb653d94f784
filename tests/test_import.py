"""Imports: the right frames and numbers, whatever interrupts them, and nothing bad let through."""

import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from upath import UPath

from foreframe.commands.app import main
from foreframe.data.exports import lab
from foreframe.data.exports.lab import export_lab
from foreframe.data.imports import description, importing
from foreframe.data.imports import part as import_part
from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.lab import read_sequence
from foreframe.data.sources.bair import BairSource
from foreframe.data.sources.npz import NpzSource
from foreframe.data.sources.rlds import RldsSource
from foreframe.data.sources.source import Part, RawRecording, Skip, Source
from foreframe.data.sources.tfrecord import encode_example, frame_record
from foreframe.data.store.opened import open_split
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution

FOREFRAME = str(Path(sys.executable).with_name("foreframe"))


def quiet(text):
    pass


def features(seed, frames=5):
    random = np.random.default_rng(seed)
    found = {}
    for t in range(frames):
        for camera in ("aux1", "main"):
            found[f"{t}/image_{camera}/encoded"] = random.bytes(64 * 64 * 3)
        found[f"{t}/action"] = random.normal(size=4).astype(np.float32)
        found[f"{t}/endeffector_pos"] = random.normal(size=3).astype(np.float32)
    return found


def bair_file(seeds, change=lambda seed, example: None):
    records = []
    for seed in seeds:
        example = features(seed)
        change(seed, example)
        records.append(frame_record(encode_example(example)))
    return b"".join(records)


FILES = {
    "train/traj_512_to_767.tfrecords": range(3),
    "train/traj_256_to_511.tfrecords": range(10, 12),
    "train/traj_768_to_1023.tfrecords": range(20, 23),
    "test/traj_0_to_255.tfrecords": range(30, 32),
}


def write_tar(path, files=None):
    contents = {name: bair_file(seeds) for name, seeds in FILES.items()} | (files or {})
    with tarfile.open(path, "w") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(f"softmotion30_44k/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def tar(tmp_path):
    return write_tar(tmp_path / "bair_robot_pushing_dataset_v0.tar")


def bair(tar, out, **more):
    options = more.pop("options", ImportOptions())
    camera = more.pop("camera", "aux1")
    run = {"execution": Execution(more.pop("workers", 1)), "log": quiet} | more
    return import_dataset(BairSource(tar, camera), out, options, **run)


def digests(out):
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


# -- BAIR ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", ["aux1", "main"])
def test_a_tar_is_read_without_unpacking_it(tar, tmp_path, camera):
    done = bair(tar, tmp_path / "out", camera=camera)
    assert done.sequences == {"train": 6, "validate": 2, "test": 2}
    assert done.skipped == ()
    for split, seeds in {
        "train": [0, 1, 2, 20, 21, 22],
        "validate": [10, 11],
        "test": [30, 31],
    }.items():
        store = open_split(tmp_path / "out", split, log=quiet)
        for n, seed in enumerate(seeds):
            expected = features(seed)
            pixels = b"".join(expected[f"{t}/image_{camera}/encoded"] for t in range(5))
            assert store[n].frames.tobytes() == pixels
            assert np.array_equal(store[n].actions[3], expected["3/action"])
            assert np.array_equal(store[n].positions[4], expected["4/endeffector_pos"])


def test_the_store_says_where_it_comes_from(tar, tmp_path):
    bair(tar, tmp_path / "out", camera="main")
    meta = Store(tmp_path / "out" / "train").meta
    assert meta["source"]["importer"] == "bair"
    assert meta["source"]["settings"] == {"camera": "main"}  # not what came later and is unused
    assert meta["source"]["foreframe"] == meta["foreframe"]
    statistics = Store(tmp_path / "out" / "train").statistics()["actions"]
    rows = np.concatenate(
        [features(s)[f"{t}/action"][None] for s in (0, 1, 2, 20, 21, 22) for t in range(5)]
    )
    assert np.allclose(statistics.mean, rows.astype(float).mean(0), atol=1e-12)
    assert np.allclose(statistics.deviation, rows.astype(float).std(0), atol=1e-12)
    assert np.array_equal(statistics.low, rows.min(0))


def test_a_folder_of_tfrecords_gives_the_same(tar, tmp_path):
    with tarfile.open(tar) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")
    bair(tar, tmp_path / "a")
    bair(tmp_path / "unpacked", tmp_path / "b")
    for split in ("train", "validate", "test"):
        a, b = Store(tmp_path / "a" / split), Store(tmp_path / "b" / split)
        assert a.names == b.names
        assert [s.sha256 for s in a.shards] == [s.sha256 for s in b.shards]


def test_a_remote_tar_is_read_where_it_lies(tar, tmp_path):
    there = UPath("memory://import/bair.tar")
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(tar.read_bytes())
    bair(there, tmp_path / "remote")
    bair(tar, tmp_path / "local")
    assert (
        Store(tmp_path / "remote" / "train").shards[0].sha256
        == Store(tmp_path / "local" / "train").shards[0].sha256
    )


def width(seed, example):
    if seed == 1:
        example["2/action"] = np.zeros(5, np.float32)


def picture(seed, example):
    if seed == 1:
        example["2/image_aux1/encoded"] = bytes(100)


def gap(seed, example):
    if seed == 1:
        del example["2/image_aux1/encoded"]


def not_a_number(seed, example):
    if seed == 1:
        example["2/action"] = np.array([0, np.nan, 0, 0], np.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (width, "2/action holds 5 numbers, not 4"),
        (picture, "2/image_aux1/encoded holds 100 bytes"),
        (gap, r"4 frames, but 4 features <t>/image_aux1/encoded \(look at t = \[2"),
        (not_a_number, "row 2 of the actions"),
    ],
)
def test_a_bad_record_is_named_and_the_others_are_kept(tmp_path, change, reason, capsys):
    bad = {"train/traj_512_to_767.tfrecords": bair_file(range(3), change)}
    tar = write_tar(tmp_path / "bair.tar", bad)
    with pytest.raises(SystemExit) as ended:
        main(["import", "bair", str(tar), str(tmp_path / "out"), "--workers", "1"])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "skipped: traj_512_to_767.tfrecords/1" in said.err
    assert "9 sequences, 1 skipped" in said.out
    store = Store(tmp_path / "out" / "train")
    assert [name.rpartition("/")[2] for name in store.names] == ["0", "2", "0", "1", "2"]
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert len(description["skipped"]) == 1
    assert re.search(reason, description["skipped"][0]["reason"])
    with pytest.raises(ForeframeError, match="strict"):
        bair(tar, tmp_path / "strict", strict=True)


def test_flipped_bits_cost_their_record_alone(tar, tmp_path):
    data = bytearray(tar.read_bytes())
    data[data.index(features(1)["2/image_aux1/encoded"]) + 7] ^= 4
    tar.write_bytes(bytes(data))
    done = bair(tar, tmp_path / "out")
    assert done.sequences["train"] == 5
    assert [skip.name.partition(" ")[0] for skip in done.skipped] == ["traj_512_to_767.tfrecords/1"]
    assert "checksum" in done.skipped[0].reason


def test_a_tar_cut_short_keeps_what_is_whole(tar, tmp_path):
    data = tar.read_bytes()
    tar.write_bytes(data[: data.index(features(21)["0/image_main/encoded"])])
    done = bair(tar, tmp_path / "out", options=ImportOptions(test=0))
    assert done.sequences == {"train": 4, "validate": 2}
    assert any("cut" in skip.reason for skip in done.skipped)


def test_a_damaged_tar_header_costs_its_file_alone(tar, tmp_path):
    data = bytearray(tar.read_bytes())
    data[data.index(b"softmotion30_44k/train/traj_768")] ^= 1
    tar.write_bytes(bytes(data))
    done = bair(tar, tmp_path / "out")
    assert done.sequences == {"train": 3, "validate": 2, "test": 2}
    assert any("no readable header" in skip.reason for skip in done.skipped)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "tar"), (b"no tar" * 1000, "holds no|tar"), (bytes(20480), "holds no .tfrecords")],
)
def test_what_is_no_tar_is_refused(tmp_path, content, message):
    path = tmp_path / "file.tar"
    path.write_bytes(content)
    with pytest.raises(ForeframeError, match=message):
        bair(path, tmp_path / "out")
    assert not (tmp_path / "out" / "train").exists()


# -- Bridge and BAIR, the real ones -------------------------------------------------------------


def test_the_real_bridge_episodes(bridge, tmp_path):
    source = RldsSource(bridge, image="image_0", position="state[:3]")
    done = import_dataset(source, tmp_path / "out", execution=Execution(workers=1), log=quiet)
    assert sum(done.sequences.values()) == 25
    assert set(done.sequences) == {"train", "validate", "test"}
    store = Store(tmp_path / "out" / "train")
    assert (store.action_dim, store.position_dim) == (7, 3)
    assert set(store.lengths.tolist()) == {10}
    # action[t] leads from state t to state t + 1: the displacements go together.
    moved = np.concatenate([np.diff(store[i].positions[:, 2]) for i in range(len(store))])
    asked = np.concatenate([store[i].actions[:-1, 2] for i in range(len(store))])
    assert np.corrcoef(moved, asked)[0, 1] > 0.7


def test_the_views_of_an_episode_stay_in_one_split(bridge, tmp_path):
    options = ImportOptions(validate=0.2, test=0.2)
    views = ["image_0", "image_1", "image_2"]
    several = {"image": ",".join(views), "position": "state[:3]"}
    source = RldsSource(bridge, **several)
    done = import_dataset(
        source, tmp_path / "out", options, execution=Execution(workers=1), log=quiet
    )
    assert done.sequences == {"train": 45, "validate": 15, "test": 15}
    episodes = {}
    for split in done.sequences:
        store = Store(tmp_path / "out" / split)
        assert len(set(store.names)) == len(store)
        for view in views:
            own = [i for i, name in enumerate(store.names) if name.endswith(f":{view}")]
            episodes[split, view] = [store.names[i].rpartition(":")[0] for i in own]
            alone = RldsSource(bridge, image=view, position="state[:3]")
            if split == "test":
                out = tmp_path / view
                import_dataset(alone, out, options, execution=Execution(workers=1), log=quiet)
                single = Store(out / "test")
                assert [single.names[i] for i in range(len(single))] == episodes[split, view]
                for i, k in enumerate(own):
                    assert (single[i].frames == store[k].frames).all()
                    assert (single[i].actions == store[k].actions).all()
    for split in done.sequences:
        assert episodes[split, "image_0"] == episodes[split, "image_1"]
        assert episodes[split, "image_0"] == episodes[split, "image_2"]
    with pytest.raises(ForeframeError, match="each camera once"):
        RldsSource(bridge, image="image_0,image_0").parts()
    with pytest.raises(ForeframeError, match="--image image_7: no feature"):
        RldsSource(bridge, image="image_0,image_7").parts()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--image; features with pictures: .*observation/image_0"),
        ({"image": "image_9"}, "--image image_9: no feature .*observation/image_0"),
        ({"image": "image_0", "action": "torque"}, "--action torque: no feature .*action"),
        ({"image": "image_0", "position": "state["}, r"--position state\["),
        ({"image": "image_0", "position": "state[:9]"}, "state has 7 columns"),
    ],
)
def test_features_that_are_not_there_are_refused(bridge, tmp_path, options, message):
    with pytest.raises(ForeframeError, match=message):
        import_dataset(
            RldsSource(bridge, **options),
            tmp_path / "out",
            execution=Execution(workers=1),
            log=quiet,
        )


def test_the_real_bair_sequence(bair_sample, tmp_path):
    source = NpzSource(bair_sample, frames="aux1_image", actions="action")
    done = import_dataset(
        source, tmp_path / "out", ImportOptions(split="test"), execution=Execution(workers=1)
    )
    assert done.sequences == {"test": 1}
    sequence = Store(tmp_path / "out" / "test")[0]
    with np.load(bair_sample) as arrays:
        assert np.array_equal(sequence.frames, arrays["aux1_image"])
        assert np.array_equal(sequence.actions, arrays["action"].astype(np.float32))
    divided = import_dataset(source, tmp_path / "divided", execution=Execution(workers=1))
    assert divided.divided_by_time
    assert divided.frames == {"train": 10, "validate": 10, "test": 10}


# -- any source ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class NumberedSource(Source):
    """Frame t of recording i has pixels (i, t, 0), the action (i, t) and the position (i, -t)."""

    input: Path
    recordings: int = 12
    frames: int = 9
    per_part: int = 4

    def parts(self):
        return [
            Part(f"part-{k}", self.input, select={"first": k})
            for k in range(0, self.recordings, self.per_part)
        ]

    def numbers(self, part):
        first = part.select["first"]
        return range(first, min(first + self.per_part, self.recordings))

    def lengths(self, part):
        return [(f"r{i}", self.frames) for i in self.numbers(part)]

    def read(self, part):
        for i in self.numbers(part):
            frames = np.zeros((self.frames, 64, 64, 3), np.uint8)
            frames[..., 0] = i
            frames[..., 1] = np.arange(self.frames)[:, None, None]
            t = np.arange(self.frames, dtype=np.float32)
            yield RawRecording(
                f"r{i}", frames, np.stack([t * 0 + i, t], 1), np.stack([t * 0 + i, -t], 1)
            )


@dataclass(frozen=True)
class KilledSource(NumberedSource):
    """Kills its process when it comes to a part for the first time."""

    def read(self, part):
        mark = self.input / part.name
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().read(part)


@dataclass(frozen=True)
class BrokenSource(NumberedSource):
    """Recording 5 breaks off at frame 7."""

    def read(self, part):
        for item in super().read(part):
            if item.name != "r5":
                yield item
                continue

            def frames(item=item):
                yield from item.frames[:7]
                raise ForeframeError("r5: frame 7 is damaged.")

            yield replace(item, frames=frames())


def numbered(tmp_path, out="out", kind=NumberedSource, **more):
    options = more.pop("options", ImportOptions())
    (tmp_path / "in").mkdir(exist_ok=True)
    run = {"execution": Execution(more.pop("workers", 1)), "log": quiet} | {
        key: more.pop(key) for key in ("strict", "progress") if key in more
    }
    source = kind(tmp_path / "in", **more)
    return import_dataset(source, tmp_path / out, options, **run)


def recordings(root):
    """Recording and first frame of every sequence, by split."""
    found = {}
    for split in ("train", "validate", "test"):
        if (root / split).exists():
            store = Store(root / split)
            found[split] = [
                (int(store[i].frames[0, 0, 0, 0]), int(store[i].frames[0, 0, 0, 1]))
                for i in range(len(store))
            ]
    return found


def test_recordings_are_divided_once_each(tmp_path):
    done = numbered(tmp_path, options=ImportOptions(validate=0.25, test=0.25))
    assert done.sequences == {"train": 6, "validate": 3, "test": 3}
    everything = [i for split in recordings(tmp_path / "out").values() for i, _ in split]
    assert sorted(everything) == list(range(12))


def test_another_seed_divides_otherwise(tmp_path):
    for seed in (0, 1):
        numbered(tmp_path, out=str(seed), options=ImportOptions(split_seed=seed))
    assert recordings(tmp_path / "0") != recordings(tmp_path / "1")


def test_clips_of_one_recording_stay_in_one_split(tmp_path):
    numbered(tmp_path, options=ImportOptions(clip_frames=4))
    found = recordings(tmp_path / "out")
    splits = {}
    for split, starts in found.items():
        for i, start in starts:
            splits.setdefault(i, set()).add(split)
            assert start in (0, 4)
    assert all(len(names) == 1 for names in splits.values())
    assert sum(map(len, found.values())) == 24
    store = Store(tmp_path / "out" / "train")
    assert np.array_equal(store[1].actions[:, 1], store[1].frames[:, 0, 0, 1])
    assert np.array_equal(store[1].positions[:, 1], -store[1].actions[:, 1])


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
@pytest.mark.parametrize("clip_frames", [None, 4])
def test_actions_are_shifted_against_frames_and_positions(tmp_path, shift, clip_frames):
    options = ImportOptions(shift_actions=shift, clip_frames=clip_frames, split="train")
    numbered(tmp_path, options=options)
    store = Store(tmp_path / "out" / "train")
    for i in range(len(store)):
        sequence = store[i]
        times = sequence.frames[:, 0, 0, 1].astype(float)
        assert np.array_equal(sequence.positions[:, 1], -times)
        assert np.array_equal(sequence.actions[:-1, 1], times[:-1] + shift)
    # Shifted first, then cut: of 9 frames, 9 - shift + 1 or 9 + shift keep an action.
    left = {-2: 7, -1: 8, 1: 9, 2: 8}[shift]
    assert set(store.lengths) == ({left} if clip_frames is None else {4})
    assert len(store) == 12 * (1 if clip_frames is None else left // 4)


def test_a_part_whose_share_was_decided_otherwise_is_done_again(tmp_path):
    """More input changes which recordings are held out: nothing of the old decision may stay."""
    numbered(tmp_path, out="fresh", recordings=24)
    with pytest.raises(ForeframeError):
        numbered(tmp_path, out="grown", kind=BrokenSource, strict=True)
    target = next((tmp_path / "grown").rglob("asked.json"))
    assert (target.parent / "part-0.json").exists()
    asked = json.loads(target.read_text())
    fresh = json.loads((tmp_path / "fresh" / "dataset.json").read_text())
    target.write_text(json.dumps({key: fresh[key] for key in asked}))  # the same was asked for
    numbered(tmp_path, out="grown", recordings=24)
    assert digests(tmp_path / "grown") == digests(tmp_path / "fresh")


def test_a_dataset_that_another_process_has_finished_meanwhile_is_left_alone(tmp_path, monkeypatch):
    original = NumberedSource.parts
    made = []

    def slow(self):
        if not made:
            made.append(True)
            numbered(tmp_path)  # somebody else's, while this one looks at its input
            made.append(digests(tmp_path / "out"))
        return original(self)

    monkeypatch.setattr(NumberedSource, "parts", slow)
    done = numbered(tmp_path)
    assert sum(done.sequences.values()) == 12
    assert digests(tmp_path / "out") == made[1]


def test_the_division_by_time_leaves_something_for_training(tmp_path):
    options = ImportOptions(validate=0.6, test=0.6)
    with pytest.raises(ForeframeError, match="too little is left for training"):
        numbered(tmp_path, recordings=1, options=options)


def test_a_recording_that_breaks_off_is_skipped_and_its_whole_clips_are_kept(tmp_path):
    done = numbered(tmp_path, kind=BrokenSource, options=ImportOptions(split="train"))
    assert [skip.name for skip in done.skipped] == ["r5"]
    assert "frame 7 is damaged" in done.skipped[0].reason
    assert 5 not in [i for i, _ in recordings(tmp_path / "out")["train"]]
    options = ImportOptions(split="train", clip_frames=3)
    done = numbered(tmp_path, out="clips", kind=BrokenSource, options=options)
    assert [start for i, start in recordings(tmp_path / "clips")["train"] if i == 5] == [0, 3]
    assert len(done.skipped) == 1


@pytest.mark.parametrize("workers", [2, 3])
def test_what_is_made_does_not_depend_on_the_workers(tmp_path, workers):
    numbered(tmp_path, out="one")
    numbered(tmp_path, out="many", workers=workers)
    assert digests(tmp_path / "one") == digests(tmp_path / "many")


def test_workers_that_are_killed_are_replaced(tmp_path):
    (tmp_path / "in").mkdir()
    numbered(tmp_path, out="undisturbed")
    # The first part is also read here, to see what the recordings are like.
    (tmp_path / "in" / "part-0").touch()
    numbered(tmp_path, out="disturbed", workers=2, kind=KilledSource)
    same = digests(tmp_path / "undisturbed")
    found = digests(tmp_path / "disturbed")
    assert {k: v for k, v in found.items() if k.endswith(".bin")} == {
        k: v for k, v in same.items() if k.endswith(".bin")
    }


def test_an_interrupted_import_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    numbered(tmp_path, out="undisturbed")
    original = importing.import_part
    done = []

    def interrupted(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.part.name)
        original(job)

    monkeypatch.setattr(importing, "import_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        numbered(tmp_path, out="disturbed")
    assert not (tmp_path / "disturbed" / "dataset.json").exists()
    again = []

    def watched(job):
        again.append(job.part.name)
        original(job)

    monkeypatch.setattr(importing, "import_part", watched)
    numbered(tmp_path, out="disturbed")
    assert again == ["part-8"]  # what is done is not done again
    assert digests(tmp_path / "undisturbed") == digests(tmp_path / "disturbed")


def test_half_of_a_part_is_done_again(tmp_path, monkeypatch):
    numbered(tmp_path, out="undisturbed")
    original = import_part.write_json

    def killed(path, value):
        if path.name == "part-4.json":
            raise KeyboardInterrupt  # its shards are there, its record is not
        original(path, value)

    monkeypatch.setattr(import_part, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        numbered(tmp_path, out="disturbed")
    monkeypatch.undo()
    (tmp_path / "disturbed" / "train" / ".part-4.x.part").mkdir()
    numbered(tmp_path, out="disturbed")
    assert digests(tmp_path / "undisturbed") == digests(tmp_path / "disturbed")


def test_a_finished_import_is_not_done_again(tmp_path, monkeypatch):
    first = numbered(tmp_path)
    before = digests(tmp_path / "out")
    monkeypatch.setattr(importing, "import_part", lambda job: pytest.fail("read again"))
    second = numbered(tmp_path)
    assert second.sequences == first.sequences
    assert digests(tmp_path / "out") == before


def test_other_settings_do_not_go_on_in_the_same_folder(tmp_path):
    numbered(tmp_path)
    before = digests(tmp_path / "out")
    with pytest.raises(ForeframeError, match=r"other settings .*size"):
        numbered(tmp_path, options=ImportOptions(size=32))
    assert digests(tmp_path / "out") == before


def test_an_import_that_fails_at_once_leaves_nothing_behind(tmp_path):
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in.npz", frames=np.zeros((9, 64, 64, 3), np.uint8), bad=np.full(9, np.nan))
    out = tmp_path / "new" / "out"
    source = NpzSource(tmp_path / "in.npz", frames="frames", actions="bad")
    with pytest.raises(ForeframeError, match="not one recording"):
        import_dataset(source, out, execution=Execution(workers=1), log=quiet)
    assert not (tmp_path / "new").exists()
    # What a killed one left without having done anything is in nobody's way either.
    (out / ".import").mkdir(parents=True)
    (out / ".import" / "asked.json").write_text('{"importer": "other"}')
    source = NpzSource(tmp_path / "in.npz", frames="frames")
    import_dataset(
        source, out, ImportOptions(split="train"), execution=Execution(workers=1), log=quiet
    )
    assert len(Store(out / "train")) == 1


def test_a_folder_with_other_files_is_not_written_into(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(ForeframeError, match="holds other files"):
        numbered(tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_two_imports_into_one_folder_are_refused(tmp_path):
    from filelock import FileLock

    working = tmp_path / "out" / ".import"
    working.mkdir(parents=True)
    with FileLock(working / "lock"), pytest.raises(ForeframeError, match="another import"):
        numbered(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "--size 0"),
        ({"crop": "left"}, "--crop left"),
        ({"crop": "0,0,65,64"}, "--crop 0,0,65,64: reaches beyond"),
        ({"clip_frames": 1}, "--clip-frames 1"),
        ({"validate": 1.0}, "--validate 1.0"),
        ({"split": "dev"}, "--split dev"),
        ({"validate": 0.6, "test": 0.5}, "none is left for training"),
        ({"shift_actions": 20}, "--shift-actions 20"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, options, message):
    with pytest.raises(ForeframeError, match=message):
        numbered(tmp_path, options=ImportOptions(**options))


def test_frames_are_cropped_and_resized(tmp_path):
    numbered(tmp_path, options=ImportOptions(size=32, crop="10,20,40,40", split="train"))
    store = Store(tmp_path / "out" / "train")
    assert store.size == (32, 32)
    assert (store[3].frames[5] == [3, 5, 0]).all()


# -- the store ----------------------------------------------------------------------------------


def test_changed_bytes_are_found_by_the_checksums(tmp_path):
    numbered(tmp_path)
    store = Store(tmp_path / "out" / "train")
    assert list(store.verify()) == []
    path = store.shards[1].folder / "frames.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(bytes(content))
    assert [line.partition(":")[0] for line in store.verify()] == [str(path)]


def test_a_store_opens_with_more_shards_than_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr("foreframe.data.store.store.OPEN_SHARDS", 2)
    numbered(tmp_path, per_part=1, options=ImportOptions(split="train"))
    store = Store(tmp_path / "out" / "train")
    assert [int(store[i].frames[0, 0, 0, 0]) for i in range(12)] == list(range(12))
    assert len(store._open) == 2


def test_export_gives_the_labs_layout_back(tar, tmp_path):
    bair(tar, tmp_path / "out")
    main(["export", "lab", str(tmp_path / "out"), str(tmp_path / "lab"), "--workers", "1"])
    sequence = read_sequence(tmp_path / "lab" / "train" / "traj_0_to_255.tfrecords" / "4")
    expected = Store(tmp_path / "out" / "train")[4]
    assert np.array_equal(sequence.frames, expected.frames)
    assert np.array_equal(sequence.actions, expected.actions)
    assert np.array_equal(sequence.positions, expected.positions)


# -- processes and clusters ---------------------------------------------------------------------


def test_an_export_does_not_mix_with_anything_else(tar, tmp_path, monkeypatch):
    bair(tar, tmp_path / "out")
    other = tmp_path / "other"
    import_dataset(BairSource(tar, camera="main"), other, execution=Execution(workers=1), log=quiet)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep.txt").write_text("mine")
    with pytest.raises(ForeframeError, match="holds other files"):
        export_lab(tmp_path / "out", tmp_path / "mine", execution=Execution(workers=1))
    monkeypatch.setattr(lab, "_BATCH", 2)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_lab(
            tmp_path / "out", tmp_path / "lab", execution=Execution(workers=1), progress=stop
        )
    with pytest.raises(ForeframeError, match="other settings"):
        export_lab(other, tmp_path / "lab", execution=Execution(workers=1))
    export_lab(tmp_path / "out", tmp_path / "lab", execution=Execution(workers=1))
    export_lab(tmp_path / "out", tmp_path / "whole", execution=Execution(workers=1))
    assert digests(tmp_path / "lab") == digests(tmp_path / "whole")
    with pytest.raises(ForeframeError, match="other settings"):
        export_lab(other, tmp_path / "lab", execution=Execution(workers=1))


def test_a_killed_import_leaves_no_workers_behind_and_goes_on(tar, tmp_path):
    command = [FOREFRAME, "import", "bair", str(tar), str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*/*/meta.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    bair(tar, tmp_path / "undisturbed")
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")


SLOW = """
import sys, time
from pathlib import Path
from foreframe.system.workers import side_by_side

def work(job):
    (Path(sys.argv[1]) / f"{job}-begun").touch()
    try:
        time.sleep(0.5)
    finally:
        (Path(sys.argv[1]) / f"{job}-ended").touch()

if __name__ == "__main__":
    with side_by_side(work, list(range(40)), workers=2) as results:
        list(results)
"""


def test_workers_of_a_killed_import_stop_at_once_and_clean_up(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "out").mkdir()
    process = subprocess.Popen([sys.executable, tmp_path / "slow.py", tmp_path / "out"])
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*-ended")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    time.sleep(0.4)
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    time.sleep(1)  # two more jobs each, if they went on
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == left
    begun = {name.removesuffix("-begun") for name in left if name.endswith("-begun")}
    assert {name.removesuffix("-ended") for name in left if name.endswith("-ended")} == begun


def test_a_part_waits_for_a_worker_of_a_killed_import_that_still_writes_it(tmp_path):
    numbered(tmp_path, out="undisturbed")
    working = tmp_path / "out" / ".import"
    working.mkdir(parents=True)
    half = tmp_path / "out" / "train" / ".part-4.01234567.part"
    half.mkdir(parents=True)
    asked = description.describe(NumberedSource(tmp_path / "in"), ImportOptions())
    (working / "asked.json").write_text(json.dumps(asked))
    (working / "part-9.json").write_text("{}")
    with FileLock(working / "part-4.lock"):
        thread = threading.Thread(target=numbered, args=(tmp_path,))
        thread.start()
        deadline = time.monotonic() + 60
        while not (working / "part-0.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        assert half.exists()
        assert not (working / "part-4.json").exists()
    thread.join()
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")


def test_multiprocessing_is_not_needed_for_one_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_context", lambda name: pytest.fail("a process"))
    assert numbered(tmp_path).sequences["train"] == 10


def test_nothing_readable_is_an_error(tmp_path):
    class Nothing(NumberedSource):
        def read(self, part):
            yield Skip("a", "it is broken")

    (tmp_path / "in").mkdir()
    with pytest.raises(ForeframeError, match=r"not one recording .*a: it is broken"):
        import_dataset(
            Nothing(tmp_path / "in"), tmp_path / "out", execution=Execution(workers=1), log=quiet
        )


def test_what_has_come_to_the_input_of_a_finished_import_is_said(tmp_path):
    for number in range(4):
        frames = np.full((4, 8, 8, 3), number, np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        np.savez(tmp_path / "in" / f"{number}.npz", frames=frames)
    source = NpzSource(tmp_path / "in", frames="frames")
    said = []
    again = {"execution": Execution(1), "log": said.append}
    import_dataset(source, tmp_path / "out", **again)
    import_dataset(source, tmp_path / "out", **again)
    assert said.pop().endswith("is complete already.")
    np.savez(tmp_path / "in" / "9.npz", frames=np.zeros((4, 8, 8, 3), np.uint8))
    np.savez(tmp_path / "in" / "2.npz", frames=np.zeros((5, 8, 8, 3), np.uint8))
    before = digests(tmp_path / "out")
    import_dataset(source, tmp_path / "out", **again)
    assert "has new files (9.npz) and changed ones (2.npz) since then" in said.pop()
    assert digests(tmp_path / "out") == before
    shutil.rmtree(tmp_path / "in")
    import_dataset(source, tmp_path / "out", **again)
    assert said.pop().endswith("is complete already.")
