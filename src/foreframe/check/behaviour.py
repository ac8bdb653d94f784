"""What the columns of the actions look like, judged by how the positions follow them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from foreframe.check.alignment import Alignment
from foreframe.check.excerpt import Excerpt

Kind = Literal["displacement", "velocity", "motion", "target", "switch", "state", "unclear"]
Rule = Literal["sum", "mean", "last"]

RULES: dict[Kind, Rule] = {
    "displacement": "sum",
    "velocity": "mean",
    "motion": "sum",
    "target": "last",
    "switch": "last",
}
"""How the actions of several rows become one, where that can be told."""

_FARTHEST = 30
"""Rows after which a target is no longer looked for."""

_SPANS = (1, 4)
"""Rows over which motion is added up: of single rows the noise of the positions may be greater."""

_LATEST = 4
"""Rows by which a motion may follow its action."""

_TARGET, _MOTION = 0.75, 0.2
"""R squared from which on a column counts as a target, or as a motion."""

_UNIT = (0.5, 1.6)
"""Ratio of two scales that are taken for the same."""

_OTHER_UNIT = 0.2
"""R squared that a target loses if its unit is not that of the position: what moves to and fro
also resembles its own velocity some time before."""

_FEWEST_ROWS = 200
_MOST_ROWS = 50_000
_TOGETHER = 2
"""Rows by which neighbouring targets may be reached apart and still are told together."""


@dataclass(frozen=True)
class ColumnGroup:
    """Neighbouring columns of the actions that behave alike.

    Attributes:
        columns: their numbers.
        kind: "displacement" (in the positions' units, a row), "velocity" (in their units, a
            second), "motion" (either, in units of its own), "target" (absolute), "switch" (two
            values), "state" (no command) or "unclear".
        rule: how the actions of several rows become one; None where that cannot be told.
        reached_after: rows after which targets are reached, from a quarter to three quarters of
            the columns; None for what is no target or where it cannot be told.
    """

    columns: tuple[int, ...]
    kind: Kind
    rule: Rule | None
    reached_after: tuple[int, int] | None


@dataclass(frozen=True)
class _Column:
    kind: Kind
    reached: int | None = None


def behaviour(
    excerpts: list[Excerpt], frame_rate: float | None, alignment: Alignment | None
) -> tuple[ColumnGroup, ...]:
    """The columns of the actions in groups; empty without actions.

    Args:
        excerpts: of different recordings, all with or without positions.
        frame_rate: rows a second, if that is known.
        alignment: what the alignment says of the columns.
    """
    if not excerpts:
        return ()
    width = excerpts[0].actions.shape[1]
    rows = np.cumsum([len(excerpt.actions) for excerpt in excerpts])
    excerpts = excerpts[: int(np.searchsorted(rows, _MOST_ROWS)) + 1]
    followed = _followed(excerpts, frame_rate)
    seen = _seen(alignment)
    states = set(alignment.states) if alignment is not None else set()
    columns = []
    for column in range(width):
        values = np.unique(np.concatenate([e.actions[:, column] for e in excerpts]))
        found = followed.get(column) or seen.get(column) or _Column("unclear")
        if column in states:
            found = _Column("state")
        elif len(values) == 2 and found.kind not in ("displacement", "velocity", "motion"):
            found = _Column("switch")
        columns.append(found)
    return tuple(_grouped(columns))


def _seen(alignment: Alignment | None) -> dict[int, _Column]:
    """By the images alone: what moves the picture, or changes as it moves."""
    if alignment is None or any(link.kind == "positions" for link in alignment.links):
        return {}
    return {
        column: _Column("target" if "change" in link.measure else "motion")
        for link in alignment.links
        if link.verdict != "no link"
        for column in link.columns
    }


def _followed(excerpts: list[Excerpt], frame_rate: float | None) -> dict[int, _Column]:
    """By the positions: those columns that can be told."""
    if any(excerpt.positions is None for excerpt in excerpts):
        return {}
    far = min(_FARTHEST, int(np.median([len(e.actions) for e in excerpts])) // 3)
    usable = [e for e in excerpts if len(e.actions) > 2 * far + 2]
    if far < 2 or sum(len(e.actions) for e in usable) < _FEWEST_ROWS:
        return {}
    targets, reached = _targets(usable, far)
    motions, gains = _motions(usable, far)
    columns = {}
    for column, (target, motion) in enumerate(zip(targets, motions, strict=True)):
        if target >= _TARGET and target > motion:
            columns[column] = _Column("target", int(reached[column]))
        elif motion >= _MOTION:
            columns[column] = _Column(_unit(float(gains[column]), frame_rate))
    return columns


def _unit(gain: float, frame_rate: float | None) -> Kind:
    """By the change of position that one unit of the action causes in a row."""
    if _UNIT[0] < gain < _UNIT[1]:
        return "displacement"
    if frame_rate is not None and _UNIT[0] < gain * frame_rate < _UNIT[1]:
        return "velocity"
    return "motion"


def _targets(excerpts: list[Excerpt], far: int) -> tuple[np.ndarray, np.ndarray]:
    """[columns], how well the position that follows is the action, and after how many rows."""
    best, reached = None, None
    for later in range(far + 1):
        pairs = [
            (e.actions[: len(e.actions) - far], _places(e)[later : len(e.actions) - far + later])
            for e in excerpts
        ]
        alike, scale = _correlation(pairs, within=True)
        same = (scale > _UNIT[0]) & (scale < 1 / _UNIT[0])
        r2 = np.where(alike > 0, np.square(alike) - np.where(same, 0.0, _OTHER_UNIT), 0.0).max(1)
        if best is None or reached is None:
            best, reached = r2, np.zeros(len(r2), int)
        better = r2 > best
        best, reached = np.where(better, r2, best), np.where(better, later, reached)
    assert best is not None
    assert reached is not None
    return best, reached


def _motions(excerpts: list[Excerpt], far: int) -> tuple[np.ndarray, np.ndarray]:
    """[columns], how well the change that follows is the action, and the change a unit of it."""
    best, gains = None, None
    for span in sorted({min(span, far) for span in _SPANS}):
        for later in range(min(_LATEST, far) + 1):
            pairs = []
            for excerpt in excerpts:
                sums = np.cumsum(np.pad(excerpt.actions.astype(np.float64), ((1, 0), (0, 0))), 0)
                places = _places(excerpt)
                rows = np.arange(len(excerpt.actions) - span - later)
                changes = places[rows + later + span] - places[rows + later]
                pairs.append((sums[rows + span] - sums[rows], changes))
            alike, scale = _correlation(pairs, within=False)
            which = np.square(alike).argmax(1)[:, None]
            r2 = np.take_along_axis(np.square(alike), which, 1)[:, 0]
            gain = np.take_along_axis(np.abs(alike) / np.maximum(scale, 1e-12), which, 1)[:, 0]
            if best is None or gains is None:
                best, gains = np.zeros_like(r2), gain
            better = r2 > best
            best, gains = np.where(better, r2, best), np.where(better, gain, gains)
    assert best is not None
    assert gains is not None
    return best, gains


def _correlation(
    pairs: list[tuple[np.ndarray, np.ndarray]], *, within: bool
) -> tuple[np.ndarray, np.ndarray]:
    """[A, P], correlation of actions and positions, and the ratio of their deviations."""
    means = [
        np.zeros(part.shape[1]) if within else np.mean(np.concatenate(parts), 0, np.float64)
        for part, parts in zip(pairs[0], zip(*pairs, strict=True), strict=True)
    ]
    widths = [part.shape[1] for part in pairs[0]]
    squares = [np.zeros(width) for width in widths]
    both = np.zeros(widths)
    for pair in pairs:
        a, p = (
            part - (part.mean(0, np.float64) if within else mean)
            for part, mean in zip(pair, means, strict=True)
        )
        both += a.T @ p
        squares[0] += np.square(a).sum(0)
        squares[1] += np.square(p).sum(0)
    size = np.sqrt(squares[0])[:, None], np.sqrt(squares[1])
    scale = size[0] / np.maximum(size[1], 1e-12)
    return both / np.maximum(size[0] * size[1], 1e-12), scale


def _places(excerpt: Excerpt) -> np.ndarray:
    assert excerpt.positions is not None
    return excerpt.positions.astype(np.float64)


def _grouped(columns: list[_Column]) -> Iterator[ColumnGroup]:
    """Neighbours of one kind, with targets that are reached at about the same time."""
    breaks = [0]
    for k, (one, following) in enumerate(pairwise(columns), 1):
        near = (
            one.reached is None
            or following.reached is None
            or abs(one.reached - following.reached) <= _TOGETHER
        )
        if one.kind != following.kind or not near:
            breaks.append(k)
    for start, stop in pairwise([*breaks, len(columns)]):
        reached = [one.reached for one in columns[start:stop] if one.reached is not None]
        kind = columns[start].kind
        yield ColumnGroup(
            tuple(range(start, stop)),
            kind,
            RULES.get(kind),
            _middle(reached) if reached else None,
        )


def _middle(rows: list[int]) -> tuple[int, int]:
    least, most = np.quantile(rows, (0.25, 0.75)).round().astype(int).tolist()
    return least, most
