"""Which columns of the actions are places, and of which columns of the positions."""

import numpy as np

from foreframe.check.excerpt import LAGS, Excerpt, times

_ALIKE = 0.8
"""Correlation within the recordings from which on an action goes with a position as a place."""

_EXACT = 1e-4
"""Share of the variance of a position's steps up to which a difference is rounding."""

_SAME_UNIT = (0.8, 1.25)


def matched(excerpts: list[Excerpt]) -> dict[int, tuple[int, float]]:
    """Columns of the actions that are places: {column: (column of the positions, its scale)}.

    ``action - scale * position`` is how far there is to go. The scale is 1 for equal units.
    """
    actions, positions = _within(excerpts, [e.actions[times(e)] for e in excerpts]), []
    for excerpt in excerpts:
        assert excerpt.positions is not None
        positions.append(excerpt.positions[times(excerpt)])
    places = _within(excerpts, positions)
    sizes = np.sqrt(np.square(actions).sum(0)), np.sqrt(np.square(places).sum(0))
    both = np.maximum(sizes[0][:, None] * sizes[1], 1e-12)
    alike = (actions.T @ places) / both
    found = {}
    for column, row in enumerate(alike):
        at = int(row.argmax())
        if row[at] > _ALIKE:
            scale = float(sizes[0][column] / sizes[1][at])
            same = _SAME_UNIT[0] < scale < _SAME_UNIT[1]
            found[column] = (at, 1.0 if same else scale)
    return found


def _within(excerpts: list[Excerpt], rows: list[np.ndarray]) -> np.ndarray:
    """Rows of all recordings less the means of their recordings."""
    exact = [part.astype(np.float64) for part in rows]
    return np.concatenate([part - part.mean(0) for part in exact])


def state_columns(excerpts: list[Excerpt]) -> dict[int, int]:
    """Columns of the actions that repeat a column of the positions: {column: of the positions}.

    They are the same numbers, in the same row or in a neighbouring one. Whether they are states
    that lie in the actions, or commands that the robot carries out exactly, they do not say.
    """
    width = excerpts[0].actions.shape[1]
    apart = np.zeros((len(LAGS), width, _position_width(excerpts)))
    steps = np.zeros(apart.shape[2])
    rows = 0
    for excerpt in excerpts:
        assert excerpt.positions is not None
        at = times(excerpt)
        places = excerpt.positions.astype(np.float64)
        actions = excerpt.actions[at].astype(np.float64)
        steps += np.square(places[at + 1] - places[at]).sum(0)
        rows += len(at)
        for k, lag in enumerate(LAGS):
            for column in range(width):
                difference = actions[:, column, None] - places[at + lag]
                apart[k, column] += np.square(difference).sum(0)
    same = (apart <= _EXACT * steps) & (steps > 0)
    found = {}
    for column in range(width):
        which = np.argwhere(same[:, column])
        if len(which):
            found[column] = int(which[0][1])
    return found


def _position_width(excerpts: list[Excerpt]) -> int:
    positions = excerpts[0].positions
    assert positions is not None
    return positions.shape[1]
