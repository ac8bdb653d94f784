"""A dataset written as a LeRobotDataset: nothing lost, whatever interrupts it, and read again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock

from foreframe.data.exports import lerobot_plan
from foreframe.data.exports.lerobot import export_lerobot
from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.recording import Recording
from foreframe.data.sources.lerobot import LerobotSource
from foreframe.data.store.store import Store
from foreframe.data.store.writer import join_shards, write_store
from foreframe.errors import ForeframeError
from foreframe.simulator.episode import simulate_sequence
from foreframe.system.workers import Execution

av = pytest.importorskip("av")
pq = pytest.importorskip("pyarrow.parquet")

LENGTHS = {"train": (9, 4, 12, 7, 5), "validate": (6, 8), "test": (3,)}
CAMERA = "observation.images.front"
SOURCE = {"source": {"frame_rate": 12.5, "camera": CAMERA, "robot": "arm"}}


def moving(seed, n, height=64, width=64):
    """Smooth frames with sharp coloured things that move; another picture for each seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    low = random.uniform(40, 120, 3)
    frames = low + 60 * np.stack([x / width, y / height, (x + y) / (height + width)], -1)
    frames = np.repeat(frames[None], n, 0)
    for colour in random.uniform(0, 255, (3, 3)):
        centre = random.uniform(10, 54, 2) + np.cumsum(random.uniform(-2, 2, (n, 2)), 0)
        for t in range(n):
            frames[t][(y - centre[t, 0]) ** 2 + (x - centre[t, 1]) ** 2 < 50] = colour
    return frames.clip(0, 255).astype(np.uint8)


def write(root, meta=SOURCE, widths=(4, 3), size=(64, 64), lengths=LENGTHS):
    for split, counts in lengths.items():
        random = np.random.default_rng(len(split))
        shards = [range(0, len(counts), 2), range(1, len(counts), 2)]
        names = []
        for k, shard in enumerate(filter(len, shards)):
            names.append(f"part-{k}")
            with write_store(root / split / names[-1], meta) as writer:
                for n in shard:
                    numbers = [
                        None if w is None else random.normal(size=(counts[n], w)).astype(np.float32)
                        for w in widths
                    ]
                    frames = moving((len(split), n), counts[n], *size)
                    writer.add(Recording(frames, *numbers), f"{split}-{n}")
        join_shards(root / split, names, meta)


@pytest.fixture
def stores(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_plan, "EPISODES_PER_FILE", 2)
    write(tmp_path / "stores")
    return tmp_path / "stores"


def contents(root):
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def back(exported, out, **options):
    options = {"position": "observation.state", **options}
    done = import_dataset(
        LerobotSource(exported, **options),
        out,
        ImportOptions(size=64, validate=0, test=0),
        execution=Execution(workers=1),
        log=lambda text: None,
    )
    assert not done.skipped
    return {split: Store(out / split) for split in done.sequences}


def psnr(one, other):
    error = ((one.astype(np.float64) - other) ** 2).mean((1, 2, 3))
    return 10 * np.log10(255**2 / error.max())


def same(store, copy):
    assert copy.lengths.tolist() == store.lengths.tolist()
    for n in range(len(store)):
        one, two = store[n], copy[n]
        for name in ("actions", "positions"):
            values = getattr(one, name)
            if values is None:
                assert getattr(two, name) is None
            else:
                assert np.array_equal(values, getattr(two, name))
        assert psnr(one.frames, two.frames) > 35


def test_there_and_back(stores, tmp_path):
    assert export_lerobot(stores, tmp_path / "out", execution=Execution(workers=1)) == {
        split: len(lengths) for split, lengths in LENGTHS.items()
    }
    copies = back(tmp_path / "out", tmp_path / "copy")
    assert set(copies) == set(LENGTHS)
    for split, copy in copies.items():
        same(Store(stores / split), copy)
        assert copy.meta["source"]["frame_rate"] == 12.5
        assert copy.meta["source"]["camera"] == CAMERA
    with pytest.raises(AssertionError):  # the comparison would see it
        same(Store(stores / "validate"), copies["train"])


def test_frames_of_the_simulator(tmp_path):
    """The worst frame of a real picture: 4:2:0 would stop at 30 dB."""
    with write_store(tmp_path / "in" / "train", SOURCE) as writer:
        for n in range(2):
            found = simulate_sequence(0, 0, n)
            writer.add(Recording(found.frames, found.actions, found.positions), str(n))
    export_lerobot(tmp_path / "in", tmp_path / "out", execution=Execution(workers=1))
    same(Store(tmp_path / "in/train"), back(tmp_path / "out", tmp_path / "copy")["train"])


@pytest.mark.parametrize("widths", [(None, None), (1, None), (None, 1), (11, 2)])
def test_widths(tmp_path, widths):
    write(tmp_path / "in", widths=widths)
    export_lerobot(tmp_path / "in", tmp_path / "out", execution=Execution(workers=1))
    names = ("action", "observation.state")
    features = json.loads((tmp_path / "out/meta/info.json").read_text())["features"]
    options = {}
    for option, name, width in zip(("action", "position"), names, widths, strict=True):
        options[option] = name if width else "none"
        assert (name in features) == (width is not None)
        if width:
            assert features[name]["shape"] == [width]
    for split, copy in back(tmp_path / "out", tmp_path / "copy", **options).items():
        same(Store(tmp_path / "in" / split), copy)


@pytest.mark.parametrize("size", [(64, 80), (33, 47)])
def test_sizes(tmp_path, size):
    """Odd ones too."""
    write(tmp_path / "in", size=size, lengths={"test": (5, 3)})
    export_lerobot(tmp_path / "in", tmp_path / "out", execution=Execution(workers=1))
    source = LerobotSource(tmp_path / "out", position="observation.state")
    store = Store(tmp_path / "in/test")
    found = [item for part in source.parts() for item in source.read(part)]
    for n, item in enumerate(found):
        assert psnr(store[n].frames, np.stack(list(item.frames))) > 35
    assert len(found) == 2
    assert source.parts()[0].split == "test"


def test_metadata(stores, tmp_path):
    out = tmp_path / "out"
    export_lerobot(stores, out, execution=Execution(workers=1))
    info = json.loads((out / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["fps"], info["robot_type"]) == (12.5, "arm")
    assert info["splits"] == {"train": "0:5", "val": "5:7", "test": "7:8"}
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (8, 54, 1)
    assert info["features"][CAMERA]["shape"] == [64, 64, 3]
    tables = [pq.read_table(path) for path in sorted(out.glob("data/*/*.parquet"))]
    assert len(tables) == 6  # at most 2 episodes in each, and none of two shards
    rows = [row for table in tables for row in table.to_pylist()]
    assert set(rows[0]) == set(info["features"]) - {CAMERA}
    assert [row["index"] for row in rows] == list(range(54))
    lengths = [n for split in LENGTHS for n in Store(stores / split).lengths.tolist()]
    expected = [(k, t) for k, n in enumerate(lengths) for t in range(n)]
    assert [(row["episode_index"], row["frame_index"]) for row in rows] == expected
    for row in rows:
        assert row["timestamp"] == np.float32(row["frame_index"] / 12.5)
    listed = [
        row
        for path in sorted(out.glob("meta/episodes/*/*"))
        for row in pq.read_table(path).to_pylist()
    ]
    assert [row["episode_index"] for row in listed] == list(range(8))
    for row in listed:
        own = rows[row["dataset_from_index"] : row["dataset_to_index"]]
        assert {r["episode_index"] for r in own} == {row["episode_index"]}
        assert len(own) == row["length"]
        actions = np.array([r["action"] for r in own])
        assert np.allclose(row["stats/action/mean"], actions.mean(0))
        assert np.allclose(row["stats/action/std"], actions.std(0))
        assert row["stats/action/count"] == [len(own)]
        where = {key: row[f"videos/{CAMERA}/{key}"] for key in ("chunk_index", "file_index")}
        with av.open(str(out / info["video_path"].format(**where, video_key=CAMERA))) as video:
            times = {frame.time for frame in video.decode(video=0) if frame.key_frame}
            assert video.streams.video[0].average_rate == 12.5
        assert row[f"videos/{CAMERA}/from_timestamp"] in times
    stats = json.loads((out / "meta/stats.json").read_text())
    assert set(stats) == set(info["features"])
    actions = np.array([row["action"] for row in rows])
    for name, value in (("min", actions.min(0)), ("max", actions.max(0)), ("std", actions.std(0))):
        assert np.allclose(stats["action"][name], value)
    frames = [Store(stores / s)[n].frames for s in LENGTHS for n in range(len(Store(stores / s)))]
    colours = np.concatenate(frames).reshape(-1, 3) / 255
    for name, value in (
        ("min", colours.min(0)),
        ("max", colours.max(0)),
        ("mean", colours.mean(0)),
        ("std", colours.std(0)),
    ):
        assert np.shape(stats[CAMERA][name]) == (3, 1, 1)
        assert np.allclose(np.ravel(stats[CAMERA][name]), value)
    assert stats[CAMERA]["count"] == stats["index"]["count"] == [54]
    tasks = pq.read_table(out / "meta/tasks.parquet")
    assert tasks.column("task_index").to_pylist() == [0]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert not (out / ".export").exists()


@pytest.mark.parametrize("rate", [30, 29.97, 24000 / 1001, 3])
def test_times_are_exact(tmp_path, rate):
    write(tmp_path / "in", meta={}, lengths={"train": (110,)})
    export_lerobot(
        tmp_path / "in", tmp_path / "out", frame_rate=rate, execution=Execution(workers=1)
    )
    (path,) = (tmp_path / "out").rglob("*.mp4")
    with av.open(str(path)) as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert np.allclose(
        times, np.arange(110) / rate, rtol=0, atol=1e-9 + 1e-6 * (rate == 24000 / 1001)
    )
    same(Store(tmp_path / "in/train"), back(tmp_path / "out", tmp_path / "copy")["train"])


def test_a_long_episode_has_its_own_file(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_plan, "PIXELS_PER_FILE", 64 * 64 * 13)
    monkeypatch.setattr(lerobot_plan, "FILES_PER_CHUNK", 2)
    write(tmp_path / "in", lengths={"train": (6, 20, 7, 5, 1, 9)})
    export_lerobot(tmp_path / "in", tmp_path / "out", execution=Execution(workers=1))
    paths = sorted((tmp_path / "out").rglob("*.mp4"))
    assert [path.relative_to(tmp_path / "out/videos" / CAMERA).as_posix() for path in paths] == [
        "chunk-000/file-000.mp4",
        "chunk-000/file-001.mp4",
        "chunk-001/file-000.mp4",
        "chunk-001/file-001.mp4",
        "chunk-002/file-000.mp4",
    ]
    same(Store(tmp_path / "in/train"), back(tmp_path / "out", tmp_path / "copy")["train"])


# -- interruptions ------------------------------------------------------------------------------


def test_an_interrupted_export_goes_on(stores, tmp_path):
    export_lerobot(stores, tmp_path / "whole", execution=Execution(workers=1))
    out = tmp_path / "out"
    total = 6

    def stop_after(n):
        def progress(done, of):
            assert of == total
            if done == n:
                raise KeyboardInterrupt

        return progress

    for n in range(1, total + 1):
        with pytest.raises(KeyboardInterrupt):
            export_lerobot(stores, out, execution=Execution(workers=1), progress=stop_after(n))
        assert not (out / "meta/info.json").exists()
        assert len(list(out.rglob("*.mp4"))) == n
        (out / "data/chunk-000/.file-000.parquet.0123.part").write_bytes(b"half")
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    export_lerobot(stores, out, execution=Execution(workers=1))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")} == stamps
    assert contents(out) == contents(tmp_path / "whole")


def test_a_job_without_its_files_is_done_again(stores, tmp_path):
    export_lerobot(stores, tmp_path / "whole", execution=Execution(workers=1))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export_lerobot(stores, out, execution=Execution(workers=1), progress=_interrupt_at(4))
    next(out.rglob("file-001.mp4")).unlink()
    (out / ".export/000002.json").write_text("{")
    next(out.glob("meta/episodes/*/file-003.parquet")).unlink()
    export_lerobot(stores, out, execution=Execution(workers=1))
    assert contents(out) == contents(tmp_path / "whole")


def _interrupt_at(n):
    def progress(done, of):
        if done == n:
            raise KeyboardInterrupt

    return progress


def test_a_finished_export_stays(stores, tmp_path):
    out = tmp_path / "out"
    export_lerobot(stores, out, execution=Execution(workers=1))
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    seen = []
    counts = export_lerobot(
        stores, out, execution=Execution(workers=1), progress=lambda *now: seen.append(now)
    )
    assert counts == {"train": 5, "validate": 2, "test": 1}
    assert seen == [(6, 6)]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps


def test_several_workers_write_the_same(stores, tmp_path):
    export_lerobot(stores, tmp_path / "one", execution=Execution(workers=1))
    export_lerobot(stores, tmp_path / "two", execution=Execution(workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


KILLED = """
import sys
from pathlib import Path
from foreframe.data.exports import lerobot_plan
from foreframe.data.exports.lerobot import export_lerobot
from foreframe.system.workers import Execution
lerobot_plan.EPISODES_PER_FILE = 2
export_lerobot(Path(sys.argv[1]), Path(sys.argv[2]), execution=Execution(workers=1))
"""


def test_a_killed_export_goes_on(stores, tmp_path):
    export_lerobot(stores, tmp_path / "whole", execution=Execution(workers=1))
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(stores), str(out)])
    while process.poll() is None and not list(out.rglob("*.mp4")):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    export_lerobot(stores, out, execution=Execution(workers=1))
    assert contents(out) == contents(tmp_path / "whole")


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["photo.jpg", "meta/info.json", "train/meta.json", ".export2/a"])
def test_a_folder_with_something_else_is_refused(stores, tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(ForeframeError, match="holds other files"):
        export_lerobot(stores, tmp_path / "out", execution=Execution(workers=1))
    assert contents(tmp_path / "out") == {name: b"{}"}


def test_another_export_is_refused(stores, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export_lerobot(stores, out, execution=Execution(workers=1), progress=_interrupt_at(1))
    with FileLock(out / ".export/lock"), pytest.raises(ForeframeError, match="another export"):
        export_lerobot(stores, out, execution=Execution(workers=1))
    shutil.rmtree(stores / "test")
    for _ in range(2):
        with pytest.raises(
            ForeframeError, match=r"other settings .stores\.t\w+ is another there and None here"
        ):
            export_lerobot(stores, out, execution=Execution(workers=1))
        shutil.rmtree(out)
        export_lerobot(stores, out, execution=Execution(workers=1))
        shutil.rmtree(stores / "train", ignore_errors=True)
    with pytest.raises(ForeframeError, match="holds other files"):
        export_lerobot(stores, stores, execution=Execution(workers=1))
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(ForeframeError, match="is a file"):
            export_lerobot(stores, tmp_path / place, execution=Execution(workers=1))


@pytest.mark.parametrize(
    "known", [{}, {"source": {}}, {"source": {"frame_rate": None}}, {"source": "a"}]
)
def test_somebody_must_know_the_frame_rate(tmp_path, known):
    write(tmp_path / "in", meta=known, lengths={"train": (3,)})
    with pytest.raises(ForeframeError, match="Give --frame-rate"):
        export_lerobot(tmp_path / "in", tmp_path / "out", execution=Execution(workers=1))
    for rate in (0, -5, 1e5, float("nan"), float("inf")):
        with pytest.raises(ForeframeError, match=r"--frame-rate .* must be between"):
            export_lerobot(
                tmp_path / "in", tmp_path / "out", execution=Execution(workers=1), frame_rate=rate
            )
    assert not (tmp_path / "out").exists()
    export_lerobot(tmp_path / "in", tmp_path / "out", execution=Execution(workers=1), frame_rate=5)
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["fps"] == 5
    assert "observation.images.camera" in info["features"]


def test_what_does_not_fit_together_is_refused(stores, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ForeframeError, match=r"--frame-rate 10: the dataset says 12\.5 Hz"):
        export_lerobot(stores, out, execution=Execution(workers=1), frame_rate=10)
    for said, options in (
        ("different frame rates", {"meta": {"source": {"frame_rate": 5}}}),
        ("numbers in an action: None, but 4 in train", {"widths": (None, 3)}),
        ("numbers in a position: 2, but 3 in train", {"widths": (4, 2)}),
        ("frames of", {"size": (64, 32)}),
    ):
        shutil.rmtree(stores / "test")
        write(stores, lengths={"test": (3,)}, **options)
        with pytest.raises(ForeframeError, match=said):
            export_lerobot(stores, out, execution=Execution(workers=1))
    with pytest.raises(ForeframeError, match="holds no stores"):
        export_lerobot(tmp_path / "none", out, execution=Execution(workers=1))
    assert not out.exists()


def test_a_place_that_cannot_be_written(stores, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(ForeframeError, match="cannot be written"):
        export_lerobot(stores, folder / "out", execution=Execution(workers=1))
