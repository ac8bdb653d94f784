"""Training: set up, fit, validate; exactly resumable because nothing random has a state.

The order of the data, the noise of z and the teacher-forcing draw of a step are functions of the
seed and the step alone, the schedules of the epoch alone. A resume needs the tensors and the step.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
from foreframe.errors import ForeframeError
from foreframe.model.clip import Clip
from foreframe.runs.folder import BEST, HISTORY, LAST, LAST_GOOD
from foreframe.runs.hub import VideoCVAE
from foreframe.runs.kinematics import fit_kinematics
from foreframe.runs.remedy import stands
from foreframe.system.device import autocast, choose_device, keep_freed_memory
from foreframe.system.files import read_json, write_json
from foreframe.system.places import Place
from foreframe.training import checkpoint, health
from foreframe.training.average import moving_average
from foreframe.training.listener import Interrupted, Listener, interrupts
from foreframe.training.options import TrainOptions
from foreframe.training.processes import Processes
from foreframe.training.progress import Progress
from foreframe.training.rows import Totals, latent_columns, log_row, means
from foreframe.training.splits import check_share, fitted, open_splits
from foreframe.training.threads import use_threads
from foreframe.training.validate import Validation

_TELL_EVERY = 0.5
"""Seconds between two reports within an epoch."""


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
        options: how it is started; ``start`` sees to ``resume`` and ``init_from``.
        listener: who is told what happens.

    Raises:
        ForeframeError: the configuration, the data or the device are refused.
    """

    def __init__(
        self,
        config: RunConfig,
        data: Place,
        out: Path,
        options: TrainOptions | None = None,
        *,
        listener: Listener | None = None,
    ) -> None:
        self.options = options or TrainOptions()
        self.options.check()
        check_config(config)
        self.processes = Processes(choose_device(self.options.device))
        self.device = self.processes.device
        self.listener = listener if listener and self.processes.first else Listener()
        if self.device.type == "cpu":
            keep_freed_memory()
            use_threads(self.options.threads, self.listener.message)
        check_share(config, self.processes.number)
        # The first packs what has to be packed, and the others find it there.
        self.splits = self.processes.first_before_others(
            lambda: open_splits(config, data, self.listener)
        )
        self.processes.on_first(self._require_sound)
        self.config = fitted(config, self.splits)
        self.data, self.out = data, out
        torch.manual_seed(config.train.seed)
        self.model = VideoCVAE(self.config.model)
        statistics = self.splits["train"].statistics()
        self.model.standardise_condition(
            *(
                None
                if columns is None
                else (torch.from_numpy(columns.mean), torch.from_numpy(columns.deviation))
                for columns in (statistics["actions"], statistics["positions"])
            )
        )
        if self.config.model.net == "places64":
            train = self.splits["train"]
            kinematics = fit_kinematics(train[i] for i in range(len(train)))
            if kinematics is not None:
                self.model.teach_kinematics(torch.from_numpy(kinematics.matrix))
        self.model.to(self.device)
        self._together = self._averaging_gradients()
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=config.train.rate.lr,
            betas=(0.9, 0.999),
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.average = moving_average(self.model, config.train.ema) if config.train.ema else None
        self.validation = Validation(self.splits["validate"], config.train, self.device)
        self.progress = Progress()
        self.settings: str | None = None
        """What run.json says, for the checkpoints; ``start`` writes it."""

    def _require_sound(self) -> None:
        for store in self.splits.values():
            store.require_sound()

    def _averaging_gradients(self) -> nn.Module:
        """The model as it is trained: with several processes, their gradients are averaged."""
        if self.processes.number == 1:
            return self.model
        with warnings.catch_warnings():
            # PyTorch 2.13 calls the option deprecated; its successor is missing before.
            warnings.simplefilter("ignore", FutureWarning)
            # The statistics of batch normalisation are those of all frames in every process (see
            # nets.norm), so nothing has to be sent round.
            return DistributedDataParallel(
                self.model,
                broadcast_buffers=False,
                # While the arm is taught alone, the rest of the model gets no gradient.
                find_unused_parameters=self.config.train.arm_epochs > 0,
            )

    @property
    def judged(self) -> VideoCVAE:
        """The model that is validated and saved as the best: the average, if there is one."""
        if self.average is None:
            return self.model
        averaged: VideoCVAE = self.average.module  # type: ignore[assignment]
        return averaged

    @property
    def steps_done(self) -> int:
        """Optimiser steps since the beginning of the run."""
        return self.progress.epoch * self.config.train.steps_per_epoch + self.progress.step

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
            # Nothing random and nothing counted has a state: the warm-up, too, knows its step.
            self.average.n_averaged.fill_(global_step + 1)
            self.average.update_parameters(self.model)
        return torch.stack([logs["loss"], logs["mse"], logs["kld"]])

    # -- the whole run --------------------------------------------------------------------------

    def fit(self) -> list[dict[str, Any]]:
        """Train to the last epoch from where ``progress`` stands; returns the history.

        Raises:
            Interrupted: on Ctrl-C, after saving.
            Diverged: the loss is not finite.
            ForeframeError: the model collapsed, and ``stop_on_collapse`` is among the options.
        """
        epochs, processes = self.config.train.epochs, self.processes
        with interrupts(several=processes.number > 1) as interrupted, ExitStack() as stack:
            with processes.agreed():
                if processes.first:
                    board = stack.enter_context(self._board())
            self.listener.begin()
            while self.progress.epoch < epochs:
                self._run_epoch(interrupted)
                self.progress = processes.on_first(lambda: self._end_epoch(board))
                (stop,) = processes.any(interrupted())
                if stop and self.progress.epoch < epochs:
                    raise Interrupted
        return self.progress.history

    def _board(self) -> SummaryWriter:
        # What was logged at this very step is of an epoch that is done: it stays.
        return SummaryWriter(str(self.out / "tensorboard"), purge_step=self.steps_done + 1)

    def _run_epoch(self, interrupted: Callable[[], bool]) -> None:
        """Train from ``progress.step`` to the end of the epoch."""
        train, progress, processes = self.config.train, self.progress, self.processes
        self.model.train()
        totals, told = Totals(progress, processes), time.monotonic()
        with prefetch(
            self.splits["train"],
            n_frames=train.n_past + train.n_future,
            batch_size=train.batch_size,
            seed=train.seed,
            first_step=self.steps_done,
            pin_memory=self.device.type == "cuda",
            process=processes.index,
            processes=processes.number,
        ) as clips:
            clip = _next(clips)
            self._raise_together(clip)
            for step in range(progress.step + 1, train.steps_per_epoch + 1):
                assert isinstance(clip, Clip)
                totals.add(self.step(clip.to(self.device), self.steps_done))
                progress.step = step
                if step == train.steps_per_epoch:
                    break
                clip = _next(clips)
                # Signals, the clock and failing reads are noticed at another step in each process.
                stop, tell, failed = processes.any(
                    interrupted(),
                    processes.first and time.monotonic() - told > _TELL_EVERY,
                    isinstance(clip, Exception),
                )
                if failed:
                    self._raise_together(clip)
                save = stop or step % train.checkpoint_every == 0
                if tell or save:
                    self._read(totals)
                if tell:
                    self.listener.step(progress, means(train, progress))
                    told = time.monotonic()
                if save:
                    totals.restart()
                    processes.on_first(self._save_last)
                if stop:
                    raise Interrupted
        self._read(totals)

    def _raise_together(self, clip: Clip | Exception) -> None:
        """If a process could not read its part of a batch, all of them raise its error."""
        with self.processes.agreed():
            if isinstance(clip, Exception):
                raise clip

    def _read(self, totals: Totals) -> None:
        if not totals.read():
            raise self._diverged()

    def _diverged(self) -> health.Diverged:
        return health.diverged(self.progress.epoch, self.progress.step, self.out / LAST)

    # -- after an epoch, in the first process ---------------------------------------------------

    def _end_epoch(self, board: SummaryWriter) -> Progress:
        """Validate, log, save; then warn, or end the training, if something goes wrong."""
        train, progress = self.config.train, self.progress
        psnr = self.validation.psnr(self.judged)
        latent = self.validation.latent(self.judged)
        if not math.isfinite(psnr):
            raise self._diverged()
        row: dict[str, Any] = {
            "epoch": progress.epoch,
            **means(train, progress),
            "validation_psnr": psnr,
            **latent_columns(latent),
        }
        log_row(board, row, latent, self.steps_done)
        progress.history.append(row)
        if progress.best_psnr is None or psnr > progress.best_psnr:
            progress.best_psnr = psnr
            checkpoint.save_best(self.out, self.judged)
        progress.next_epoch()
        if progress.epoch % train.sample_every == 0 or progress.epoch == train.epochs:
            self.validation.gif(self.judged, self._picture("epoch"))
        self._save_last()
        self._note_epoch()
        self.listener.epoch(row)
        self._warn()
        return progress

    def _note_epoch(self) -> None:
        """Write what follows from the last checkpoint of an epoch."""
        write_json(self.out / HISTORY, self.progress.history)
        if not health.collapsed_in_a_row(self.progress.history, self.config.train.epochs)[-1]:
            checkpoint.keep_last_as_good(self.out)

    def catch_up(self, tell: Callable[[str], None]) -> None:
        """Write what is missing beside the checkpoint that this training goes on from.

        A kill may have come between the checkpoint and what is written after it; and the best
        weights may be damaged or gone.

        Args:
            tell: called with a line for the user.
        """
        progress = self.progress
        if progress.history and not progress.step:
            there = self.out / HISTORY
            noted = there.is_file() and read_json(there) == progress.history
            good = stands(self.out / LAST_GOOD) == (progress.epoch, 0)
            if not noted or not good:
                self._note_epoch()
        if checkpoint.best_is_lost(self.out, progress):
            # In the middle of an epoch the weights have not been validated: the next validation
            # takes their place. The checkpoint comes first, so that after a kill between the two
            # the best weights are still known to be lost.
            validated = not progress.step and progress.history
            progress.best_psnr = progress.history[-1]["validation_psnr"] if validated else None
            self._save_last()
            checkpoint.save_best(self.out, self.judged)
            tell(
                f"{self.out / BEST}: was damaged or gone, and is written anew, with the weights of "
                f"{LAST}: they are those of the last save, and not of the best validation."
            )

    def _picture(self, kind: str) -> Path:
        return self.out / "samples" / f"{kind}-{self.progress.epoch:03d}.gif"

    def _save_last(self) -> None:
        # The loss may still be finite while the step it led to has ruined the weights.
        if not health.weights_finite(self.model):
            raise self._diverged()
        checkpoint.save_last(
            self.out, self.model, self.optimizer, self.progress, self.average, self.settings
        )

    def _warn(self) -> None:
        history, epochs = self.progress.history, self.config.train.epochs
        warning = health.beginning(history)
        if warning is not None:
            self.listener.message(f"Warning, epoch {self.progress.epoch}: {warning}")
        if not health.collapse_begins(history, epochs):
            return
        picture = self._picture("collapse-epoch")
        self.validation.gif(self.judged, picture)
        text = health.collapse_words(history, picture, self.out / LAST_GOOD)
        if self.options.stop_on_collapse:
            raise ForeframeError(text)
        self.listener.message(f"Warning: {text} Training goes on (--stop-on-collapse ends it).")


def _next(clips: Iterator[Clip]) -> Clip | Exception:
    """The next batch, or why there is none: the other processes must not wait for this one."""
    try:
        return next(clips)
    except Exception as error:
        return error
