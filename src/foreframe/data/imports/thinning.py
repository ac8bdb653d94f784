"""Which frames of a recording are taken, and what the actions between them become.

Robots are recorded at 10 to 50 Hz, and a model of small frames wants 3 to 10. An action belongs to
the time until the next frame, so when frames are passed over, the actions of all of them count.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Float64, Int

from foreframe.data.sources.source import UnusableError
from foreframe.errors import ForeframeError

Rule = Literal["sum", "mean", "last", "first", "stack"]
RULES: tuple[str, ...] = get_args(Rule)

_SMALL = 1e-6
RATE_TOLERANCE = 0.05
"""Part by which a rate may be missed: cameras do not keep theirs better."""

Numbered = tuple[int, np.ndarray]


@dataclass(frozen=True)
class ActionRules:
    """How the actions from one taken frame to the next become one.

    Attributes:
        rule: of all columns that have none of their own.
        columns: column: its rule.
    """

    rule: str
    columns: dict[int, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "ActionRules":
        """Rules in words: ``sum``, or ``sum,6:last`` or ``mean,0-2:sum,6:last``.

        Raises:
            ForeframeError: they cannot be read.
        """
        first, *others = text.split(",")
        columns: dict[int, str] = {}
        for word in others:
            match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?:(\w+)\s*", word)
            if match is None or match[3] not in RULES[:-1]:
                raise ForeframeError(
                    f"--resample-actions {text}: after the rule of all columns stand those of "
                    "single ones, as in sum,6:last or mean,0-2:sum; rules are "
                    f"{_listed(RULES[:-1])}."
                )
            for column in range(int(match[1]), int(match[2] or match[1]) + 1):
                columns[column] = match[3]
        if first.strip() not in RULES or (first.strip() == "stack" and columns):
            raise ForeframeError(
                f"--resample-actions {text}: give {_listed(RULES)}, or one of the first four with "
                "single columns behind it, as in sum,6:last."
            )
        return cls(first.strip(), columns)

    def check(self, width: int) -> None:
        """Refuse a column that the actions do not have.

        Raises:
            ForeframeError: names it.
        """
        beyond = [column for column in self.columns if column >= width]
        if beyond:
            raise ForeframeError(
                f"--resample-actions: column {beyond[0]}, but the actions have {width} (from 0)."
            )

    def __call__(
        self,
        actions: Float32[np.ndarray, "rows action"],
        starts: Int[np.ndarray, " taken"],
        ends: Int[np.ndarray, " taken"],
    ) -> Float32[np.ndarray, "taken joined"]:
        """One row for the rows from each start to its end, which is at least one further.

        Raises:
            UnusableError: they are to be stacked, and are not equally many.
        """
        if self.rule == "stack":
            return _stacked(actions, starts, ends)
        joined = _JOINED[self.rule](actions, starts, ends)
        for column, rule in self.columns.items():
            one = actions[:, column : column + 1]
            joined[:, column] = _JOINED[rule](one, starts, ends)[:, 0]
        return joined.astype(np.float32)


def _summed(actions: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    totals = np.concatenate([np.zeros((1, actions.shape[1])), actions.cumsum(0, np.float64)])
    return np.asarray(totals[ends] - totals[starts])


_JOINED = {
    "sum": _summed,
    "mean": lambda actions, starts, ends: _summed(actions, starts, ends) / (ends - starts)[:, None],
    "last": lambda actions, starts, ends: actions[ends - 1].copy(),
    "first": lambda actions, starts, ends: actions[starts].copy(),
}


def _stacked(actions: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    counts = ends - starts
    count = int(counts[0])
    # The last action leads nowhere: what it lacks is the same again.
    if (counts[:-1] != count).any() or counts[-1] > count:
        raise UnusableError(
            f"{counts.min()} to {counts.max()} actions lie between two frames; only equally many "
            "can be stacked (--every keeps them so)"
        )
    rows = (starts[:, None] + np.arange(count)).clip(max=len(actions) - 1)
    return np.asarray(actions[rows].reshape(len(starts), -1))


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


@dataclass(frozen=True)
class Thinning:
    """Which frames are taken.

    Attributes:
        every: each so-manyth of those that are left by what follows.
        frame_rate: the frames nearest to regular times, so many a second; None for all.
        drop_repeats: pass over frames that only show the one before again.
    """

    every: int = 1
    frame_rate: float | None = None
    drop_repeats: bool = False

    @property
    def is_none(self) -> bool:
        """Whether all frames are taken."""
        return self == Thinning()

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ForeframeError: names the option.
        """
        if self.every < 1:
            raise ForeframeError(f"--every {self.every}: must be 1 or more.")
        if self.frame_rate is not None and not 0 < self.frame_rate < float("inf"):
            raise ForeframeError(f"--frame-rate {self.frame_rate:g}: must be above 0.")
        if self.every > 1 and self.frame_rate is not None:
            raise ForeframeError("--every and --frame-rate: give one of them.")

    def rate(self, recorded: float | None) -> float | None:
        """Frames a second that are left of ``recorded``; None where it cannot be told."""
        if self.frame_rate is not None:
            return self.frame_rate
        if self.drop_repeats or recorded is None:
            return None
        return recorded / self.every

    def count(self, frames: int, recorded: float | None) -> int:
        """About how many of ``frames`` are left."""
        if self.frame_rate is not None and recorded:
            return min(frames, int((frames - 1) / recorded * self.frame_rate + _SMALL) + 1)
        return -(-frames // self.every)

    def __call__(
        self,
        frames: Iterator[Numbered],
        times: Float64[np.ndarray, " frame"] | None,
        recorded: float | None,
    ) -> Iterator[Numbered]:
        """The frames that are taken, with their numbers.

        Args:
            frames: numbers and frames, in order.
            times: when each frame of the recording is, in seconds; None: regularly.
            recorded: frames a second of the recording, if it is known.

        Raises:
            UnusableError: the rate cannot be met.
        """
        if self.drop_repeats:
            frames = without_repeats(frames)
        if self.frame_rate is not None:
            frames = self._at_rate(frames, times, recorded)
        return (each for n, each in enumerate(frames) if n % self.every == 0)

    def _at_rate(
        self, frames: Iterator[Numbered], times: np.ndarray | None, recorded: float | None
    ) -> Iterator[Numbered]:
        rate = self.frame_rate
        assert rate is not None
        if not recorded:
            raise UnusableError(
                f"nothing says how many frames a second it has, so --frame-rate {rate:g} cannot be "
                "met; say it with --recorded-rate, or give --every"
            )
        if rate > recorded * (1 + RATE_TOLERANCE):
            raise UnusableError(
                f"it has {recorded:.4g} frames a second, so --frame-rate {rate:g} would show "
                "frames twice"
            )
        if rate > recorded / (1 + RATE_TOLERANCE):
            yield from frames  # it has that rate, as well as cameras keep one
            return
        yield from _nearest(frames, times, recorded, rate)


def _nearest(
    frames: Iterator[Numbered], times: np.ndarray | None, recorded: float, rate: float
) -> Iterator[Numbered]:
    """The frames nearest to regular times from the first frame on; of two, the first."""
    begin: float | None = None
    before: tuple[float, Numbered] | None = None
    taken, at = -1, 0
    for number, frame in frames:
        time = number / recorded if times is None else float(times[number])
        if begin is None:
            begin = time
        while begin + at / rate <= time + _SMALL:
            wanted = begin + at / rate
            here = (time, (number, frame))
            nearer = before is not None and wanted - before[0] <= time - wanted + _SMALL
            chosen = before if nearer and before is not None else here
            if chosen[1][0] == taken:
                raise UnusableError(
                    f"after {chosen[0] - begin:.3f} s it has no new frames for a while, so "
                    f"--frame-rate {rate:g} would show one twice"
                )
            taken = chosen[1][0]
            yield chosen[1]
            at += 1
        before = (time, (number, frame))


def without_repeats(frames: Iterator[Numbered]) -> Iterator[Numbered]:
    """Frames that are not the one before again, as a camera slower than the log gives them.

    Only what is the same to the bit counts, as it is where a video repeats a frame: what is nearly
    the same may well be a robot that moves slowly.
    """
    shown: np.ndarray | None = None
    for number, frame in frames:
        if shown is None or not np.array_equal(shown, frame):
            yield number, frame
        shown = frame
