"""Training: set up, fit, validate; exactly resumable because nothing random has a state.

The order of the data, the noise of z and the teacher-forcing draw of a step are functions of the
seed and the step alone, the schedules of the epoch alone. A resume needs the tensors and the step.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

import foreframe
from foreframe import checkpoint
from foreframe.checkpoint import Progress
from foreframe.clip import Clip
from foreframe.config import from_dict, to_dict
from foreframe.data.dataset import evaluation_batches, open_split, prefetch, require
from foreframe.data.store import Store
from foreframe.device import Precision, autocast, choose_device
from foreframe.errors import ForeframeError
from foreframe.files import write_json
from foreframe.metrics import psnr
from foreframe.model import ModelConfig, VideoCVAE
from foreframe.schedules import (
    KLSchedule,
    LearningRate,
    TeacherForcing,
    check_schedules,
    kl_weight,
    learning_rate,
    teacher_forcing_ratio,
)
from foreframe.visuals import samples_gif

IMAGE_SIZE = 64
SAMPLE_ROWS = 4

# A collapse, as the report saw it: far under the best, or no picture at all after a tenth of the run.
COLLAPSE_DROP_DB = 6.0
COLLAPSE_FLOOR_DB = 10.0
COLLAPSE_PATIENCE = 3


@dataclass(frozen=True)
class TrainConfig:
    """The training: its length, its batches and its schedules."""

    epochs: int = 150
    """Number of epochs E; the schedules are drawn over them."""
    steps_per_epoch: int = 600
    """Optimiser steps in an epoch."""
    batch_size: int = 20
    """Clips in a batch."""
    n_past: int = 2
    """Given frames."""
    n_future: int = 10
    """Predicted frames."""
    kl: KLSchedule = field(default_factory=KLSchedule)
    forcing: TeacherForcing = field(default_factory=TeacherForcing)
    rate: LearningRate = field(default_factory=LearningRate)
    seed: int = 0
    """Seed of the initial weights, the order of the data and every draw."""
    precision: Precision = "auto"
    """Of the convolutions: bf16, fp32, or auto for bf16 where the hardware multiplies it."""
    validation_sequences: int = 256
    """Sequences of the validation split that are predicted after each epoch, at most."""
    sample_every: int = 5
    """Epochs between two sample GIFs."""
    checkpoint_every: int = 200
    """Steps between two checkpoints within an epoch; one is always written at its end."""


@dataclass(frozen=True)
class RunConfig:
    """A complete run: what ``foreframe train`` does and writes to ``run.json``."""

    recipe: str
    """Name of the recipe that the run began as."""
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


class Interrupted(Exception):
    """The user asked to stop (Ctrl-C or a termination signal); everything is saved."""


class Listener:
    """What a training tells whoever watches; the command line draws a progress bar from it."""

    def message(self, text: str) -> None:
        """A line for the user."""

    def step(self, progress: Progress, values: dict[str, float]) -> None:
        """Now and then within an epoch: the epoch's means so far and the speed."""

    def epoch(self, row: dict[str, Any]) -> None:
        """After each epoch: its row of the history."""


def check_config(config: RunConfig) -> None:
    """Refuse a configuration that cannot be trained.

    Raises:
        ForeframeError: names the option, its value and what it must be.
    """
    train = config.train
    least = {
        "epochs": 1,
        "steps_per_epoch": 1,
        "batch_size": 2,  # batch normalisation of a 1x1 map needs two values
        "n_past": 2 if config.model.skips_from == "svg" else 1,
        "n_future": 1,
        "validation_sequences": 1,
        "sample_every": 1,
        "checkpoint_every": 1,
    }
    for name, minimum in least.items():
        if getattr(train, name) < minimum:
            raise ForeframeError(
                f"--{name.replace('_', '-')} {getattr(train, name)}: must be at least {minimum}."
            )
    if not (train.rate.lr > 0 and math.isfinite(train.rate.lr)):
        raise ForeframeError(f"--lr {train.rate.lr}: must be above 0.")
    check_schedules(train.kl, train.forcing, train.epochs)


def step_draws(
    config: RunConfig, global_step: int, batch_size: int
) -> tuple[Tensor, float]:
    """The noise of a step [T-1, B, z_dim] and its teacher-forcing draw in [0, 1), on the CPU.

    Functions of the seed and the step alone: whatever ran in between, a resume draws the same.
    """
    seed = np.random.SeedSequence((config.train.seed, 1, global_step)).generate_state(1, np.uint64)
    # Torch takes seeds up to 2**63 - 1 without wrapping on every platform.
    generator = torch.Generator().manual_seed(int(seed[0]) >> 1)
    steps = config.train.n_past + config.train.n_future - 1
    draw = torch.rand((), generator=generator).item()
    noise = torch.randn(steps, batch_size, config.model.z_dim, generator=generator)
    return noise, draw


class Training:
    """One run under way. ``fit`` does all of it; the parts are public for tests and notebooks.

    Args:
        config: the complete configuration.
        data: root of a dataset, in the lab's layout or as stores.
        out: the run folder.
        device: "auto", "cpu", "cuda" or "mps".
        listener: who is told what happens.

    Raises:
        ForeframeError: the configuration, the data or the device are refused.
    """

    def __init__(
        self,
        config: RunConfig,
        data: Path,
        out: Path,
        *,
        device: str = "auto",
        listener: Listener | None = None,
    ) -> None:
        check_config(config)
        self.listener = listener or Listener()
        chosen = choose_device(device)
        self.splits = {
            split: open_split(data, split, size=IMAGE_SIZE, log=self.listener.message)
            for split in ("train", "validate")
        }
        self.config = fit_widths(config, self.splits["train"])
        for split, store in self.splits.items():
            _require_for(self.config, store, split)
        self.data, self.out = data, out
        # A process that trains twice (tests, notebooks) may want another device the second time.
        PartialState._reset_state()
        self.accelerator = Accelerator(cpu=chosen.type == "cpu")
        self.device = self.accelerator.device
        torch.manual_seed(config.train.seed)
        self.model = VideoCVAE(self.config.model).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=config.train.rate.lr,
            betas=(0.9, 0.999),
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.progress = Progress()

    # -- one step -------------------------------------------------------------------------------

    def step(self, clip: Clip, global_step: int) -> Tensor:
        """One optimiser step; returns loss, mse and kld (each / T) on the device, unread.

        Args:
            clip: a training batch, already on the device.
            global_step: steps done since the beginning of the run.
        """
        train = self.config.train
        epoch = global_step // train.steps_per_epoch
        noise, draw = step_draws(self.config, global_step, len(clip))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(
                global_step, train.rate, train.epochs * train.steps_per_epoch
            )
        with autocast(self.device, train.precision):
            loss, logs = self.model(
                clip,
                noise.to(self.device, non_blocking=True),
                beta=kl_weight(epoch, train.kl, train.epochs),
                n_past=train.n_past,
                teacher_forcing=draw < teacher_forcing_ratio(epoch, train.forcing, train.epochs),
            )
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return torch.stack([logs["loss"], logs["mse"], logs["kld"]])

    # -- the whole run --------------------------------------------------------------------------

    def fit(self, *, stop_on_collapse: bool = False) -> list[dict[str, Any]]:
        """Train to the last epoch from where ``progress`` stands; returns the history.

        Raises:
            Interrupted: on Ctrl-C, after saving.
            ForeframeError: the loss is not finite, or (``stop_on_collapse``) the model collapsed.
        """
        train = self.config.train
        writer = SummaryWriter(
            str(self.out / "tensorboard"),
            purge_step=self.progress.epoch * train.steps_per_epoch + self.progress.step,
        )
        with _interrupts() as interrupted, writer:
            while self.progress.epoch < train.epochs:
                self._run_epoch(writer, interrupted)
                row = self._end_epoch(writer)
                self.listener.epoch(row)
                self._watch_for_collapse(row, stop_on_collapse)
                if interrupted() and self.progress.epoch < train.epochs:
                    raise Interrupted
        return self.progress.history

    def _run_epoch(self, writer: SummaryWriter, interrupted: Callable[[], bool]) -> None:
        train, progress = self.config.train, self.progress
        self.model.train()
        first = progress.epoch * train.steps_per_epoch + progress.step
        totals = torch.tensor(progress.totals, device=self.device, dtype=torch.float64)
        before, started = progress.seconds, time.monotonic()
        told = started

        def read_totals() -> None:
            # The only place where the host waits for the device.
            progress.totals = totals.tolist()
            progress.seconds = before + time.monotonic() - started
            if not all(math.isfinite(total) for total in progress.totals):
                self._not_finite(progress)

        with prefetch(
            self.splits["train"],
            n_frames=train.n_past + train.n_future,
            batch_size=train.batch_size,
            seed=train.seed,
            first_step=first,
            pin_memory=self.device.type == "cuda",
        ) as clips:
            while progress.step < train.steps_per_epoch:
                clip = next(clips).to(self.device)
                totals += self.step(clip, progress.epoch * train.steps_per_epoch + progress.step)
                progress.step += 1
                now = time.monotonic()
                if now - told > 0.5:
                    read_totals()
                    self.listener.step(progress, self._means())
                    told = now
                at_end = progress.step == train.steps_per_epoch
                if (progress.step % train.checkpoint_every == 0 and not at_end) or interrupted():
                    read_totals()
                    if not at_end:
                        self._save_last()
                        if interrupted():
                            raise Interrupted
        read_totals()

    def _means(self) -> dict[str, float]:
        """The epoch's means so far, its schedules and its speed."""
        train, progress = self.config.train, self.progress
        n_frames = train.n_past + train.n_future
        loss, mse, kld = (total / progress.step for total in progress.totals)
        frames = progress.step * train.batch_size * n_frames
        steps = train.epochs * train.steps_per_epoch
        done = progress.epoch * train.steps_per_epoch + progress.step
        return {
            "loss": loss,
            "mse": mse,
            "kld": kld,
            "beta": kl_weight(progress.epoch, train.kl, train.epochs),
            "teacher_forcing_ratio": teacher_forcing_ratio(
                progress.epoch, train.forcing, train.epochs
            ),
            "lr": learning_rate(done - 1, train.rate, steps),
            # Of the mean squared error per predicted frame, T / (T - 1) times the logged one.
            "psnr": -10.0 * math.log10(max(mse * n_frames / (n_frames - 1), 1e-10)),
            "frames_per_second": frames / max(progress.seconds, 1e-9),
            "seconds": progress.seconds,
        }

    def _end_epoch(self, writer: SummaryWriter) -> dict[str, Any]:
        train, progress = self.config.train, self.progress
        row: dict[str, Any] = {"epoch": progress.epoch, **self._means()}
        row["validation_psnr"] = self.validate()
        if not math.isfinite(row["validation_psnr"]):
            self._not_finite(progress)
        at = (progress.epoch + 1) * train.steps_per_epoch
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, at)
        writer.flush()
        progress.history.append(row)
        self._count_collapse(row)
        best = progress.best_psnr
        if best is None or row["validation_psnr"] > best:
            progress.best_psnr = row["validation_psnr"]
            checkpoint.save_best(self.out, self.model)
        last_epoch = progress.epoch + 1 == train.epochs
        if (progress.epoch + 1) % train.sample_every == 0 or last_epoch:
            self._sample_gif(f"epoch-{progress.epoch:03d}.gif")
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.totals, progress.seconds = [0.0, 0.0, 0.0], 0.0
        self._save_last()
        write_json(self.out / checkpoint.HISTORY, progress.history)
        if progress.collapsed_validations == 0:
            checkpoint.keep_last_as_good(self.out)
        return row

    def _save_last(self) -> None:
        checkpoint.save_last(self.out, self.model, self.optimizer, self.progress)

    def _not_finite(self, progress: Progress) -> None:
        raise ForeframeError(
            f"the loss is not finite in epoch {progress.epoch}, by step {progress.step}: the "
            f"training has blown up. The last good checkpoint is {self.out / checkpoint.LAST}. "
            "Lower --lr or --beta-max, or use --precision fp32, and train again."
        )

    # -- validation -----------------------------------------------------------------------------

    def validate(self) -> float:
        """Mean PSNR in dB over the validation split, n_past -> n_future, one prior sample each.

        Evaluation mode, no gradient, the same noise at every epoch.
        """
        train = self.config.train
        values: list[Tensor] = []
        generator = torch.Generator().manual_seed(train.seed)
        for clip in self._validation_batches(train.validation_sequences):
            with autocast(self.device, train.precision):
                futures = self._predict(clip, generator)
            truth = clip.frames[:, train.n_past :].to(self.device).float().div_(255)
            values.append(psnr(futures, truth).mean(1))
        return float(torch.cat(values).mean())

    def _validation_batches(self, limit: int) -> Iterator[Clip]:
        train = self.config.train
        return evaluation_batches(
            self.splits["validate"],
            n_frames=train.n_past + train.n_future,
            batch_size=train.batch_size,
            limit=limit,
        )

    def _predict(self, clip: Clip, generator: torch.Generator) -> Tensor:
        n_past = self.config.train.n_past
        return self.model.generate(
            clip.frames[:, :n_past],
            clip.actions,
            clip.positions,
            n_future=self.config.train.n_future,
            generator=generator,
        )[:, 0]

    def _sample_gif(self, name: str) -> None:
        n_past = self.config.train.n_past
        clip = next(self._validation_batches(SAMPLE_ROWS))
        futures = self._predict(clip, torch.Generator().manual_seed(self.config.train.seed))
        future = futures.mul(255).round_().byte().cpu()
        prediction = torch.cat([clip.frames[:, :n_past], future], 1)
        rows = [frames.permute(0, 1, 3, 4, 2).numpy() for frames in (clip.frames, prediction)]
        samples_gif(self.out / "samples" / name, *rows, n_past=n_past)

    # -- collapse -------------------------------------------------------------------------------

    def _count_collapse(self, row: dict[str, Any]) -> None:
        progress = self.progress
        value, best = row["validation_psnr"], progress.best_psnr
        fallen = best is not None and value < best - COLLAPSE_DROP_DB
        blank = value < COLLAPSE_FLOOR_DB and row["epoch"] >= self.config.train.epochs / 10
        progress.collapsed_validations = progress.collapsed_validations + 1 if fallen or blank else 0

    def _watch_for_collapse(self, row: dict[str, Any], stop: bool) -> None:
        if self.progress.collapsed_validations != COLLAPSE_PATIENCE:
            return
        name = f"collapse-epoch-{row['epoch']:03d}.gif"
        self._sample_gif(name)
        good = self.out / checkpoint.LAST_GOOD
        kept = f"; the last checkpoint from before is kept in {good}" if good.exists() else ""
        text = (
            f"the model has collapsed: validation PSNR {row['validation_psnr']:.1f} dB, for "
            f"{COLLAPSE_PATIENCE} validations running, best {self.progress.best_psnr:.1f} dB{kept}. "
            f"Its predictions: {self.out / 'samples' / name}. "
            "Lower --beta-max or --lr, or use more --kl-cycles."
        )
        if stop:
            raise ForeframeError(text)
        self.listener.message(f"Warning: {text} Training goes on (--stop-on-collapse ends it).")


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question that the loop asks; a second one ends at once."""
    asked = False

    def handle(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[number] = signal.signal(number, handle)
        except ValueError:  # not the main thread: the caller's handlers stay
            continue
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def fit_widths(config: RunConfig, store: Store) -> RunConfig:
    """``config`` with the widths of the actions and positions that the data have."""
    widths: dict[str, int] = {}
    if store.action_dim is not None:
        widths["action_dim"] = store.action_dim
    if store.position_dim is not None:
        widths["position_dim"] = store.position_dim
    return replace(config, model=replace(config.model, **widths))


def _require_for(config: RunConfig, store: Store, split: str) -> None:
    require(
        store,
        n_frames=config.train.n_past + config.train.n_future,
        actions=config.model.uses_actions,
        positions=config.model.uses_positions,
    )


def start(
    config: RunConfig,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    device: str = "auto",
    listener: Listener | None = None,
) -> Training:
    """Set up a run in ``out``: a new one, or with ``resume`` the one that is there.

    Args:
        config: of the new run; with ``resume``, the saved one counts (see ``saved_config``).
        data: root of the dataset.
        out: the run folder.
        resume: go on from the last checkpoint.
        init_from: a run whose best weights a new run starts from.
        device: "auto", "cpu", "cuda" or "mps".
        listener: who is told what happens.

    Raises:
        ForeframeError: ``out`` holds a run already and ``resume`` is off, or it holds none.
    """
    there = (out / checkpoint.RUN_CONFIG).exists()
    if there and not resume:
        raise ForeframeError(
            f"{out}: a run is there already. Go on with it: --resume. Or give another --out."
        )
    if not there and out.is_dir() and any(out.iterdir()):
        raise ForeframeError(f"{out}: the folder is not empty and holds no run. Give another --out.")
    if out.exists() and not out.is_dir():
        raise ForeframeError(f"{out}: is a file. Give the name of a folder as --out.")
    if resume and not there:
        raise ForeframeError(
            f"{out}: no run is there to resume. Train one first, without --resume."
        )
    training = Training(config, data, out, device=device, listener=listener)
    if resume:
        if (out / checkpoint.LAST).exists():
            training.progress = checkpoint.load_last(out, training.model, training.optimizer)
        return training
    if init_from is not None:
        training.model.load_state_dict(
            _matching(checkpoint.load_model(init_from), training.model, init_from).state_dict()
        )
    write_json(
        out / checkpoint.RUN_CONFIG,
        {
            **to_dict(training.config),
            "data": str(data),
            "init_from": None if init_from is None else str(init_from),
            "foreframe": foreframe.__version__,
            "torch": torch.__version__,
        },
    )
    return training


def _matching(source: VideoCVAE, target: VideoCVAE, where: Path) -> VideoCVAE:
    ours, theirs = to_dict(target.config), to_dict(source.config)
    different = [
        f"{key} is {theirs[key]} there and {ours[key]} here" for key in ours if ours[key] != theirs[key]
    ]
    if different:
        raise ForeframeError(
            f"--init-from {where}: its model is another one: {'; '.join(different)}. "
            "Give the same options as that run."
        )
    return source


def saved_config(run: Path) -> RunConfig:
    """The full configuration of a run folder.

    Raises:
        ForeframeError: no run is there, or its run.json is damaged.
    """
    path = run / checkpoint.RUN_CONFIG
    values = checkpoint.read_json(path)
    if not isinstance(values, dict):
        raise ForeframeError(f"{path}: is not the configuration of a run.")
    known = {key: values[key] for key in ("recipe", "model", "train") if key in values}
    return from_dict(RunConfig, known, str(path))
