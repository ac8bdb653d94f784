"""Rows that fill up the ends of sequences."""

from collections.abc import Iterator

import numpy as np

from foreframe.check.findings import Finding, some

_LEAST = 3
"""Equal rows at the end from which on they fill it up. A second one is usual: after the last frame
nothing acts."""

_LONGER = 2
"""They also are more than so many times the longest run of equal rows elsewhere in the sequence."""

_FEWEST, _SHARE = 3, 0.2
"""Number and share of the sequences that end so, to be told."""


class Ends:
    """Gathers how the rows of sequences end.

    Args:
        part: "actions" or "positions".
        names: names of the sequences.
    """

    def __init__(self, part: str, names: list[str]) -> None:
        self._part, self._names = part, names
        self._filled: dict[int, tuple[int, bool]] = {}  # sequence: rows, whether they are zero
        self._seen = 0

    def add(self, index: int, rows: np.ndarray) -> None:
        """Take the rows of a sequence, all of them finite."""
        self._seen += 1
        new = np.flatnonzero(np.concatenate([[True], (rows[1:] != rows[:-1]).any(1), [True]]))
        runs = np.diff(new)
        if len(runs) > 1 and runs[-1] > max(_LEAST - 1, _LONGER * int(runs[:-1].max())):
            self._filled[index] = int(runs[-1]), not rows[-1].any()

    def findings(self, split: str) -> Iterator[Finding]:
        """Whether many of the sequences end with equal rows."""
        if len(self._filled) < max(_FEWEST, _SHARE * self._seen):
            return
        names = tuple(self._names[k] for k in self._filled)
        counts = [count for count, _ in self._filled.values()]
        zero = all(nothing for _, nothing in self._filled.values())
        many = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
        yield Finding(
            "warning",
            split,
            f"{len(names):,} of {self._seen:,} sequences end with {many} rows of {self._part} that "
            f"are {'all zero' if zero else 'all the same'} ({some(names)}): a value that fills "
            "them up to one length? Cut the sequences off where it begins.",
            names,
        )
