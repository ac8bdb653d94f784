"""The rows of a recording that are compared with its motion, and the lags they are compared at."""

from dataclasses import dataclass, replace

import numpy as np

LAGS = (-2, -1, 0, 1, 2)
REACH = 2
SHORTEST = 2 * REACH + 2
"""Frames that a sequence needs to be of use."""

STRETCH = 64
"""Rows of a long recording that are taken together when there are few recordings."""

_FEW_RECORDINGS = 10

_MOST_ROWS = 20_000
"""Rows of all recordings together that are compared: more would only take longer."""


@dataclass(frozen=True)
class Excerpt:
    """The rows of one recording that alignment looks at.

    Attributes:
        actions: [T, A].
        positions: [T, P] or None.
        motion: [T - 1, M], of the picture from each frame to the next.
        name: name of the recording, for the findings.
    """

    actions: np.ndarray
    positions: np.ndarray | None
    motion: np.ndarray
    name: str = ""


def cut(excerpts: list[Excerpt]) -> list[Excerpt]:
    """The middle of each recording, if all of them would be more rows than are needed."""
    rows = max(STRETCH, _MOST_ROWS // max(len(excerpts), 1))
    return [_middle(excerpt, rows) for excerpt in excerpts]


def _middle(excerpt: Excerpt, rows: int) -> Excerpt:
    start = (len(excerpt.motion) - rows) // 2
    if start <= 0:
        return excerpt
    frames, changes = slice(start, start + rows + 1), slice(start, start + rows)
    return replace(
        excerpt,
        actions=excerpt.actions[frames],
        positions=None if excerpt.positions is None else excerpt.positions[frames],
        motion=excerpt.motion[changes],
    )


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
