"""How a training fails: a latent that falls unused or blows up, a picture that collapses."""

from collections.abc import Mapping, Sequence
from typing import Any

BLOWN_NATS = 1000.0
"""KL, nats a step, of a latent that has lost all measure."""


BLOWN_SIGMA = 100.0
"""Deviation of the posterior likewise."""


BLOWN_RATIO = 4.0
"""The loss has jumped when it is so many times the least of the epochs before."""


def beginning(history: Sequence[Mapping[str, Any]]) -> str | None:
    """What has begun to go wrong with the last epoch; None if nothing, or nothing new.

    A function of the history alone, so that a resumed run warns neither again nor less.

    Args:
        history: rows of the epochs so far, as in a run's ``history.json``.
    """
    for sign in (_unused, _blown_up):
        now = sign(history)
        if now is not None and sign(history[:-1]) is None:
            return now
    return None


def _unused(history: Sequence[Mapping[str, Any]]) -> str | None:
    if not history or "active_units" not in history[-1]:
        return None
    row = history[-1]
    if row["active_units"] > 0 or row["beta"] <= 0:
        return None
    return (
        f"the latent is falling unused: none of its dimensions is active on validation sequences "
        f"(KL {row['latent_kl']:.3f} nats a step) at beta {row['beta']:.1e}. "
        "Lower --beta-max, anneal more slowly (--kl-cycles, --kl-ratio), or give --free-bits."
    )


def _blown_up(history: Sequence[Mapping[str, Any]]) -> str | None:
    if not history:
        return None
    row = history[-1]
    least = min((before["mse"] for before in history[:-1] if before["mse"] > 0), default=None)
    signs = []
    if least is not None and row["mse"] > BLOWN_RATIO * least:
        signs.append(f"the error is {row['mse'] / least:.1f} times the least of the epochs before")
    if row["kld"] > BLOWN_NATS:
        signs.append(f"the KL is {row['kld']:.0f} nats a frame")
    if row.get("sigma_q_most", 0.0) > BLOWN_SIGMA:
        signs.append(f"the posterior's deviation reaches {row['sigma_q_most']:.0f}")
    if not signs:
        return None
    return f"a blow-up begins: {'; '.join(signs)}. Lower --lr or --beta-max."


# A collapse, as the report saw it: far under the best, or no picture after a tenth of the run.
COLLAPSE_DROP_DB = 6.0
COLLAPSE_FLOOR_DB = 10.0
COLLAPSE_PATIENCE = 3


def looks_collapsed(value: float, best: float | None, epoch: int, epochs: int) -> bool:
    """Whether a validation PSNR (dB) at ``epoch`` (from 0) looks like a collapse."""
    fallen = best is not None and value < best - COLLAPSE_DROP_DB
    blank = value < COLLAPSE_FLOOR_DB and epoch >= epochs / 10
    return fallen or blank
