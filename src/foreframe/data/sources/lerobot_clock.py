"""The clock of a LeRobotDataset's rows: the videos', or one of their recorder.

By the format a row's timestamp is its number divided by the rate. Some recorders write the time at
which the row was made: a rate a little off, counted from some other moment, jittering.
"""

from dataclasses import dataclass

import numpy as np

from foreframe.data.sources.source import UnusableError

_RATE_OFF = 0.25
"""Part by which the rate of such a clock may differ from that of the metadata."""
_UNITS = {1.0: "", 1e3: " (in milliseconds)", 1e6: " (in microseconds)", 1e9: " (in nanoseconds)"}


@dataclass(frozen=True)
class ClockFit:
    """A clock as the straight line through the timestamps of an episode.

    Attributes:
        begin: what it showed at row 0, in its own units.
        rate: rows a second.
        worst: the farthest that a row is from the line, in seconds.
        unit: units of the clock in a second.
    """

    begin: float
    rate: float
    worst: float
    unit: float = 1.0

    def __str__(self) -> str:
        return (
            f"{self.rate:.4g} rows a second from {self.begin:.10g} on{_UNITS[self.unit]}, each "
            f"within {self.worst:.3f} s"
        )


def fit_clock(times: np.ndarray, declared: float) -> ClockFit:
    """The straight line through the timestamps of all rows of an episode.

    Args:
        times: [rows], growing.
        declared: rows a second by the metadata.

    Raises:
        UnusableError: no line of about that rate comes within half a row of every timestamp.
    """
    rows = np.arange(len(times), dtype=np.float64)
    since = times - times[0]
    spread = rows - rows.mean()
    slope = float(spread @ since / (spread @ spread)) if len(times) > 1 else 1 / declared
    line = since.mean() + slope * spread
    unit = min(_UNITS, key=lambda unit: abs(np.log(slope * declared / unit)))
    rate = unit / slope
    worst = float(np.abs(since - line).max())
    if not abs(rate / declared - 1) <= _RATE_OFF:
        raise UnusableError(
            f"its timestamps show {rate:.4g} rows a second, where {declared:g} are declared"
        )
    if worst > slope / 2:
        row = int(np.abs(since - line).argmax())
        raise UnusableError(
            f"the timestamp of row {row} is {worst / unit:.3f} s from where an even clock of "
            f"{rate:.4g} rows a second would be, which is more than half a row"
        )
    return ClockFit(float(times[0] + line[0]), rate, worst / unit, unit)
