"""From the numbers of a diagnosis to what they mean and which option helps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from foreframe.diagnosis.measure import Diagnosis
from foreframe.training.health import BLOWN_NATS, BLOWN_SIGMA

UNUSED_NATS = 0.05
"""KL, nats a step, below which the latent carries nothing."""

UNUSED_DB = 0.1
"""Cost of zeroing z, dB, below which the frames do not depend on it."""

LARGE_GAP_DB = 1.0
"""dB between z from the posterior and from the prior above which the prior does not fit."""

SHARP_SIGMA = 0.01
"""Median deviation of the posterior below which it is a point: an autoencoder, not a VAE."""

ALIKE_DB = 45.0
"""Two samples from the prior that are as near as this look the same."""

Level = Literal["healthy", "mind", "ill"]


@dataclass(frozen=True)
class Verdict:
    """A finding in words.

    Attributes:
        level: healthy, mind or ill.
        text: what was found, what it means, what to do.
    """

    level: Level
    text: str


def verdicts(found: Diagnosis, *, beta_max: float, z_dim: int) -> list[Verdict]:
    """What the numbers mean; one healthy verdict if nothing is wrong.

    Args:
        found: what was measured.
        beta_max: of the run's KL schedule, for the advice.
        z_dim: width of the latent.
    """
    ill = list(_findings(found, beta_max, z_dim))
    if ill:
        return ill
    latent = found.latent
    return [
        Verdict(
            "healthy",
            f"The latent is used: KL {latent.kl:.2f} nats a step in {latent.active_units} of "
            f"{z_dim} dimensions, zeroing z costs {found.cost_of_zero:.2f} dB, and z from the "
            f"prior {found.gap:.2f} dB.",
        )
    ]


def _findings(found: Diagnosis, beta_max: float, z_dim: int) -> Iterator[Verdict]:
    latent, cost = found.latent, found.cost_of_zero
    if latent.kl > BLOWN_NATS or latent.sigma_q[-1] > BLOWN_SIGMA:
        yield Verdict(
            "ill",
            f"The latent has blown up: KL {latent.kl:.0f} nats a step, the posterior's deviation "
            f"reaches {latent.sigma_q[-1]:.0f}. Lower --lr, or raise --beta-max ({beta_max:g}).",
        )
    if latent.kl < UNUSED_NATS and cost < UNUSED_DB:
        yield Verdict(
            "ill",
            f"The latent is unused: KL {latent.kl:.3f} nats a step, zeroing z costs {cost:.2f} dB. "
            f"Samples from the prior are all the same. Lower --beta-max ({beta_max:g}), anneal "
            "more slowly, or give --free-bits.",
        )
        return
    if cost < UNUSED_DB:
        yield Verdict(
            "mind",
            f"The posterior says something (KL {latent.kl:.2f} nats a step), but the frames do not "
            f"follow it: zeroing z costs {cost:.2f} dB. Train longer, or lower --beta-max "
            f"({beta_max:g}).",
        )
    elif latent.active_units == 0 and latent.active_by_kl == 0:
        yield Verdict(
            "mind",
            f"No dimension of the latent is active by itself, yet zeroing z costs {cost:.2f} dB.",
        )
    elif latent.active_units < z_dim / 10:
        yield Verdict(
            "mind",
            f"{latent.active_units} of {z_dim} dimensions are active: a --z-dim of "
            f"{max(2, 2 * latent.active_units)} would hold as much.",
        )
    if found.gap > LARGE_GAP_DB:
        yield Verdict(
            "mind",
            f"The prior does not fit the posterior: z from the prior is {found.gap:.2f} dB worse "
            f"than z from the posterior. Raise --beta-max ({beta_max:g}), or try --prior learned.",
        )
    if latent.sigma_q[2] < SHARP_SIGMA:
        yield Verdict(
            "mind",
            f"The posterior is all but a point (median deviation {latent.sigma_q[2]:.1e}): the "
            f"model is an autoencoder of what follows. Raise --beta-max ({beta_max:g}).",
        )
    if found.between_samples > ALIKE_DB:
        yield Verdict(
            "mind",
            f"Two samples from the prior are alike ({found.between_samples:.0f} dB apart): the "
            "model sees one future only.",
        )
