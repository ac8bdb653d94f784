"""How a training fails: an unused or blown-up latent, a collapse, numbers that are not finite.

All of it is judged from the history alone, so that a resumed run warns neither again nor less, and
a study counts what the training warned of.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foreframe.errors import ForeframeError

Row = Mapping[str, Any]
"""An epoch, as in a run's ``history.json``."""


class Diverged(ForeframeError):
    """The loss or the weights are no longer finite; the last good checkpoint is kept."""


# -- the latent ---------------------------------------------------------------------------------

BLOWN_NATS = 1000.0
"""KL, nats a step, above which the latent has blown up."""

BLOWN_SIGMA = 100.0
"""Largest deviation of the posterior above which the latent has blown up."""

BLOWN_RATIO = 4.0
"""The error has jumped when it is so many times the smallest one of the epochs before."""


def latent_blown_up(kl: float, sigma: float) -> bool:
    """Whether a KL (nats a step) or the posterior's largest deviation is beyond all measure."""
    return kl > BLOWN_NATS or sigma > BLOWN_SIGMA


UNUSED_NATS = 1.0
"""KL, nats a step, above which a latent says something, or has yet to be taught to say less: in
neither case does it fall unused."""


def latent_unused(history: Sequence[Row]) -> bool:
    """Whether no dimension of the latent was active at the last epoch (older rows do not say)."""
    if not history or history[-1].get("active_units") != 0:
        return False
    return history[-1].get("latent_kl", 0.0) < UNUSED_NATS


def beginning(history: Sequence[Row]) -> str | None:
    """What went wrong for the first time in the last epoch, and what helps; None if nothing did.

    Args:
        history: rows of the epochs so far.
    """
    for sign in (_unused, _blown_up):
        now = sign(history)
        if now is not None and not any(sign(history[:k]) for k in range(1, len(history))):
            return now
    return None


def _unused(history: Sequence[Row]) -> str | None:
    if not latent_unused(history) or history[-1]["beta"] <= 0:
        return None
    row = history[-1]
    return (
        f"the latent is falling unused: none of its dimensions is active on validation sequences "
        f"(KL {row['latent_kl']:.3f} nats a step) at beta {row['beta']:.1e}. "
        "Lower --beta-max, anneal more slowly (--kl-cycles, --kl-ratio), or give --free-bits."
    )


def _blown_up(history: Sequence[Row]) -> str | None:
    row = history[-1]
    least = min((before["mse"] for before in history[:-1] if before["mse"] > 0), default=None)
    signs = []
    if least is not None and row["mse"] > BLOWN_RATIO * least:
        signs.append(f"the error is {row['mse'] / least:.1f} times the least of the epochs before")
    if latent_blown_up(row["kld"], 0.0):
        signs.append(f"the KL is {row['kld']:.0f} nats a frame")
    if latent_blown_up(0.0, row.get("sigma_q_most", 0.0)):
        signs.append(f"the posterior's deviation reaches {row['sigma_q_most']:.0f}")
    if not signs:
        return None
    return f"a blow-up begins: {'; '.join(signs)}. Lower --lr or --beta-max."


# -- collapse -----------------------------------------------------------------------------------

COLLAPSE_DROP_DB = 6.0
"""A validation looks collapsed if its PSNR is so far under the best of the epochs before."""

COLLAPSE_FLOOR_DB = 10.0
"""Or if it is under this after a tenth of the epochs; the report saw both."""

COLLAPSE_PATIENCE = 3
"""Validations in a row that look collapsed before the model is said to have collapsed."""


def collapsed_in_a_row(history: Sequence[Row], epochs: int) -> list[int]:
    """For each epoch, how many validations in a row have looked collapsed by then.

    Args:
        history: rows of the epochs so far.
        epochs: of the whole run.
    """
    best: float | None = None
    counts: list[int] = []
    for row in history:
        psnr = row["validation_psnr"]
        fallen = best is not None and psnr < best - COLLAPSE_DROP_DB
        blank = psnr < COLLAPSE_FLOOR_DB and row["epoch"] >= epochs / 10
        before = counts[-1] if counts else 0
        counts.append(before + 1 if fallen or blank else 0)
        best = psnr if best is None else max(best, psnr)
    return counts


def collapsed(history: Sequence[Row], epochs: int) -> bool:
    """Whether the model collapsed at some epoch: the validations of a run of ``epochs`` say so."""
    return max(collapsed_in_a_row(history, epochs), default=0) >= COLLAPSE_PATIENCE


def collapse_begins(history: Sequence[Row], epochs: int) -> bool:
    """Whether the last epoch is the one after which the model is said to have collapsed."""
    return collapsed_in_a_row(history, epochs)[-1:] == [COLLAPSE_PATIENCE]


def collapse_words(history: Sequence[Row], picture: Path, good: Path) -> str:
    """What a user is told of a collapse.

    Args:
        history: rows of the epochs so far.
        picture: GIF of the collapsed model's predictions.
        good: where the last sound checkpoint is kept, if there is one.
    """
    values = [row["validation_psnr"] for row in history]
    kept = f"; the last checkpoint from before is kept in {good}" if good.exists() else ""
    return (
        f"the model has collapsed: validation PSNR {values[-1]:.1f} dB, for {COLLAPSE_PATIENCE} "
        f"validations in a row, best {max(values):.1f} dB{kept}. Its predictions: {picture}. "
        "Lower --beta-max or --lr, or use more --kl-cycles."
    )


# -- not finite ---------------------------------------------------------------------------------


def weights_finite(model: nn.Module) -> bool:
    """Whether every weight and running statistic is a finite number."""
    return bool(torch.stack([t.isfinite().all() for t in model.state_dict().values()]).all())


def diverged(epoch: int, step: int, last: Path) -> Diverged:
    """The error for a loss, a weight or a validation that is not finite.

    Args:
        epoch: under way, from 0.
        step: steps done of that epoch.
        last: the run's last checkpoint, if there is one.
    """
    kept = f"The last good checkpoint is {last}." if last.exists() else "No checkpoint yet."
    return Diverged(
        f"the loss is not finite in epoch {epoch + 1}, by step {step}: the training has blown up. "
        f"{kept} Lower --lr or --beta-max, or use --precision fp32, and train again."
    )
