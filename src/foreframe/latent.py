"""What the latent carries: numbers of the posterior and the prior, and whether they bode ill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foreframe.nets.recurrent import Gaussian

ACTIVE_VARIANCE = 0.01
"""Variance over the data of a unit's posterior mean above which it is active (Burda et al. 2016,
section 5.2)."""

ACTIVE_NATS = 0.01
"""KL of a unit, nats a step, above which it is active by that measure."""

BLOWN_NATS = 1000.0
"""KL, nats a step, of a latent that has lost all measure."""

BLOWN_SIGMA = 100.0
"""Deviation of the posterior likewise."""

BLOWN_RATIO = 4.0
"""The loss has jumped when it is so many times the least of the epochs before."""

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


@dataclass(frozen=True)
class LatentNumbers:
    """Of the z of many steps of many sequences.

    Attributes:
        kl_per_dimension: [z] nats a step, mean over steps and sequences.
        kl_per_step: [steps] nats, mean over sequences.
        mean_variance: [z] variance of the posterior mean over steps and sequences.
        sigma_q: quantiles 0, 5, 50, 95 and 100 % of the posterior's deviations.
        sigma_p: likewise of the prior's.
        mu_q: likewise of the size of the posterior's means.
    """

    kl_per_dimension: list[float]
    kl_per_step: list[float]
    mean_variance: list[float]
    sigma_q: list[float]
    sigma_p: list[float]
    mu_q: list[float]

    @property
    def kl(self) -> float:
        """Nats a step, of all dimensions."""
        return sum(self.kl_per_dimension)

    @property
    def active_units(self) -> int:
        """Dimensions whose posterior mean follows the data (``ACTIVE_VARIANCE``)."""
        return sum(value > ACTIVE_VARIANCE for value in self.mean_variance)

    @property
    def active_by_kl(self) -> int:
        """Dimensions whose KL is above ``ACTIVE_NATS``."""
        return sum(value > ACTIVE_NATS for value in self.kl_per_dimension)


@torch.no_grad()
def latent_numbers(q: Gaussian, p: Gaussian) -> LatentNumbers:
    """Measure the posterior against the prior.

    Args:
        q: of z, [steps, sequences, z].
        p: the prior of the same z.
    """
    kl = q.kl_per_dimension(p).double()

    def quantiles(x: Tensor) -> list[float]:
        at = torch.tensor(QUANTILES, dtype=torch.float64, device=x.device)
        return torch.quantile(x.double().flatten()[:1_000_000], at).tolist()

    return LatentNumbers(
        kl_per_dimension=kl.mean((0, 1)).tolist(),
        kl_per_step=kl.sum(-1).mean(1).tolist(),
        mean_variance=q.mu.double().flatten(0, 1).var(0, correction=0).tolist(),
        sigma_q=quantiles(torch.exp(0.5 * q.logvar)),
        sigma_p=quantiles(torch.exp(0.5 * p.logvar)),
        mu_q=quantiles(q.mu.abs()),
    )


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
