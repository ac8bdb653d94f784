"""Several training processes: the same training as one process with the same batches."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
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


def train(processes: int, data: Path, out: Path, *more: object) -> str:
    started = launch(processes, "train", "demo", "--data", data, "--out", out, *TINY, *more)
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

from foreframe.clip import Clip
from foreframe.data.batches import training_batch
from foreframe.recipes import recipe
from foreframe.schedules import KLSchedule, TeacherForcing
from foreframe.train import Training

data, out = map(Path, sys.argv[1:])
config = recipe("demo")
train = replace(
    config.train, epochs=2, steps_per_epoch=2, batch_size=4, n_future=4, precision="fp32",
    forcing=TeacherForcing(teacher_forcing="linear", teacher_forcing_start=0),
    kl=KLSchedule(kl_schedule="constant", beta_max=0.1),
)
model = replace(
    config.model, net="vgg64", width=0.125, g_dim=16, z_dim=4, rnn_size=16, prior="learned"
)
training = Training(replace(config, model=model, train=train), data, out, device="cpu")
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


def test_a_run_goes_on_with_another_number_of_processes(toy_data, alone, tmp_path):
    out = tmp_path / "run"
    started = launch(
        2,
        "train",
        "demo",
        "--data",
        toy_data,
        "--out",
        out,
        *TINY,
        "--epochs",
        2,
        "--steps-per-epoch",
        3,
        "--checkpoint-every",
        1,
    )
    while not (out / "last.safetensors").exists() and started.poll() is None:
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    said, _ = started.communicate(timeout=60)
    assert (out / "last.safetensors").exists(), said
    resumed = launch(1, "train", "demo", "--data", toy_data, "--out", out, "--resume")
    said, _ = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, said
    assert_the_same(alone, out)


@pytest.mark.parametrize("wrong", ["batch", "taken"])
def test_a_mistake_is_said_once(toy_data, alone, tmp_path, wrong):
    out = alone if wrong == "taken" else tmp_path / "run"
    more = ["--batch-size", 5] if wrong == "batch" else []
    started = launch(2, "train", "demo", "--data", toy_data, "--out", out, *TINY, *more)
    said, _ = started.communicate(timeout=60)
    assert started.returncode != 0
    assert said.count("foreframe: error:") == 1
    expected = {"batch": "--batch-size 5: is that of all 2 processes", "taken": "already"}
    assert expected[wrong] in said
    assert wrong == "taken" or not out.exists()
