"""A replay buffer in zarr: episodes come out whole, and never with zeros for what is missing."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from foreframe.data.sources.zarr_buffer import ZarrSource
from foreframe.errors import ForeframeError
from tests import reading

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")

ENDS = (5, 6, 14, 20)
TOTAL = ENDS[-1]


def arrays(dtype=np.uint8, total=TOTAL):
    random = np.random.default_rng(0)
    return {
        "data/img": random.integers(1, 256, (total, 6, 5, 3)).astype(dtype),
        "data/action": random.normal(size=(total, 2)).astype(np.float32),
        "data/state": random.normal(size=(total, 5)),
        "meta/episode_ends": np.array(ENDS, np.int64),
    }


def write(place, values, version=2, chunk=3, **options):
    store = zarr.storage.ZipStore(place, mode="w") if place.suffix == ".zip" else str(place)
    group = zarr.open_group(store, mode="w", zarr_format=version)
    for name, array in values.items():
        shape = (min(chunk, len(array)), *array.shape[1:])
        if "shards" in options:
            options["shards"] = (2 * shape[0], *shape[1:])
        made = group.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=shape, **options
        )
        made[...] = array
    if place.suffix == ".zip":
        store.close()


def everything(source):
    return reading.everything(source, lambda found: found.name.rpartition("/")[2])


def agree(recordings, values, numbers=(0, 1, 2, 3)):
    assert list(recordings) == [str(k) for k in numbers]
    for k in numbers:
        rows = slice((0, *ENDS)[k], ENDS[k])
        frames, actions, positions = recordings[str(k)]
        assert np.array_equal(frames, values["data/img"][rows])
        for found, name in ((actions, "data/action"), (positions, "data/state")):
            assert found.dtype == np.float32
            assert np.array_equal(found, values[name][rows].astype(np.float32))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["a.zarr", "a.zarr.zip"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_episodes_come_back(tmp_path, version, name, dtype):
    values = arrays(dtype)
    write(tmp_path / name, values, version)
    source = ZarrSource(tmp_path / name)
    recordings, skips = everything(source)
    assert not skips
    agree(recordings, values)
    (part,) = source.parts()
    assert source.lengths(part) == [(f"{name}/{k}", n) for k, n in enumerate((5, 1, 8, 6))]


def test_shards_are_read(tmp_path):
    values = arrays()
    write(tmp_path / "a.zarr", values, 3, shards=True)
    recordings, skips = everything(ZarrSource(tmp_path / "a.zarr"))
    assert not skips
    agree(recordings, values)


@pytest.mark.parametrize("name", ["a.zarr", "a.zarr.zip"])
def test_frames_may_be_taken_after_the_last_recording(tmp_path, name):
    values = arrays()
    write(tmp_path / name, values)
    source = ZarrSource(tmp_path / name)
    recordings = list(source.read(source.parts()[0]))
    assert np.array_equal(np.stack(list(recordings[2].frames)), values["data/img"][6:14])


def test_a_remote_buffer_is_read(tmp_path):
    values = arrays()
    write(tmp_path / "a.zarr", values)
    place = UPath("memory://zarr-source/a.zarr")
    for path in (tmp_path / "a.zarr").rglob("*"):
        if path.is_file():
            target = place / path.relative_to(tmp_path / "a.zarr").as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    recordings, skips = everything(ZarrSource(place))
    assert not skips
    agree(recordings, values)
    (place / "data/img/1.0.0.0").unlink()
    assert [skip.name for skip in everything(ZarrSource(place))[1]] == ["a.zarr/0", "a.zarr/1"]


def test_a_part_holds_64_episodes(tmp_path):
    values = arrays(total=130)
    values["meta/episode_ends"] = np.arange(1, 131)
    write(tmp_path / "a.zarr", values, chunk=130)
    source = ZarrSource(tmp_path / "a.zarr")
    assert [len(source.lengths(part)) for part in source.parts()] == [64, 64, 2]
    recordings, skips = everything(source)
    assert not skips
    joined = np.concatenate([frames for frames, _, _ in recordings.values()])
    assert np.array_equal(joined, values["data/img"])


def test_slices_other_names_and_none(tmp_path):
    values = arrays()
    values["data/kp"] = values.pop("data/state")
    write(tmp_path / "a.zarr", values)
    source = ZarrSource(tmp_path / "a.zarr", action="data/kp[3:]", position="data/kp[:2]")
    recordings, _ = everything(source)
    _, actions, positions = recordings["0"]
    assert np.array_equal(actions, values["data/kp"][:5, 3:].astype(np.float32))
    assert np.array_equal(positions, values["data/kp"][:5, :2].astype(np.float32))
    source = ZarrSource(tmp_path / "a.zarr", action="data/action,data/kp[4]", position="none")
    recordings, _ = everything(source)
    joined = np.concatenate([values["data/action"], values["data/kp"][:, 4:]], 1)
    assert np.array_equal(recordings["1"][1], joined[5:6].astype(np.float32))
    recordings, _ = everything(ZarrSource(tmp_path / "a.zarr", action="none", position="none"))
    assert recordings["0"][1:] == (None, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": "data/rgb"}, r"data/action float32 \[20, 2\].*data/img uint8 \[20, 6, 5, 3\]"),
        ({"action": "data/act"}, "data/action float32.*--action none"),
        ({"position": "data/pos"}, "data/state float64.*--position none"),
        ({"position": "data/state[9:]"}, "5 columns"),
        ({"position": "data/state[:9]"}, "5 columns"),
        ({"position": "data/state[x]"}, r"NAME\[:3\]"),
        ({"image": "data/state"}, r"shape \[20, 5\]"),
        ({"action": "data/img"}, r"shape \[20, 6, 5, 3\]"),
        ({"action": "meta/episode_ends"}, "4 rows, but there are 20 frames"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, said):
    write(tmp_path / "a.zarr", arrays())
    with pytest.raises(ForeframeError, match=said):
        ZarrSource(tmp_path / "a.zarr", **options).parts()


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ([5, 5, 20], "not after"),
        ([5, 4, 20], "not after"),
        ([0, 20], "not after"),
        ([5, 21], "20 frames"),
        ([5.0, 20.0], "float64"),
    ],
)
def test_wrong_ends_are_refused(tmp_path, ends, said):
    write(tmp_path / "a.zarr", {**arrays(), "meta/episode_ends": np.array(ends)})
    with pytest.raises(ForeframeError, match=said):
        ZarrSource(tmp_path / "a.zarr").parts()


def test_frames_after_the_last_end_are_counted_as_skipped(tmp_path):
    values = arrays(total=23)
    write(tmp_path / "a.zarr", values)
    recordings, (skip,) = everything(ZarrSource(tmp_path / "a.zarr"))
    agree(recordings, values)
    assert "20 to 23" in skip.name


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (lambda img: img / np.float32(255), "multiply"),
        (lambda img: img.astype(np.int32) - 256, "not 0..255"),
        (lambda img: np.full(img.shape, np.nan, np.float32), "not 0..255"),
        (lambda img: img.transpose(0, 3, 1, 2), r"\[20, 3, 6, 5\]"),
    ],
)
def test_frames_that_are_no_pixels_are_refused(tmp_path, image, said):
    values = arrays()
    write(tmp_path / "a.zarr", {**values, "data/img": image(values["data/img"])})
    with pytest.raises(ForeframeError, match=said):
        ZarrSource(tmp_path / "a.zarr").parts()


def test_values_out_of_range_are_found_later_too(tmp_path):
    values = arrays(np.float32)
    values["data/img"][7, 0, 0, 0] = 256
    write(tmp_path / "a.zarr", values)
    recordings, (skip,) = everything(ZarrSource(tmp_path / "a.zarr"))
    agree(recordings, values, (0, 1, 3))
    assert "not 0..255" in skip.reason


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])
def test_a_number_that_is_none_skips_its_episode(tmp_path, value):
    values = arrays()
    values["data/state"][8, 4] = value
    write(tmp_path / "a.zarr", values)
    recordings, (skip,) = everything(ZarrSource(tmp_path / "a.zarr"))
    agree(recordings, values, (0, 1, 3))
    assert skip.name.endswith("/2")
    assert "data/state, row 2" in skip.reason


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["data/img", "data/action", "data/state"])
def test_a_missing_chunk_is_not_taken_for_zeros(tmp_path, version, name):
    values = arrays()
    write(tmp_path / "a.zarr", values, version)
    zeros = [0] * (values[name].ndim - 1)
    key = ".".join(map(str, (2, *zeros))) if version == 2 else "/".join(map(str, ("c/2", *zeros)))
    (tmp_path / "a.zarr" / name / key).unlink()  # rows 6, 7 and 8, of episode 2 alone
    recordings, (skip,) = everything(ZarrSource(tmp_path / "a.zarr"))
    agree(recordings, values, (0, 1, 3))
    assert skip.name == "a.zarr/2"
    assert "missing" in skip.reason
    recordings, skips = everything(ZarrSource(tmp_path / "a.zarr", fill_missing=True))
    assert not skips
    assert list(recordings) == ["0", "1", "2", "3"]
    part = recordings["2"][("data/img", "data/action", "data/state").index(name)]
    assert not part[:3].any()
    assert part[3:].any()


def test_a_missing_chunk_in_a_zip_is_not_taken_for_zeros(tmp_path):
    values = arrays()
    write(tmp_path / "a.zarr", values)
    (tmp_path / "a.zarr" / "data/img/2.0.0.0").unlink()
    shutil.make_archive(str(tmp_path / "a.zarr"), "zip", tmp_path / "a.zarr")
    recordings, (skip,) = everything(ZarrSource(tmp_path / "a.zarr.zip"))
    agree(recordings, values, (0, 1, 3))
    assert "2.0.0.0 is missing" in skip.reason


@pytest.mark.parametrize("keep", [0, 8, 20, -1])
@pytest.mark.parametrize(
    ("version", "packer"),
    [
        (2, numcodecs.Blosc()),
        (2, numcodecs.Zstd()),
        (2, None),
        (3, zarr.codecs.BloscCodec()),
        (3, zarr.codecs.ZstdCodec()),
    ],
)
def test_a_chunk_cut_short_is_skipped(tmp_path, keep, version, packer):
    """Also of Blosc, which itself does not notice it."""
    values = arrays()
    write(tmp_path / "a.zarr", values, version, compressors=packer)
    for name in ("img/2.0.0.0", "action/6.0"):
        key = name.replace("/", "/c/").replace(".", "/") if version == 3 else name
        path = tmp_path / "a.zarr" / "data" / key
        path.write_bytes(path.read_bytes()[:keep])
    recordings, skips = everything(ZarrSource(tmp_path / "a.zarr"))
    agree(recordings, values, (0, 1))
    assert [skip.name for skip in skips] == ["a.zarr/2", "a.zarr/3"]
    assert "data/img" in skips[0].reason
    assert "data/action" in skips[1].reason


def test_damaged_metadata_and_other_files_give_a_clear_error(tmp_path):
    write(tmp_path / "a.zarr", arrays())
    path = tmp_path / "a.zarr" / "data" / "img" / ".zarray"
    good = path.read_bytes()
    random = np.random.default_rng(0)
    for n in random.integers(0, 8 * len(good), 150):
        data = bytearray(good)
        data[n // 8] ^= 1 << n % 8
        path.write_bytes(data)
        try:
            recordings, skips = everything(ZarrSource(tmp_path / "a.zarr"))
        except ForeframeError:
            continue
        assert len(recordings) == len(ENDS) or skips
    path.write_bytes(good[:50])
    with pytest.raises(ForeframeError, match="data/img"):
        ZarrSource(tmp_path / "a.zarr").parts()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"no zip file")
    for name, said in (("empty", "no zarr arrays"), ("file", "zip"), ("none", "no such file")):
        with pytest.raises(ForeframeError, match=said):
            ZarrSource(tmp_path / name).parts()


def test_flipped_bits_and_cuts_in_a_zip_are_noticed(tmp_path):
    values = arrays()
    write(tmp_path / "good.zarr.zip", values)
    good = (tmp_path / "good.zarr.zip").read_bytes()
    random = np.random.default_rng(0)
    damaged = [good[:n] for n in random.integers(0, len(good), 10)]
    for n in random.integers(0, 8 * len(good), 60):
        data = bytearray(good)
        data[n // 8] ^= 1 << n % 8
        damaged.append(bytes(data))
    for data in damaged:
        (tmp_path / "a.zarr.zip").write_bytes(data)
        try:
            recordings, skips = everything(ZarrSource(tmp_path / "a.zarr.zip"))
        except ForeframeError:
            continue
        agree(recordings, values, [int(name) for name in recordings])
        assert len(recordings) == len(ENDS) or skips


def test_an_import_by_several_processes_says_nothing_but_its_summary(tmp_path):
    """A lock that numcodecs makes in each process was complained of when they were killed."""
    values = arrays(total=200)
    values["meta/episode_ends"] = np.arange(2, 202, 2)
    write(tmp_path / "replay.zarr", values)
    words = [Path(sys.executable).with_name("foreframe"), "import", "zarr", "replay.zarr", "out"]
    done = subprocess.run(
        [*words, "--workers", "2"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "100 sequences, 0 skipped" in done.stdout
    assert not done.stderr
