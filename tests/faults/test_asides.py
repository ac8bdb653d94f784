"""Half-written files of killed processes are swept, and those of living ones stay."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foreframe.system import asides
from foreframe.system.asides import aside, sweep
from foreframe.training.options import TrainOptions
from foreframe.training.start import start

WRITES = """
import sys, time
from pathlib import Path
from foreframe.system.files import whole_file, whole_folder
with whole_file(Path(sys.argv[1]) / "last.safetensors") as file:
    file.write_bytes(b"half")
    with whole_folder(Path(sys.argv[1]) / "deep" / "samples") as folder:
        (folder / "a.gif").write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is in the middle of writing a file and a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def left(folder: Path) -> list[str]:
    return sorted(path.name.split(".")[1] for path in folder.rglob("*.part"))


def test_files_of_a_living_process_stay_and_go_when_it_was_killed(tmp_path, writer):
    assert left(tmp_path) == ["last", "samples"]
    assert sweep(tmp_path, deep=True) == []
    old = time.time() - 7 * asides.ABANDONED  # however long it takes
    for path in tmp_path.rglob("*.part"):
        os.utime(path, (old, old))
    assert sweep(tmp_path, deep=True) == []
    writer.send_signal(signal.SIGKILL)
    while asides._state(writer.pid)[0] not in ("Z", None):
        time.sleep(0.01)
    # Also before its parent has asked how it ended; below the folder only when that is asked.
    assert len(sweep(tmp_path)) == 1
    assert left(tmp_path) == ["samples"]
    assert len(sweep(tmp_path, deep=True)) == 1
    assert left(tmp_path) == []


def test_another_process_of_the_same_number_does_not_protect_them(tmp_path):
    mine = aside(tmp_path / "x.json")
    host, number, begun, random = mine.name.rpartition(".part")[0].rsplit(".", 1)[1].split("-")
    mine.touch()
    theirs = tmp_path / f".x.json.{host}-{number}-{int(begun) + 1}-{random}.part"
    theirs.touch()
    assert sweep(tmp_path) == [theirs]
    assert mine.exists()


@pytest.mark.parametrize("name", [".a.bin.00000000-1-1-01234567.part", ".a.bin.01234567.part"])
def test_files_of_unknown_writers_go_after_a_day(tmp_path, name):
    """Another machine's, and those of earlier versions."""
    path = tmp_path / name
    path.touch()
    assert sweep(tmp_path) == []
    old = time.time() - 2 * asides.ABANDONED
    os.utime(path, (old, old))
    assert sweep(tmp_path) == [path]


def test_what_only_looks_alike_stays(tmp_path):
    old = time.time() - 2 * asides.ABANDONED
    for name in ("a.part", ".part", ".thesis.final.part"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (old, old))
    assert sweep(tmp_path) == []
    assert sweep(tmp_path / "nowhere") == []


def test_a_run_that_is_gone_on_with_is_swept(whole, tmp_path, monkeypatch):
    run = whole.copied(whole.run, tmp_path / "run")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with monkeypatch.context() as patch:
        patch.setattr(asides.os, "getpid", lambda: process.pid)
        dead = [aside(run / "last.safetensors"), aside(run / "samples" / "epoch-001.gif")]
    for path in dead:
        path.write_bytes(b"half")
    alive = aside(run / "history.json")
    alive.write_bytes(b"half")
    start(whole.config, whole.data, run, TrainOptions(device="cpu", threads=1, resume=True))
    assert not any(path.exists() for path in dead)
    assert alive.exists()
