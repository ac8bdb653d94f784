"""A save that fails anywhere leaves the state before or the new one, whole, and nothing half."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, HISTORY, LAST, LAST_GOOD, LAST_PREVIOUS, MODEL_CONFIG
from foreframe.runs.hub import VideoCVAE
from foreframe.runs.weights import read_tensors
from foreframe.system import asides
from foreframe.system.asides import sweep
from foreframe.system.files import whole_folder, write_json
from foreframe.training import checkpoint
from foreframe.training.checkpoint import Checkpoint
from foreframe.training.options import TrainOptions
from foreframe.training.progress import Progress
from foreframe.training.start import start
from tests.faults.disk import FAULTS, Disk, Killed

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="an open file's path is read from /proc"
)

RESUME = TrainOptions(device="cpu", threads=1, resume=True)


class State:
    """A model with its optimiser after some steps, and all the files of an epoch's end."""

    def __init__(self, config, epoch: int) -> None:
        torch.manual_seed(epoch)
        self.model = VideoCVAE(config)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        for parameter in self.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.step()
        row = {"epoch": 0, "mse": 1.0, "kld": 1.0, "beta": 0.0, "validation_psnr": 20.0}
        self.progress = Progress(
            epoch=epoch,
            best_psnr=20.0 + epoch - 1,
            history=[{**row, "epoch": n, "validation_psnr": 20.0 + n} for n in range(epoch)],
        )

    def save(self, run: Path) -> None:
        """As the training does after an epoch."""
        checkpoint.save_best(run, self.model)
        checkpoint.save_last(run, self.model, self.optimizer, self.progress, settings='{"a": 1}')
        write_json(run / HISTORY, self.progress.history)
        checkpoint.keep_last_as_good(run)


FILES = (BEST, MODEL_CONFIG, LAST, LAST_PREVIOUS, LAST_GOOD, HISTORY)


def held(path: Path) -> object:
    """What a file of a run says, compared by value; None if it is not there."""
    if not path.exists():
        return None
    if path.suffix == ".json":
        return json.loads(path.read_text())
    tensors, metadata = read_tensors(path)
    return metadata, {name: value.numpy().tobytes() for name, value in tensors.items()}


@pytest.fixture(scope="module")
def saved(whole, tmp_path_factory):
    """A run folder after one epoch's end, and what is saved at the next one."""
    place = tmp_path_factory.mktemp("saves")
    (place / "before").mkdir()
    config = replace(whole.config.model, width=0.015625, g_dim=4, rnn_size=4)
    before, after = State(config, 1), State(config, 2)
    before.save(place / "before")
    shutil.copytree(place / "before", place / "after")
    after.save(place / "after")
    known = {name: [held(place / one / name) for one in ("before", "after")] for name in FILES}
    assert all(old != new for name, (old, new) in known.items() if name != MODEL_CONFIG)
    return place / "before", after, known


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def boundaries(saved, out: Path) -> list[str]:
    before, after, _ = saved
    shutil.copytree(before, out)
    disk = Disk(out)
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        after.save(out)
    return disk.calls


def test_a_save_has_the_boundaries_that_are_meant(saved, tmp_path):
    """The faults below reach every file, and every kind of call."""
    calls = boundaries(saved, tmp_path / "run")
    kinds = {call.split()[0] for call in calls}
    assert kinds >= {"open", "fsync", "replace", "link", "unlink", "copyfile", "save_file"}
    for name in ("model", "last", "last-previous", "last-good"):
        assert any(f".{name}" in call or call.endswith(f" {name}") for call in calls), name
    assert len(calls) > 40


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_after(saved, tmp_path):
    calls = boundaries(saved, tmp_path / "run")
    renames = [n for n, call in enumerate(calls) if call.startswith("replace ")]
    assert len(renames) == len(FILES)
    for before, at in zip([0, *renames], renames, strict=False):
        name = calls[at].split()[1]
        assert any(call.startswith(f"fsync .{name}") for call in calls[before:at]), name
        assert calls[at + 1 : at + 3] == ["open run", "fsync run"], name


def test_a_folder_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path):
    disk = Disk(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        with whole_folder(tmp_path / "out") as aside:
            (aside / "a.bin").write_bytes(b"a")
            (aside / "deep").mkdir()
            (aside / "deep" / "b.bin").write_bytes(b"b")
    calls = disk.calls
    at = calls.index("replace out")
    for name in ("a.bin", "b.bin", "deep"):
        assert f"fsync {name}" in calls[:at], name
    assert f"fsync {tmp_path.name}" in calls[at:]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_boundary_leaves_the_old_or_the_new_state(saved, tmp_path, dead, fault):
    before, after, known = saved
    count = len(boundaries(saved, tmp_path / "count"))
    ended = set()
    for at in range(count):
        run = Path(shutil.copytree(before, tmp_path / "run"))
        disk = Disk(run, at, fault)
        with pytest.MonkeyPatch.context() as patch:
            # The names of half-written files say that a process wrote them that is no more.
            patch.setattr(asides.os, "getpid", lambda: dead)
            disk.install(patch)
            outcome = None
            try:
                after.save(run)
            except (Killed, ForeframeError) as error:
                outcome = type(error)
        where = f"{fault} at {disk.calls[at]} ({at})"
        ended.add(outcome)
        if fault in ("EIO", "ENOSPC"):
            assert outcome in (None, ForeframeError), where
        else:
            assert outcome is Killed, where
        sweep(run, deep=True)
        assert [path.name for path in run.rglob("*.part")] == [], where
        for name in FILES:
            assert held(run / name) in known[name], f"{name}: {where}"
        # Whatever is there first goes on: a checkpoint never is of a later epoch than the history.
        saved_epoch = json.loads(Checkpoint.read(run).progress)["epoch"]
        assert saved_epoch in (1, 2), where
        shutil.rmtree(run)
    assert Killed in ended or ForeframeError in ended


DAMAGE = {
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "torn": lambda content: content[: len(content) // 2],
    "half zeros": lambda content: content[: len(content) // 2] + bytes(len(content) // 2),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_disk_that_lied_is_noticed_and_the_checkpoint_before_goes_on(saved, tmp_path, damage):
    """It said that the newest files were written, and after a power cut they are not."""
    before, after, known = saved
    run = Path(shutil.copytree(before, tmp_path / "run"))
    after.save(run)
    for name in (LAST, LAST_GOOD, BEST):
        content = (run / name).read_bytes()
        (run / name).unlink()  # the file of that name alone, not one that shares its bytes
        (run / name).write_bytes(DAMAGE[damage](content))
    with pytest.raises(ForeframeError, match=r"last\.safetensors: .*last-previous\.safetensors"):
        Checkpoint.read(run)
    with pytest.raises(ForeframeError, match=r"model\.safetensors: .*--resume"):
        VideoCVAE.from_pretrained(run)
    shutil.copy(run / LAST_PREVIOUS, run / LAST)
    assert held(run / LAST) == known[LAST][0]


def test_what_was_lost_is_trained_again_bit_for_bit(whole, tmp_path):
    """From the checkpoint before, after a lie: the same weights and history as in one go."""
    run = whole.copied(whole.saves[-2], tmp_path / "run")
    for name in (LAST, LAST_GOOD, BEST):
        (run / name).write_bytes(bytes(1000))
    with pytest.raises(ForeframeError, match=r"last-previous\.safetensors, which is sound"):
        start(whole.config, whole.data, run, RESUME)
    shutil.copy(run / LAST_PREVIOUS, run / LAST)
    training = start(whole.config, whole.data, run, RESUME)
    history = training.fit()
    timeless = [
        [{k: v for k, v in row.items() if k not in ("seconds", "frames_per_second")} for row in h]
        for h in (history, json.loads((whole.run / HISTORY).read_text()))
    ]
    assert timeless[0] == timeless[1]
    ours, theirs = (read_tensors(folder / LAST)[0] for folder in (run, whole.run))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_previous_checkpoint_is_one_save_older(whole):
    for earlier, later in zip(whole.saves, whole.saves[1:], strict=False):
        assert held(later / LAST_PREVIOUS) == held(earlier / LAST)
    assert not (whole.saves[0] / LAST_PREVIOUS).exists()


def test_damage_to_the_last_checkpoint_is_none_to_the_good_one(whole):
    """Each is a file of its own: one bad block does not take both."""
    assert not os.path.samefile(whole.run / LAST, whole.run / LAST_GOOD)
    assert not os.path.samefile(whole.run / LAST, whole.run / LAST_PREVIOUS)
    assert held(whole.run / LAST) == held(whole.run / LAST_GOOD)
