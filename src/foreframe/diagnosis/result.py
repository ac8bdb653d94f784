"""The result of a diagnosis: a dataclass, and JSON at the edge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from foreframe.config.results import Result

Level = Literal["healthy", "mind", "ill"]


def each(kl_per_step: Sequence[float]) -> str:
    """What a KL is counted for: a model that draws z once has a single step, its episode."""
    return "an episode" if len(kl_per_step) == 1 else "a step"


@dataclass(frozen=True)
class Verdict:
    """What the numbers mean.

    Attributes:
        level: healthy, mind or ill.
        text: what was measured, what it means, what to do.
    """

    level: Level
    text: str


@dataclass(frozen=True)
class Diagnosis(Result):
    """What the latent of a run carries and what it is worth.

    Attributes:
        run: the run folder, as it was named.
        data: root of the dataset, likewise.
        split: whose sequences were predicted.
        n_past: given frames.
        n_future: predicted frames.
        seed: of the noise of z.
        prior: "fixed" or "learned".
        foreframe: version that measured.
        sequences: how many were predicted.
        kl: nats a step, of all dimensions.
        kl_per_dimension: [z] nats a step.
        kl_per_step: [steps] nats; of a model with one latent an episode that is the only step.
        mean_variance: [z] variance of the posterior's mean.
        active_units: dimensions whose posterior mean follows the data.
        active_by_kl: dimensions whose KL is above ``latent.ACTIVE_NATS``.
        sigma_q: quantiles 0, 5, 50, 95 and 100 % of the posterior's deviations.
        sigma_p: likewise of the prior's.
        mu_q: likewise of the size of the posterior's means.
        psnr: dB over the predicted frames, by the source of z (``measure.SOURCES``).
        cost_of_zero: dB that are lost when the posterior's z is set to zero.
        prior_posterior_gap: dB that are lost when z is drawn from the prior.
        between_samples: dB between two samples from the prior: the lower, the more they differ.
        verdicts: what this means.
    """

    WHAT = "a diagnosis"

    run: str
    data: str
    split: str
    n_past: int
    n_future: int
    seed: int
    prior: str
    foreframe: str
    sequences: int
    kl: float
    kl_per_dimension: list[float]
    kl_per_step: list[float]
    mean_variance: list[float]
    active_units: int
    active_by_kl: int
    sigma_q: list[float]
    sigma_p: list[float]
    mu_q: list[float]
    psnr: dict[str, float]
    cost_of_zero: float
    prior_posterior_gap: float
    between_samples: float
    verdicts: list[Verdict]
