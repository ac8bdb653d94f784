"""More than one process and more than one machine: Ray, remote stores, parts of a batch."""

import hashlib
import os
import signal
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from foreframe.commands.app import main
from foreframe.data.exports.lab import export_lab
from foreframe.data.imports.importing import import_dataset
from foreframe.data.sources.source import Part, RawRecording, Source
from foreframe.data.store import batches
from foreframe.data.store.batches import evaluation_batches, prefetch, training_batch
from foreframe.data.store.opened import read_recording
from foreframe.data.store.shard_cache import ShardCache
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.simulator.simulate import SimulateOptions, simulate
from foreframe.system.workers import Execution

SHARDS, PER_SHARD, FRAMES = 12, 3, 6


@dataclass(frozen=True)
class Numbered(Source):
    """Recordings that carry their number in every pixel, action and position."""

    input: Path

    def parts(self):
        return [
            Part(f"part-{k:02d}", self.input, "train" if k < SHARDS else split, {"part": k})
            for k, split in enumerate(["train"] * SHARDS + ["validate", "test"])
        ]

    def lengths(self, part):
        first = part.select["part"] * PER_SHARD
        return [(f"r{i}", FRAMES) for i in range(first, first + PER_SHARD)]

    def read(self, part):
        for name, _ in self.lengths(part):
            i = int(name[1:])
            random = np.random.default_rng(i)
            frames = random.integers(0, 256, (FRAMES, 64, 64, 3), np.uint8)
            frames[..., 0] = i
            frames[:, 0, 0, 1] = np.arange(FRAMES)
            rows = np.stack([np.full(FRAMES, i), np.arange(FRAMES)], 1).astype(np.float32)
            yield RawRecording(name, frames, rows, -rows)


@dataclass(frozen=True)
class Deadly(Numbered):
    """Kills the worker that reads a part for the first time."""

    def read(self, part):
        mark = self.input / part.name
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().read(part)


def made(tmp_path, out="store", kind=Numbered, ray=None):
    (tmp_path / "in").mkdir(exist_ok=True)
    source = kind(tmp_path / "in")
    execution = Execution(1, ray)
    import_dataset(source, tmp_path / out, execution=execution, log=lambda text: None)
    return tmp_path / out


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# -- Ray ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_does_not_answer_is_an_error_at_once(tmp_path, address):
    pytest.importorskip("ray")
    begun = time.monotonic()
    with pytest.raises(ForeframeError, match=f"--ray {address}: no Ray cluster answers there"):
        made(tmp_path, ray=address)
    assert time.monotonic() - begun < 15


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of this machine, started once; ``--ray local`` then uses it."""
    ray = pytest.importorskip("ray")
    from foreframe.system.workers import _ray_cluster

    with _ray_cluster("local"):
        yield ray


def test_an_import_on_ray_gives_the_same_bytes_though_workers_are_killed(cluster, tmp_path):
    whole = made(tmp_path)
    for k in range(1, SHARDS, 3):  # others are read undisturbed
        (tmp_path / "in" / f"part-{k:02d}").touch()
    (tmp_path / "in" / "part-00").touch()  # read here too, to see what the recordings are like
    disturbed = made(tmp_path, "disturbed", Deadly, ray="local")
    assert len(list((tmp_path / "in").iterdir())) == SHARDS + 2
    same, found = digests(whole), digests(disturbed)
    assert {k: v for k, v in found.items() if k.endswith(".bin")} == {
        k: v for k, v in same.items() if k.endswith(".bin")
    }
    assert found.keys() == same.keys()


def test_simulation_and_export_on_ray_write_the_same_files(cluster, tmp_path):
    options = SimulateOptions(sequences=3, validate=1, test=1)
    for name, execution in {"here": Execution(1), "there": Execution(ray="local")}.items():
        simulate(tmp_path / name, options, execution=execution)
    assert digests(tmp_path / "here") == digests(tmp_path / "there")
    store = made(tmp_path)
    export_lab(store, tmp_path / "a", execution=Execution(workers=1))
    export_lab(store, tmp_path / "b", execution=Execution(ray="local"))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(digests(tmp_path / "a")) == (SHARDS + 2) * PER_SHARD * (FRAMES + 2) + 1


@dataclass(frozen=True)
class Refusing(Numbered):
    def read(self, part):
        if part.select["part"] == 5:
            raise ForeframeError("part 5: cannot be read. Look at it.")
        yield from super().read(part)


def test_an_error_on_ray_is_the_error_that_a_job_raised(cluster, tmp_path):
    with pytest.raises(ForeframeError, match=r"^part 5: cannot be read. Look at it.$"):
        made(tmp_path, kind=Refusing, ray="local")
    assert not (tmp_path / "store" / "dataset.json").exists()


# -- remote stores ------------------------------------------------------------------------------


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A store that lies in memory, as one may lie in a bucket, with an empty cache for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    local = made(tmp_path)
    root = UPath(f"memory://{tmp_path.name}/store")
    for path in local.rglob("*"):
        if path.is_file():
            there = root / path.relative_to(local).as_posix()
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(path.read_bytes())
    return root


SHARD_BYTES = PER_SHARD * FRAMES * (64 * 64 * 3 + 4 * 4)


def cached(tmp_path):
    """Bytes of each shard that the cache holds."""
    shards = tmp_path / "cache" / "foreframe" / "shards"
    return [sum(f.stat().st_size for f in folder.iterdir()) for folder in shards.glob("[!.]*")]


def numbers(clip):
    """The recordings that a batch shows, after a look whether frames and rows belong together."""
    shown = clip.frames[:, :, 0, 5, 5].numpy()
    assert (shown == clip.actions[:, :, 0].numpy()).all()
    assert (clip.frames[:, :, 1, 0, 0].numpy() == clip.actions[:, :, 1].numpy()).all()
    assert (clip.positions == -clip.actions).all()
    return [int(i) for i in shown[:, 0]]


def test_a_remote_store_gives_what_a_local_one_gives(remote, tmp_path):
    near, far = Store(tmp_path / "store" / "train"), Store(remote / "train")
    assert far.remote
    assert not near.remote
    assert not cached(tmp_path)  # opening fetches nothing
    for i in (0, 17, len(near) - 1):
        for part in ("frames", "actions", "positions"):
            assert (getattr(near[i], part) == getattr(far[i], part)).all()
    assert len(cached(tmp_path)) == 3
    assert list(far.verify()) == []
    for a, b in zip(
        evaluation_batches(near, n_frames=4, batch_size=5),
        evaluation_batches(far, n_frames=4, batch_size=5),
        strict=True,
    ):
        assert (a.frames == b.frames).all()


def test_every_sequence_of_a_remote_store_is_seen_once_a_lap_with_few_shards_here(
    remote, tmp_path, monkeypatch
):
    limit = 5 * SHARD_BYTES
    monkeypatch.setenv("FOREFRAME_CACHE_GB", str(limit / 1e9))
    store = Store(remote / "train")
    seen, most = [], 0
    for step in range(3 * len(store) // 4):
        clip = training_batch(store, n_frames=4, batch_size=4, seed=3, global_step=step)
        seen += numbers(clip)
        assert sum(cached(tmp_path)) <= limit
        most = max(most, len(cached(tmp_path)))
    assert most == 5
    laps = np.array(seen).reshape(3, len(store))
    assert all(sorted(lap) == list(range(len(store))) for lap in laps)
    assert (laps[0] != laps[1]).any()
    assert (laps[1] != laps[2]).any()
    assert (np.diff(laps[0]) != 1).sum() > len(store) // 2  # and shuffled within the groups


def test_the_shards_in_use_are_few_at_any_time(remote):
    store = Store(remote / "train")
    order = batches._order(store, 0, 0)
    per_group = batches.GROUP * PER_SHARD
    for k in range(0, len(order), per_group):
        assert len(set(store.shard_of[order[k : k + per_group]])) == batches.GROUP


def test_shards_are_fetched_before_their_turn(remote, monkeypatch):
    fetched = []
    fetch = ShardCache.fetch

    def watched(self, shard, files):
        fetched.append(shard.name)
        return fetch(self, shard, files)

    monkeypatch.setattr(ShardCache, "fetch", watched)
    store = Store(remote / "train")
    with batches._fetched_ahead(store, 0) as turn:
        turn(0)
        turn(1)
    order = list(store.shard_of[batches._order(store, 0, 0)])
    first = sorted(set(order), key=order.index)[1 : 2 + batches.GROUP]
    assert set(fetched) <= {store.shards[k].folder.name for k in first}
    with prefetch(store, n_frames=4, batch_size=2, seed=0, first_step=0) as made_ahead:
        for _ in range(3 * len(store) // 2):
            numbers(next(made_ahead))
    assert set(fetched) == {shard.folder.name for shard in store.shards}


def test_a_shard_that_was_damaged_on_the_way_is_refused(remote, tmp_path):
    store = Store(remote / "train")
    path = store.shards[2].folder / "frames.bin"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ForeframeError, match=r"part-02/frames\.bin: .*SHA-256 differs"):
        store[2 * PER_SHARD]
    assert not cached(tmp_path)


def test_a_shard_that_is_gone_is_named_in_mid_training(remote):
    store = Store(remote / "train")
    (store.shards[4].folder / "frames.bin").unlink()
    with (
        prefetch(store, n_frames=4, batch_size=4, seed=0, first_step=0) as clips,
        pytest.raises(ForeframeError, match=r"part-04/frames\.bin"),
    ):
        list(islice(clips, len(store)))


def test_a_store_made_anew_is_fetched_anew(remote, tmp_path):
    before = Store(remote / "train")[0].frames.copy()
    (tmp_path / "in2").mkdir()
    for path in (remote / "train" / "part-00", tmp_path / "store" / "train" / "part-00"):
        content = bytearray((path / "frames.bin").read_bytes())
        content[0] ^= 255
        (path / "frames.bin").write_bytes(bytes(content))
    old = hashlib.sha256(before.tobytes())
    assert old.hexdigest() != hashlib.sha256(Store(tmp_path / "store/train")[0].frames).hexdigest()
    meta = (remote / "train" / "meta.json").read_text()
    shard = Store(remote / "train").shards[0]
    new = hashlib.sha256((remote / "train" / "part-00" / "frames.bin").read_bytes()).hexdigest()
    (remote / "train" / "meta.json").write_text(meta.replace(shard.sha256["frames"], new))
    after = Store(remote / "train")[0].frames
    assert after[0, 0, 0, 0] == before[0, 0, 0, 0] ^ 255


@pytest.mark.parametrize("text", ["0", "-1", "many", "nan"])
def test_a_limit_that_is_no_size_is_refused(remote, monkeypatch, text):
    monkeypatch.setenv("FOREFRAME_CACHE_GB", text)
    with pytest.raises(ForeframeError, match=f"FOREFRAME_CACHE_GB={text}"):
        Store(remote / "train")


def test_training_and_evaluation_from_a_remote_store(remote, tmp_path, capsys):
    tiny = "--net dcgan64 --width 0.125 --g-dim 16 --z-dim 4 --rnn-size 16 --batch-size 2"
    tiny += " --epochs 1 --steps-per-epoch 2 --n-future 3 --action-dim 2 --position-dim 2"
    tiny += " --kl-schedule constant --teacher-forcing always --device cpu"
    run = tmp_path / "run"
    main(["train", "svg-small", "--data", str(remote), "--out", str(run), *tiny.split()])
    main(["evaluate", str(run), "--data", str(remote), "--n-future", "3", "--device", "cpu"])
    assert (run / "evaluation.json").is_file()
    assert "copy the last given frame" in capsys.readouterr().out
    main(["predict", str(run), "--sequence", f"{remote}/test/2", "--samples", "1"])
    assert "PSNR of each" in capsys.readouterr().out


def test_a_sequence_of_a_store_is_predicted_like_a_folder(tmp_path, capsys):
    store = made(tmp_path)
    export_lab(store, tmp_path / "lab", execution=Execution(workers=1))
    folder = next((tmp_path / "lab" / "test").glob("*/1"))
    shown = {
        name: read_recording(place)
        for name, place in {"a": store / "test" / "1", "b": folder}.items()
    }
    for part in ("frames", "actions", "positions"):
        assert (getattr(shown["a"], part) == getattr(shown["b"], part)).all()
    with pytest.raises(ForeframeError, match=r"test/3: the store has the sequences 0 to 2"):
        read_recording(store / "test" / "3")
    with pytest.raises(ForeframeError, match="there is no store"):
        read_recording(UPath("memory://nowhere/test/3"))


# -- several training processes -----------------------------------------------------------------


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_share_a_batch_whatever_their_number(tmp_path, processes):
    store = Store(made(tmp_path) / "train")
    for step in range(4):
        whole = training_batch(store, n_frames=4, batch_size=12, seed=0, global_step=step)
        parts = [
            training_batch(
                store,
                n_frames=4,
                batch_size=12,
                seed=0,
                global_step=step,
                process=process,
                processes=processes,
            )
            for process in range(processes)
        ]
        assert {len(part.frames) for part in parts} == {12 // processes}
        together = np.concatenate([part.frames.numpy() for part in parts])
        assert (together == whole.frames.numpy()).all()


def test_a_resume_on_another_number_of_processes_sees_each_sequence_once(tmp_path):
    store = Store(made(tmp_path) / "train")
    seen: list[int] = []
    # One lap is 36 sequences: 3 steps of 12. Two steps by 4 processes, the last by 3.
    for first, steps, processes in ((0, 2, 4), (2, 1, 3)):
        for process in range(processes):
            with prefetch(
                store,
                n_frames=4,
                batch_size=12,
                seed=0,
                first_step=first,
                process=process,
                processes=processes,
            ) as clips:
                for _ in range(steps):
                    seen += numbers(next(clips))
    assert sorted(seen) == list(range(len(store)))


def test_half_fetched_shards_of_killed_processes_are_removed(remote, tmp_path):
    shards = tmp_path / "cache" / "foreframe" / "shards"
    left = shards / ".x.part"
    left.mkdir(parents=True)
    (left / "frames.bin").write_bytes(bytes(1000))
    os.utime(left, (0, 0))
    Store(remote / "train")[0].frames.sum()
    assert not left.exists()
