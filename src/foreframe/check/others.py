"""Recordings whose actions lie at another lag than those of the rest."""

from dataclasses import dataclass

import numpy as np

from foreframe.check.excerpt import LAGS, Excerpt, times
from foreframe.check.ridge import FOLDS
from foreframe.check.ways import Way

_ROUNDS = 8
_FEWEST = 6
"""Recordings below which nothing is said."""

_LEAST, _SHARE = 2, 0.1
"""Number and share of the recordings that must lie at another lag, to be told."""

_BETTER, _GAIN = 0.5, 0.05
"""A recording lies at a lag for certain if there no more than this part of the error at the other
is left, and this part of all that there is to explain is gained."""

_EXACT = 0.05
"""Part of the error at the other lag that is left where a lag is certain whatever is gained."""

_LOST = 1.2
"""What is left without the first lag of the pattern, as a multiple, if that is no part of it."""

_MOST_SURE = 0.6
"""Part of the recordings at either lag that must lie there for certain."""


@dataclass(frozen=True)
class Others:
    """Some recordings that lie at another lag than the rest.

    Attributes:
        usual: lag of the rest, the one that is nearer to 0.
        lag: their lag.
        sequences: their names.
        of: recordings that were compared.
    """

    usual: int
    lag: int
    sequences: tuple[str, ...]
    of: int


def others(way: Way, excerpts: list[Excerpt], *, start: int, ridge: float) -> Others | None:
    """Recordings at another lag; None if they agree, or nobody can tell.

    Every recording is given the lag at which the regression of the other recordings, each at its
    own lag, predicts it best; then the regression is fitted again (k-means with regressions in the
    place of means: Späth 1979). The regression also has the lag after, for robots that answer over
    several frames: what is compared is a pattern of two lags.

    Args:
        way: regression at every lag.
        excerpts: the recordings whose rows it has, in their order.
        start: the lag that all begin with.
        ridge: part of the inputs' variance that is added to it.
    """
    if len(excerpts) < _FEWEST:
        return None
    owner = np.repeat(np.arange(len(excerpts)), [len(times(e)) for e in excerpts])
    width = way.inputs.shape[2] if way.actions == "outputs" else way.action_inputs
    inputs = np.concatenate([way.inputs[:-1], way.inputs[1:, :, :width]], 2)
    lags = np.full(len(excerpts), min(LAGS.index(start), len(inputs) - 1))
    left = _left(inputs, way.outputs, owner, lags, ridge)
    for _ in range(_ROUNDS):
        closest = left.argmin(0)
        if (closest == lags).all():
            break
        lags = closest
        left = _left(inputs, way.outputs, owner, lags, ridge)
    counts = np.bincount(lags, minlength=len(inputs))
    usual, other = np.argsort(-counts, kind="stable")[:2]
    whole = np.bincount(owner, np.square(way.outputs).sum(1))
    sure = [
        _certain(left, lags == one, one, another, whole)
        for one, another in ((usual, other), (other, usual))
    ]
    for certain, lag in zip(sure, (usual, other), strict=True):
        if certain.sum() < max(_LEAST, _SHARE * len(excerpts), _MOST_SURE * (lags == lag).sum()):
            return None
    # The pattern may begin with its second lag: nothing is lost without the first.
    later = _left(inputs[:, :, width:], way.outputs, owner, lags, ridge)
    own = np.arange(len(excerpts))
    begins = int(later[lags, own].sum() < _LOST * left[lags, own].sum())
    nearer, farther = sorted((usual, other), key=lambda lag: abs(LAGS[lag + begins]))
    names = tuple(excerpts[k].name for k in np.flatnonzero(lags == farther))
    return Others(LAGS[nearer + begins], LAGS[farther + begins], names, len(excerpts))


def _certain(
    left: np.ndarray, which: np.ndarray, lag: int, other: int, whole: np.ndarray
) -> np.ndarray:
    """[recordings], which of them lie at ``lag`` and not at ``other`` for certain."""
    gained = left[other] - left[lag]
    better = (left[lag] < _BETTER * left[other]) & (gained > _GAIN * whole)
    return np.asarray(which & (better | (left[lag] < _EXACT * left[other])))


def _left(
    inputs: np.ndarray, outputs: np.ndarray, owner: np.ndarray, lags: np.ndarray, ridge: float
) -> np.ndarray:
    """[lags, recordings], the error of each at every lag, by the regression of the others."""
    fold = np.random.default_rng(0).permutation(len(lags)) % FOLDS
    left = np.zeros((len(inputs), len(lags)))
    chosen = inputs[lags[owner], np.arange(len(owner))]
    for f in range(FOLDS):
        own = fold[owner] == f
        fitted = chosen[~own]
        square = fitted.T @ fitted + ridge * len(fitted) * np.eye(fitted.shape[1])
        weights = np.linalg.solve(square, fitted.T @ outputs[~own])
        error = np.square(outputs[own] - inputs[:, own] @ weights).sum(2)
        for k, errors in enumerate(error):
            left[k] += np.bincount(owner[own], errors, minlength=len(lags))
    return left
