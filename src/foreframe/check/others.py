"""Recordings whose actions lie at another lag than those of most."""

from dataclasses import dataclass

import numpy as np

from foreframe.check.excerpt import LAGS, Excerpt, times
from foreframe.check.ridge import FOLDS
from foreframe.check.ways import Way

_ROUNDS = 6
_FEWEST = 6
"""Recordings below which nothing is said."""

_LEAST, _SHARE = 2, 0.1
"""Number and share of the recordings that must lie at another lag, to be told."""

_BETTER, _GAIN = 0.5, 0.2
"""A recording lies at a lag for certain if there no more than this part of the error at the other
is left, and this part of all that there is to explain is gained."""

_MOST_SURE = 0.6
"""Part of the recordings at either lag that must lie there for certain."""


@dataclass(frozen=True)
class Others:
    """Some recordings that lie at another lag than the rest.

    Attributes:
        usual: lag of the most.
        lag: lag of the others.
        sequences: names of the others.
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
    place of means: Späth 1979).

    Args:
        way: regression at every lag.
        excerpts: the recordings whose rows it has, in their order.
        start: the lag that all begin with.
        ridge: part of the inputs' variance that is added to it.
    """
    if len(excerpts) < _FEWEST:
        return None
    owner = np.repeat(np.arange(len(excerpts)), [len(times(e)) for e in excerpts])
    lags = np.full(len(excerpts), LAGS.index(start))
    left = _left(way, owner, lags, ridge)
    for _ in range(_ROUNDS):
        closest = left.argmin(0)
        if (closest == lags).all():
            break
        lags = closest
        left = _left(way, owner, lags, ridge)
    counts = np.bincount(lags, minlength=len(LAGS))
    usual, other = np.argsort(-counts, kind="stable")[:2]
    if abs(LAGS[usual]) > abs(LAGS[other]) and counts[usual] == counts[other]:
        usual, other = other, usual
    whole = np.bincount(owner, np.square(way.outputs).sum(1))
    sure = [
        _certain(left, lags == one, one, another, whole)
        for one, another in ((usual, other), (other, usual))
    ]
    for certain, lag in zip(sure, (usual, other), strict=True):
        if certain.sum() < max(_LEAST, _SHARE * len(excerpts), _MOST_SURE * (lags == lag).sum()):
            return None
    names = tuple(excerpts[k].name for k in np.flatnonzero(sure[1]))
    return Others(LAGS[usual], LAGS[other], names, len(excerpts))


def _certain(
    left: np.ndarray, which: np.ndarray, lag: int, other: int, whole: np.ndarray
) -> np.ndarray:
    """[recordings], which of them lie at ``lag`` and not at ``other`` for certain."""
    gained = left[other] - left[lag]
    return np.asarray(which & (left[lag] < _BETTER * left[other]) & (gained > _GAIN * whole))


def _left(way: Way, owner: np.ndarray, lags: np.ndarray, ridge: float) -> np.ndarray:
    """[lags, recordings], the error of each at every lag, by the regression of the others."""
    fold = np.random.default_rng(0).permutation(len(lags)) % FOLDS
    left = np.zeros((len(LAGS), len(lags)))
    chosen = way.inputs[lags[owner], np.arange(len(owner))]
    for f in range(FOLDS):
        own = fold[owner] == f
        inputs = chosen[~own]
        square = inputs.T @ inputs + ridge * len(inputs) * np.eye(inputs.shape[1])
        weights = np.linalg.solve(square, inputs.T @ way.outputs[~own])
        error = np.square(way.outputs[own] - way.inputs[:, own] @ weights).sum(2)
        for k, errors in enumerate(error):
            left[k] += np.bincount(owner[own], errors, minlength=len(lags))
    return left
