"""Whether ``action[t]`` goes with the change from frame t to t + 1, or with another one.

For each lag L from -2 to 2 it is measured how well ``action[t]`` and the change from t + L to
t + L + 1 predict one another in recordings that the fit has not seen: once for the recorded
positions, once for the motion in the images. The best lag should be 0. What chance reaches is
measured with the actions of other recordings; whether the best lag is really better than the next
is measured by drawing the recordings again, with replacement (Efron 1979).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foreframe.check.ridge import Errors, held_out_errors, standardised

LAGS = (-2, -1, 0, 1, 2)
REACH = 2
SHORTEST = 2 * REACH + 2
"""Frames that a sequence needs to be of use."""

FEWEST = 8
"""Recordings, or stretches of few long ones, below which nothing is said."""

STRETCH = 64
"""Rows of a long recording that are taken together when there are few recordings."""

_FEW_RECORDINGS = 10
_CHANCES = 20
_DRAWS = 1000
_SURE = 0.99
_LEAST = 0.02
_ALIKE = 0.95
"""Part of the best R squared from which on another lag is as good: the difference may come from
what the recordings have in common and not from the lag."""

_CLEARLY = 0.05

Verdict = Literal["aligned", "shifted", "cannot be told", "no link"]


@dataclass(frozen=True)
class Excerpt:
    """The rows of one recording that alignment looks at.

    Attributes:
        actions: [T, A].
        positions: [T, P] or None.
        motion: [T - 1, M], of the picture from each frame to the next.
    """

    actions: np.ndarray
    positions: np.ndarray | None
    motion: np.ndarray


@dataclass(frozen=True)
class Link:
    """How the actions go together with one kind of change.

    Attributes:
        kind: "positions" or "images".
        measure: what predicts what, in words.
        lags: L: ``action[t]`` against the change from t + L to t + L + 1.
        r2: R squared of each lag, on held-out recordings.
        chance: what the best lag reaches with the actions of other recordings.
        columns: the columns of positions or actions that are predicted at all; ``r2`` is theirs.
        best: the lag with the greatest ``r2``.
        confidence: share of 1,000 draws of the recordings in which it was the best.
        plausible: lags that were the best in more than 1 % of the draws, or come within 5 % of the
            best's ``r2``; held and smooth actions go nearly as well with neighbouring changes.
        verdict: "aligned", "shifted" (``best`` is not 0), "cannot be told" or "no link".
    """

    kind: Literal["positions", "images"]
    measure: str
    lags: tuple[int, ...]
    r2: tuple[float, ...]
    chance: float
    columns: tuple[int, ...]
    best: int
    confidence: float
    plausible: tuple[int, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Alignment:
    """What was measured.

    Attributes:
        sequences: recordings that it was measured on.
        of: recordings that there are.
        links: one for the positions, if there are any, and one for the images.
    """

    sequences: int
    of: int
    links: tuple[Link, ...]


@dataclass(frozen=True)
class _Rows:
    measure: str
    inputs: np.ndarray  # [lags, rows, inputs]
    outputs: np.ndarray  # [rows, columns]
    columns: np.ndarray  # numbers of the output columns
    actions: Literal["inputs", "outputs"]
    action_inputs: int


def align(excerpts: list[Excerpt], of: int, seed: int) -> Alignment | None:
    """Measure the alignment; None if there are too few recordings, or none with six frames.

    Args:
        excerpts: excerpts of different recordings, all with or without positions.
        of: recordings that there are, to be told.
        seed: seed of the permutations and draws.
    """
    usable = [excerpt for excerpt in excerpts if len(excerpt.motion) + 1 >= SHORTEST]
    groups = _groups(usable)
    if not len(groups) or groups[-1] + 1 < FEWEST:
        return None
    random = np.random.default_rng((seed, 5))
    links = []
    if all(excerpt.positions is not None for excerpt in usable):
        links.append(_link("positions", list(_from_positions(usable)), groups, random))
    links.append(_link("images", list(_from_images(usable)), groups, random))
    measured = tuple(link for link in links if link is not None)
    return Alignment(len(usable), of, measured) if measured else None


def _times(excerpt: Excerpt) -> np.ndarray:
    # Every lag has its row and its change, and the last row, which acts after the last frame and is
    # often padding, is never used.
    return np.arange(REACH, len(excerpt.motion) - REACH)


def _groups(excerpts: list[Excerpt]) -> np.ndarray:
    """Number of the recording of each row, or of a stretch of it where there are few."""
    numbers = []
    count = 0
    for excerpt in excerpts:
        rows = len(_times(excerpt))
        stretch = STRETCH if len(excerpts) < _FEW_RECORDINGS else rows
        own = np.arange(rows) // stretch
        numbers.append(own + count)
        count += int(own[-1]) + 1
    return np.concatenate(numbers) if numbers else np.empty(0, np.int64)


def _from_positions(excerpts: list[Excerpt]) -> Iterator[_Rows]:
    """The actions predict how the positions change."""

    def stack(excerpt: Excerpt, lag: int, where: bool) -> np.ndarray:
        times = _times(excerpt)
        rows = excerpt.actions[times - lag]
        if where:  # an action may be the place to go to
            assert excerpt.positions is not None
            rows = np.concatenate([rows, excerpt.positions[times]], 1)
        return rows

    changes = np.concatenate(
        [
            np.diff(np.asarray(excerpt.positions, np.float64), axis=0)[_times(excerpt)]
            for excerpt in excerpts
        ]
    )
    width = excerpts[0].actions.shape[1]
    for where, measure in (
        (False, "actions predict the changes of position"),
        (True, "actions and positions predict the changes of position"),
    ):
        inputs = np.stack(
            [np.concatenate([stack(e, lag, where) for e in excerpts]) for lag in LAGS]
        )
        yield _rows(measure, inputs, changes, "inputs", width)


def _from_images(excerpts: list[Excerpt]) -> Iterator[_Rows]:
    """The motion in the images predicts the actions: it has the less of noise that is its own."""
    inputs = np.stack(
        [np.concatenate([e.motion[_times(e) + lag] for e in excerpts]) for lag in LAGS]
    )
    for places, measure in (
        (False, "motion in the images predicts the actions"),
        (True, "motion in the images predicts how the actions change"),
    ):
        outputs = np.concatenate(
            [e.actions[_times(e)] - (e.actions[_times(e) - 1] if places else 0) for e in excerpts]
        )
        yield _rows(measure, inputs, outputs, "outputs", outputs.shape[1])


def _rows(
    measure: str,
    inputs: np.ndarray,
    outputs: np.ndarray,
    actions: Literal["inputs", "outputs"],
    width: int,
) -> _Rows:
    scaled = standardised(outputs)
    varying = np.flatnonzero(scaled.any(0))
    each = np.stack([standardised(part) for part in inputs])
    return _Rows(measure, each, scaled[:, varying], varying, actions, width)


def _link(
    kind: Literal["positions", "images"],
    ways: list[_Rows],
    groups: np.ndarray,
    random: np.random.Generator,
) -> Link | None:
    """The link by the best of some ways of measuring it; None if nothing varies."""
    best_way = _best_way(ways, groups)
    if best_way is None:
        return None
    rows, errors = best_way
    by_chance = [
        held_out_errors(*_exchanged(rows, groups, random), groups) for _ in range(_CHANCES)
    ]
    predicted = _beyond_chance(errors, by_chance)
    columns = np.flatnonzero(predicted) if predicted.any() else np.arange(len(rows.columns))
    r2 = errors.pooled(columns)
    best = int(r2.argmax())
    wins = _wins(errors.left[:, :, columns].sum(2), random)
    plausible = tuple(
        lag
        for lag, share, value in zip(LAGS, wins, r2, strict=True)
        if share > 1 - _SURE or value >= _ALIKE * r2[best]
    )
    return Link(
        kind=kind,
        measure=rows.measure,
        lags=LAGS,
        r2=tuple(float(value) for value in r2),
        chance=max(0.0, *(float(chance.pooled(columns).max()) for chance in by_chance)),
        columns=tuple(int(rows.columns[k]) for k in columns),
        best=LAGS[best],
        confidence=float(wins[best]),
        plausible=plausible,
        verdict=_verdict(bool(predicted.any()), plausible, LAGS[best]),
    )


def _best_way(ways: list[_Rows], groups: np.ndarray) -> tuple[_Rows, Errors] | None:
    """The first way of measuring, unless a later one predicts clearly better."""
    best: tuple[_Rows, Errors] | None = None
    reached = -np.inf
    for rows in ways:
        if len(rows.columns):
            errors = held_out_errors(rows.inputs, rows.outputs, groups)
            score = float(errors.explained().max(0).clip(0).mean())
            if score > reached + _CLEARLY:
                best, reached = (rows, errors), score
    return best


def _beyond_chance(errors: Errors, by_chance: list[Errors]) -> np.ndarray:
    """[columns], whether a column is predicted better than with the actions of others."""
    reached = np.stack([chance.explained().max(0) for chance in by_chance])
    needed = reached.mean(0) + np.maximum(6 * reached.std(0), _LEAST)
    return np.asarray(errors.explained().max(0) > np.maximum(needed, _LEAST))


def _verdict(predicted: bool, plausible: tuple[int, ...], best: int) -> Verdict:
    if not predicted:
        return "no link"
    if len(plausible) > 1:
        return "cannot be told"
    return "shifted" if best else "aligned"


def _wins(errors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """How often each lag has the smallest error, if recordings are drawn with replacement."""
    count = errors.shape[1]
    draws = random.multinomial(count, np.full(count, 1 / count), _DRAWS)
    best = (draws @ errors.T).argmin(1)
    return np.bincount(best, minlength=len(errors)) / _DRAWS


def _exchanged(
    rows: _Rows, groups: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs with the actions of other recordings, as often repeated as needed."""
    count = int(groups[-1]) + 1
    starts = np.searchsorted(groups, np.arange(count + 1))
    # Shifted by less than their number, in a random order: none keeps its own.
    order = random.permutation(count)
    other = np.empty(count, np.int64)
    other[order] = np.roll(order, 1)
    source = np.concatenate(
        [
            np.resize(np.arange(starts[k], starts[k + 1]), starts[g + 1] - starts[g])
            for g, k in enumerate(other)
        ]
    )
    if rows.actions == "outputs":
        return rows.inputs, rows.outputs[source]
    mixed = rows.inputs.copy()
    mixed[:, :, : rows.action_inputs] = rows.inputs[:, source, : rows.action_inputs]
    return mixed, rows.outputs
