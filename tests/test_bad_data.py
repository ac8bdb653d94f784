"""Damaged datasets: the message names the file and the remedy, and nothing is left behind."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from foreframe.data.lab import ACTIONS, POSITIONS, read_sequence, write_sequence
from foreframe.data.store.opened import open_split
from foreframe.errors import ForeframeError

SEQUENCE = "train/traj_0_to_255/3"


@pytest.fixture
def root(toy_data, tmp_path):
    """A copy of the toy data (without its packed copies) that a test may damage."""
    return shutil.copytree(
        toy_data, tmp_path / "data", ignore=shutil.ignore_patterns(".foreframe", ".*")
    )


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def lines(path, change):
    rows = path.read_text().splitlines()
    path.write_text("\n".join(change(rows)) + "\n")


def cell(row, text):
    return ",".join([text, *row.split(",")[1:]])


def cut(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def picture(path, size=(64, 64)):
    Image.new("RGB", size, (9, 9, 9)).save(path, "PNG")


# name: (what is done to the folder of the sequence, file that is named, words of the message)
DAMAGES = {
    "a frame is missing": (lambda f: (f / "7.png").unlink(), "7.png", "is missing.*13.png.*Add it"),
    "the first frame is missing": (lambda f: (f / "0.png").unlink(), "0.png", "is missing"),
    "the last frame is missing": (
        lambda f: (f / "13.png").unlink(),
        ACTIONS,
        "14 rows, .* 13 frames .*12.png.*add those that are missing",
    ),
    "a frame too many": (
        lambda f: picture(f / "14.png"),
        ACTIONS,
        "14 rows, .* 15 frames .*14.png.*remove the superfluous",
    ),
    "a frame without a number": (lambda f: picture(f / "last.png"), "last.png", "Rename or remove"),
    "a negative number": (lambda f: picture(f / "-1.png"), "-1.png", "Rename or remove"),
    "a frame twice": (lambda f: picture(f / "03.png"), "0?3.png", "frame 3 is there twice.*Remove"),
    "no frame at all": (
        lambda f: [path.unlink() for path in f.glob("*.png")],
        "",
        "holds no frames.*Expected 0.png",
    ),
    "a frame far out": (lambda f: picture(f / f"{10**17}.png"), "14.png", "is missing"),
    "16 bits a channel": (
        lambda f: Image.fromarray(np.full((64, 64), 4000, np.uint16)).save(f / "5.png"),
        "5.png",
        "16 or 32 bits .*8 bits",
    ),
    "another size": (
        lambda f: picture(f / "5.png", (32, 48)),
        "5.png",
        "is 32x48 pixels, but 0.png is 64x64.*one size",
    ),
    "a truncated frame": (lambda f: cut(f / "5.png", 0.6), "5.png", "cannot be read.*Restore it"),
    "an empty frame": (lambda f: cut(f / "5.png", 0), "5.png", "cannot be read.*Restore it"),
    "text for a frame": (
        lambda f: (f / "5.png").write_text("hello"),
        "5.png",
        "cannot be read.*Restore it",
    ),
    "a folder for a frame": (
        lambda f: [(f / "5.png").unlink(), (f / "5.png").mkdir()],
        "5.png",
        "cannot be read.*Restore it",
    ),
    "a link to nothing": (
        lambda f: [(f / "5.png").unlink(), (f / "5.png").symlink_to("gone.png")],
        "5.png",
        "cannot be read.*Restore it",
    ),
    "a row is missing": (
        lambda f: lines(f / ACTIONS, lambda rows: rows[:-1]),
        ACTIONS,
        "13 rows, .* 14 frames.*add",
    ),
    "a row too many": (
        lambda f: lines(f / POSITIONS, lambda rows: [*rows, rows[-1]]),
        POSITIONS,
        "15 rows, .* 14 frames.*remove",
    ),
    "ragged columns": (
        lambda f: lines(f / ACTIONS, lambda rows: [*rows[:8], rows[8] + ",1", *rows[9:]]),
        f"{ACTIONS}, row 9",
        "5 columns, but row 1 has 4.*Repair",
    ),
    "other columns than the other sequences": (
        lambda f: lines(f / ACTIONS, lambda rows: [row + ",0" for row in rows]),
        "",
        "actions: 5 numbers a row, but train/traj_0_to_255/0 has 4.*remove the sequence",
    ),
    "no actions, unlike the other sequences": (
        lambda f: (f / ACTIONS).unlink(),
        "",
        "actions: none, but train/traj_0_to_255/0 has 4",
    ),
    "a header": (
        lambda f: lines(f / POSITIONS, lambda rows: ["x,y,z", *rows]),
        f"{POSITIONS}, row 1",
        "'x,y,z' is not a row of numbers.*header.*remove",
    ),
    "a word": (
        lambda f: lines(f / ACTIONS, lambda rows: [*rows[:3], cell(rows[3], "fast"), *rows[4:]]),
        f"{ACTIONS}, row 4",
        "'fast,.*not a row of numbers",
    ),
    "an empty cell": (
        lambda f: lines(f / ACTIONS, lambda rows: [*rows[:3], cell(rows[3], ""), *rows[4:]]),
        f"{ACTIONS}, row 4",
        "not a row of numbers",
    ),
    "a blank row": (
        lambda f: lines(f / ACTIONS, lambda rows: [*rows[:3], "", *rows[3:]]),
        f"{ACTIONS}, row 4",
        "'' is not a row of numbers",
    ),
    "semicolons": (
        lambda f: lines(f / ACTIONS, lambda rows: [row.replace(",", ";") for row in rows]),
        f"{ACTIONS}, row 1",
        "divided by commas",
    ),
    "nan": (
        lambda f: lines(f / ACTIONS, lambda rows: [*rows[:-1], cell(rows[-1], "nan")]),
        f"{ACTIONS}, row 14",
        "not a finite number.*Repair",
    ),
    "infinity": (
        lambda f: lines(f / POSITIONS, lambda rows: [cell(rows[0], "-inf"), *rows[1:]]),
        f"{POSITIONS}, row 1",
        "not a finite number.*Repair",
    ),
    "a number beyond float32": (
        lambda f: lines(f / POSITIONS, lambda rows: [rows[0], cell(rows[1], "1e39"), *rows[2:]]),
        f"{POSITIONS}, row 2",
        "not a finite number.*Repair",
    ),
    "an empty table": (lambda f: cut(f / ACTIONS, 0), ACTIONS, "is empty.*Restore it"),
    "bytes that are no text": (
        lambda f: (f / ACTIONS).write_bytes(b"\xff\xfe\x00\x01"),
        ACTIONS,
        "cannot be read as text.*Restore it",
    ),
}


@pytest.mark.parametrize(("damage", "name", "words"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_sequence_is_refused_by_name(root, damage, name, words):
    damage(root / SEQUENCE)
    before = files(root)
    with pytest.raises(ForeframeError) as refused:
        open_split(root, "train", log=lambda text: None)
    path = re.escape(str(root / SEQUENCE)) + (f"/{name}" if name else "")
    assert re.search(rf"^{path}: .*{words}", str(refused.value)), refused.value
    assert "\n" not in str(refused.value)
    assert files(root) == before  # neither a packed copy nor a part of one


def test_the_other_splits_do_not_suffer(root):
    (root / SEQUENCE / "7.png").unlink()
    assert len(open_split(root, "test", log=lambda text: None)) == 3


def test_a_repaired_dataset_is_packed(root):
    path = root / SEQUENCE / "7.png"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ForeframeError):
        open_split(root, "train", log=lambda text: None)
    path.write_bytes(content)
    assert len(open_split(root, "train", log=lambda text: None)) == 6


def test_data_damaged_after_packing_are_refused_and_the_old_copy_is_kept(root):
    open_split(root, "train", log=lambda text: None)
    cut(root / SEQUENCE / "5.png", 0.5)
    before = files(root)
    with pytest.raises(ForeframeError, match=r"5\.png"):
        open_split(root, "train", log=lambda text: None)
    assert files(root) == before


def test_every_cut_of_a_png_is_found(tmp_path):
    """Whatever the reader stumbles over, the message is ours."""
    frames = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    write_sequence(tmp_path / "0", frames, None)
    path = tmp_path / "0" / "0.png"
    whole = path.read_bytes()
    for length in range(len(whole) - 24):  # the last chunk, IEND, carries nothing
        path.write_bytes(whole[:length])
        with pytest.raises(ForeframeError, match=r"0\.png: cannot be read"):
            read_sequence(tmp_path / "0")


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(
        ForeframeError, match=rf"^{tmp_path}/nowhere: no such folder.*Give the root"
    ):
        open_split(tmp_path / "nowhere", "train")
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "data.zip").write_text("...")
    with pytest.raises(ForeframeError, match=r"data\.zip: is not a folder.*Give the root"):
        open_split(tmp_path / "data.zip", "train")


def test_a_missing_split_lists_what_is_there(root):
    shutil.rmtree(root / "validate")
    before = files(root)
    with pytest.raises(ForeframeError, match=r"/validate: no such folder; .*holds test, train\."):
        open_split(root, "validate")
    assert files(root) == before


def test_a_split_that_is_a_file_is_named(tmp_path):
    (tmp_path / "train").write_text("...")
    with pytest.raises(ForeframeError, match=r"/train: is not a folder.*A dataset has"):
        open_split(tmp_path, "train")


@pytest.mark.parametrize("shard", [None, "traj_0_to_255"])
def test_an_empty_split_says_what_was_expected(tmp_path, shard):
    (tmp_path / "train" / (shard or "")).mkdir(parents=True)
    before = files(tmp_path)
    with pytest.raises(ForeframeError, match=r"/train: the split is empty\. Expected .*0\.png"):
        open_split(tmp_path, "train")
    assert files(tmp_path) == before


def test_sequences_without_shards_are_explained(tmp_path):
    """A level of folders left out: the pictures' own folder is named."""
    write_sequence(tmp_path / "train" / "0", np.zeros((3, 64, 64, 3), np.uint8), None)
    with pytest.raises(ForeframeError, match=r"/train: the split is empty\. Expected .*SHARD/N/"):
        open_split(tmp_path, "train")


def test_a_missing_sequence_folder_is_named(tmp_path):
    with pytest.raises(ForeframeError, match=r"/5: no such folder\. Give the folder"):
        read_sequence(tmp_path / "5")
