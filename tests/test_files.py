"""Files and folders are written whole or not at all, and leave nothing when they fail."""

import os
import stat

import pytest
import torch

from foreframe.errors import ForeframeError
from foreframe.runs.weights import write_tensors
from foreframe.system.files import whole_file, whole_folder, write_json, write_text


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    with whole_file(path) as aside:
        aside.write_text("half")
        assert not path.exists()
        assert aside.parent == path.parent
        aside.write_text("whole")
    assert path.read_text() == "whole"
    assert everything(tmp_path) == ["a", "a/b", "a/b/file.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with (  # noqa: PT012
        pytest.raises((ForeframeError, KeyboardInterrupt)) as raised,
        whole_file(path) as aside,
    ):
        aside.write_text("new")
        raise error
    if isinstance(error, OSError):
        assert str(path) in str(raised.value)
        assert "No space left on device" in str(raised.value)
        assert "Free some space" in str(raised.value)
    assert path.read_text() == "old"
    assert everything(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_folders_made_for_a_failed_write_go_again(tmp_path, whole):
    (tmp_path / "there").mkdir()
    with pytest.raises(ForeframeError), whole(tmp_path / "there" / "new" / "newer" / "x"):
        raise OSError(28, "No space left on device")
    assert everything(tmp_path) == ["there"]


def test_a_file_that_was_not_written_is_an_error(tmp_path):
    with pytest.raises(ForeframeError, match="could not be written"), whole_file(tmp_path / "x"):
        pass
    assert everything(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_get_the_mode_that_the_user_wants(tmp_path, mask):
    """Also those of writers that make files for the owner alone."""
    before = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
        write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(2)})
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~mask}


def test_a_file_inside_a_folder_is_named_by_where_it_was_going_to_be(tmp_path):
    with (  # noqa: PT012
        pytest.raises(ForeframeError) as raised,
        whole_folder(tmp_path / "out") as aside,
        whole_file(aside / "picture.png") as picture,
    ):
        picture.write_text("...")
        raise OSError(28, "No space left on device")
    assert str(raised.value).startswith(f"{tmp_path / 'out' / 'picture.png'}: could not be written")
    assert everything(tmp_path) == []


def test_a_folder_takes_an_empty_place_and_no_other(tmp_path):
    (tmp_path / "empty").mkdir()
    with whole_folder(tmp_path / "empty") as aside:
        (aside / "new").touch()
    assert everything(tmp_path) == ["empty", "empty/new"]
    for taken in (tmp_path / "empty", tmp_path / "empty" / "new"):
        entered = False
        with pytest.raises(ForeframeError, match="exists already"), whole_folder(taken):
            entered = True
        assert not entered  # said before any work is done
    assert everything(tmp_path) == ["empty", "empty/new"]


def test_not_a_number_is_not_written_as_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"psnr": float("nan")})
    assert everything(tmp_path) == []
