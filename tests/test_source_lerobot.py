"""LeRobotDatasets: every frame comes with its own row, or not at all.

The datasets are written here, from the format's published description; no real one is at hand.
"""

import io
import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from upath import UPath

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources.lerobot import LerobotSource
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution
from tests import reading

av = pytest.importorskip("av")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FPS = 10
LENGTHS = (9, 5, 12, 7)
FRONT, WRIST = "observation.images.front", "observation.images.wrist"
VERSIONS = ("v2.1", "v3.0")


# -- writing one --------------------------------------------------------------------------------


def marked(k, t):
    """A frame that says of itself which one it is."""
    frame = np.full((64, 80, 3), 30, np.uint8)
    frame[:32] = 20 + 40 * min(k, 5)
    frame[32:] = 20 + 14 * t
    return frame


def marks(frames):
    """Episode and step of each frame; fails if one is not clearly of one kind."""
    top, bottom = frames[:, :32].mean((1, 2, 3)), frames[:, 32:].mean((1, 2, 3))
    found = np.stack([(top - 20) / 40, (bottom - 20) / 14], 1)
    assert np.abs(found - found.round()).max() < 0.25
    return found.round().astype(int)


def film(path, frames, rate=FPS, codec="libx264", times=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"crf": "12", "g": "250", "bf": "3", "b-adapt": "0", **options}
        for t, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            seconds = t / rate if times is None else times[t]
            picture.pts, picture.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def png(frame):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def numbers(k, n):
    """Actions [n, 7] and states [n, 8] of episode ``k``, both of which begin with ``k`` and t."""
    random = np.random.default_rng(k)
    head = np.stack([np.full(n, k), np.arange(n)], 1)
    return [np.c_[head, random.normal(size=(n, w))].astype(np.float32) for w in (5, 6)]


def columns(k, n, start, pictures=None):
    actions, states = numbers(k, n)
    found = {
        "action": pa.FixedSizeListArray.from_arrays(actions.ravel(), 7),
        "observation.state": pa.array(list(states)),
        "timestamp": pa.array((np.arange(n) / FPS).astype(np.float32)),
        "frame_index": pa.array(np.arange(n)),
        "episode_index": pa.array(np.full(n, k)),
        "index": pa.array(start + np.arange(n)),
        "task_index": pa.array(np.zeros(n, np.int64)),
    }
    if pictures:
        found[pictures] = pa.array([{"bytes": png(marked(k, t)), "path": None} for t in range(n)])
    return pa.table(found)


def write_table(path, table, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)


def info_of(version, lengths, cameras, dtype, splits):
    features = {
        "action": {"dtype": "float32", "shape": [7], "names": None},
        "observation.state": {"dtype": "float32", "shape": [8], "names": None},
        **{
            key: {"dtype": dtype, "shape": [64, 80, 3], "names": ["height", "width", "channels"]}
            for key in cameras
        },
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        **{
            key: {"dtype": "int64", "shape": [1], "names": None}
            for key in ("frame_index", "episode_index", "index", "task_index")
        },
    }
    single = version != "v3.0"
    chunk = "chunk-{episode_chunk:03d}" if single else "chunk-{chunk_index:03d}"
    file = "episode_{episode_index:06d}" if single else "file-{file_index:03d}"
    video = f"{chunk}/{{video_key}}" if single else f"{{video_key}}/{chunk}"
    return {
        "codebase_version": version,
        "robot_type": "arm",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 1,
        "chunks_size": 3 if single else 1000,
        "fps": FPS,
        "splits": splits or {"train": f"0:{len(lengths)}"},
        "data_path": f"data/{chunk}/{file}.parquet",
        "video_path": f"videos/{video}/{file}.mp4" if dtype == "video" else None,
        "features": features,
    }


def write(
    root,
    version,
    lengths=LENGTHS,
    cameras=(FRONT,),
    dtype="video",
    splits=None,
    per_data=3,
    per_video=2,
    codec="libx264",
    **options,
):
    """A dataset; in v3.0 the parquet and the mp4 files do not hold the same episodes."""
    info = info_of(version, lengths, cameras, dtype, splits)
    write_json(root / "meta/info.json", info)
    starts = np.cumsum([0, *lengths])
    pictures = cameras[0] if dtype == "image" else None
    tables = [columns(k, n, starts[k], pictures) for k, n in enumerate(lengths)]
    films = {
        camera: [[marked(k + c, t) for t in range(n)] for k, n in enumerate(lengths)]
        for c, camera in enumerate(cameras if dtype == "video" else ())
    }
    if version != "v3.0":
        for k, table in enumerate(tables):
            where = {"episode_chunk": k // 3, "episode_index": k}
            write_table(root / info["data_path"].format(**where), table)
            for camera, frames in films.items():
                path = info["video_path"].format(**where, video_key=camera)
                film(root / path, frames[k], codec=codec, **options)
        lines(root / "meta/tasks.jsonl", [{"task_index": 0, "task": "push"}])
        rows = [{"episode_index": k, "tasks": ["push"], "length": n} for k, n in enumerate(lengths)]
        lines(root / "meta/episodes.jsonl", rows)
        lines(root / "meta/episodes_stats.jsonl", [{"episode_index": k} for k in range(len(rows))])
        return
    for f in range(0, len(lengths), per_data):
        path = info["data_path"].format(chunk_index=0, file_index=f // per_data)
        write_table(root / path, pa.concat_tables(tables[f : f + per_data]), row_group_size=8)
    for camera, frames in films.items():
        for f in range(0, len(lengths), per_video):
            where = {"chunk_index": 0, "file_index": f // per_video, "video_key": camera}
            joined = [frame for episode in frames[f : f + per_video] for frame in episode]
            film(root / info["video_path"].format(**where), joined, codec=codec, **options)
    write_table(root / "meta/tasks.parquet", pa.table({"task_index": [0], "task": ["push"]}))
    write_json(root / "meta/stats.json", {})
    rows = []
    for k, n in enumerate(lengths):
        row = {"episode_index": k, "tasks": ["push"], "length": n}
        row |= {"dataset_from_index": int(starts[k]), "dataset_to_index": int(starts[k + 1])}
        row |= {"data/chunk_index": 0, "data/file_index": k // per_data}
        for camera in films:
            start = starts[k] - starts[k // per_video * per_video]
            row |= {
                f"videos/{camera}/chunk_index": 0,
                f"videos/{camera}/file_index": k // per_video,
                f"videos/{camera}/from_timestamp": start / FPS,
                f"videos/{camera}/to_timestamp": (start + n) / FPS,
            }
        rows.append(row)
    write_table(root / EPISODES, pa.Table.from_pylist(rows))


EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_info(root, **changes):
    path = root / "meta/info.json"
    write_json(path, {**json.loads(path.read_text()), **changes})


def edit_episodes(root, change):
    """Apply ``change`` to each row of the list of episodes."""
    path = root / EPISODES
    if path.exists():
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            change(row)
        write_table(path, pa.Table.from_pylist(rows))
    else:
        path = root / "meta/episodes.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            change(row)
        lines(path, rows)


def edit_column(path, name, change):
    """Apply ``change`` to a column, as a list; None removes it."""
    table = pq.read_table(path)
    k = table.column_names.index(name)
    values = table.column(name).to_pylist()
    table = table.remove_column(k)
    if change is not None:
        table = table.append_column(name, pa.array(change(values)))
    write_table(path, table)


def data_file(root, k):
    """The parquet file with the rows of an episode."""
    if (root / EPISODES).exists():
        return root / f"data/chunk-000/file-{k // 3:03d}.parquet"
    return root / f"data/chunk-{k // 3:03d}/episode_{k:06d}.parquet"


def video_file(root, k, camera=FRONT):
    if (root / EPISODES).exists():
        return root / f"videos/{camera}/chunk-000/file-{k // 2:03d}.mp4"
    return root / f"videos/chunk-{k // 3:03d}/{camera}/episode_{k:06d}.mp4"


# -- reading it ---------------------------------------------------------------------------------


def everything(source):
    return reading.everything(source, lambda found: int(found.name[-6:]))


def agree(recordings, episodes=(0, 1, 2, 3), lengths=LENGTHS, shift=0):
    """These episodes are there, and each frame goes with its row."""
    assert sorted(recordings) == sorted(episodes)
    for k in episodes:
        frames, actions, _ = recordings[k]
        assert len(frames) == len(actions) == lengths[k]
        assert np.array_equal(actions, numbers(k, lengths[k])[0])
        assert np.array_equal(marks(frames) - [shift, 0], actions[:, :2])


@pytest.fixture(params=VERSIONS)
def dataset(request, tmp_path):
    write(tmp_path / "data set", request.param)
    return tmp_path / "data set"


def test_every_frame_comes_with_its_row(dataset):
    source = LerobotSource(dataset)
    recordings, skips = everything(source)
    assert not skips
    agree(recordings)
    assert [r[2] for r in recordings.values()] == [None] * 4
    found = [item for part in source.parts() for item in source.lengths(part)]
    assert found == [(f"episode-{k:06d}", n) for k, n in enumerate(LENGTHS)]
    told = source.describe()
    assert (told["frame_rate"], told["camera"], told["robot"]) == (FPS, FRONT, "arm")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"g": "2"},
        {"g": "8", "bf": "4", "b-pyramid": "normal"},
        {"g": "6", "x264-params": "open-gop=1:keyint=6:bframes=4:b-adapt=0"},
        {"codec": "libsvtav1", "g": "2", "crf": "20"},
        {"codec": "libx265", "g": "7", "x265-params": "log-level=none:open-gop=1:bframes=4"},
    ],
)
def test_episodes_within_one_video(tmp_path, options):
    """Whatever the key frames; the third episode and others begin between them."""
    if options.get("codec", "libx264") not in av.codecs_available:
        pytest.skip("this codec is not at hand")
    lengths = (9, 5, 12, 7, 11)
    write(tmp_path, "v3.0", lengths, per_video=5, **options)
    recordings, skips = everything(LerobotSource(tmp_path))
    assert not skips
    agree(recordings, range(5), lengths)


@pytest.mark.parametrize("version", VERSIONS)
def test_pictures_in_the_parquet(tmp_path, version):
    write(tmp_path, version, cameras=("observation.image",), dtype="image")
    recordings, skips = everything(LerobotSource(tmp_path))
    assert not skips
    agree(recordings)
    assert np.array_equal(recordings[2][0][5], marked(2, 5))
    assert len(everything(LerobotSource(tmp_path, camera="observation.image"))[0]) == 4


@pytest.mark.parametrize("version", VERSIONS)
def test_one_of_several_cameras_must_be_named(tmp_path, version):
    write(tmp_path, version, cameras=(FRONT, WRIST))
    for camera, said in (("", "several cameras.*front.*wrist"), ("top", "no such.*front.*wrist")):
        with pytest.raises(ForeframeError, match=said):
            LerobotSource(tmp_path, camera=camera).parts()
    agree(everything(LerobotSource(tmp_path, camera="front"))[0])
    agree(everything(LerobotSource(tmp_path, camera="wrist"))[0], shift=1)
    agree(everything(LerobotSource(tmp_path, camera=WRIST))[0], shift=1)


def test_columns(dataset):
    source = LerobotSource(dataset, action="action[:6]", position="observation.state[:3]")
    recordings, _ = everything(source)
    for k, (_, actions, positions) in recordings.items():
        assert np.array_equal(actions, numbers(k, LENGTHS[k])[0][:, :6])
        assert np.array_equal(positions, numbers(k, LENGTHS[k])[1][:, :3])
    source = LerobotSource(dataset, action="none", position="action[1],frame_index")
    recordings, _ = everything(source)
    steps = np.arange(LENGTHS[1])
    assert recordings[1][1] is None
    assert np.array_equal(recordings[1][2], np.stack([steps, steps], 1))
    for options, said in (
        ({"action": "act"}, "--action act: no such feature.*observation.state"),
        ({"position": "observation"}, "--position observation: no such"),
        ({"action": "action[x]"}, r"--action action\[x\]"),
    ):
        with pytest.raises(ForeframeError, match=said):
            LerobotSource(dataset, **options).parts()
    recordings, skips = everything(LerobotSource(dataset, action="action[:8]"))
    assert not recordings
    assert "7 columns" in skips[0].reason


@pytest.mark.parametrize("version", VERSIONS)
def test_splits(tmp_path, version):
    write(tmp_path, version, splits={"train": "0:2", "val": "2:3", "test": "3:4", "odd": "all"})
    source = LerobotSource(tmp_path)
    agree(everything(source)[0])
    found = {part.split: [name for name, _ in source.lengths(part)] for part in source.parts()}
    assert found == {
        "train": ["episode-000000", "episode-000001"],
        "validate": ["episode-000002"],
        "test": ["episode-000003"],
    }
    edit_info(tmp_path, splits={"Validation": "0:4"})
    assert {part.split for part in source.parts()} == {"validate"}
    for splits in (None, [], "0:4", {"train": 3}, {"train": "4"}, {"train": "a:b"}):
        edit_info(tmp_path, splits=splits)
        assert {part.split for part in source.parts()} == {None}
        agree(everything(source)[0])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_part_holds_64_episodes(tmp_path, version):
    lengths = (2,) * 150
    write(tmp_path, version, lengths, cameras=("image",), dtype="image", per_data=200)
    source = LerobotSource(tmp_path)
    assert [len(source.lengths(part)) for part in source.parts()] == [64, 64, 22]
    found = [item for part in source.parts() for item in source.read(part)]
    assert [int(item.actions[0, 0]) for item in found] == list(range(150))


def test_clocks_that_jitter(tmp_path):
    write(tmp_path, "v2.1")
    random = np.random.default_rng(0)
    for k, low, high in ((0, 0, 0.03), (1, 0.03, 0.045), (2, -0.04, 0.04)):
        jitter = random.uniform(low, high, LENGTHS[k])
        edit_column(data_file(tmp_path, k), "timestamp", lambda v, by=jitter: (v + by).tolist())
    expect(tmp_path, [], "")


def test_a_camera_of_another_rate(tmp_path):
    """Which of its frames is whose, nothing says."""
    write(tmp_path, "v2.1")
    film(video_file(tmp_path, 2), [marked(2, t) for t in range(12)], rate=2 * FPS)
    expect(tmp_path, [2], "12 frames for 12 rows of the episode: no frame at 0.100 s (row 1)")
    film(video_file(tmp_path, 2), [marked(2, t // 2) for t in range(24)], rate=2 * FPS)
    expect(tmp_path, [2], "24 frames for 12 rows")
    film(video_file(tmp_path, 2), [marked(2, t) for t in range(12)], rate=FPS // 2)
    expect(tmp_path, [2], "no frame at")


def test_an_episode_that_begins_late_in_its_video(tmp_path):
    """Timestamps count from the beginning of the video, wherever the rows begin."""
    write(tmp_path, "v2.1")
    path = data_file(tmp_path, 0)
    write_table(path, pq.read_table(path).slice(3))
    edit_episodes(
        tmp_path, lambda row: row.update(length=row["length"] - 3 * (not row["episode_index"]))
    )
    recordings, skips = everything(LerobotSource(tmp_path))
    assert not skips
    frames, actions, _ = recordings[0]
    assert np.array_equal(marks(frames), actions[:, :2])
    assert marks(frames)[0].tolist() == [0, 3]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_remote_dataset(tmp_path, version):
    write(tmp_path, version)
    place = UPath(f"memory://lerobot-source-{version}/data")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            target = place / path.relative_to(tmp_path).as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    recordings, skips = everything(LerobotSource(place))
    assert not skips
    agree(recordings)


@pytest.mark.parametrize("version", VERSIONS)
def test_import(tmp_path, version):
    write(tmp_path / "in", version, splits={"train": "0:2", "val": "2:3", "test": "3:4"})
    video_file(tmp_path / "in", 1).unlink()
    source = LerobotSource(tmp_path / "in", position="observation.state[:3]")
    done = import_dataset(
        source,
        tmp_path / "out",
        ImportOptions(size=64),
        execution=Execution(workers=1),
        log=lambda text: None,
    )
    lost = [0, 1] if version == "v3.0" else [1]
    assert [skip.name[:14] for skip in done.skipped] == [f"episode-{k:06d}" for k in lost]
    for split, k in (("train", 0), ("validate", 2), ("test", 3)):
        if k in lost:
            assert split not in done.sequences
            continue
        store = Store(tmp_path / "out" / split)
        assert len(store) == 1
        assert store.meta["source"]["frame_rate"] == FPS
        assert np.array_equal(marks(store[0].frames), store[0].actions[:, :2])
        assert np.array_equal(store[0].positions, numbers(k, LENGTHS[k])[1][:, :3])


# -- what is damaged ----------------------------------------------------------------------------


def lost_with(root, k, what):
    """The episodes that share a file of this kind with episode ``k``."""
    file = {"data": data_file, "video": video_file}[what]
    return [n for n in range(4) if file(root, n) == file(root, k)]


def expect(root, lost, said, **options):
    recordings, skips = everything(LerobotSource(root, **options))
    agree(recordings, [k for k in range(4) if k not in lost])
    assert [int(skip.name[8:14]) for skip in skips] == lost
    for skip in skips:
        assert said in skip.reason


def with_value(k, value):
    """A change of an array column: one value of row 2 of episode k."""

    def change(rows):
        row = next(row for row in rows if row[:2] == [k, 2])
        row[4] = value
        return rows

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, None])
def test_a_number_that_is_none(dataset, value):
    edit_column(data_file(dataset, 1), "observation.state", with_value(1, value))
    expect(dataset, [1], "observation.state, row 2", position="observation.state")
    expect(dataset, [], "", position="observation.state[:3]")
    edit_column(data_file(dataset, 1), "action", with_value(1, value))
    expect(dataset, [1], "action, row 2")


@pytest.mark.parametrize("name", ["action", "timestamp", "episode_index"])
def test_a_missing_column(dataset, name):
    edit_column(data_file(dataset, 1), name, None)
    expect(dataset, lost_with(dataset, 1, "data"), f"no column {name}; there are: ")


@pytest.mark.parametrize("name", ["action", "timestamp", "episode_index"])
@pytest.mark.parametrize(
    "values",
    [
        lambda n: ["text"] * n,
        lambda n: [[1.0] * t for t in range(n)],
        lambda n: [None] * n,
        lambda n: [[]] * n,
        lambda n: [{"a": 1}] * n,
        lambda n: [[[1, 2], [3]]] * n,
    ],
)
def test_a_column_of_another_kind(dataset, name, values):
    edit_column(data_file(dataset, 1), name, lambda rows: values(len(rows)))
    expect(dataset, lost_with(dataset, 1, "data"), "")


@pytest.mark.parametrize("what", ["data", "video"])
def test_a_missing_file(dataset, what):
    file = {"data": data_file, "video": video_file}[what](dataset, 1)
    lost = lost_with(dataset, 1, what)
    file.unlink()
    expect(dataset, lost, file.name)
    file.mkdir()
    expect(dataset, lost, file.name)


def test_fewer_frames_than_rows(tmp_path):
    write(tmp_path, "v2.1")
    for n in range(1, 9):
        film(video_file(tmp_path, 0), [marked(0, t) for t in range(n)])
        expect(tmp_path, [0], f"no frame at 0.{n}00 s (row {n}")
    # One that is missing in the middle moves none of the others.
    kept = [t for t in range(9) if t != 4]
    film(video_file(tmp_path, 0), [marked(0, t) for t in kept], times=[t / FPS for t in kept])
    expect(tmp_path, [0], "no frame at 0.400 s (row 4")


def test_fewer_frames_than_rows_in_a_shared_video(tmp_path):
    write(tmp_path, "v3.0")
    joined = [marked(k, t) for k in (0, 1) for t in range(LENGTHS[k])]
    film(video_file(tmp_path, 0), joined[:-1])
    expect(tmp_path, [1], "no frame at 1.300 s (row 4")
    film(video_file(tmp_path, 0), joined[:7])
    expect(tmp_path, [0, 1], "no frame at")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("off", [-1, 1, -1000, 1000])
def test_a_wrong_length(tmp_path, version, off):
    write(tmp_path, version)
    edit_episodes(
        tmp_path, lambda row: row.update(length=row["length"] + off * (row["episode_index"] == 2))
    )
    expect(tmp_path, [2], "rows, and" if version == "v2.1" else "s, but in")


@pytest.mark.parametrize(
    ("start", "stop", "lost"),
    [
        (0.2, 0.7, [0, 1]),  # frames of the episode before
        (0.8, 1.3, [0, 1]),
        (1.0, 1.5, [1]),  # beyond the end of the video
        (0.9, 1.5, [1]),
        (-0.5, 0.0, [1]),
        (np.nan, 1.4, [1]),
        (np.inf, np.inf, [1]),
        (0.9, -np.inf, [1]),
    ],
)
def test_wrong_times_in_the_metadata(tmp_path, start, stop, lost):
    write(tmp_path, "v3.0")
    wrong = {f"videos/{FRONT}/from_timestamp": start, f"videos/{FRONT}/to_timestamp": stop}
    edit_episodes(tmp_path, lambda row: row.update(wrong if row["episode_index"] == 1 else {}))
    expect(tmp_path, lost, "")


def test_a_file_that_is_another_episodes(tmp_path):
    write(tmp_path, "v3.0")
    edit_episodes(
        tmp_path, lambda row: row.update({"data/file_index": 1} if not row["episode_index"] else {})
    )
    expect(tmp_path, [0], "0 rows")
    write(tmp_path / "b", "v2.1")
    shutil.copy(data_file(tmp_path / "b", 1), data_file(tmp_path / "b", 0))
    expect(tmp_path / "b", [0], "0 rows")
    edit_info(tmp_path / "b", video_path="videos/chunk-000/{video_key}/episode_000002.mp4")
    recordings, skips = everything(LerobotSource(tmp_path / "b"))
    assert not recordings
    assert "the same part of" in skips[1].reason


def test_rows_out_of_order(dataset):
    path = data_file(dataset, 1)
    table = pq.read_table(path)
    order = np.arange(len(table))
    first = table.column("episode_index").to_pylist().index(1)
    order[[first + 1, first + 3]] = order[[first + 3, first + 1]]
    write_table(path, table.take(order))
    expect(dataset, [1], "timestamps do not grow")


def test_rows_in_two_stretches(tmp_path):
    write(tmp_path, "v3.0")
    path = data_file(tmp_path, 0)
    table = pq.read_table(path)
    order = np.r_[0:3, 9:26, 3:9]
    write_table(path, table.take(order))
    expect(tmp_path, [0], "in one stretch")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"codebase_version": "v1.6"}, "v1.6; this version reads v2.0, v2.1, v3.0"),
        ({"codebase_version": None}, "None; this version"),
        ({"codebase_version": ["v3.0"]}, "this version"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": "ten"}, "ten"),
        ({"fps": None}, "info.json: cannot be read"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": float("inf")}, "fps is inf"),
        ({"features": ["action"]}, "info.json: cannot be read"),
        ({"features": {"action": {"dtype": "float32"}}}, "no camera"),
        ({"features": {"action": 1, FRONT: "video"}}, "no camera"),
        ({"data_path": 5}, "info.json: cannot be read"),
        ({"data_path": "{x}.parquet"}, "cannot be read"),
        ({"data_path": "{}{}{}.parquet"}, "cannot be read"),
        ({"data_path": "{"}, "cannot be read"),
        ({"data_path": "{video_key.x}{chunk_index.x}"}, "cannot be read"),
        ({"video_path": None}, "video_path"),
        ({"video_path": "{x}.mp4"}, "cannot be read"),
    ],
)
def test_wrong_metadata(dataset, changes, said):
    edit_info(dataset, **changes)
    with pytest.raises(ForeframeError, match=said):
        LerobotSource(dataset).parts()


def test_missing_or_unreadable_metadata(dataset):
    listed = dataset / EPISODES
    if not listed.exists():
        listed = dataset / "meta/episodes.jsonl"
        lines(listed, [json.loads(listed.read_text().splitlines()[0])] * 2)
    else:
        table = pq.read_table(listed)
        write_table(listed, pa.concat_tables([table.slice(0, 1)] * 2))
    with pytest.raises(ForeframeError, match="lists episode 0 2 times"):
        LerobotSource(dataset).parts()
    for content in (b"", b"[1, 2]\n", b"\xff\xfe", b'{"episode_index": null, "length": 3}'):
        listed.write_bytes(content)
        with pytest.raises(ForeframeError, match=r"list of episodes|lists no episodes"):
            LerobotSource(dataset).parts()
    listed.unlink()
    with pytest.raises(ForeframeError, match="meta"):
        LerobotSource(dataset).parts()
    for content in (b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"fps": 3}'):
        (dataset / "meta/info.json").write_bytes(content)
        with pytest.raises(ForeframeError, match=r"info.json: cannot be read"):
            LerobotSource(dataset).parts()
    shutil.rmtree(dataset / "meta")
    with pytest.raises(ForeframeError, match=r"info.json: no such file"):
        LerobotSource(dataset).parts()
    with pytest.raises(ForeframeError, match=r"info.json"):
        LerobotSource(dataset / "none").parts()


def test_a_list_without_a_column(tmp_path):
    write(tmp_path, "v3.0")
    edit_column(tmp_path / EPISODES, f"videos/{FRONT}/from_timestamp", None)
    with pytest.raises(ForeframeError, match=f"no column videos/{FRONT}/from_timestamp"):
        LerobotSource(tmp_path).parts()


# -- many small damages -------------------------------------------------------------------------


def damages(good, seed, flips, cuts):
    random = np.random.default_rng(seed)
    for n in np.linspace(0, len(good) - 1, cuts).astype(int):
        yield good[:n]
    for n in random.integers(0, 8 * len(good), flips):
        data = bytearray(good)
        data[n // 8] ^= 1 << n % 8
        yield bytes(data)
    for n in random.integers(0, len(good), flips // 4):
        stop = n + random.integers(1, 200)
        yield good[:n] + random.bytes(len(good[n:stop])) + good[stop:]


def test_a_video_cut_anywhere(tmp_path):
    for version in VERSIONS:
        root = tmp_path / version
        write(root, version)
        path = video_file(root, 1)
        # The index behind the frames, before them, or between them.
        for options in ({}, {"movflags": "faststart"}, {"movflags": "delay_moov+frag_keyframe"}):
            frames = [marked(k, t) for k in lost_with(root, 1, "video") for t in range(LENGTHS[k])]
            plain(path, frames, options)
            good = path.read_bytes()
            agree(everything(LerobotSource(root))[0])
            for data in damages(good, 0, 0, 25):
                path.write_bytes(data)
                recordings, skips = everything(LerobotSource(root))
                agree(recordings, list(recordings))
                assert len(recordings) + len(skips) == 4
                # At the very end there may be things that nobody needs.
                assert skips or len(data) > 0.9 * len(good)
                assert set(recordings) >= {2, 3}


def plain(path, frames, options):
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12", "bf": "2"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_video_that_begins_late(tmp_path, version):
    """As some writers leave it: the frames are two later than their times in the metadata."""
    write(tmp_path, version)
    frames = [marked(k, t) for k in lost_with(tmp_path, 1, "video") for t in range(LENGTHS[k])]
    plain(video_file(tmp_path, 1), frames, {"movflags": "empty_moov+frag_keyframe"})
    expect(tmp_path, lost_with(tmp_path, 1, "video"), "first frame is at 0.200 s and not at 0")


def test_flipped_bytes_in_a_video(tmp_path):
    """Nothing but errors of ours, and never another number of frames.

    An mp4 has no checksums: a flip in the coded pixels may change them without a trace.
    """
    for version in VERSIONS:
        root = tmp_path / version
        write(root, version)
        path = video_file(root, 1)
        noticed = 0
        for data in damages(path.read_bytes(), 0, 60, 0):
            path.write_bytes(data)
            recordings, skips = everything(LerobotSource(root))
            assert len(recordings) + len(skips) == 4
            assert all(len(recordings[k][0]) == LENGTHS[k] for k in recordings)
            agree({k: r for k, r in recordings.items() if k > 1}, [2, 3])
            noticed += bool(skips)
        assert noticed > 15


def test_flipped_bytes_in_the_index_of_a_video(tmp_path):
    """It tells which frame is when: whatever is changed in it, no frame goes to another row."""
    write(tmp_path, "v3.0", per_video=5)
    path = tmp_path / f"videos/{FRONT}/chunk-000/file-000.mp4"
    good = path.read_bytes()
    index = good.index(b"moov") - 4
    tables = good[index:].index(b"edts"), good[index:].index(b"stsd"), good[index:].index(b"udta")
    for start, stop in (tables[:2], tables[1:]):
        start, stop = index + start, index + stop
        for data in damages(good[start:stop], 0, 60, 0):
            path.write_bytes(good[:start] + data + good[stop:])
            recordings, skips = everything(LerobotSource(tmp_path))
            assert len(recordings) + len(skips) == 4
            for k, (frames, actions, _) in recordings.items():
                if not blurred(frames):
                    assert np.array_equal(marks(frames), actions[:, :2]), k


def blurred(frames):
    """Whether frames were decoded from damaged data, so that their marks cannot be read."""
    try:
        marks(frames)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("which", ["checked", "plain", "snappy"])
def test_flipped_and_cut_parquet(tmp_path, which):
    """With checksums of the pages no number changes unnoticed; without, nothing else goes wrong."""
    options = {
        "checked": {"write_page_checksum": True},
        "plain": {"compression": "none"},
        "snappy": {},
    }[which]
    write(tmp_path, "v3.0", cameras=("image",), dtype="image")
    path = data_file(tmp_path, 0)
    write_table(path, pq.read_table(path), **options)
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    in_footer = [good[:footer] + data for data in damages(good[footer:], 2, 160, 0)]
    for data in [*damages(good, 1, 160, 60), *in_footer]:
        path.write_bytes(data)
        recordings, skips = everything(LerobotSource(tmp_path, position="observation.state"))
        assert len(recordings) + len(skips) == 4
        if which == "checked":
            agree(recordings, list(recordings))
            assert 3 in recordings


def test_flipped_and_cut_metadata(dataset):
    for name in ("meta/info.json", "meta/episodes.jsonl", EPISODES):
        path = dataset / name
        if not path.exists():
            continue
        good = path.read_bytes()
        for data in damages(good, 2, 80, 20):
            path.write_bytes(data)
            try:
                recordings, _ = everything(LerobotSource(dataset))
            except ForeframeError:
                continue
            for frames, actions, _ in recordings.values():
                assert actions is None or len(actions) == len(frames)
        path.write_bytes(good)


def test_a_damaged_picture(tmp_path):
    """Also where the picture could be decoded: its checksums count."""
    write(tmp_path, "v2.1", cameras=("image",), dtype="image")
    path = data_file(tmp_path, 1)
    good = pq.read_table(path)
    content = good.column("image").to_pylist()[2]["bytes"]
    for data in [b"", b"no picture", *damages(content, 3, 40, 20)]:
        cells = good.column("image").to_pylist()
        cells[2]["bytes"] = data
        table = good.drop_columns("image").append_column("image", pa.array(cells))
        write_table(path, table)
        recordings, skips = everything(LerobotSource(tmp_path))
        agree(recordings, list(recordings))
        if 1 in recordings:
            assert np.array_equal(recordings[1][0][2], marked(1, 2))
        else:
            assert "row 2" in skips[0].reason
