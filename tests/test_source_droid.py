"""DROID: frame k belongs to row 3k, views stay together, and a damaged episode is words."""

import json
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources.droid import DroidSource
from foreframe.data.sources.listing import tree
from foreframe.data.sources.source import Skip
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution

av = pytest.importorskip("av")

REAL = Path(__file__).parents[2] / "shared" / "data" / "droid"
ACTION, GRIP = "action.cartesian_position", "action.gripper_position"
STATE = "observation.state.cartesian_position"


def grey(episode, camera, k):
    return (40 * camera + 20 * (episode % 2) + 11 * k) % 256


def write_video(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width = stream.height = 32
        for value in values:
            frame = np.full((32, 32, 3), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def annotation(rows, frames=None):
    """Row r holds the numbers r + column/10, so that every number says where it comes from."""
    table = (np.arange(rows)[:, None] + np.arange(6) / 10).tolist()
    return {
        "texts": ["Put the cup away"],
        "video_length": -(-rows // 3) if frames is None else frames,
        "raw_length": rows,
        "states": [[0.0] * 7],
        STATE: table,
        ACTION: table,
        GRIP: (np.arange(rows) % 2).tolist(),
        "action.joint_velocity": (np.array(table) + 100).tolist(),
    }


def write_episode(root, split, episode, rows=14, cameras=(0, 1, 2), **changes):
    path = root / "annotation" / split / f"{episode}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**annotation(rows), **changes}))
    for camera in cameras:
        values = [grey(episode, camera, k) for k in range(-(-rows // 3))]
        write_video(root / "videos" / split / str(episode) / f"{camera}.mp4", values)


@pytest.fixture
def root(tmp_path):
    for episode, rows in ((0, 13), (2, 14), (10, 15)):
        write_episode(tmp_path / "droid", "train", episode, rows)
    write_episode(tmp_path / "droid", "val", 7, 12)
    return tmp_path / "droid"


def everything(source):
    found, skips = {}, []
    for part in pickle.loads(pickle.dumps(source)).parts():
        for item in source.read(part):
            if isinstance(item, Skip):
                skips.append(item)
                continue
            try:
                found[item.name, item.view] = (list(item.frames), item.actions, item.positions)
                assert item.row_of.tolist() == list(range(0, 3 * len(item.times), 3))
            except ForeframeError as error:
                skips.append(Skip(item.name, str(error)))
    return found, skips


def test_frame_k_belongs_to_row_3k(root):
    found, skips = everything(DroidSource(root))
    assert not skips
    assert list(found) == [(name, "") for name in ("train/0", "train/2", "train/10", "val/7")]
    for (name, _), (frames, actions, positions) in found.items():
        episode = int(name.partition("/")[2])
        assert len(frames) == -(-len(actions) // 3)
        assert len(actions) == len(positions)
        for k, frame in enumerate(frames):
            assert abs(float(frame.mean()) - grey(episode, 0, k)) < 5
            assert np.allclose(positions[3 * k], [3 * k, 3 * k + 0.1, 3 * k + 0.2])


def imported(root, out, options=None, **fields):
    options = options or ImportOptions(split="train")
    import_dataset(DroidSource(root, **fields), out, options, execution=Execution(1), log=len)
    store = Store(out / "train")
    return {name: store[k] for k, name in enumerate(store.names)}


def test_the_target_that_stands_when_the_next_frame_is_taken(root, tmp_path):
    for found in imported(root, tmp_path / "out").values():
        k = np.arange(len(found.frames) - 1)
        assert np.allclose(found.actions[:-1, 0], 3 * k + 2)
        assert np.array_equal(found.actions[:-1, 6], (3 * k + 2) % 2)
        assert np.allclose(found.positions[:-1, 0], 3 * k)
    assert Store(tmp_path / "out" / "train").tasks == ["Put the cup away"] * 4


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("first", [[0], [3], [6], [9], [12]]),
        ("last", [[2], [5], [8], [11], [13]]),
        ("mean", [[1], [4], [7], [10], None]),
        ("sum", [[3], [12], [21], [30], None]),
        ("stack", [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [12, 13, 13]]),
    ],
)
def test_the_rows_between_two_frames_become_one(root, tmp_path, rows, expected):
    options = ImportOptions(split="train", resample_actions=rows)
    found = imported(root, tmp_path / "out", options, action=f"{ACTION}[0]")
    actions = found["train/2"].actions
    for row, wanted in zip(actions, expected, strict=True):
        assert wanted is None or np.allclose(row, wanted)


def test_other_keys_and_none(root, tmp_path):
    source = DroidSource(root, action="action.joint_velocity[1:3]", position="none")
    _, actions, positions = everything(source)[0]["train/0", ""]
    assert np.allclose(actions[3], [103.1, 103.2])
    assert positions is None
    with pytest.raises(ForeframeError, match="--resample-actions"):
        import_dataset(source, tmp_path / "out", execution=Execution(1), log=len)


def test_views_have_one_name_and_land_in_one_split(tmp_path):
    for episode in range(12):
        write_episode(tmp_path / "droid", "all", episode)
    source = DroidSource(tmp_path / "droid", camera="0,1,2")
    done = import_dataset(source, tmp_path / "out", execution=Execution(1))
    assert set(done.sequences) == {"train", "validate", "test"}
    assert sum(done.sequences.values()) == 36
    for split in done.sequences:
        names = [name.partition(":")[0] for name in Store(tmp_path / "out" / split).names]
        assert all(names.count(name) == 3 for name in names)


def test_its_own_splits_stay(root, tmp_path):
    done = import_dataset(
        DroidSource(root), tmp_path / "out", ImportOptions(test=0), execution=Execution(1)
    )
    assert done.sequences == {"train": 3, "validate": 1}
    assert Store(tmp_path / "out" / "train").meta["source"]["frame_rate"] == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"camera": "left"}, "--camera left"),
        ({"camera": "0,0"}, "each camera once"),
        ({"camera": "7"}, r"no 7\.mp4"),
        ({"action": "action.joints"}, "--action action.joints: there is no such .*there are: "),
        ({"position": "texts"}, "--position texts: there is no such"),
        ({"action": f"{ACTION}[x]"}, r"NAME\[:3\]"),
    ],
)
def test_options_that_do_not_fit_are_refused(root, options, said):
    with pytest.raises(ForeframeError, match=said):
        DroidSource(root, **options).parts()


def test_another_folder_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ForeframeError, match=r"annotation/SPLIT/EPISODE\.json"):
            DroidSource(place).parts()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"video_length": 4}, "14 rows and the videos 4 frames"),
        ({"video_length": "5"}, "video_length"),
        ({STATE: [[0.0] * 6] * 13 + [[0.0] * 5]}, "row 13: is not 6 numbers"),
        ({ACTION: [[float("nan")] * 6] * 14}, "not a finite number"),
        ({ACTION: [["1"] * 6] * 14}, "row 0"),
        ({ACTION: [[10**400] * 6] * 14}, "too large"),
        ({ACTION: None}, "there is no action.cartesian_position"),
    ],
)
def test_an_annotation_that_is_wrong_skips_its_episode(root, changes, said):
    write_episode(root, "train", 2, 14, **changes)
    found, (skip,) = everything(DroidSource(root))
    assert len(found) == 3
    assert skip.name == "train/2"
    assert said in skip.reason


def test_damaged_videos_and_annotations_skip_their_episode_alone(root):
    (root / "videos" / "train" / "2" / "0.mp4").unlink()
    video = root / "videos" / "train" / "10" / "0.mp4"
    video.write_bytes(video.read_bytes()[:-200])
    (root / "annotation" / "val" / "7.json").write_text("{" * 100000)
    found, skips = everything(DroidSource(root))
    assert list(found) == [("train/0", "")]
    assert [skip.name for skip in skips] == ["train/2", "train/10", "val/7"]


def test_a_video_with_another_number_of_frames_is_not_guessed_at(root):
    write_video(root / "videos" / "train" / "2" / "0.mp4", [0] * 4)
    _, (skip,) = everything(DroidSource(root))
    assert "0.mp4 has 4 frames, and the annotation says 5" in skip.reason


def test_mutated_annotations_end_in_words(tmp_path):
    root = tmp_path / "droid"
    write_episode(root, "train", 0, 9, cameras=(0,))
    path = root / "annotation" / "train" / "0.json"
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(content)
        for at in random.integers(0, len(content), random.integers(1, 5)):
            changed[at] = random.choice(list(b'0192.-e[]{}",:\xff\x00nN'))
        path.write_bytes(changed)
        for act in (
            lambda: tree(DroidSource(root).listing()),
            lambda: everything(DroidSource(root)),
        ):
            with suppress(ForeframeError):
                act()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real sample is not here")
def test_real_episodes_are_in_one_split_each_and_at_5_hz(tmp_path):
    source = DroidSource(REAL, camera="0,1,2")
    done = import_dataset(source, tmp_path / "out", execution=Execution(1))
    assert not done.skipped
    homes = {}
    for split in done.sequences:
        store = Store(tmp_path / "out" / split)
        assert store.meta["source"]["frame_rate"] == 5
        for name in store.names:
            homes.setdefault(name.partition(":")[0].partition("@")[0], []).append(split)
    assert len(homes) == 11
    assert all(len(set(splits)) == 1 and len(splits) == 3 for splits in homes.values())
    values = json.loads((REAL / "annotation" / "val" / "199.json").read_text())
    store = Store(tmp_path / "out" / "validate")
    found = store[store.names.index("val/199:0")]
    assert np.allclose(found.positions, np.array(values[STATE])[::3, :3])
    targets = np.array(values[ACTION])[2::3]
    assert np.allclose(found.actions[:-1, :6], targets[: len(found.actions) - 1])
    assert any(store.tasks)
