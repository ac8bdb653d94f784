"""What the numbers of a diagnosis mean, and which option helps."""

from foreframe.diagnosis.measure import Measured
from foreframe.diagnosis.result import Verdict, each
from foreframe.model.latent import LatentNumbers
from foreframe.training.health import latent_blown_up

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


def verdicts(measured: Measured, *, beta_max: float, z_dim: int) -> list[Verdict]:
    """What the numbers mean; one healthy verdict if nothing is wrong.

    Args:
        measured: the numbers.
        beta_max: of the run's KL schedule, for the advice.
        z_dim: width of the latent.
    """
    latent, cost = measured.latent, measured.cost_of_zero
    blown = _blown(latent, beta_max)
    if latent.kl < UNUSED_NATS and cost < UNUSED_DB:
        trouble = [blown, _unused(latent, cost, beta_max)]  # nothing else can be said of it
    else:
        trouble = [
            blown,
            _use(latent, cost, beta_max, z_dim),
            _prior(measured, beta_max),
            _sharp(latent, beta_max),
            _alike(measured),
        ]
    said = [verdict for verdict in trouble if verdict is not None]
    return said or [
        Verdict(
            "healthy",
            f"The latent is used: KL {_nats(latent)} in {latent.active_units} of "
            f"{z_dim} dimensions, zeroing z costs {cost:.2f} dB, and z from the "
            f"prior {measured.gap:.2f} dB.",
        )
    ]


def _nats(latent: LatentNumbers, digits: int = 2) -> str:
    return f"{latent.kl:.{digits}f} nats {each(latent.kl_per_step)}"


def _blown(latent: LatentNumbers, beta_max: float) -> Verdict | None:
    if not latent_blown_up(latent.kl, latent.sigma_q[-1]):
        return None
    return Verdict(
        "ill",
        f"The latent has blown up: KL {_nats(latent, 0)}, the posterior's deviation "
        f"reaches {latent.sigma_q[-1]:.0f}. Lower --lr, or raise --beta-max ({beta_max:g}).",
    )


def _unused(latent: LatentNumbers, cost: float, beta_max: float) -> Verdict:
    return Verdict(
        "ill",
        f"The latent is unused: KL {_nats(latent, 3)}, zeroing z costs {cost:.2f} dB. "
        f"Samples from the prior are all the same. Lower --beta-max ({beta_max:g}), anneal "
        "more slowly, or give --free-bits.",
    )


def _use(latent: LatentNumbers, cost: float, beta_max: float, z_dim: int) -> Verdict | None:
    if cost < UNUSED_DB:
        return Verdict(
            "mind",
            f"The posterior carries information (KL {_nats(latent)}), but the frames "
            f"do not follow it: zeroing z costs {cost:.2f} dB. Train longer, or lower --beta-max "
            f"({beta_max:g}).",
        )
    if latent.active_units == 0 and latent.active_by_kl == 0:
        return Verdict(
            "mind",
            f"No dimension of the latent is active by itself, yet zeroing z costs {cost:.2f} dB.",
        )
    if latent.active_units < z_dim / 10:
        return Verdict(
            "mind",
            f"{latent.active_units} of {z_dim} dimensions are active: a --z-dim of "
            f"{max(2, 2 * latent.active_units)} would hold as much.",
        )
    return None


def _prior(measured: Measured, beta_max: float) -> Verdict | None:
    if measured.gap <= LARGE_GAP_DB:
        return None
    # A latent of the whole episode has a learned prior anyway.
    of_episode = len(measured.latent.kl_per_step) == 1
    learned = "" if of_episode else ", or try --prior learned"
    return Verdict(
        "mind",
        f"The prior does not fit the posterior: z from the prior is {measured.gap:.2f} dB worse "
        f"than z from the posterior. Raise --beta-max ({beta_max:g}){learned}.",
    )


def _sharp(latent: LatentNumbers, beta_max: float) -> Verdict | None:
    if latent.sigma_q[2] >= SHARP_SIGMA:
        return None
    return Verdict(
        "mind",
        f"The posterior is all but a point (median deviation {latent.sigma_q[2]:.1e}): the "
        f"model is an autoencoder of what follows. Raise --beta-max ({beta_max:g}).",
    )


def _alike(measured: Measured) -> Verdict | None:
    if measured.between_samples <= ALIKE_DB:
        return None
    return Verdict(
        "mind",
        f"Two samples from the prior are alike ({measured.between_samples:.0f} dB apart): the "
        "model expects one future only.",
    )
