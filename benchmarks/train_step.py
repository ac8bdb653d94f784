"""A training step: foreframe's, as `foreframe train` runs it, beside a plain one.

    python benchmarks/train_step.py                      vgg64, batch 20, 2 -> 10, teacher-forced
    python benchmarks/train_step.py --free-running       predictions are fed back after the past
    python benchmarks/train_step.py --net dcgan64 --rounds 9

Both have the same weights, the same batch and the same noise, and take their steps in turn
(A B A B) on the same machine; the ratio is that of the medians. The memory is that of two steps,
each kind in a process of its own: model, optimiser, activations, gradients.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results
from benchmarks.plain import PlainModel
from foreframe.config.model import ModelConfig
from foreframe.config.recipes import svg_fp
from foreframe.config.schedules import TeacherForcing
from foreframe.config.training import RunConfig
from foreframe.data.recording import Recording
from foreframe.data.store.writer import write_store
from foreframe.model.clip import Clip
from foreframe.model.spans import time_first
from foreframe.runs.hub import VideoCVAE
from foreframe.system.device import has_fast_bf16
from foreframe.training.loop import Training, step_draws
from foreframe.training.options import TrainOptions

SMALLEST = 6
"""Sequences of the smallest dataset; only its shapes matter."""


def arguments() -> argparse.Namespace:
    parser = results.options(__doc__)
    parser.add_argument("--net", default="vgg64")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--n-past", type=int, default=2)
    parser.add_argument("--n-future", type=int, default=10)
    parser.add_argument("--prior", choices=["fixed", "learned"], default="fixed")
    parser.add_argument("--free-running", action="store_true", help="no teacher forcing")
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each that are timed")
    parser.add_argument("--no-memory", action="store_true", help="don't measure the memory")
    parser.add_argument("--memory-of", choices=["plain", "foreframe"], help=argparse.SUPPRESS)
    return parser.parse_args()


def configuration(given: argparse.Namespace) -> RunConfig:
    config = svg_fp()
    return replace(
        config,
        model=ModelConfig(net=given.net, width=given.width, prior=given.prior, condition="actions"),
        train=replace(
            config.train,
            batch_size=given.batch,
            n_past=given.n_past,
            n_future=given.n_future,
            precision=given.precision,
            forcing=TeacherForcing(teacher_forcing="never" if given.free_running else "always"),
        ),
    )


def batch(config: RunConfig, device: torch.device) -> Clip:
    """Smooth moving pictures, uint8 as they come from a store, with random actions."""
    draw = torch.Generator().manual_seed(0)
    train, size = config.train, config.model.frame_size[0]
    n_frames = train.n_past + train.n_future
    coarse = torch.rand(train.batch_size, 3, n_frames + 4, 8, 8, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, (n_frames, size, size), mode="trilinear")
    frames = smooth.mul(255).round().byte().permute(0, 2, 3, 4, 1).contiguous()
    actions = torch.randn(train.batch_size, n_frames, 4, generator=draw)
    return Clip(frames.permute(0, 1, 4, 2, 3), actions, None).to(device)


def training(config: RunConfig, device: torch.device, folder: Path) -> Training:
    """The object that ``foreframe train`` drives, on a dataset that nobody reads."""
    size, n = config.model.frame_size[0], config.train.n_past + config.train.n_future
    for split in ("train", "validate"):
        with write_store(folder / "data" / split) as writer:
            for k in range(SMALLEST):
                random = np.random.default_rng(k)
                frames = random.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
                actions = random.normal(size=(n, 4)).astype(np.float32)
                writer.add(Recording(frames, actions, None), str(k))
    made = Training(config, folder / "data", folder / "run", TrainOptions(device=device.type))
    made.model.condition_mean.zero_()  # the plain model knows of no standardisation
    made.model.condition_deviation.fill_(1)
    made.model.train()
    return made


def plain_step(
    model: VideoCVAE, config: RunConfig, clip: Clip
) -> tuple[PlainModel, Callable[[], Tensor]]:
    """The straightforward model of the same weights, and its step, which returns the loss."""
    plain = PlainModel(model).to(clip.frames.device)
    optimizers = plain.optimizers(config.train.rate.lr)
    frames = clip.frames.permute(1, 0, 2, 3, 4).float().div(255).contiguous()
    assert clip.actions is not None
    condition = clip.actions.transpose(0, 1)

    def step() -> Tensor:
        noise = step_draws(config, 0, len(clip))[0].to(frames.device)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = plain.loss(
            frames,
            condition,
            noise,
            config.train.kl.beta_max,
            config.train.n_past,
            config.train.forcing.teacher_forcing == "always",
        )
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss.detach()

    return plain, step


def gradients(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    found = torch.autograd.grad(loss, parameters)
    return torch.cat([gradient.flatten().double() for gradient in found])


def differences(config: RunConfig, clip: Clip) -> list[list[str]]:
    """Loss and gradients of both, in float64 and float32, and of the plain one in two layouts."""
    rows = []
    options = {
        "beta": config.train.kl.beta_max,
        "n_past": config.train.n_past,
        "teacher_forcing": config.train.forcing.teacher_forcing == "always",
    }
    few = Clip(clip.frames[:4], clip.actions[:4] if clip.actions is not None else None, None)
    assert few.actions is not None
    for dtype in (torch.float64, torch.float32):
        torch.manual_seed(0)
        model = VideoCVAE(config.model).to(few.frames.device, dtype)
        models = {"foreframe": model, "plain": PlainModel(model).to(few.frames.device, dtype)}
        if dtype == torch.float32:
            models["plain, channels last"] = PlainModel(model).to(
                few.frames.device, memory_format=torch.channels_last
            )
        noise = step_draws(config, 0, len(few))[0].to(few.frames.device, dtype)
        frames = few.frames.to(dtype) / 255
        actions = few.actions.to(dtype)
        found = {}
        for name, one in models.items():
            if isinstance(one, VideoCVAE):
                loss, _ = one(Clip(frames, actions, None), noise, **options)
            else:
                x = time_first(frames) if "last" in name else frames.transpose(0, 1).contiguous()
                loss = one.loss(x, actions.transpose(0, 1), noise, **options)
            found[name] = (loss.item(), gradients(loss, list(one.parameters())))
        loss, gradient = found.pop("plain")
        for name, (other, theirs) in found.items():
            rows.append(
                [
                    f"{name}, {str(dtype).removeprefix('torch.')}",
                    f"{abs(other / loss - 1):.1e}",
                    f"{((theirs - gradient).norm() / gradient.norm()).item():.1e}",
                ]
            )
    return rows


def memory_of(name: str, given: argparse.Namespace, device: torch.device) -> int:
    """Bytes that two steps need beyond what the process held before (its own process)."""
    config = configuration(given)
    clip = batch(config, device)
    before = psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as folder:
        if name == "plain":
            torch.manual_seed(0)
            _, step = plain_step(VideoCVAE(config.model).to(device), config, clip)
        else:
            made = training(config, device, Path(folder))

            def step() -> Tensor:
                return made.step(clip, 0)

        for _ in range(2):
            step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return results.peak_resident() - before


def memories(given: argparse.Namespace) -> dict[str, int]:
    return {
        name: int(
            json.loads(
                subprocess.run(
                    [sys.executable, *sys.argv, "--memory-of", name],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.splitlines()[-1]
            )
        )
        for name in ("plain", "foreframe")
    }


def main() -> None:
    given = arguments()
    device = results.set_up(given)
    if given.memory_of:
        print(memory_of(given.memory_of, given, device))
        return
    config = configuration(given)
    clip = batch(config, device)
    n_frames = clip.frames.shape[0] * clip.frames.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        made = training(config, device, Path(folder))
        plain, plain_one = plain_step(made.model, config, clip)

        def fast_one() -> Tensor:
            return made.step(clip, 0)

        flops = []
        for step in (plain_one, fast_one):
            with FlopCounterMode(display=False) as counter:
                step()
            flops.append(counter.get_total_flops())
        times = results.seconds([plain_one, fast_one], device, given.rounds)
        del plain, made
    medians = [statistics.median(taken) for taken in times]
    bf16 = given.precision == "bf16" or (given.precision == "auto" and has_fast_bf16(device))
    precisions = [torch.float32, torch.bfloat16 if bf16 else torch.float32]
    ceilings = {p: results.matmul_ceiling(device, p) for p in set(precisions)}
    memory = {} if given.no_memory else memories(given)
    rows = []
    for k, (name, precision) in enumerate(zip(("plain", "foreframe"), precisions, strict=True)):
        achieved = flops[k] / medians[k]
        rows.append(
            [
                f"{name}, {'fp32' if precision == torch.float32 else 'bf16'}",
                f"{medians[k]:.3f} ({min(times[k]):.3f} to {max(times[k]):.3f})",
                f"{n_frames / medians[k]:.1f}",
                f"{medians[0] / medians[k]:.2f}x",
                f"{memory[name] / 1e9:.2f} GB ({memory[name] / memory['plain']:.2f}x)"
                if memory
                else "",
                f"{flops[k] / 1e12:.2f}",
                f"{achieved / 1e9:.0f} ({100 * achieved / ceilings[precision]:.0f} %)",
            ]
        )
    forcing = "free-running" if given.free_running else "teacher-forced"
    shown = f"{given.net}, batch {given.batch}, {given.n_past} -> {given.n_future}, {forcing}"
    products = ", ".join(
        f"{str(p).removeprefix('torch.')} {c / 1e9:.0f}"
        for p, c in sorted(ceilings.items(), key=str)
    )
    text = (
        f"**Training step: {shown}, {given.prior} prior.** "
        f"Medians of {given.rounds} steps in turn.\n\n"
        + results.table(
            [
                "step",
                "s (least to most)",
                "frames/s",
                "speed",
                "peak memory",
                "TFLOP",
                "GFLOP/s (of ceiling)",
            ],
            rows,
        )
        + f"\nCeiling: the machine's best large matrix product, GFLOP/s: {products}.\n\n"
        + "Against the plain step, on 4 sequences (relative; gradients as one vector):\n\n"
        + results.table(["", "loss", "gradients"], differences(config, clip))
    )
    key = f"train_step {shown} {given.prior} {given.precision}"
    results.publish(given, device, key, text)


if __name__ == "__main__":
    main()
