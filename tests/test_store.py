"""Packed data: whole or absent, checked at the door, cheap to send to another process."""

import json
import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from foreframe.data.lab import write_sequence
from foreframe.data.recording import Recording
from foreframe.data.store import packed as copies
from foreframe.data.store.meta import META
from foreframe.data.store.opened import open_split
from foreframe.data.store.store import Store
from foreframe.data.store.writer import write_store
from foreframe.errors import ForeframeError


def sequence(length=5, size=(8, 6), actions=4, positions=3, seed=0):
    random = np.random.default_rng(seed)

    def rows(width):
        return None if width is None else random.normal(size=(length, width)).astype(np.float32)

    frames = random.integers(0, 256, (length, *size, 3), np.uint8)
    return Recording(frames, rows(actions), rows(positions))


def same(a, b):
    pairs = ((a.frames, b.frames), (a.actions, b.actions), (a.positions, b.positions))
    return all(
        (x is None and y is None) or (x.dtype == y.dtype and x.tobytes() == y.tobytes())
        for x, y in pairs
    )


def packed(folder, sequences, **more):
    with write_store(folder, **more) as out:
        for i, part in enumerate(sequences):
            out.add(part, f"train/shard/{i}")
    return Store(folder)


def test_sequences_of_differing_lengths_come_back_bit_by_bit(tmp_path):
    given = [sequence(length, seed=length) for length in (5, 1, 30, 2)]
    store = packed(tmp_path / "store", given)
    assert len(store) == 4
    assert store.lengths.tolist() == [5, 1, 30, 2]
    assert (store.size, store.action_dim, store.position_dim) == ((8, 6), 4, 3)
    assert store.names[2] == "train/shard/2"
    for i, part in enumerate(given):
        assert same(store[i], part)
    assert isinstance(store[0].frames, np.memmap)


@pytest.mark.parametrize(("actions", "positions"), [(None, 3), (4, None), (None, None)])
def test_absent_parts_stay_absent(tmp_path, actions, positions):
    store = packed(tmp_path / "store", [sequence(actions=actions, positions=positions)])
    assert (store.action_dim, store.position_dim) == (actions, positions)
    assert (store[0].actions is None, store[0].positions is None) == (
        actions is None,
        positions is None,
    )


def test_a_store_cannot_be_written_through_its_views(tmp_path):
    store = packed(tmp_path / "store", [sequence()])
    with pytest.raises(ValueError, match="read-only"):
        store[0].frames[0] = 0


def test_a_store_travels_to_another_process_without_its_data(tmp_path):
    store = packed(tmp_path / "store", [sequence(30)] * 3)
    assert same(store[0], sequence(30))  # mapped by now
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    back = pickle.loads(sent)
    assert back.source == store.source
    assert all(same(back[i], store[i]) for i in range(3))


def test_double_precision_is_stored_as_float32(tmp_path):
    given = sequence()
    double = Recording(given.frames, given.actions.astype(float), given.positions.astype(float))
    assert same(packed(tmp_path / "store", [double])[0], given)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"actions": 5}, r"DATA/train/shard/1: actions: 5 .* train/shard/0 has 4 .*remove"),
        ({"positions": None}, r"DATA/train/shard/1: positions: none, but .* 3 .*remove"),
        ({"size": (8, 8)}, r"DATA/train/shard/1: frames of 8x8 pixels, but train/shard/0 has 6x8"),
    ],
)
def test_sequences_that_do_not_fit_together_leave_no_store(tmp_path, odd, message):
    with pytest.raises(ForeframeError, match=message):
        packed(tmp_path / "store", [sequence(), sequence(**odd)], source=Path("DATA"))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_is_not_written(tmp_path):
    with pytest.raises(ForeframeError, match="at least one sequence"):
        packed(tmp_path / "store", [])
    assert list(tmp_path.iterdir()) == []


def test_a_store_appears_only_when_it_is_whole(tmp_path):
    with pytest.raises(KeyboardInterrupt), write_store(tmp_path / "store") as out:  # noqa: PT012
        out.add(sequence(), "0")
        assert not (tmp_path / "store").exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_existing_store_is_not_overwritten(tmp_path):
    packed(tmp_path / "store", [sequence()])
    with pytest.raises(ForeframeError, match="exists already"):
        packed(tmp_path / "store", [sequence(seed=1)])
    assert same(Store(tmp_path / "store")[0], sequence())
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def damage_meta(**changes):
    def damage(folder):
        meta = json.loads((folder / META).read_text())
        for key, value in changes.items():
            if value is None:
                del meta[key]
            else:
                meta[key] = value
        (folder / META).write_text(json.dumps(meta))

    return damage


DAMAGES = {
    "no meta": lambda folder: (folder / META).unlink(),
    "half a meta": lambda folder: (folder / META).write_text('{"format": 1, "leng'),
    "a list for meta": lambda folder: (folder / META).write_text("[]"),
    "binary meta": lambda folder: (folder / META).write_bytes(b"\xff\xfe\x00"),
    "no size": damage_meta(size=None),
    "no widths": damage_meta(widths=None),
    "part of the widths": damage_meta(widths={"actions": 4}),
    "words for widths": damage_meta(widths={"actions": "four", "positions": 3}),
    "other lengths": damage_meta(lengths=[5, 6]),
    "more lengths than names": damage_meta(lengths=[5, 2, 3]),
    "words for lengths": damage_meta(lengths=["a", "b"]),
    "another format": damage_meta(format=99),
    "no frames": lambda folder: (folder / "frames.bin").unlink(),
    "frames cut": lambda folder: (folder / "frames.bin").write_bytes(b"123"),
    "actions cut": lambda folder: (folder / "actions.bin").write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_store_is_refused_at_the_door(tmp_path, damage):
    packed(tmp_path / "store", [sequence()] * 2)
    damage(tmp_path / "store")
    with pytest.raises(ForeframeError, match=r"/store: .*[Dd]elete"):
        Store(tmp_path / "store")


# -- the packed copy of a dataset in the lab's layout -------------------------------------------


@pytest.fixture
def lab(tmp_path):
    """A small split of three sequences, of 4, 5 and 6 frames."""
    root = tmp_path / "data"
    for n in range(3):
        part = sequence(4 + n, size=(64, 64), seed=n)
        write_sequence(root / "train" / "s" / str(n), part.frames, part.actions, part.positions)
    return root


@pytest.fixture
def decoded(monkeypatch):
    """The pictures whose pixels were unpacked."""
    pictures = []
    original = PngImageFile.load

    def spy(picture):
        if picture.tile:  # else it is unpacked already
            pictures.append(picture)
        return original(picture)

    monkeypatch.setattr(PngImageFile, "load", spy)
    return pictures


def quiet(text):
    pass


def caches(root):
    return sorted(path.name for path in (root / copies.CACHE).iterdir())


def test_the_second_opening_decodes_nothing(lab, decoded):
    said = []
    first = open_split(lab, "train", log=said.append)
    assert len(decoded) == 4 + 5 + 6
    assert len(said) == 1
    assert "packing 3 sequences" in said[0]
    decoded.clear()
    second = open_split(lab, "train", log=said.append)
    assert (decoded, len(said)) == ([], 1)
    assert second.folder == first.folder
    assert all(same(second[n], sequence(4 + n, size=(64, 64), seed=n)) for n in range(3))
    assert second.lengths.tolist() == [4, 5, 6]


def test_a_changed_picture_of_the_same_size_is_noticed(lab):
    before = open_split(lab, "train", log=quiet)
    path = lab / "train" / "s" / "1" / "3.png"
    size = path.stat().st_size
    Image.fromarray(255 - before[1].frames[3]).save(path, compress_level=1)
    content = path.read_bytes()
    path.write_bytes(content[:size].ljust(size, b"\0"))  # bytes after the end of a PNG are ignored
    assert path.stat().st_size == size
    after = open_split(lab, "train", log=quiet)
    assert np.array_equal(after[1].frames[3], 255 - sequence(5, (64, 64), seed=1).frames[3])
    assert len(caches(lab)) == 1  # the outdated copy is gone


def test_a_changed_number_is_noticed(lab):
    open_split(lab, "train", log=quiet)
    path = lab / "train" / "s" / "0" / "actions.csv"
    path.write_text("7,7,7,7\n" * 4)
    assert (open_split(lab, "train", log=quiet)[0].actions == 7).all()


def test_an_added_and_a_removed_sequence_are_noticed(lab):
    open_split(lab, "train", log=quiet)
    part = sequence(9, size=(64, 64))
    write_sequence(lab / "train" / "s" / "10", part.frames, part.actions, part.positions)
    assert open_split(lab, "train", log=quiet).lengths.tolist() == [4, 5, 6, 9]
    for path in (lab / "train" / "s" / "0").iterdir():
        path.unlink()
    (lab / "train" / "s" / "0").rmdir()
    store = open_split(lab, "train", log=quiet)
    assert store.names == ["train/s/1", "train/s/2", "train/s/10"]
    assert len(caches(lab)) == 1


def test_a_copy_for_each_size_of_frames(lab, decoded):
    """Models of both sizes may be in use: neither's data are packed again and again."""
    sizes = ((64, 64), (128, 128))
    small, large = (open_split(lab, "train", size=size, log=quiet) for size in sizes)
    assert small.size == (64, 64)
    assert large.size == (128, 128)
    assert len(caches(lab)) == 2
    decoded.clear()
    for size in sizes:
        assert open_split(lab, "train", size=size, log=quiet).size == size
    assert decoded == []
    part = sequence(4, size=(64, 64))
    write_sequence(lab / "train" / "s" / "10", part.frames, part.actions, part.positions)
    open_split(lab, "train", log=quiet)
    assert len(caches(lab)) == 1  # of data that are no more, none is kept


def test_another_split_changes_nothing(lab, decoded):
    part = sequence(4, size=(64, 64))
    write_sequence(lab / "test" / "s" / "0", part.frames, part.actions, part.positions)
    open_split(lab, "train", log=quiet)
    open_split(lab, "test", log=quiet)
    decoded.clear()
    open_split(lab, "train", log=quiet)
    assert decoded == []


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_copy_is_made_anew(lab, damage):
    damage(open_split(lab, "train", log=quiet).folder)
    said = []
    store = open_split(lab, "train", log=said.append)
    assert "packing" in said[0]
    assert all(same(store[n], sequence(4 + n, size=(64, 64), seed=n)) for n in range(3))


def test_a_store_in_place_of_a_split_is_opened_as_it_is(tmp_path, decoded):
    packed(tmp_path / "train", [sequence(size=(64, 64))])
    store = open_split(tmp_path, "train", log=quiet)
    assert same(store[0], sequence(size=(64, 64)))
    assert decoded == []


def test_a_store_of_another_image_size_is_refused(tmp_path):
    """Its pictures are gone: resizing what was resized already would only blur."""
    packed(tmp_path / "train", [sequence(size=(8, 6))])
    with pytest.raises(ForeframeError, match=r"/train: .*6x8 pixels, .*64x64.*--size 64"):
        open_split(tmp_path, "train", log=quiet)


def test_a_damaged_store_that_is_no_copy_is_not_said_to_come_back(tmp_path):
    packed(tmp_path / "train", [sequence(size=(64, 64))])
    (tmp_path / "train" / "frames.bin").write_bytes(b"123")
    with pytest.raises(ForeframeError, match=r"/train: .*damaged.*make it again") as refused:
        open_split(tmp_path, "train", log=quiet)
    assert "is made again" not in str(refused.value)


def test_what_killed_packers_left_is_removed_and_live_ones_are_spared(lab):
    name = open_split(lab, "train", log=quiet).folder.name
    dead, live = (lab / copies.CACHE / f".{name}.{key * 4}.part" for key in ("de", "11"))
    for folder in (dead, live):
        folder.mkdir()
        (folder / "frames.bin").write_bytes(b"half")
    day = time.time() - 25 * 3600
    os.utime(dead / "frames.bin", (day, day))
    os.utime(dead, (day, day))
    os.utime(lab / "train" / "s" / "1" / "3.png", (1, 1))
    new = open_split(lab, "train", log=quiet).folder
    assert caches(lab) == sorted([live.name, new.name])


def test_a_store_in_use_outlives_the_removal_of_its_copy(lab):
    """Another command may pack changed data, and remove the outdated copy, at any moment."""
    store = open_split(lab, "train", log=quiet)
    os.utime(lab / "train" / "s" / "1" / "3.png", (1, 1))
    open_split(lab, "train", log=quiet)
    assert not store.folder.exists()
    assert same(store[0], sequence(4, size=(64, 64)))


def test_a_folder_inside_a_sequence_is_not_followed(lab, decoded):
    (lab / "train" / "s" / "0" / "up").symlink_to(lab / "train")
    open_split(lab, "train", log=quiet)
    decoded.clear()
    assert len(open_split(lab, "train", log=quiet)) == 3
    assert decoded == []


def test_data_that_cannot_be_written_beside_are_packed_at_home(lab, tmp_path, monkeypatch, decoded):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))
    original = copies._can_write
    monkeypatch.setattr(
        copies, "_can_write", lambda folder: lab not in folder.parents and original(folder)
    )
    said = []
    store = open_split(lab, "train", log=said.append)
    assert store.folder.is_relative_to(tmp_path / "home-cache" / "foreframe")
    assert str(tmp_path / "home-cache") in said[0]
    assert not (lab / copies.CACHE).exists()
    decoded.clear()
    assert open_split(lab, "train", log=quiet).folder == store.folder
    assert decoded == []


def test_nowhere_to_pack_names_the_remedy(lab, monkeypatch):
    monkeypatch.setattr(copies.os, "access", lambda *args: False)
    with pytest.raises(ForeframeError, match=r"data: .*XDG_CACHE_HOME"):
        open_split(lab, "train", log=quiet)


def test_a_full_disk_leaves_no_copy(lab, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies, "fit_recording", full)
    with pytest.raises(ForeframeError, match=r"No space left on device.*Free some space"):
        open_split(lab, "train", log=quiet)
    assert not (lab / copies.CACHE).exists()


def test_two_packers_at_once_both_succeed(lab, monkeypatch):
    meeting = threading.Barrier(2, timeout=20)
    original = copies._pack

    def pack_together(*args):
        meeting.wait()
        original(*args)

    monkeypatch.setattr(copies, "_pack", pack_together)
    stores = []
    threads = [
        threading.Thread(target=lambda: stores.append(open_split(lab, "train", log=quiet)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 2
    for store in stores:
        assert all(same(store[n], sequence(4 + n, size=(64, 64), seed=n)) for n in range(3))
    assert len(caches(lab)) == 1


def test_who_packs_second_takes_the_copy_of_the_first(lab, monkeypatch):
    """The worst moment: the copy appears just before one's own is renamed into its place."""
    original = copies._pack
    monkeypatch.setattr(copies, "_pack", lambda *args: (original(*args), original(*args)))
    assert len(open_split(lab, "train", log=quiet)) == 3
    assert len(caches(lab)) == 1


def test_a_dataset_that_moved_keeps_its_copy(lab, decoded):
    open_split(lab, "train", log=quiet)
    decoded.clear()
    moved = lab.rename(lab.with_name("moved"))
    store = open_split(moved, "train", log=quiet)
    assert decoded == []
    assert store.source == moved


def test_packing_tells_how_far_it_is_and_a_packed_split_has_nothing_to_tell(toy_data, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(toy_data, root, ignore=shutil.ignore_patterns(".foreframe"))
    told: list[tuple[int, int]] = []
    for _ in range(2):
        open_split(
            root, "test", log=lambda text: None, progress=lambda *counts: told.append(counts)
        )
    assert told == [(1, 3), (2, 3), (3, 3)]
