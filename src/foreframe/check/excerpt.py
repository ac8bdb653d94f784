"""The rows of a recording that are compared with its motion, and the lags they are compared at."""

from dataclasses import dataclass

import numpy as np

LAGS = (-2, -1, 0, 1, 2)
REACH = 2
SHORTEST = 2 * REACH + 2
"""Frames that a sequence needs to be of use."""

STRETCH = 64
"""Rows of a long recording that are taken together when there are few recordings."""

_FEW_RECORDINGS = 10


@dataclass(frozen=True)
class Excerpt:
    """The rows of one recording that alignment looks at.

    Attributes:
        actions: [T, A].
        positions: [T, P] or None.
        motion: [T - 1, M], of the picture from each frame to the next.
        name: name of the recording, for the findings.
        repeats: [T - 1], whether each frame but the first is exactly the one before; None if that
            is not known.
    """

    actions: np.ndarray
    positions: np.ndarray | None
    motion: np.ndarray
    name: str = ""
    repeats: np.ndarray | None = None


def times(excerpt: Excerpt) -> np.ndarray:
    """Rows that are compared.

    Every lag has its row and its change, and the last row, which acts after the last frame and is
    often padding, is never used.
    """
    return np.arange(REACH, len(excerpt.motion) - REACH)


def groups(excerpts: list[Excerpt]) -> np.ndarray:
    """Number of the recording of each row, or of a stretch of it where there are few."""
    numbers = []
    count = 0
    for excerpt in excerpts:
        rows = len(times(excerpt))
        stretch = STRETCH if len(excerpts) < _FEW_RECORDINGS else rows
        own = np.arange(rows) // stretch
        numbers.append(own + count)
        count += int(own[-1]) + 1
    return np.concatenate(numbers) if numbers else np.empty(0, np.int64)
