"""The rows of a run's history: the means of an epoch, summed step by step, and TensorBoard."""

import math
import time
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from foreframe.config.schedules import learning_rate, teacher_forcing_ratio
from foreframe.config.training import TrainConfig, latent_weight
from foreframe.model.latent import LatentNumbers
from foreframe.training.processes import Processes
from foreframe.training.progress import Progress


class Totals:
    """Sums of loss, mse and kld over the steps of an epoch.

    They stay on the device and are read seldom: only then does this process wait for the device.

    Args:
        progress: where the epoch stands; ``read`` writes its ``totals`` and ``seconds``.
        processes: of the training.
    """

    def __init__(self, progress: Progress, processes: Processes) -> None:
        self._progress, self._processes = progress, processes
        self._before, self._started = progress.seconds, time.monotonic()
        self.restart()

    def restart(self) -> None:
        """Go on from what was read, as a resumed run would: the means over all processes."""
        device = self._processes.device
        # Apple's GPUs have no double precision.
        precise = torch.float32 if device.type == "mps" else torch.float64
        self._sums = torch.tensor(self._progress.totals, device=device, dtype=precise)

    def add(self, values: Tensor) -> None:
        """Add the loss, mse and kld of a step."""
        self._sums += values

    def read(self) -> bool:
        """Write the sums into the progress; whether all of them are finite."""
        self._progress.totals = self._processes.mean(self._sums).tolist()
        self._progress.seconds = self._before + time.monotonic() - self._started
        return all(math.isfinite(total) for total in self._progress.totals)


def means(train: TrainConfig, progress: Progress) -> dict[str, float]:
    """The epoch's means so far, its schedules and its speed."""
    n_frames = train.n_past + train.n_future
    loss, mse, kld = (total / progress.step for total in progress.totals)
    frames = progress.step * train.batch_size * n_frames
    steps = train.epochs * train.steps_per_epoch
    done = progress.epoch * train.steps_per_epoch + progress.step
    return {
        "loss": loss,
        "mse": mse,
        "kld": kld,
        "beta": latent_weight(train, progress.epoch),
        "teacher_forcing_ratio": teacher_forcing_ratio(progress.epoch, train.forcing, train.epochs),
        "lr": learning_rate(done - 1, train.rate, steps),
        # Of the mean squared error per predicted frame, T / (T - 1) times the logged one.
        "psnr": -10.0 * math.log10(max(mse * n_frames / (n_frames - 1), 1e-10)),
        "frames_per_second": frames / max(progress.seconds, 1e-9),
        "seconds": progress.seconds,
    }


def latent_columns(latent: LatentNumbers) -> dict[str, Any]:
    """What a row says of the latent of validation sequences."""
    return {
        "latent_kl": latent.kl,
        "active_units": latent.active_units,
        "sigma_q_least": latent.sigma_q[0],
        "sigma_q_most": latent.sigma_q[-1],
    }


def log_row(board: SummaryWriter, row: dict[str, Any], latent: LatentNumbers, at: int) -> None:
    """Write a row to TensorBoard.

    Args:
        board: of the run.
        row: of the history.
        latent: of the same epoch, for its histograms.
        at: optimiser steps done.
    """
    board.add_histogram("latent_kl_per_dimension", torch.tensor(latent.kl_per_dimension), at)
    board.add_histogram("latent_mean_variance", torch.tensor(latent.mean_variance), at)
    for name, value in row.items():
        if name != "epoch":
            board.add_scalar(name, value, at)
    board.flush()
