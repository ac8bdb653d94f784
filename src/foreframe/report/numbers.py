"""Numbers in words, and the gain of a model over a baseline with its interval."""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from foreframe.evaluation.card import Card, Row, Score
from foreframe.metrics.intervals import Difference, paired

Kind = Literal["good", "bad", "open"]
"""Colour of a number: claimed to be good, claimed to be bad, or nothing can be claimed (grey)."""


def is_number(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any) -> str:
    """A count or a setting; "?" where there is none."""
    return f"{value:g}" if is_number(value) else "?"


def plural(count: Any, noun: str) -> str:
    """A count and its noun: 1 frame, 2 frames."""
    return f"{number(count)} {noun}" + ("" if count == 1 else "s")


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, a true minus among them; never -0."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return f"{0:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Gain:
    """The score of the model less that of a baseline.

    Attributes:
        mean: over the sequences.
        apart: the paired difference with its 95 % interval; None where the card does not hold the
            score of each sequence, or has one sequence only.
        sequences: of the card.
    """

    mean: float
    apart: Difference | None
    sequences: int = 0

    @property
    def kind(self) -> Kind:
        """Whether the model is better, worse, or whether that cannot be said."""
        if self.apart is None or not self.apart.separable:
            return "open"
        return "good" if self.apart.mean > 0 else "bad"

    def interval(self, digits: int = 2) -> str:
        """The interval: "+0.10 to +0.42"; empty where there is none."""
        if self.apart is None:
            return ""
        return f"{signed(self.apart.low, digits)} to {signed(self.apart.high, digits)}"


def score_of(row: Row, kind: str) -> Score | None:
    """Interval and values of each sequence of a row, by "psnr" or "ssim".

    Cards of version 1 have none.
    """
    return next((score for name, score in row.scores.items() if name.startswith(kind)), None)


def gain(card: Card | None, baseline: str, kind: str = "psnr") -> Gain | None:
    """How much better the model is than a baseline; None if one of them has no score.

    Args:
        card: of an evaluation.
        baseline: name of its row.
        kind: "psnr" or "ssim".
    """
    rows = [card.row(name) if card else None for name in ("model", baseline)]
    ours, theirs = (getattr(row, kind, None) for row in rows)
    if ours is None or theirs is None:
        return None
    scores = [score_of(row, kind) for row in rows if row]
    values = [score.per_sequence for score in scores if score]
    if len(values) < 2 or len(values[0]) < 2 or len(values[0]) != len(values[1]):
        return Gain(ours - theirs, None)
    groups = card.recordings if card else None
    return Gain(ours - theirs, paired(values[0], values[1], groups), len(values[0]))
