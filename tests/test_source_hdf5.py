"""HDF5: each form comes back exactly, nothing but the file is read, and damage is words."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from upath import UPath

from foreframe.data.imports.importing import ImportOptions, import_dataset
from foreframe.data.sources import hdf5_aside
from foreframe.data.sources.hdf5 import Hdf5Source
from foreframe.data.sources.hdf5_form import rate_of
from foreframe.data.sources.listing import tree
from foreframe.data.sources.source import UnusableError
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.system.workers import Execution
from tests import reading

h5py = pytest.importorskip("h5py")
av = pytest.importorskip("av")

TOP = "obs/agentview_image"
LENGTHS = (5, 6, 7)


def pictures(seed, frames, size=(16, 12)):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (frames, *size, 3), np.uint8)


def numbers(seed, rows, width):
    return np.random.default_rng((seed, width)).normal(size=(rows, width))


def encoded(frame, kind="JPEG"):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, kind, quality=95)
    return file.getvalue()


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def robomimic(path, lengths=LENGTHS, masks=None, **options):
    with h5py.File(path, "w") as file:
        for k, n in enumerate(lengths):
            group = file.create_group(f"data/demo_{k}")
            group.create_dataset(TOP, data=pictures(k, n), **options)
            group["actions"] = numbers(k, n, 7)
            group["obs/robot0_eef_pos"] = numbers(k, n, 3)
            group["obs/robot0_eef_quat"] = numbers(k, n, 4)
        settings = {"env_name": "Lift", "env_kwargs": {"control_freq": 20}}
        file["data"].attrs["env_args"] = json.dumps(settings)
        for name, members in (masks or {}).items():
            file[f"mask/{name}"] = np.array([f"demo_{k}".encode() for k in members])
    return path


def aloha(path, seed=0, frames=6, **cameras):
    with h5py.File(path, "w") as file:
        file["action"] = numbers(seed, frames, 14)
        file["observations/qpos"] = numbers(seed, frames, 13)
        for name, values in (cameras or {"cam_high": pictures(seed, frames)}).items():
            file[f"observations/images/{name}"] = values
    return path


def padded_rows(frames):
    contents = [encoded(frame) for frame in frames]
    width = max(map(len, contents)) + 3
    rows = [np.frombuffer(content.ljust(width, b"\0"), np.uint8) for content in contents]
    return np.stack(rows), np.stack([decoded(content) for content in contents])


def everything(source):
    """Frames, actions and positions by name and view, as long as was said; what was skipped."""
    lengths = {name: n for part in source.parts() for name, n in source.lengths(part)}
    recordings, skips = reading.everything(
        source, lambda found: f"{found.name}:{found.view}" if found.view else found.name
    )
    for key, (frames, _, _) in recordings.items():
        assert lengths[key if key in lengths else key.rpartition(":")[0]] == len(frames)
    return recordings, skips


def the_one(source):
    recordings, skips = everything(source)
    assert not skips
    (one,) = recordings.values()
    return one


def same(found, expected):
    assert found.dtype == np.float32
    assert np.array_equal(found, expected.astype(np.float32))


# -- the forms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "gzip"}, {"chunks": (2, 16, 5, 1), "shuffle": True}, {"fletcher32": True}],
)
def test_demonstrations_of_robomimic_come_back(tmp_path, options):
    recordings, skips = everything(Hdf5Source(robomimic(tmp_path / "a.hdf5", **options)))
    assert not skips
    assert list(recordings) == [f"a.hdf5/data/demo_{k}" for k in range(3)]
    for k, (frames, actions, positions) in enumerate(recordings.values()):
        assert np.array_equal(frames, pictures(k, LENGTHS[k]))
        same(actions, numbers(k, LENGTHS[k], 7))
        same(positions, numbers(k, LENGTHS[k], 3))


def test_demonstrations_are_ordered_by_number(tmp_path):
    source = Hdf5Source(robomimic(tmp_path / "a.hdf5", lengths=[2] * 130))
    parts = source.parts()
    assert [len(source.lengths(part)) for part in parts] == [64, 64, 2]
    names = [name for part in parts for name, _ in source.lengths(part)]
    assert names == [f"a.hdf5/data/demo_{k}" for k in range(130)]


def test_the_rate_that_robomimic_says_is_kept(tmp_path):
    assert Hdf5Source(robomimic(tmp_path / "a.hdf5")).describe()["frame_rate"] == 20


def test_masks_of_robomimic_are_the_splits(tmp_path):
    masks = {"train": [0, 3], "valid": [1], "20_percent": [2]}
    source = Hdf5Source(robomimic(tmp_path / "a.hdf5", (5, 6, 7, 8), masks))
    out = tmp_path / "out"
    done = import_dataset(source, out, ImportOptions(test=0), execution=Execution(1))
    names = {split: list(Store(out / split).names) for split in done.sequences}
    assert names == {
        "train": ["a.hdf5/data/demo_0", "a.hdf5/data/demo_3"],
        "validate": ["a.hdf5/data/demo_1"],
    }
    assert [skip.name for skip in done.skipped] == ["a.hdf5/data/demo_2"]


def test_a_recording_in_two_masks_is_refused(tmp_path):
    source = Hdf5Source(robomimic(tmp_path / "a.hdf5", masks={"train": [0, 1], "valid": [1]}))
    recordings, (skip,) = everything(source)
    assert not recordings
    assert "demo_1 is in two of the masks" in skip.reason


def test_files_of_libero_are_read_together(tmp_path):
    for name in ("task_a", "task_b"):
        robomimic(tmp_path / f"{name}.hdf5", (4, 5))
    (tmp_path / "note.txt").write_text("more")
    recordings, skips = everything(Hdf5Source(tmp_path))
    assert not skips
    assert list(recordings) == [f"task_{x}.hdf5/data/demo_{k}" for x in "ab" for k in (0, 1)]


def test_episodes_of_aloha_come_back_raw_and_encoded(tmp_path):
    rows, frames = padded_rows(pictures(5, 6))
    for k in (0, 1, 10):
        aloha(tmp_path / f"episode_{k}.hdf5", k, raw=pictures(k, 6), packed=rows)
    recordings, skips = everything(Hdf5Source(tmp_path, image="observations/images/raw"))
    assert not skips
    assert list(recordings) == [f"episode_{k}.hdf5" for k in (0, 1, 10)]
    for k, (found, actions, positions) in zip((0, 1, 10), recordings.values(), strict=True):
        assert np.array_equal(found, pictures(k, 6))
        same(actions, numbers(k, 6, 14))
        same(positions, numbers(k, 6, 13))
    recordings, skips = everything(Hdf5Source(tmp_path, image="observations/images/packed"))
    assert not skips
    assert all(np.array_equal(found, frames) for found, _, _ in recordings.values())


def test_views_have_one_name_and_land_in_one_split(tmp_path):
    for k in range(12):
        aloha(tmp_path / f"{k:02d}.h5", k, 4, top=pictures(k, 4), wrist=pictures(99 + k, 4))
    image = "observations/images/top,observations/images/wrist"
    out = tmp_path / "out"
    source = Hdf5Source(tmp_path, image=image)
    done = import_dataset(source, out, execution=Execution(1))
    assert sum(done.sequences.values()) == 24
    for split in done.sequences:
        names = [name.partition(":")[0] for name in Store(out / split).names]
        assert all(names.count(name) == 2 for name in names)


@pytest.mark.parametrize("kind", ["lengths", "opaque", "strings"])
def test_encoded_pictures_of_different_lengths_come_back(tmp_path, kind):
    contents = [encoded(frame, "PNG") for frame in pictures(0, 4)]
    aloha(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        group = file["observations/images"]
        if kind == "lengths":
            group.create_dataset("new", (4,), h5py.vlen_dtype(np.uint8))
            for t, content in enumerate(contents):
                group["new"][t] = np.frombuffer(content, np.uint8)
        else:
            longest = max(map(len, contents))
            cells = [content.ljust(longest, b"\0") for content in contents]
            group["new"] = np.array(cells, f"{'V' if kind == 'opaque' else 'S'}{longest}")
    source = Hdf5Source(
        tmp_path / "a.h5", image="observations/images/new", action="none", position="none"
    )
    assert np.array_equal(the_one(source)[0], pictures(0, 4))


def test_blue_first_exchanges_red_and_blue(tmp_path):
    found = the_one(Hdf5Source(aloha(tmp_path / "a.h5"), blue_first=True))[0]
    assert np.array_equal(found, pictures(0, 6)[..., ::-1])


def film(frames):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize("kind", ["mp4", "jpg"])
def test_trajectories_of_robonet_come_back(tmp_path, kind):
    frames = np.repeat(np.linspace(0, 255, 7).astype(np.uint8), 32 * 32 * 3)
    frames = frames.reshape(7, 32, 32, 3)
    with h5py.File(tmp_path / "traj0.hdf5", "w") as file:
        if kind == "mp4":
            file["env/cam0_video/frames"] = np.frombuffer(film(frames), np.uint8)
        else:
            for t in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9):  # in no order, one beyond 9
                content = encoded(np.full((32, 32, 3), 20 * t, np.uint8))
                file[f"env/cam0_video/frame{t}"] = np.frombuffer(content, np.uint8)
        n = 7 if kind == "mp4" else 11
        file["policy/actions"] = numbers(0, n - 1, 4)
        file["env/state"] = numbers(0, n, 5)
    found, actions, positions = the_one(Hdf5Source(tmp_path))
    means = found.reshape(n, -1).mean(1)
    assert np.abs(means - (20 * np.arange(n) if kind == "jpg" else frames[:, 0, 0, 0])).max() < 6
    same(actions[: n - 1], numbers(0, n - 1, 4))
    same(positions, numbers(0, n, 5))


def test_the_form_of_maniskill_has_an_action_less_than_frames(tmp_path):
    with h5py.File(tmp_path / "trajectory.h5", "w") as file:
        for k in range(2):
            file[f"traj_{k}/actions"] = numbers(k, 4, 8)
            file[f"traj_{k}/obs/sensor_data/base_camera/rgb"] = pictures(k, 5)
            file[f"traj_{k}/obs/sensor_data/base_camera/depth"] = np.ones((5, 16, 12, 1), np.int16)
            file[f"traj_{k}/obs/extra/tcp_pose"] = numbers(k, 5, 7)
    recordings, skips = everything(Hdf5Source(tmp_path / "trajectory.h5"))
    assert not skips
    for k, (frames, actions, positions) in enumerate(recordings.values()):
        assert np.array_equal(frames, pictures(k, 5))
        same(actions, numbers(k, 4, 8)[[0, 1, 2, 3, 3]])
        same(positions, numbers(k, 5, 7)[:, :3])


def test_the_general_form_goes_by_paths(tmp_path):
    with h5py.File(tmp_path / "lab.h5", "w") as file:
        for k in range(3):
            file[f"runs/day{k}/try_0/cam/rgb"] = pictures(k, 4)
            file[f"runs/day{k}/try_0/arm/dq"] = numbers(k, 4, 6)
            file[f"runs/day{k}/try_0/arm/grip"] = np.arange(4) % 2 == 0
            file[f"runs/day{k}/try_0/arm/tcp"] = numbers(k, 4, 5)
        file["runs/note"] = "nothing"
    source = Hdf5Source(
        tmp_path / "lab.h5",
        image="cam/rgb",
        action="arm/dq[:2],arm/grip,arm/dq[5]",
        position="arm/tcp[1:4]",
        episodes="runs/day*/try_*",
    )
    recordings, skips = everything(source)
    assert not skips
    assert list(recordings) == [f"lab.h5/runs/day{k}/try_0" for k in range(3)]
    for k, (_, actions, positions) in enumerate(recordings.values()):
        dq, grip = numbers(k, 4, 6), np.array([[1], [0], [1], [0]])
        same(actions, np.concatenate([dq[:, :2], grip, dq[:, 5:]], 1))
        same(positions, numbers(k, 4, 5)[:, 1:4])


# -- pictures of other kinds --------------------------------------------------------------------


def with_image(path, values):
    with h5py.File(path, "w") as file:
        file["rgb"], file["act"] = values, numbers(0, len(values), 2)
    return Hdf5Source(path, image="rgb", action="act")


def test_channels_that_lie_first_are_turned_and_it_is_said(tmp_path, caplog):
    caplog.set_level("INFO", "foreframe")
    source = with_image(tmp_path / "a.h5", pictures(0, 4).transpose(0, 3, 1, 2))
    assert np.array_equal(the_one(source)[0], pictures(0, 4))
    assert "is turned" in caplog.text


def test_floats_from_0_to_1_become_bytes_and_it_is_said(tmp_path, caplog):
    caplog.set_level("INFO", "foreframe")
    source = with_image(tmp_path / "a.h5", (pictures(0, 4) / 255).astype(np.float32))
    assert np.array_equal(the_one(source)[0], pictures(0, 4))
    assert "become 0 to 255" in caplog.text


def test_grey_pictures_are_read(tmp_path):
    grey = pictures(0, 4)[..., 0]
    for values in (grey, grey[..., None], grey.astype(np.int64)[..., None].repeat(3, 3)):
        found = the_one(with_image(tmp_path / "a.h5", values))[0]
        assert np.array_equal(found, grey[..., None].repeat(3, 3))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full((4, 16, 12, 1), 900, np.uint16), "depth"),
        (np.full((4, 16, 12), 900, np.uint16), "depth"),
        (np.full((4, 16, 12, 3), 900, np.uint16), "900, and pixels are whole numbers"),
        (np.full((4, 16, 12, 3), -0.5, np.float32), "from -0.5"),
        (np.full((4, 16, 12, 3), 1, np.float32), "whether 1 is white"),
        (np.linspace(-1, 1, 4 * 576, dtype=np.float32).reshape(4, 16, 12, 3), "where others run"),
        (np.full((4, 16, 12, 3), np.nan, np.float32), "nan"),
        (np.full((4, 16, 12, 4), 9, np.uint8), "not certain"),
        (np.full((4, 3, 12, 3), 9, np.uint8), "not certain"),
        (np.zeros((4, 900), np.uint8), "neither pixels nor encoded pictures"),
        (np.zeros((0, 16, 12, 3), np.uint8), "no array of frames"),
        (np.array(["a", "b"], "S1"), "neither pixels nor encoded pictures"),
    ],
)
def test_frames_whose_meaning_is_not_certain_are_refused(tmp_path, values, said):
    with pytest.raises(ForeframeError, match=said):
        with_image(tmp_path / "a.h5", values).parts()


def test_a_range_that_others_do_not_have_is_found_later_too(tmp_path):
    robomimic(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        for k in range(3):
            del file[f"data/demo_{k}/{TOP}"]
            file[f"data/demo_{k}/{TOP}"] = pictures(k, LENGTHS[k]) / (255, 1, 255)[k]
    recordings, (skip,) = everything(Hdf5Source(tmp_path / "a.h5"))
    assert len(recordings) == 2
    assert skip.name.endswith("demo_1")
    assert "where others run from 0 to 1" in skip.reason


# -- options and rows ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": "obs/side"}, "--image obs/side: there is no side; .*obs/agentview_image"),
        ({"image": f"{TOP},{TOP}"}, "each camera once"),
        ({"image": "actions"}, "actions float64"),
        ({"action": "act"}, r"--action act: there is no act; .*actions \[5, 7\]"),
        ({"position": "obs/pos[:3]"}, "--position obs/pos: there is no pos"),
        ({"position": "obs[x]"}, r"NAME\[:3\]"),
        ({"episodes": "data/traj_*"}, r"--episodes data/traj_\*: there is nothing"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, said):
    with pytest.raises(ForeframeError, match=said):
        Hdf5Source(robomimic(tmp_path / "a.h5"), **options).parts()


def test_several_cameras_are_listed_and_one_is_asked_for(tmp_path):
    aloha(tmp_path / "a.h5", top=pictures(0, 6), wrist=pictures(1, 6))
    with pytest.raises(
        ForeframeError, match=r"--image .*: .*images/top, observations/images/wrist"
    ):
        Hdf5Source(tmp_path / "a.h5").parts()


@pytest.mark.parametrize(("rows", "said"), [(3, "3 rows, but"), (6, "6 rows, but")])
def test_rows_that_do_not_belong_to_the_frames_skip_the_recording(tmp_path, rows, said):
    robomimic(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["data/demo_0/actions"]
        file["data/demo_0/actions"] = numbers(0, rows, 7)
    recordings, (skip,) = everything(Hdf5Source(tmp_path / "a.h5"))
    assert len(recordings) == 2
    assert said in skip.reason


def test_a_position_less_than_frames_is_not_made_up(tmp_path):
    robomimic(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["data/demo_0/obs/robot0_eef_pos"]
        file["data/demo_0/obs/robot0_eef_pos"] = numbers(0, 4, 3)
    _, (skip,) = everything(Hdf5Source(tmp_path / "a.h5"))
    assert "obs/robot0_eef_pos has 4 rows, but there are 5 frames" in skip.reason


# -- nothing but the file -----------------------------------------------------------------------


def secret(tmp_path):
    path = tmp_path / "elsewhere" / "secret.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["rgb"], file["act"] = pictures(7, 5), numbers(7, 5, 7)
    (tmp_path / "elsewhere" / "raw.bin").write_bytes(bytes(5 * 16 * 12 * 3))
    return path


def lead_astray(file, kind, name, other, shape, dtype):
    """Put something at ``name`` whose values lie in another file."""
    with suppress(KeyError):
        del file[name]
    inside = "rgb" if len(shape) == 4 else "act"
    if kind == "external link":
        file[name] = h5py.ExternalLink(str(other), f"/{inside}")
    elif kind == "soft link to one":
        file[f"x_{inside}"] = h5py.ExternalLink(str(other), "/")
        file[name] = h5py.SoftLink(f"/x_{inside}/{inside}")
    elif kind == "virtual":
        layout = h5py.VirtualLayout(shape, dtype)
        layout[:] = h5py.VirtualSource(str(other), inside, shape)
        file.create_virtual_dataset(name, layout)
    else:
        raw = other.with_name("raw.bin")
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw.write_bytes(bytes(size))
        file.create_dataset(name, shape, dtype, external=[(str(raw), 0, size)])


@pytest.mark.parametrize("kind", ["external link", "soft link to one", "virtual", "external data"])
@pytest.mark.parametrize("where", ["frames", "actions", "mask"])
def test_values_that_lie_in_another_file_are_never_read(tmp_path, kind, where):
    other = secret(tmp_path)
    path = robomimic(tmp_path / "a.h5")
    name, shape, dtype = {
        "frames": (f"data/demo_0/{TOP}", (5, 16, 12, 3), np.uint8),
        "actions": ("data/demo_0/actions", (5, 7), np.float64),
        "mask": ("mask/train", (5,), np.float64),
    }[where]
    with h5py.File(path, "a") as file:
        lead_astray(file, kind, name, other, shape, dtype)
    recordings, skips = everything(Hdf5Source(path, image=TOP, action="actions"))
    assert not any(name.endswith("demo_0") for name in recordings)
    assert skips
    said = ("not followed", "in other files")
    assert all(any(words in skip.reason for words in said) for skip in skips)
    text = "\n".join(tree(Hdf5Source(path).listing()))
    assert any(words in text for words in said)


def test_an_external_link_is_not_even_opened(tmp_path):
    """A link to a pipe that nobody writes would be waited for without end, if it were opened."""
    os.mkfifo(tmp_path / "pipe")
    path = robomimic(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["data/demo_3"] = h5py.ExternalLink(str(tmp_path / "pipe"), "/")
        file["more"] = h5py.ExternalLink(str(tmp_path / "pipe"), "/")
    recordings, (skip,) = everything(Hdf5Source(path))
    assert len(recordings) == 3
    assert "demo_3 is a link that is not followed" in skip.reason
    assert "more  (more is a link" in "\n".join(tree(Hdf5Source(path).listing()))


def test_links_within_the_file_are_followed_and_circles_end(tmp_path):
    path = robomimic(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file.move(f"data/demo_0/{TOP}", "kept")
        file[f"data/demo_0/{TOP}"] = h5py.SoftLink("/kept")
        file["data/demo_1/obs/again"] = file["data"]  # a circle of hard links
        file["data/demo_2/a"], file["data/demo_2/b"] = h5py.SoftLink("b"), h5py.SoftLink("a")
    recordings, skips = everything(Hdf5Source(path))
    assert not skips
    assert np.array_equal(recordings["a.h5/data/demo_0"][0], pictures(0, 5))
    assert len(tree(Hdf5Source(path).listing())) < 1000
    with pytest.raises(ForeframeError, match="link that is not followed"):
        Hdf5Source(path, image="b", episodes="data/demo_2").parts()


# -- damage -------------------------------------------------------------------------------------


def test_a_filter_that_is_missing_is_one_clear_line(tmp_path):
    path = robomimic(tmp_path / "a.h5", compression="gzip")
    content = path.read_bytes()
    # The filter 1 of version 1 of the message, with its name, becomes one that nobody has.
    assert content.count(b"\x01\x00\x08\x00\x01\x00\x01\x00deflate") == 3
    path.write_bytes(
        content.replace(
            b"\x01\x00\x08\x00\x01\x00\x01\x00deflate", b"\xfd\x7d\x08\x00\x01\x00\x01\x00deflate"
        )
    )
    with pytest.raises(ForeframeError) as error:
        Hdf5Source(path, image=TOP).parts()
    assert "HDF5 filter 32253 (deflate), which is not installed" in str(error.value)
    assert "\n" not in str(error.value)


def test_frames_that_were_never_written_are_not_taken_for_black(tmp_path):
    path = robomimic(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        for k, chunks in ((0, None), (1, (2, 16, 12, 3))):
            del file[f"data/demo_{k}/{TOP}"]
            made = file.create_dataset(
                f"data/demo_{k}/{TOP}", (LENGTHS[k], 16, 12, 3), np.uint8, chunks=chunks
            )
            if chunks:
                made[:2] = 7
    recordings, skips = everything(Hdf5Source(path))
    assert list(recordings) == ["a.h5/data/demo_2"]
    assert all("never written" in skip.reason for skip in skips)
    assert len(skips) == 2


def test_a_damaged_file_among_others_is_named_and_the_others_are_read(tmp_path):
    for k in range(3):
        robomimic(tmp_path / f"{k}.h5", (4,))
    content = (tmp_path / "0.h5").read_bytes()
    (tmp_path / "0.h5").write_bytes(content[: len(content) // 2])
    (tmp_path / "1.h5").write_bytes(b"no HDF5 at all")
    recordings, skips = everything(Hdf5Source(tmp_path))
    assert list(recordings) == ["2.h5/data/demo_0"]
    assert [skip.name for skip in skips] == ["0.h5", "1.h5"]
    assert all("cannot be read as an HDF5 file" in skip.reason for skip in skips)


def test_a_damaged_chunk_skips_its_recording_alone(tmp_path):
    path = robomimic(tmp_path / "a.h5", compression="gzip", fletcher32=True)
    with h5py.File(path) as file:
        chunk = file[f"data/demo_1/{TOP}"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(content)
    recordings, (skip,) = everything(Hdf5Source(path))
    assert len(recordings) == 2
    assert skip.name == "a.h5/data/demo_1"
    assert TOP in skip.reason


def test_an_encoded_picture_that_is_damaged_skips_its_recording(tmp_path):
    rows, _ = padded_rows(pictures(0, 6))
    for k in range(2):
        aloha(tmp_path / f"{k}.h5", k, cam=rows)
    rows[3, 2:] = 0
    aloha(tmp_path / "1.h5", cam=rows)
    recordings, (skip,) = everything(Hdf5Source(tmp_path))
    assert list(recordings) == ["0.h5"]
    assert "1.h5: frame 3" in skip.reason


def mutated(content, seed):
    random = np.random.default_rng(seed)
    changed = bytearray(content)
    reach = len(content) if seed % 2 else min(len(content), 5000)
    for at in random.integers(0, reach, random.integers(1, 6)):
        changed[at] = random.integers(256)
    return bytes(changed if seed % 7 else changed[: random.integers(len(changed))])


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_mutated_files_end_in_words(tmp_path, version):
    with h5py.File(tmp_path / "good.h5", "w", libver=version) as file:
        for k in range(3):
            file.create_dataset(f"data/demo_{k}/{TOP}", data=pictures(k, 4), compression="gzip")
            file[f"data/demo_{k}/actions"] = numbers(k, 4, 7)
        file["mask/train"] = np.array([b"demo_0", b"demo_2"])
        file["names"] = ["a", "b"]
    content = (tmp_path / "good.h5").read_bytes()
    for seed in range(30):
        path = tmp_path / f"{seed}.h5"
        path.write_bytes(mutated(content, seed))
        with suppress(ForeframeError):
            "\n".join(tree(Hdf5Source(path).listing())).encode()
        with suppress(ForeframeError):
            everything(Hdf5Source(path))
            Hdf5Source(path).describe()


def without_end(path):
    """Damage the heap in which a text lies, so that libhdf5 goes round in it for ever."""
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    at, end = heap + 16, heap + int.from_bytes(content[heap + 8 : heap + 16], "little")
    while int.from_bytes(content[at : at + 2], "little"):  # to the free space, the object 0
        size = int.from_bytes(content[at + 8 : at + 16], "little")
        at += 16 + -(-size // 8) * 8
    assert at < end
    content[at + 8 : at + 16] = bytes(8)
    path.write_bytes(content)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no timers of computing")
def test_a_file_without_end_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_aside, "SECONDS", 0.5)
    path = robomimic(tmp_path / "a.h5")
    without_end(path)
    with pytest.raises(UnusableError, match="no end"):
        hdf5_aside.aside(path, rate_of, path)
    monkeypatch.setattr(hdf5_aside, "SECONDS", 100)  # it is not tried again
    recordings, skips = everything(Hdf5Source(path))  # which can do without the rate
    assert not skips
    assert len(recordings) == 3
    assert "frame_rate" not in Hdf5Source(path).describe()


def test_a_process_that_dies_of_a_file_is_an_error_and_the_next_call_is_answered(tmp_path):
    with pytest.raises(UnusableError, match="broke off"):
        hdf5_aside.aside(tmp_path, os.abort)
    assert hdf5_aside.aside(tmp_path, max, 1, 2) == 2
    (tmp_path / "a.h5").write_bytes(b"none")
    with pytest.raises(UnusableError, match="cannot be read as an HDF5 file"):
        hdf5_aside.aside(tmp_path, rate_of, tmp_path / "a.h5")
    assert hdf5_aside.aside(tmp_path, max, 1, 2) == 2


# -- size ---------------------------------------------------------------------------------------

LARGE = """
import resource, sys
from pathlib import Path
import h5py
from foreframe.data.sources import hdf5_aside
from foreframe.data.sources.hdf5 import Hdf5Source

source = Hdf5Source(Path(sys.argv[1]))
(part,) = source.parts()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(one,) = source.read(part)
count = sum(1 for _ in one.frames)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
hdf5_aside._end()
print(count, grown, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ru_maxrss")
@pytest.mark.parametrize("options", [{}, {"chunks": (1, 256, 256, 3)}])
def test_a_long_episode_is_read_in_blocks(tmp_path, options):
    frames = 1200  # 236 MB
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset(f"data/demo_0/{TOP}", (frames, 256, 256, 3), np.uint8, **options)
        for t in range(0, frames, 100):
            made[t : t + 100] = np.full((100, 256, 256, 3), t % 251, np.uint8)
        file["data/demo_0/actions"] = numbers(0, frames, 2)
    words = [sys.executable, "-c", LARGE, str(tmp_path / "a.h5")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seen, grown, aside = map(int, done.stdout.split())
    unit = 1 if sys.platform == "darwin" else 1024
    assert seen == frames
    assert grown * unit < 60e6
    assert aside * unit < 180e6  # its libraries among it


def test_a_chunk_that_is_a_whole_episode_is_refused_where_it_is_huge(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        shape = (3000, 256, 256, 3)
        file.create_dataset(f"data/demo_0/{TOP}", shape, np.uint8, chunks=shape)
        file["data/demo_0/actions"] = numbers(0, 3000, 2)
    with pytest.raises(ForeframeError, match=r"chunks of .* too large"):
        Hdf5Source(tmp_path / "a.h5", image=TOP).parts()


def test_a_remote_file_is_read(tmp_path):
    content = robomimic(tmp_path / "a.h5").read_bytes()
    place = UPath("memory://hdf5-source/a.h5")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    recordings, skips = everything(Hdf5Source(place))
    assert not skips
    assert np.array_equal(recordings["a.h5/data/demo_2"][0], pictures(2, 7))


def test_an_import_that_is_killed_goes_on_to_the_same_bytes(tmp_path):
    """SIGKILL of all its processes, several times, in the midst of parts."""
    (tmp_path / "in").mkdir()
    for k in range(6):
        robomimic(tmp_path / "in" / f"{k}.hdf5", lengths=(30,) * 8)
    foreframe = str(Path(sys.executable).with_name("foreframe"))
    command = [foreframe, "import", "hdf5", str(tmp_path / "in")]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    out = tmp_path / "killed"
    killed = 0
    for seconds in (0.9, 1.2, 1.5):
        process = subprocess.Popen(
            [*command, str(out), "--workers", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
    subprocess.run([*command, str(out)], check=True, capture_output=True)
    assert killed
    found, expected = (
        {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
        for root in (out, tmp_path / "whole")
    )
    assert found == expected
