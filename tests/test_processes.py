"""Several training processes: the same training as one process with the same batches."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

TINY = shlex.split("""
--net dcgan64 --width 0.125 --g-dim 16 --z-dim 4 --rnn-size 16 --prior learned --batch-size 4
--n-future 4 --kl-schedule constant --beta-max 0.01 --precision fp32 --device cpu --lr 0.001
--teacher-forcing linear --teacher-forcing-start 0
""")


def launcher(processes: int) -> list[str]:
    words = [sys.executable]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words += ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
        words += [f"--master-port={port}"]
    return words


def launch(processes: int, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*launcher(processes), "-m", "foreframe", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


STOP = """
import os, signal
from foreframe.training.loop import Training

step = Training.step

def stopped(self, clip, global_step):
    # One of the processes gets the signal, and twice: from the terminal and from the launcher.
    if global_step == 1 and self.processes.index == 1:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    return step(self, clip, global_step)

Training.step = stopped
"""

UNREADABLE = """
import os
from foreframe.data.store import batches
from foreframe.errors import ForeframeError

original = batches.training_batch

def unreadable(*words, process, global_step, **more):
    if process == 1 and global_step == 2:
        raise ForeframeError("shard 7: cannot be read. Copy it again.")
    return original(*words, process=process, global_step=global_step, **more)

batches.training_batch = unreadable
"""

LATE = """
import os, time
if os.environ["RANK"] == "0":
    time.sleep(1)
"""


def launch_each(processes: int, *words: object, broken: str = "") -> list[subprocess.Popen[str]]:
    """Start the processes without a launcher that ends the others once one has ended.

    Args:
        processes: how many.
        words: of the command.
        broken: Python that each runs before.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = (
        f"{broken}\nfrom foreframe.commands.app import main\n"
        f"main({[str(word) for word in words]!r})"
    )
    group = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **group, "RANK": str(k), "LOCAL_RANK": str(k)},
        )
        for k in range(processes)
    ]


def train(processes: int, data: Path, out: Path, *more: object) -> str:
    started = launch(processes, "train", "svg-small", "--data", data, "--out", out, *TINY, *more)
    said, _ = started.communicate(timeout=120)
    assert started.returncode == 0, said
    return said


def weights(run: Path) -> dict:
    held = load_file(run / "last.safetensors")
    return {name: value for name, value in held.items() if name.startswith("model.")}


def assert_the_same(one: Path, other: Path) -> None:
    """Within what rounding becomes after some steps of Adam, which takes it for a gradient."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        if value.is_floating_point() and value.ndim > 1:
            assert (value - second[name]).norm() < 0.02 * value.norm(), name


IN_DOUBLE = """
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from foreframe.model.clip import Clip
from foreframe.data.store.batches import training_batch
from foreframe.config.recipes import recipe
from foreframe.config.schedules import KLSchedule, TeacherForcing
from foreframe.training.loop import Training
from foreframe.training.options import TrainOptions

data, out = map(Path, sys.argv[1:])
config = recipe("svg-small")
train = replace(
    config.train, epochs=2, steps_per_epoch=2, batch_size=4, n_future=4, precision="fp32", ema=0.0,
    forcing=TeacherForcing(teacher_forcing="linear", teacher_forcing_start=0),
    kl=KLSchedule(kl_schedule="constant", beta_max=0.1),
)
model = replace(
    config.model, net="vgg64", width=0.125, g_dim=16, z_dim=4, rnn_size=16, prior="learned"
)
config = replace(config, model=model, train=train)
training = Training(config, data, out, TrainOptions(device="cpu"))
team = training.processes
training.model.double().train()
if team.number > 1:
    training._together = DistributedDataParallel(training.model, broadcast_buffers=False)
for step in range(4):
    clip = training_batch(
        training.splits["train"], n_frames=6, batch_size=4, seed=0, global_step=step,
        process=team.index, processes=team.number,
    )
    training.step(Clip(clip.frames.double() / 255, clip.actions.double(), None), step)
if team.first:
    torch.save(training.model.state_dict(), out)
if team.number > 1:
    dist.destroy_process_group()
"""


def test_two_processes_compute_what_one_does(toy_data, tmp_path):
    """In float64, so that nothing hides behind rounding: weights, and statistics of all frames."""
    script = tmp_path / "steps.py"
    script.write_text(IN_DOUBLE)
    found = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.pt"
        words = [*launcher(processes), script, toy_data, out]
        subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120)
        found.append(torch.load(out))
    for name, value in found[0].items():
        # The gradient of a bias before batch normalisation is rounding and nothing else, of which
        # Adam makes steps; the running mean follows the bias.
        atol = 1e-6 if name.endswith(("bias", "running_mean")) else 1e-9
        torch.testing.assert_close(found[1][name], value, rtol=1e-9, atol=atol, msg=name)


@pytest.fixture(scope="module")
def alone(toy_data, tmp_path_factory) -> Path:
    """Two epochs by one process: one teacher-forced, one free-running."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train(1, toy_data, out, "--epochs", 2, "--steps-per-epoch", 3)
    return out


def test_two_processes_train_as_one(toy_data, alone, tmp_path):
    said = train(2, toy_data, tmp_path / "run", "--epochs", 2, "--steps-per-epoch", 3)
    assert said.count("best validation PSNR") == 1
    assert_the_same(alone, tmp_path / "run")
    mine, other = (
        json.loads((run / "history.json").read_text()) for run in (alone, tmp_path / "run")
    )
    for row, same in zip(mine, other, strict=True):
        for name in ("loss", "mse", "kld", "validation_psnr"):
            assert same[name] == pytest.approx(row[name], rel=2e-3), name


def test_a_stop_saves_and_goes_on_with_another_number_of_processes(toy_data, alone, tmp_path):
    """The only checkpoint is that of the stop: one in mid-epoch, and no other is due."""
    out = tmp_path / "run"
    lengths = ("--epochs", 2, "--steps-per-epoch", 3)
    words = ("train", "svg-small", "--data", toy_data, "--out", out, *TINY, *lengths)
    started = launch_each(2, *words, broken=STOP)
    said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [130, 130], said
    assert said[0].count("Stopped and saved") == 1
    assert "Stopped" not in said[1]
    resumed = launch(1, "train", "svg-small", "--data", toy_data, "--out", out, "--resume")
    told, _ = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, told
    assert_the_same(alone, out)


@pytest.mark.parametrize("wrong", ["batch", "taken", "png", "read"])
def test_a_mistake_ends_all_processes(toy_data, alone, tmp_path, wrong):
    """Each with status 2, by itself, whoever found it; said once, without a traceback."""
    data, out, broken = toy_data, tmp_path / "run", ""
    if wrong == "png":
        data = tmp_path / "data"
        shutil.copytree(toy_data, data, ignore=shutil.ignore_patterns(".foreframe"))
        (data / "validate" / "traj_0_to_255" / "1" / "3.png").write_bytes(b"x")
    if wrong == "read":
        broken = UNREADABLE
    if wrong == "taken":
        out = alone
    more = ["--batch-size", 5] if wrong == "batch" else []
    more += ["--epochs", 2, "--steps-per-epoch", 3]
    words = ("train", "svg-small", "--data", data, "--out", out, *TINY, *more)
    started = launch_each(2, *words, broken=broken)
    said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [2, 2], said
    assert said[0].count("foreframe: error:") == 1
    assert "error:" not in said[1]
    assert "Traceback" not in "".join(said)
    expected = {"batch": "multiple of 2", "taken": "already", "png": "3.png", "read": "shard 7"}
    assert expected[wrong] in said[0]


def test_a_mistake_is_said_though_the_first_process_is_late(tmp_path):
    """A launcher ends all when one has ended: the others wait until the first has spoken."""
    script = tmp_path / "late.py"
    script.write_text(f"{LATE}\nfrom foreframe.commands.app import main\nmain()")
    for words, expected in ((["demoo"], "demoo"), (["demo", "--epochs", "x"], "--epochs")):
        command = [*launcher(2), str(script), "train", *words, "--data", "a", "--out", "b"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
        )
        said = [line for line in (done.stdout + done.stderr).splitlines() if expected in line]
        assert len([line for line in said if "late.py" not in line]) >= 1, done.stderr
        assert "(SIGTERM)" in done.stderr
