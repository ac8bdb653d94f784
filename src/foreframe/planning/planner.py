"""Sequences of actions that cost little, searched for by sampling.

A plan is a function of the costs, the space of actions, the options, the generator and the plan
before: nothing random has a state. Costs come from whoever imagines the candidates, all of an
iteration at once.

Sources: iCEM, Pinneri et al. 2020 (coloured noise, decay, elites kept, shifted warm start); MPPI,
Williams et al. 2017; coloured noise, Timmer & Koenig 1995.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from foreframe.errors import ForeframeError
from foreframe.planning.options import PlannerOptions

Candidates = Float64[np.ndarray, "candidates horizon action"]
Evaluate = Callable[[Candidates], Float64[np.ndarray, " candidates"]]

_LEAST_ELITES = 4
_MOMENTUM = 0.1
"""Share of the last iteration's mean and deviation that stays."""


@dataclass(frozen=True)
class ActionSpace:
    """The actions that a robot takes.

    Attributes:
        low: least value of each column.
        high: greatest.
        mean: where candidates are drawn about at first.
        deviation: how far about it.
    """

    low: Float64[np.ndarray, " action"]
    high: Float64[np.ndarray, " action"]
    mean: Float64[np.ndarray, " action"]
    deviation: Float64[np.ndarray, " action"]


@dataclass(frozen=True)
class Plan:
    """What was found.

    Attributes:
        actions: the best candidate.
        cost: of it.
        mean: where the last candidates were drawn about.
        elites: the best of the last iteration, best first.
        imagined: frames that were imagined for it, one for each candidate and step.
    """

    actions: Float64[np.ndarray, "horizon action"]
    cost: float
    mean: Float64[np.ndarray, "horizon action"]
    elites: Candidates
    imagined: int


def coloured_noise(
    random: np.random.Generator, samples: int, horizon: int, width: int, exponent: float
) -> Candidates:
    """Gaussian noise over time with a power spectrum of 1 / f^exponent and variance 1.

    Args:
        random: what it is drawn from.
        samples: series for each column.
        horizon: steps.
        width: columns.
        exponent: 0 is white, 2 a random walk.
    """
    if horizon == 1 or exponent == 0:
        return random.standard_normal((samples, horizon, width))
    frequency = np.fft.rfftfreq(horizon)
    frequency[0] = frequency[1]  # the mean of a series varies as its slowest wave does
    scale = frequency ** (-exponent / 2)
    real, imaginary = random.standard_normal((2, samples, width, len(scale)))
    ends = [0] if horizon % 2 else [0, -1]
    imaginary[..., ends] = 0.0
    real[..., ends] *= np.sqrt(2.0)
    weight = np.full(len(scale), 2.0)
    weight[ends] = 1.0
    variance = (2 * weight * scale**2).sum() / horizon**2
    series = np.fft.irfft((real + 1j * imaginary) * scale, horizon) / np.sqrt(variance)
    return np.asarray(series.transpose(0, 2, 1))


def make_plan(
    evaluate: Evaluate,
    space: ActionSpace,
    horizon: int,
    options: PlannerOptions,
    random: np.random.Generator,
    before: Plan | None = None,
    done: int = 0,
) -> Plan:
    """Search for actions of little cost.

    Args:
        evaluate: candidates to what each costs.
        space: of the actions.
        horizon: actions of a plan.
        options: how to search.
        random: what candidates are drawn from.
        before: the plan before, whose rest this one begins with.
        done: actions of it that were carried out since.

    Raises:
        ForeframeError: a cost is not a number.
    """
    usual = np.tile(space.mean, (horizon, 1))
    mean = usual if before is None else _shifted(before.mean, done, usual)
    deviation = np.tile(space.deviation, (horizon, 1))
    kept = np.empty((0, *mean.shape))
    count = 0 if before is None else _share(len(before.elites), options.keep)
    if before is not None and count:
        kept = np.stack([_shifted(one, done, usual) for one in before.elites[:count]])
    best, least, imagined = mean, np.inf, 0
    elites = kept
    # Where to be is reached, the usual is best: with the simulator's robot, to stay.
    for iteration in range(options.iterations):
        count = max(round(options.samples * options.decay**-iteration), 2 * _LEAST_ELITES)
        noise = coloured_noise(random, count, horizon, mean.shape[1], options.beta)
        tried = np.concatenate([mean + deviation * noise, kept, mean[None], usual[None]])
        tried = np.clip(tried, space.low, space.high)
        costs = np.asarray(evaluate(tried), np.float64)
        if not np.isfinite(costs).all():
            raise ForeframeError(
                "the cost of a candidate is not a finite number: the model's frames are none."
            )
        imagined += tried.shape[0] * horizon
        order = np.argsort(costs, kind="stable")
        if costs[order[0]] < least:
            best, least = tried[order[0]], float(costs[order[0]])
        elites = tried[order[: max(_LEAST_ELITES, _share(options.samples, options.elites))]]
        if options.planner == "mppi":
            mean = _weighted(tried, costs, options.gamma)
            kept = np.empty((0, *mean.shape))
        else:
            mean = _MOMENTUM * mean + (1 - _MOMENTUM) * elites.mean(0)
            deviation = _MOMENTUM * deviation + (1 - _MOMENTUM) * elites.std(0)
            kept = elites[: _share(len(elites), options.keep)]
    if options.planner == "mppi":
        best = np.clip(mean, space.low, space.high)
    return Plan(best, least, mean, elites, imagined)


def _share(count: int, share: float) -> int:
    return max(1, round(count * share)) if share > 0 else 0


def _shifted(actions: np.ndarray, done: int, usual: np.ndarray) -> np.ndarray:
    """The rest of a plan, as long as the new one; what comes after it is as usual."""
    return np.concatenate([actions[done:], usual])[: len(usual)]


def _weighted(tried: Candidates, costs: np.ndarray, gamma: float) -> np.ndarray:
    """The mean of all candidates, each weighed by exp(-cost / temperature)."""
    spread = costs.std()
    if spread == 0:
        return np.asarray(tried.mean(0))
    weights = np.exp(-(costs - costs.min()) / (gamma * spread))
    return np.asarray(np.tensordot(weights / weights.sum(), tried, 1))
