"""What the latent carries: numbers of posterior and prior, and whether they signal trouble."""

from dataclasses import dataclass

import torch
from torch import Tensor

from foreframe.model.nets.recurrent import Gaussian

ACTIVE_VARIANCE = 0.01
"""Variance over the data of a unit's posterior mean above which it is active (Burda et al. 2016,
section 5.2)."""

ACTIVE_NATS = 0.01
"""KL of a unit, nats a step, above which it is active by that measure."""


QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


@dataclass(frozen=True)
class LatentNumbers:
    """Statistics of z over all steps of all sequences.

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
