"""What is there before anything is imported: --list for every source, and a path without one."""

import json
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from foreframe.commands.app import main
from foreframe.data.lab import write_sequence
from foreframe.data.recording import Recording
from foreframe.data.sources import SOURCES
from foreframe.data.sources.droid import DroidSource
from foreframe.data.sources.hdf5 import Hdf5Source
from foreframe.data.sources.lerobot import LerobotSource
from foreframe.data.sources.listing import FEW, Node, few, tree
from foreframe.data.sources.recognise import TABLE, recognise
from foreframe.data.sources.tfrecord import encode_example, frame_record
from foreframe.data.store.writer import join_shards, write_store
from tests.bags import arm, film, in_time, write_ros2

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")
av = pytest.importorskip("av")
pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("mcap_ros2")

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
ROWS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)


def make_bair(path):
    features = {}
    for t in range(30):
        features[f"{t}/image_aux1/encoded"] = bytes(64 * 64 * 3)
        features[f"{t}/action"] = ROWS[0]
    path.mkdir()
    record = frame_record(encode_example(features))
    for name in ("traj_0_to_255", "traj_512_to_767"):
        (path / f"{name}.tfrecords").write_bytes(record)
    return ["split test: 1 file", "traj_512_to_767.tfrecords: 1 record of 30", "0/action float[4]"]


def make_rlds(path):
    png = b"\x89PNG\r\n\x1a\n"
    episode = {
        "steps/observation/image_0": [png] * 3,
        "steps/observation/image_1": [png] * 3,
        "steps/action": np.zeros(21, np.float32),
    }
    path.mkdir()
    name = "bridge_dataset-train.tfrecord-00000-of-00001"
    (path / name).write_bytes(frame_record(encode_example(episode)) * 2)
    return [
        "observation/image_1: pictures",
        "action: float [7]",
        f"{name}: 2 episodes, split train",
    ]


def make_lerobot(path):
    (path / "meta").mkdir(parents=True)
    camera = {"dtype": "video", "shape": [48, 64, 3]}
    info = {
        "codebase_version": "v2.1",
        "fps": 30,
        "features": {
            "observation.images.top": camera,
            "observation.images.wrist": camera,
            "action": {"dtype": "float32", "shape": [6]},
        },
        "data_path": "data/{episode_index}.parquet",
        "video_path": "videos/{video_key}/{episode_index}.mp4",
        "splits": {"train": "0:9"},
    }
    (path / "meta" / "info.json").write_text(json.dumps(info))
    lines = [json.dumps({"episode_index": k, "length": 10 + k}) for k in range(9)]
    (path / "meta" / "episodes.jsonl").write_text("\n".join(lines))
    return [
        "LeRobotDataset v2.1, 30 frames a second",
        "observation.images.wrist  video [48, 64, 3]",
        "action  float32 [6]",
        "9 recordings, 126 frames, 10 to 18 each",
        "split train: episodes 0:9",
        "... and 4 more recordings",
    ]


def make_zarr(path):
    buffer = zarr.open_group(str(path), mode="w", zarr_format=2)
    for name, values in (
        ("data/img", FRAMES),
        ("data/action", ROWS),
        ("meta/episode_ends", np.array([2, 6])),
    ):
        buffer.create_array(name, data=values)
    return ["data/img  uint8 [6, 16, 16, 3]", "2 recordings, 6 frames, 2 to 4 each", "1: 4 frames"]


def make_hdf5(path):
    with h5py.File(path, "w") as file:
        for k in range(2):
            file[f"data/demo_{k}/obs/top"], file[f"data/demo_{k}/obs/side"] = FRAMES, FRAMES
            file[f"data/demo_{k}/actions"] = ROWS
        file["mask/train"] = np.array([b"demo_0"])
    return [
        "top  uint8 [6, 16, 16, 3]",
        "actions  float32 [6, 4]",
        "form: robomimic",
        "2 recordings (data/demo_*)",
        "data/demo_1: 6 frames",
        "split train: 1 recording",
        "name the camera with --image",
    ]


def write_video(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width = stream.height = 16
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def make_droid(path):
    for k in range(2):
        (path / "videos" / "train" / str(k)).mkdir(parents=True)
        for camera in range(3):
            write_video(path / "videos" / "train" / str(k) / f"{camera}.mp4")
        (path / "annotation" / "train").mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {"video_length": 6, "texts": ["x"], "action.joint_position": [[0] * 7] * 18}
        )
        (path / "annotation" / "train" / f"{k}.json").write_text(text)
    return ["cameras: 0, 1, 2", "action.joint_position [7]", "train: 2 episodes", "1: 6 frames"]


def make_video(path):
    path.mkdir()
    write_video(path / "a.mp4")
    write_video(path / "b.mp4")
    np.savetxt(path / "a.csv", ROWS, delimiter=",", header="dx,dy,dz,grip", comments="")
    return ["2 videos", "columns of a.csv: dx, dy, dz, grip", "b.mp4: 6 frames, 5 a second"]


def make_mcap(path):
    path.mkdir()
    for name in ("0.mcap", "1.mcap"):
        write_ros2(path / name, in_time(film(FRAMES), arm(ROWS, rate=10)))
    return [
        "2 recordings",
        "/arm  sensor_msgs/msg/JointState  6 messages, about 9.96 a second",
        "/arm.position  [4]",
        "1.mcap: 0.502 s",
    ]


def make_npz(path):
    np.savez(path, rgb=FRAMES, command=ROWS)
    return ["rgb uint8 [6, 16, 16, 3]", "command float32 [6, 4]"]


def make_mmnist(path):
    path.mkdir()
    header = b"\0\0\x08\x03" + struct.pack(">III", 12, 28, 28)
    (path / "train-images-idx3-ubyte").write_bytes(header + bytes(12 * 28 * 28))
    return ["train-images-idx3-ubyte: 12 digits of 28x28", "split train: 10,000 sequences of 20"]


def make_lab(path):
    for split, count in (("train", 7), ("validate", 1)):
        for k in range(count):
            write_sequence(path / split / "traj_0_to_255" / str(k), FRAMES, ROWS)
    return ["split train: 7 sequences", "traj_0_to_255/0: 6 frames, actions.csv", "and 2 more"]


def make_store(path):
    for split in ("train", "test"):
        path.mkdir(exist_ok=True)
        (path / split).mkdir()
        with write_store(path / split / "a") as store:
            for view in ("top", "wrist"):
                store.add(Recording(FRAMES, ROWS), f"lift/0:{view}", of="lift/0")
        join_shards(path / split, ["a"], {})
    (path / "dataset.json").write_text("{}")
    return ["train: 1 recording, 2 sequences", "actions of each frame  float32 [4]", "wrist"]


MADE = {
    "bair": ("softmotion30_44k", make_bair, "BAIR"),
    "rlds": ("bridge", make_rlds, "RLDS"),
    "lerobot": ("so100", make_lerobot, "a LeRobotDataset v2.1"),
    "zarr": ("replay.zarr", make_zarr, "a replay buffer in zarr"),
    "hdf5": ("low_dim.hdf5", make_hdf5, "HDF5"),
    "droid": ("droid", make_droid, "DROID"),
    "mcap": ("bags", make_mcap, "MCAP"),
    "video": ("films", make_video, "a video"),
    "npz": ("a.npz", make_npz, "arrays in .npz"),
    "mmnist": ("mnist", make_mmnist, "the digits of MNIST"),
    "lab": ("push", make_lab, "the lab's layout"),
    "store": ("made", make_store, "a dataset of foreframe already"),
}
"""For each source: the name of an input, what makes it and says what --list shows, its form."""


def stopped(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 2
    out, error = capsys.readouterr()
    assert not out
    assert "Traceback" not in error
    return error.removeprefix("foreframe: error: ").strip()


def test_every_source_is_tried_here_and_stands_in_the_table():
    assert set(MADE) == set(SOURCES) == {name for _, name in TABLE}


@pytest.mark.parametrize("source", MADE)
def test_list_shows_what_is_there_and_imports_nothing(source, tmp_path, capsys, monkeypatch):
    name, make, _ = MADE[source]
    expected = make(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    main(["import", source, name, "--list"])
    out, error = capsys.readouterr()
    assert not error
    assert out.startswith(name)
    for text in expected:
        assert text in out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("source", MADE)
def test_a_path_without_a_source_gets_the_command(source, tmp_path, capsys, monkeypatch):
    name, make, form = MADE[source]
    make(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    said = stopped(capsys, "import", f"./{name}")
    assert (
        f"looks like {'a folder with 2 files: ' if source in ('video', 'mcap') else ''}{form}"
        in said
    )
    assert f"foreframe import {source} {name} OUT" in said
    assert "\n" not in said


def test_several_datasets_in_a_folder_are_listed(tmp_path, capsys):
    for source in ("lerobot", "zarr", "npz", "droid"):
        name, make, _ = MADE[source]
        (tmp_path / "data").mkdir(exist_ok=True)
        if source == "npz":
            (tmp_path / "data" / "arrays").mkdir()
            make(tmp_path / "data" / "arrays" / name)
        else:
            make(tmp_path / "data" / name)
    first, *lines = stopped(capsys, "import", tmp_path / "data").splitlines()
    assert "holds several datasets" in first
    assert [line.partition("foreframe import ")[2].split()[0] for line in lines] == [
        "npz",
        "droid",
        "zarr",
        "lerobot",
    ]


def test_files_of_several_kinds_each_get_their_command(tmp_path, capsys):
    make_npz(tmp_path / "a.npz")
    make_hdf5(tmp_path / "a.h5")
    said = stopped(capsys, "import", tmp_path)
    assert "foreframe import hdf5" in said
    assert "foreframe import npz" in said
    assert "--frames NAME" in said


def test_nothing_recognised_shows_the_table(tmp_path, capsys):
    (tmp_path / "note.txt").write_text("hello")
    said = stopped(capsys, "import", tmp_path)
    assert all(form in said for form, _ in TABLE)


def test_a_folder_that_has_the_name_of_a_source_is_meant_by_it_alone(tmp_path, capsys, monkeypatch):
    make_droid(tmp_path / "droid")
    monkeypatch.chdir(tmp_path)
    assert "foreframe import droid droid OUT" in stopped(capsys, "import", "droid")
    assert "Missing from foreframe import lab: IN" in stopped(capsys, "import", "lab")


def test_raw_bridge_data_is_never_unpickled(tmp_path, capsys):
    folder = tmp_path / "datacol2" / "2023" / "raw" / "traj_group0" / "traj0"
    (folder / "images0").mkdir(parents=True)
    Image.fromarray(FRAMES[0]).save(folder / "images0" / "im_0.jpg")
    trap = b"cos\nsystem\n(S'touch " + str(tmp_path / "opened").encode() + b"'\ntR."
    for name in ("policy_out.pkl", "obs_dict.pkl"):
        (folder / name).write_bytes(trap)
    for place in (tmp_path / "datacol2", folder):
        said = stopped(capsys, "import", place)
        assert "raw BridgeData" in said
        assert "never is" in said
        assert "\n" not in said
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a", b"\x89MCAP0\r\n", "foreframe import mcap"),
        ("a.bag", b"#ROSBAG", "a recording of ROS. It is read as MCAP: mcap convert"),
        ("a.npy", b"\x93NUMPY", "Save it as .npz"),
        ("a.pkl", b"\x80\x04", "a pickle"),
        ("data.parquet", b"PAR1", "meta/info.json"),
        ("a.bin", b"\x89HDF\r\n\x1a\n", "foreframe import hdf5"),
        ("user_block.mat", bytes(512) + b"\x89HDF\r\n\x1a\n", "foreframe import hdf5"),
        ("digits", b"\0\0\x08\x03", "foreframe import mmnist"),
    ],
)
def test_files_are_known_by_their_first_bytes_or_endings(tmp_path, capsys, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in stopped(capsys, "import", tmp_path / name)


def test_a_tar_is_bairs(tmp_path):
    (tmp_path / "x").write_text("x")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "x", "softmotion30_44k/train/x")
    assert [one.source for one in recognise(tmp_path / "a.tar")] == ["bair"]


def test_a_path_that_is_not_there_and_a_mistyped_source(tmp_path, capsys):
    assert "no such file or folder" in stopped(capsys, "import", tmp_path / "nothing")
    assert "Did you mean lerobot?" in stopped(capsys, "import", "lerobto")


def test_without_list_a_new_folder_is_needed(tmp_path, capsys):
    make_npz(tmp_path / "a.npz")
    assert "OUT: name the new folder" in stopped(capsys, "import", "npz", tmp_path / "a.npz")


def test_without_frames_the_arrays_are_named(tmp_path, capsys):
    make_npz(tmp_path / "a.npz")
    said = stopped(capsys, "import", "npz", tmp_path / "a.npz", tmp_path / "out")
    assert "--frames; it holds rgb uint8 [6, 16, 16, 3], command float32 [6, 4]" in said


def test_names_that_would_move_the_cursor_are_written_out(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["\x1b[2Jgone"] = ROWS
    text = "\n".join(tree(Hdf5Source(tmp_path / "a.h5").listing()))
    assert "\x1b" not in text
    assert r"\x1b[2Jgone  float32 [6, 4]" in text


# -- many recordings ----------------------------------------------------------------------------


def test_of_many_the_first_few_are_made_and_the_others_counted():
    made = []
    nodes = few((made.append(k) or Node(str(k)) for k in range(10**9)), 10**9, "recordings")
    assert len(made) == FEW
    assert nodes[-1].text == f"... and {10**9 - FEW:,} more recordings"
    assert len(few((Node("") for _ in range(FEW + 1)), FEW + 1)) == FEW + 1


def test_100_000_episodes_make_a_short_list(tmp_path):
    make_lerobot(tmp_path / "a")
    lines = [json.dumps({"episode_index": k, "length": 10}) for k in range(100_000)]
    (tmp_path / "a" / "meta" / "episodes.jsonl").write_text("\n".join(lines))
    lines = tree(LerobotSource(tmp_path / "a").listing())
    assert len(lines) < 20
    assert "100,000 recordings, 1,000,000 frames, 10 each" in lines[-FEW - 2]


def test_a_folder_of_many_annotations_is_listed_by_its_first(tmp_path, monkeypatch):
    make_droid(tmp_path / "a")
    folder = tmp_path / "a" / "annotation" / "train"
    for k in range(2, 3000):
        (folder / f"{k}.json").symlink_to(folder / "0.json")
    lines = tree(DroidSource(tmp_path / "a").listing())
    assert len(lines) < 20
    assert "and 2,995 more" in lines[-1]


def test_a_file_of_many_demonstrations_is_listed_by_its_first(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data/demo_0/obs/top"], file["data/demo_0/actions"] = FRAMES, ROWS
        for k in range(1, 2000):
            file[f"data/demo_{k}"] = file["data/demo_0"]
    lines = tree(Hdf5Source(tmp_path / "a.h5").listing())
    assert len(lines) < 40
    assert "2,000 recordings (data/demo_*)" in "\n".join(lines)


def test_a_preview_draws_and_imports_nothing(tmp_path, capsys):
    make_droid(tmp_path / "droid")
    words = "--action action.joint_position --position none --resample-actions last"
    place, seen = str(tmp_path / "droid"), str(tmp_path / "seen")
    main(["import", "droid", place, "--preview", seen, *words.split()])
    assert "of the first" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == [
        "contact-sheet.png",
        "sequences.gif",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["droid", "seen"]
