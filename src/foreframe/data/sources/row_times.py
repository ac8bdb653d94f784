"""Rows of numbers that are matched to the frames of a video by their times."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from foreframe.data.sources.source import UnusableError

_UNITS = {1.0: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}


@dataclass(frozen=True)
class MatchedRows:
    """The row of each frame.

    Attributes:
        row_of: [frames], the number of the row, which never falls: -1 for frames before the first
            row, more than there are for those from the first on that has none.
        note: what was matched how.
    """

    row_of: Int[np.ndarray, " frames"]
    note: str


def match_rows(
    frames: Float64[np.ndarray, " frames"],
    rows: Float64[np.ndarray, " rows"],
    *,
    same_clock: bool = False,
) -> MatchedRows:
    """The nearest row of each frame, within half a frame or half a row, whichever is longer.

    Args:
        frames: times of the frames in seconds.
        rows: times of the rows: in seconds, or in smaller units, from the beginning of the video
            or, as seconds since 1970 are, from some other moment. Then both begin at once.
        same_clock: both are seconds of one clock, whatever they look like.

    Raises:
        UnusableError: the rows' times fall, or not one frame has a row.
    """
    if (np.diff(rows) < 0).any():
        row = int(np.flatnonzero(np.diff(rows) < 0)[0]) + 1
        raise UnusableError(f"the time of row {row} is before that of the row before it")
    unit = 1.0 if same_clock else _unit(frames, rows)
    times = rows / unit
    tolerance = max(_interval(frames), _interval(times)) / 2
    apart = times[0] > frames[-1] + tolerance or times[-1] < frames[0] - tolerance
    other = bool(apart) and not same_clock
    if other:
        times = (rows - rows[0]) / unit + frames[0]
    after = np.searchsorted(times, frames).clip(1, max(len(times) - 1, 1))
    nearer = np.abs(frames - times[after - 1]) <= np.abs(
        frames - times[after.clip(max=len(times) - 1)]
    )
    nearest = np.where(nearer, after - 1, after.clip(max=len(times) - 1))
    away = np.abs(frames - times[nearest])
    # Times as text or in float32 are rounded.
    matched = away <= tolerance * 1.01 + 1e-6
    if not matched.any():
        raise UnusableError(f"not one frame has a row within {tolerance:.3g} s")
    first = int(np.argmax(matched))
    holes = np.flatnonzero(~matched[first:])
    end = first + int(holes[0]) if len(holes) else len(frames)
    row_of = nearest.copy()
    row_of[:first] = -1
    row_of[end:] = len(rows) + 1
    used = len(np.unique(nearest[first:end]))
    note = (
        f"{end - first} of {len(frames)} frames are matched to {used} of {len(rows)} rows, each "
        f"within {away[first:end].max():.3g} s"
        + (f", in {_UNITS[unit]}" if unit != 1 else "")
        + (", both clocks begun at once" if other else "")
    )
    return MatchedRows(row_of, note)


def _interval(times: np.ndarray) -> float:
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def _unit(frames: np.ndarray, rows: np.ndarray) -> float:
    """Units of the rows' times in a second: those in which both last about as long."""
    spans = (frames[-1] - frames[0], rows[-1] - rows[0])
    if min(spans) <= 0:
        return 1.0
    return min(_UNITS, key=lambda unit: abs(float(np.log(spans[1] / unit / spans[0]))))
