"""Training: set up, fit, validate; exactly resumable because nothing random has a state.

The order of the data, the noise of z and the teacher-forcing draw of a step are functions of the
seed and the step alone, the schedules of the epoch alone. A resume needs the tensors and the step.
"""

import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from foreframe.config.schedules import kl_weight, learning_rate, teacher_forcing_ratio
from foreframe.config.training import RunConfig, check_config
from foreframe.data.store.batches import prefetch
from foreframe.data.store.opened import open_split, require
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.model.clip import Clip
from foreframe.runs.folder import HISTORY, LAST, LAST_GOOD
from foreframe.runs.hub import VideoCVAE
from foreframe.runs.kinematics import fit_kinematics
from foreframe.system.device import autocast, choose_device, keep_freed_memory
from foreframe.system.files import write_json
from foreframe.system.places import Place
from foreframe.training import checkpoint
from foreframe.training.average import WeightAverage
from foreframe.training.checkpoint import Progress
from foreframe.training.health import COLLAPSE_PATIENCE, beginning, looks_collapsed
from foreframe.training.listener import Interrupted, Listener
from foreframe.training.processes import Processes
from foreframe.training.validate import Validation


class Diverged(ForeframeError):
    """The loss or the weights are no longer finite; the last good checkpoint is kept."""


_COPY = 1.0
"""Seconds within which a second signal is a launcher's copy of the first."""


def step_draws(config: RunConfig, global_step: int, batch_size: int) -> tuple[Tensor, float]:
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
        data: Place,
        out: Path,
        *,
        device: str = "auto",
        listener: Listener | None = None,
    ) -> None:
        check_config(config)
        self.processes = Processes(choose_device(device))
        self.device = self.processes.device
        if self.device.type == "cpu":
            keep_freed_memory()
        _check_share(config, self.processes.number)
        self.listener = listener if listener and self.processes.first else Listener()
        # The first packs what has to be packed, and the others find it there.
        self.splits = self.processes.first_before_others(lambda: self._open(config, data))
        self.config = _with_widths_of(self.splits["train"], config)
        for store in self.splits.values():
            _require_for(self.config, store)
        self.data, self.out = data, out
        torch.manual_seed(config.train.seed)
        self.model = VideoCVAE(self.config.model)
        statistics = self.splits["train"].statistics()
        self.model.standardise_condition(
            *(
                None
                if found is None
                else (torch.from_numpy(found.mean), torch.from_numpy(found.deviation))
                for found in (statistics["actions"], statistics["positions"])
            )
        )
        if self.config.model.net == "places64":
            train = self.splits["train"]
            kinematics = fit_kinematics(train[i] for i in range(len(train)))
            if kinematics is not None:
                self.model.teach_kinematics(torch.from_numpy(kinematics.matrix))
        self.model.to(self.device)
        self._together: nn.Module = self.model
        if self.processes.number > 1:
            # Averages the gradients. The statistics of batch normalisation are those of all frames
            # in every process (see nets.norm), so nothing has to be sent round.
            with warnings.catch_warnings():
                # PyTorch 2.13 calls the option deprecated; its successor is missing before.
                warnings.simplefilter("ignore", FutureWarning)
                self._together = DistributedDataParallel(self.model, broadcast_buffers=False)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=config.train.rate.lr,
            betas=(0.9, 0.999),
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.average = WeightAverage(self.model, config.train.ema) if config.train.ema else None
        self.validation = Validation(self.splits["validate"], config.train, self.device)
        self.progress = Progress()

    def _open(self, config: RunConfig, data: Place) -> dict[str, Store]:
        return {
            split: open_split(
                data,
                split,
                size=config.model.image_size,
                log=self.listener.message,
                progress=self.listener.packing,
            )
            for split in ("train", "validate")
        }

    # -- one step -------------------------------------------------------------------------------

    def step(self, clip: Clip, global_step: int) -> Tensor:
        """One optimiser step; returns loss, mse and kld (each / T) on the device, unread.

        Args:
            clip: a training batch, already on the device; of several processes, this one's part.
            global_step: steps done since the beginning of the run.
        """
        train = self.config.train
        epoch = global_step // train.steps_per_epoch
        noise, draw = step_draws(self.config, global_step, len(clip) * self.processes.number)
        noise = noise[:, self.processes.part(noise.shape[1])]
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(
                global_step, train.rate, train.epochs * train.steps_per_epoch
            )
        with autocast(self.device, train.precision):
            loss, logs = self._together(
                clip,
                noise.to(self.device, non_blocking=True),
                beta=kl_weight(epoch, train.kl, train.epochs),
                n_past=train.n_past,
                teacher_forcing=draw < teacher_forcing_ratio(epoch, train.forcing, train.epochs),
                free_bits=train.kl.free_bits,
                recompute=train.activation_checkpointing,
                **({"arm_alone": True} if epoch < train.arm_epochs else {}),
            )
        loss.backward()
        if train.rate.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), train.rate.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(global_step)
        return torch.stack([logs["loss"], logs["mse"], logs["kld"]])

    # -- the whole run --------------------------------------------------------------------------

    def fit(self, *, stop_on_collapse: bool = False) -> list[dict[str, Any]]:
        """Train to the last epoch from where ``progress`` stands; returns the history.

        Raises:
            Interrupted: on Ctrl-C, after saving.
            ForeframeError: the loss is not finite, or (``stop_on_collapse``) the model collapsed.
        """
        train, processes = self.config.train, self.processes
        with _interrupts(several=processes.number > 1) as interrupted, ExitStack() as stack:
            with processes.agreed():
                if processes.first:
                    writer = stack.enter_context(self._writer())

            def after_epoch() -> Progress:
                row = self._end_epoch(writer)
                self.listener.epoch(row)
                self._watch_for_collapse(row, stop_on_collapse)
                return self.progress

            while self.progress.epoch < train.epochs:
                self._run_epoch(interrupted)
                self.progress = processes.on_first(after_epoch)
                (stop,) = processes.any(interrupted())
                if stop and self.progress.epoch < train.epochs:
                    raise Interrupted
        return self.progress.history

    def _writer(self) -> SummaryWriter:
        # What was logged at this very step is of an epoch that is done: it stays.
        done = self.progress.epoch * self.config.train.steps_per_epoch + self.progress.step
        return SummaryWriter(str(self.out / "tensorboard"), purge_step=done + 1)

    def _run_epoch(self, interrupted: Callable[[], bool]) -> None:
        train, progress, processes = self.config.train, self.progress, self.processes
        self.model.train()
        first = progress.epoch * train.steps_per_epoch + progress.step
        # Apple's GPUs have no double precision.
        precise = torch.float32 if self.device.type == "mps" else torch.float64
        totals = torch.tensor(progress.totals, device=self.device, dtype=precise)
        before, started = progress.seconds, time.monotonic()
        told = started

        def read_totals() -> None:
            # The only place where the host waits for the device.
            progress.totals = processes.mean(totals).tolist()
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
            process=processes.index,
            processes=processes.number,
        ) as clips:
            with processes.agreed():
                clip = next(clips)
            at_end = False
            while not at_end:
                global_step = progress.epoch * train.steps_per_epoch + progress.step
                totals += self.step(clip.to(self.device), global_step)
                progress.step += 1
                at_end = progress.step == train.steps_per_epoch
                failure: Exception | None = None
                if not at_end:
                    try:
                        clip = next(clips)
                    except Exception as error:  # the others must not wait for this process
                        failure = error
                now = time.monotonic()
                # Signals, the clock and failing reads are noticed at another step in each process.
                stop, tell, failed = processes.any(
                    interrupted(), processes.first and now - told > 0.5, failure is not None
                )
                if failed:
                    with processes.agreed():
                        if failure is not None:
                            raise failure
                if tell:
                    read_totals()
                    self.listener.step(progress, self._means())
                    told = now
                if (progress.step % train.checkpoint_every == 0 or stop) and not at_end:
                    read_totals()
                    # What is saved are the means; each goes on from them, as a resume would.
                    totals = torch.tensor(progress.totals, device=self.device, dtype=precise)
                    processes.on_first(self._save_last)
                    if stop:
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
        with self._shown():
            row["validation_psnr"] = self.validation.psnr(self.model)
            latent = self.validation.latent(self.model)
        if not math.isfinite(row["validation_psnr"]):
            self._not_finite(progress)
        row |= {
            "latent_kl": latent.kl,
            "active_units": latent.active_units,
            "sigma_q_least": latent.sigma_q[0],
            "sigma_q_most": latent.sigma_q[-1],
        }
        at = (progress.epoch + 1) * train.steps_per_epoch
        writer.add_histogram("latent_kl_per_dimension", torch.tensor(latent.kl_per_dimension), at)
        writer.add_histogram("latent_mean_variance", torch.tensor(latent.mean_variance), at)
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, at)
        writer.flush()
        progress.history.append(row)
        warning = beginning(progress.history)
        if warning is not None:
            self.listener.message(f"Warning, epoch {progress.epoch + 1}: {warning}")
        best = progress.best_psnr
        collapsed = looks_collapsed(row["validation_psnr"], best, progress.epoch, train.epochs)
        progress.collapsed_validations = progress.collapsed_validations + 1 if collapsed else 0
        if best is None or row["validation_psnr"] > best:
            progress.best_psnr = row["validation_psnr"]
            with self._shown():
                checkpoint.save_best(self.out, self.model)
        last_epoch = progress.epoch + 1 == train.epochs
        if (progress.epoch + 1) % train.sample_every == 0 or last_epoch:
            self._show(f"epoch-{progress.epoch:03d}.gif")
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.totals, progress.seconds = [0.0, 0.0, 0.0], 0.0
        self._save_last()
        write_json(self.out / HISTORY, progress.history)
        if progress.collapsed_validations == 0:
            checkpoint.keep_last_as_good(self.out)
        return row

    def _save_last(self) -> None:
        # The loss may still be finite while the step it led to has ruined the weights.
        finite = [t.isfinite().all() for t in self.model.state_dict().values()]
        if not bool(torch.stack(finite).all()):
            self._not_finite(self.progress)
        checkpoint.save_last(self.out, self.model, self.optimizer, self.progress, self.average)

    def _not_finite(self, progress: Progress) -> None:
        last = self.out / LAST
        kept = f"The last good checkpoint is {last}." if last.exists() else "No checkpoint yet."
        raise Diverged(
            f"the loss is not finite in epoch {progress.epoch + 1}, by step {progress.step}: the "
            f"training has blown up. {kept} "
            "Lower --lr or --beta-max, or use --precision fp32, and train again."
        )

    def _shown(self) -> AbstractContextManager[None]:
        """In here the model has the weights that it is judged by: the average, if there is one."""
        return self.average.in_place() if self.average is not None else nullcontext()

    def _show(self, name: str) -> None:
        with self._shown():
            self.validation.gif(self.model, self.out / "samples" / name)

    # -- collapse -------------------------------------------------------------------------------

    def _watch_for_collapse(self, row: dict[str, Any], stop: bool) -> None:
        if self.progress.collapsed_validations != COLLAPSE_PATIENCE:
            return
        name = f"collapse-epoch-{row['epoch']:03d}.gif"
        self._show(name)
        good = self.out / LAST_GOOD
        kept = f"; the last checkpoint from before is kept in {good}" if good.exists() else ""
        text = (
            f"the model has collapsed: validation PSNR {row['validation_psnr']:.1f} dB, for "
            f"{COLLAPSE_PATIENCE} validations running, best {self.progress.best_psnr:.1f} dB{kept}."
            f" Its predictions: {self.out / 'samples' / name}. "
            "Lower --beta-max or --lr, or use more --kl-cycles."
        )
        if stop:
            raise ForeframeError(text)
        self.listener.message(f"Warning: {text} Training goes on (--stop-on-collapse ends it).")


@contextmanager
def _interrupts(*, several: bool) -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question that the loop asks; a second one ends at once.

    Args:
        several: a launcher may hand on what the terminal has sent to this process already.
    """
    asked: float | None = None

    def handle(number: int, frame: Any) -> None:
        nonlocal asked
        now = time.monotonic()
        if asked is None:
            asked = now
        elif not several or now - asked > _COPY:
            raise KeyboardInterrupt

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[number] = signal.signal(number, handle)
        except ValueError:  # not the main thread: the caller's handlers stay
            continue
    try:
        yield lambda: asked is not None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _check_share(config: RunConfig, processes: int) -> None:
    batch_size = config.train.batch_size
    if batch_size % processes:
        raise ForeframeError(
            f"--batch-size {batch_size}: is that of all {processes} processes together, and cannot "
            f"be shared equally. Give a multiple of {processes}."
        )


def _with_widths_of(store: Store, config: RunConfig) -> RunConfig:
    """``config`` with as many numbers in actions and positions as the data have."""
    model = config.model
    action_dim = model.action_dim if store.action_dim is None else store.action_dim
    position_dim = model.position_dim if store.position_dim is None else store.position_dim
    return replace(config, model=replace(model, action_dim=action_dim, position_dim=position_dim))


def _require_for(config: RunConfig, store: Store) -> None:
    require(
        store,
        n_frames=config.train.n_past + config.train.n_future,
        needs=config.model.needs,
    )
