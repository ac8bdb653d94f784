"""Columns that count rows or tell the time."""

from collections.abc import Iterator

import numpy as np

from foreframe.check.findings import Finding

_FEWEST = 30
"""Steps, in all sequences together, below which nothing is said."""

_STRAIGHT = 1e-3
"""Part of a step by which the steps of a number that counts may differ."""

_JITTER = 0.25
"""The same of a clock: the steps' deviation as a part of their mean."""

_ALIKE = 0.1
"""Part of their mean by which the mean steps of sequences may deviate, for a clock."""


class Counters:
    """Gathers the steps of the columns, sequence by sequence.

    Args:
        part: "actions" or "positions".
        width: columns.
    """

    def __init__(self, part: str, width: int) -> None:
        self._part = part
        self._counting = np.ones(width, bool)
        self._ticking = np.ones(width, bool)
        self._means: list[np.ndarray] = []
        self._steps = 0
        self._first: np.ndarray | None = None

    def add(self, rows: np.ndarray) -> None:
        """Take the rows of a sequence, all of them finite."""
        if len(rows) < 3:
            return
        steps = np.diff(rows.astype(np.float64), axis=0)
        mean = steps.mean(0)
        # Large numbers in float32 have coarse steps.
        rounding = 4 * np.spacing(np.abs(rows).max(0).astype(np.float32)).astype(np.float64)
        apart = np.abs(steps - mean).max(0)
        self._counting &= (mean > 0) & (apart <= _STRAIGHT * mean + rounding) & (mean > rounding)
        self._ticking &= (steps > 0).all(0) & (steps.std(0) <= _JITTER * mean)
        self._means.append(mean)
        self._steps += len(steps)
        if self._first is None:
            self._first = rows[:3].copy()

    def findings(self, split: str) -> Iterator[Finding]:
        """Columns that run on evenly in every sequence."""
        if self._steps < _FEWEST or self._first is None:
            return
        means = np.stack(self._means)
        alike = means.std(0) <= _ALIKE * np.abs(means.mean(0))
        for column in np.flatnonzero(self._counting | (self._ticking & alike)):
            first = ", ".join(f"{value:g}" for value in self._first[:, column])
            what = "a row number, no action" if self._part == "actions" else "a row number"
            if means[:, column].mean() != 1 or not self._counting[column]:
                what = f"a time or a {what[2:]}"
            yield Finding(
                "warning",
                split,
                f"column {column} of the {self._part} counts on evenly in every sequence "
                f"({first}, ...): it is {what}. Leave it out on import by naming the others.",
            )
