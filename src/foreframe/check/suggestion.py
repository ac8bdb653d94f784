"""What an import could do better: a rate to learn from, and how actions are joined."""

from collections import Counter
from dataclasses import dataclass

from foreframe.check.behaviour import ColumnGroup

_SLOWEST, _USUAL, _FASTEST = 3.0, 5.0, 10.0
"""Frames a second that a model of small pictures learns from: at more, hardly anything changes
from one to the next."""


@dataclass(frozen=True)
class Suggestion:
    """Options of ``foreframe import``.

    Attributes:
        frame_rate: for ``--frame-rate``; None if the rate is fine or unknown.
        every: for ``--every``, which does the same.
        resample_actions: for ``--resample-actions``; None if nothing is known of the actions.
    """

    frame_rate: float | None = None
    every: int | None = None
    resample_actions: str | None = None


def suggest(groups: tuple[ColumnGroup, ...], frame_rate: float | None) -> Suggestion:
    """By the rate of the rows and what the columns of the actions look like."""
    every = _every(groups, frame_rate)
    return Suggestion(
        frame_rate=None if every is None or frame_rate is None else frame_rate / every,
        every=every,
        resample_actions=_rules(groups),
    )


def _every(groups: tuple[ColumnGroup, ...], frame_rate: float | None) -> int | None:
    """Rows to a frame; None if the rate is fine or unknown.

    Preferred are whole rates, and steps in which the first of the targets are reached.
    """
    if frame_rate is None or frame_rate <= _FASTEST:
        return None
    reached = min((group.reached_after[0] for group in groups if group.reached_after), default=0)
    able = [n for n in range(2, int(frame_rate / _SLOWEST) + 1) if frame_rate / n <= _FASTEST]

    def cost(every: int) -> tuple[bool, bool, float]:
        rate = frame_rate / every
        return every < reached, abs(rate - round(rate)) > 1e-3, abs(rate - _USUAL)

    return min(able, key=cost)


def _rules(groups: tuple[ColumnGroup, ...]) -> str | None:
    """The rule of most columns, and those of the others by column."""
    rules = {k: group.rule for group in groups for k in group.columns if group.rule is not None}
    if not rules:
        return None
    usual = Counter(rules.values()).most_common(1)[0][0]
    return ",".join([usual, *(f"{k}:{rule}" for k, rule in rules.items() if rule != usual)])
