"""When the motion that an action causes begins: no action acts before its time."""

import numpy as np

from foreframe.check.excerpt import LAGS, Excerpt, times
from foreframe.check.ridge import held_out_errors, standardised

_SHARE = 0.3
"""Part of the greatest gain that the first lag of an effect must reach."""

_DRAWS = 500
_SURE = 0.99
_LEAST = 0.02
"""Part of the variation of the changes that it must explain on its own."""


def onset(
    excerpts: list[Excerpt],
    columns: np.ndarray,
    changes: np.ndarray,
    groups: np.ndarray,
    random: np.random.Generator,
) -> int | None:
    """The first lag whose action has an effect of its own on the changes; None if none has.

    A robot that answers over several frames moves with the actions of several rows. So each change
    is regressed on the actions of all lags together, and it is measured what is lost without one
    of them. Actions that merely resemble the one that acts lose nothing.

    Args:
        excerpts: of the recordings.
        columns: the columns of the actions that are commands.
        changes: [rows, columns], of what is moved, at the rows that are compared.
        groups: recording of each row.
        random: for the draws of the recordings.
    """
    taps = np.stack([np.concatenate([e.actions[times(e) - lag] for e in excerpts]) for lag in LAGS])
    actions = np.stack([standardised(part[:, columns]) for part in taps])
    lost, whole = np.zeros((len(LAGS), int(groups[-1]) + 1)), 0.0
    for change in standardised(changes).T:
        if not change.any():
            continue
        # One action for each change: all of them at all lags would be many for few rows.
        alike = np.abs(np.einsum("lra,r->la", actions, change)).max(0)
        inputs = actions[:, :, int(alike.argmax())].T
        without = np.stack([inputs * (np.arange(len(LAGS)) != k) for k in range(len(LAGS))])
        errors = held_out_errors(
            np.concatenate([inputs[None], without]), change[:, None], groups
        ).left[:, :, 0]
        if errors[0].sum() < (1 - _LEAST) * np.square(change).sum():
            lost += errors[1:] - errors[0]
            whole += float(np.square(change).sum())
    draws = random.multinomial(lost.shape[1], np.full(lost.shape[1], 1 / lost.shape[1]), _DRAWS)
    sure = ((draws @ lost.T) > 0).mean(0) >= _SURE
    total = lost.sum(1)
    enough = sure & (total >= max(_SHARE * total.max(), _LEAST * whole)) & (whole > 0)
    return LAGS[int(enough.argmax())] if enough.any() else None
