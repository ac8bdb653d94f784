"""KL weight, teacher-forcing ratio and learning rate: pure functions of the epoch or the step.

Nothing here has a state, so a resumed run is on schedule by knowing its epoch alone.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from foreframe.errors import ForeframeError, at_least


@dataclass(frozen=True)
class KLSchedule:
    """How much the KL weighs at each epoch (Fu, Liu et al. 2019, cyclical annealing)."""

    kl_schedule: Literal["constant", "monotonic", "cyclical"] = "constant"
    """Shape of the KL weight over the epochs; monotonic is cyclical with a single cycle."""
    beta_max: float = 1e-4
    """The KL weight is the schedule's shape (0 to 1) times this. With the pixel-mean MSE, 1 weighs
    the KL far above the evidence lower bound's own balance; SVG uses 1e-4, the lab 1."""
    kl_cycles: int = 3
    """Number of cycles M of the cyclical schedule."""
    kl_ratio: float = 0.5
    """Share R of each cycle during which the weight rises; it stays at its maximum for the rest."""
    free_bits: float = 0.0
    """Nats of each latent dimension, a step, below which its KL is not pushed down (places64: of
    all dimensions together, an episode); 0: off."""


@dataclass(frozen=True)
class TeacherForcing:
    """How often the true previous frame, not the predicted one, is fed in during training."""

    teacher_forcing: Literal["always", "never", "linear"] = "always"
    """Always (SVG), never, or a linear decay of the probability from 1 to its floor."""
    teacher_forcing_start: int = 11
    """Epoch S up to which the ratio stays 1 when it decays linearly."""
    teacher_forcing_floor: float = 0.0
    """The ratio never falls below this when it decays linearly."""


@dataclass(frozen=True)
class LearningRate:
    """The learning rate at each optimiser step."""

    lr: float = 0.002
    """Adam's learning rate (its peak, for a schedule that moves)."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """Constant (the lab, SVG), or a linear warm-up and half a cosine down to zero at the end."""
    lr_warmup: float = 0.05
    """Share of all steps spent on the warm-up of the cosine schedule."""
    clip_norm: float = 0.0
    """Norm of the gradient above which it is scaled down to it; 0: never."""


@lru_cache(maxsize=64)
def _cyclical_shape(epochs: int, cycles: int, ratio: float) -> tuple[float, ...]:
    period = epochs / cycles
    rise = 1.0 / (period * ratio)
    shape = [1.0] * epochs
    for cycle in range(cycles):
        value, i = 0.0, 0
        while value <= 1.0 and int(i + cycle * period) < epochs:
            shape[int(i + cycle * period)] = value
            value += rise
            i += 1
    return tuple(shape)


def check_schedules(kl: KLSchedule, forcing: TeacherForcing, epochs: int) -> None:
    """Refuse settings that have no meaning for a run of ``epochs`` epochs.

    Raises:
        ForeframeError: names the option, its value and the range it must lie in.
    """
    at_least(1, epochs=epochs)
    _check_kl(kl, epochs)
    if not 0 <= forcing.teacher_forcing_floor <= 1:
        raise ForeframeError(
            f"--teacher-forcing-floor {forcing.teacher_forcing_floor}: must lie in [0, 1]."
        )
    start = forcing.teacher_forcing_start
    if forcing.teacher_forcing == "linear" and not 0 <= start < epochs - 1:
        raise ForeframeError(
            f"--teacher-forcing-start {start}: must be at least 0 and less than --epochs - 1 = "
            f"{epochs - 1}, so that the ratio has an epoch to fall in."
        )


def _check_kl(kl: KLSchedule, epochs: int) -> None:
    if not 0 <= kl.beta_max < math.inf:
        raise ForeframeError(f"--beta-max {kl.beta_max}: the KL weight must be 0 or more.")
    if not 0 <= kl.free_bits < math.inf:
        raise ForeframeError(f"--free-bits {kl.free_bits}: must be 0 or more nats.")
    if kl.kl_schedule == "constant":
        return
    cycles = _cycles(kl)
    if not 0 < kl.kl_ratio <= 1:
        raise ForeframeError(f"--kl-ratio {kl.kl_ratio}: must be above 0 and at most 1.")
    at_least(1, kl_cycles=cycles)
    if epochs < 2 * cycles:
        raise ForeframeError(
            f"--kl-cycles {cycles}: a cycle needs at least 2 epochs, so {2 * cycles} in all, "
            f"and --epochs is {epochs}. Use more epochs or fewer cycles."
        )


def _cycles(kl: KLSchedule) -> int:
    return 1 if kl.kl_schedule == "monotonic" else kl.kl_cycles


def kl_weight(epoch: int, kl: KLSchedule, epochs: int) -> float:
    """beta at ``epoch`` (from 0) of a run of ``epochs``; past the end, its last value.

    Source: Fu, Liu et al. 2019, section 4: within each cycle of ``epochs / M`` epochs the weight
    rises linearly from 0 to 1 over the first ``R`` of it and then stays. Sampled epoch by epoch as
    the lab report does.
    """
    if kl.kl_schedule == "constant":
        return kl.beta_max
    shape = _cyclical_shape(epochs, _cycles(kl), kl.kl_ratio)
    return kl.beta_max * shape[min(epoch, epochs - 1)]


def teacher_forcing_ratio(epoch: int, forcing: TeacherForcing, epochs: int) -> float:
    """Probability of feeding the true frame at ``epoch`` (from 0); past the end, its last value.

    Linear: max(floor, 1 - max(0, epoch - S) / (epochs - S - 1)): 1 up to epoch S, 0 (or the floor)
    at the last epoch. Source: the lab report, whose update comes after the epoch.
    """
    if forcing.teacher_forcing == "always":
        return 1.0
    if forcing.teacher_forcing == "never":
        return 0.0
    start = forcing.teacher_forcing_start
    epoch = min(epoch, epochs - 1)
    return max(forcing.teacher_forcing_floor, 1.0 - max(0, epoch - start) / (epochs - start - 1))


def learning_rate(step: int, schedule: LearningRate, steps: int) -> float:
    """Learning rate of optimiser step ``step`` (from 0) out of ``steps``."""
    if schedule.lr_schedule == "constant":
        return schedule.lr
    warmup = max(1, round(schedule.lr_warmup * steps))
    if step < warmup:
        return schedule.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return schedule.lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
