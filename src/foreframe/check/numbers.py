"""ColumnScan of actions and positions: their ranges, and values that training cannot use."""

from collections.abc import Iterator

import numpy as np

from foreframe.check.counters import Counters
from foreframe.check.findings import ColumnSummary, Finding, some
from foreframe.check.padding import Ends
from foreframe.check.units import mixed_units
from foreframe.data.statistics import Statistics

OUTLIER = 20.0
"""Standard deviations from the mean beyond which a value is reported."""

_TINY = 1e-4
"""A column that varies by less than this part of the widest column, or of its own size, hardly
varies: what is seen of it is rounding or a sensor's noise."""

_OTHER_SCALE = 5.0
_FEW_VALUES = 8
_BATCH = 256


class ColumnScan:
    """Gathers the rows of one split's actions or positions, sequence by sequence.

    Args:
        part: "actions" or "positions".
        split: name of the split, for the findings.
        names: names of the sequences.
        width: numbers in a row.
    """

    def __init__(self, part: str, split: str, names: list[str], width: int) -> None:
        self.part, self.split = part, split
        self._names, self._width = names, width
        self.low = np.full((len(names), width), np.nan, np.float32)
        self.high = np.full((len(names), width), np.nan, np.float32)
        self._bad: dict[int, int] = {}  # sequence: row
        self._waiting: list[np.ndarray] = []
        self._total: Statistics | None = None
        self._values: list[set[float] | None] = [set() for _ in range(width)]
        self._ends, self._counters = Ends(part, names), Counters(part, width)

    def add(self, index: int, rows: np.ndarray) -> None:
        """Take the rows of a sequence."""
        rows = np.asarray(rows)
        good = np.isfinite(rows).all(1)
        if not good.all():
            self._bad[index] = int(np.argmin(good))
            rows = rows[good]
        else:
            self._ends.add(index, rows)
            self._counters.add(rows)
        if not len(rows):
            return
        self.low[index], self.high[index] = rows.min(0), rows.max(0)
        self._waiting.append(rows)
        if len(self._waiting) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            rows = np.concatenate(self._waiting)
            self._waiting = []
            own = Statistics.of(rows)
            self._total = own if self._total is None else self._total + own
            for column, known in enumerate(self._values):
                if known is not None:
                    known.update(np.unique(rows[:, column]).tolist())
                    if len(known) > _FEW_VALUES:
                        self._values[column] = None

    @property
    def statistics(self) -> Statistics | None:
        """Statistics of the rows without NaN and infinity; None if there are none."""
        self._flush()
        return self._total

    @property
    def graded(self) -> np.ndarray:
        """[width], whether a column takes more than a few values, unlike a gripper's."""
        self._flush()
        return np.array([values is None for values in self._values])

    def summary(self) -> tuple[ColumnSummary, ...] | None:
        """Mean, deviation and range of each column."""
        statistics = self.statistics
        if statistics is None:
            return None
        columns = zip(
            statistics.mean, statistics.deviation, statistics.low, statistics.high, strict=True
        )
        return tuple(ColumnSummary(*(float(v) for v in column)) for column in columns)

    def findings(self, *, small: bool, stir: np.ndarray) -> Iterator[Finding]:
        """What is wrong with the values of this split on their own.

        Args:
            stir: [sequences], how much the pictures change.
            small: whether a column may be constant because the split is a small part of the data.
        """
        statistics = self.statistics
        if self._bad:
            bad = tuple(self._names[k] for k in sorted(self._bad))
            first = min(self._bad)
            yield Finding(
                "error",
                self.split,
                f"{self.part} are NaN or infinite in {_sequences(bad)} "
                f"(row {self._bad[first]} of {self._names[first]}): repair or remove them.",
                bad,
            )
        if statistics is None:
            return
        constant = np.asarray(statistics.low == statistics.high)
        if not small:
            yield from self._variation(statistics, constant)
            yield from self._counters.findings(self.split)
        yield from self._outliers(statistics, constant)
        yield from self._ends.findings(self.split)
        reach = np.where(self.graded & ~constant, self.high - self.low, np.nan)
        yield from mixed_units(self.part, self.split, self._names, reach, stir)

    def _variation(self, statistics: Statistics, constant: np.ndarray) -> Iterator[Finding]:
        size = np.maximum(np.abs(statistics.low), np.abs(statistics.high))
        least = _TINY * np.maximum(statistics.deviation.max(initial=0.0), 0.1 * size)
        tiny = np.asarray(~constant & (statistics.deviation < least))
        if constant.all():
            yield Finding(
                "warning",
                self.split,
                f"all {self.part} are constant: they tell a model nothing. "
                "Train with a --condition without them, or look for the right feature.",
            )
        elif constant.any():
            yield Finding(
                "warning",
                self.split,
                f"{self._named(constant)}: no variation. Leave them out on import, or look whether "
                "the right feature was taken.",
            )
        if tiny.any():
            yield Finding(
                "warning",
                self.split,
                f"{self._named(tiny)}: hardly any variation next to the other columns or to their "
                "own size; standardised, they become noise. Look at their units, or leave them "
                "out.",
            )

    def _named(self, which: np.ndarray) -> str:
        numbers = [str(k) for k in np.flatnonzero(which)]
        return f"column{'s' * (len(numbers) > 1)} {some(numbers, 8)} of the {self.part}"

    def _outliers(self, statistics: Statistics, constant: np.ndarray) -> Iterator[Finding]:
        # Of a gripper that is rarely closed, the few closed rows are far out and quite in order.
        graded = self.graded & ~constant
        scale = np.where(statistics.deviation > 0, statistics.deviation, 1.0)
        with np.errstate(invalid="ignore"):
            far = np.fmax(self.high - statistics.mean, statistics.mean - self.low) / scale
        far = np.where(graded, np.nan_to_num(far), 0.0)
        out = far > OUTLIER
        if out.any():
            at, which = np.flatnonzero(out.any(1)), np.asarray(out.any(0))
            worst, column = np.unravel_index(int(far.argmax()), far.shape)
            ends = (self.low[worst, column], self.high[worst, column])
            value = max(ends, key=lambda end: abs(float(end) - statistics.mean[column]))
            names = tuple(self._names[k] for k in at)
            yield Finding(
                "warning",
                self.split,
                f"{self._named(which)}: values more than {OUTLIER:g} standard deviations from the "
                f"mean in {_sequences(names)}; the farthest is {value:.4g}, in column {column} of "
                f"{self._names[worst]}. A fault of recording? Repair or remove them.",
                names,
            )


def compare_columns(train: ColumnScan, other: ColumnScan) -> Iterator[Finding]:
    """Whether the other split's numbers are of the training split's kind."""
    first, second = train.statistics, other.statistics
    if first is None or second is None:
        return
    if len(first.mean) != len(second.mean):
        yield Finding(
            "error",
            other.split,
            f"{len(second.mean)} numbers in each row of the {other.part}, but "
            f"{len(first.mean)} in train: all splits must have the same columns.",
        )
        return
    smaller = np.minimum(first.deviation, second.deviation)
    larger = np.maximum(first.deviation, second.deviation)
    # A gripper may well not move in a small split.
    other_scale = np.asarray(train.graded & (larger > _OTHER_SCALE * smaller))
    if second.count >= 100 and other_scale.any():
        yield Finding(
            "warning",
            other.split,
            f"{other._named(other_scale)}: {_OTHER_SCALE:g} times the variation that there is in "
            f"{train.split}, or more, or a fifth. Look whether the units are the same.",
        )


def _sequences(names: tuple[str, ...]) -> str:
    return f"{len(names)} sequence{'s' * (len(names) > 1)} ({some(names)})"
