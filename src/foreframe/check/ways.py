"""Ways of measuring how actions and motion go together: what predicts what, at each lag."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from foreframe.check.excerpt import LAGS, Excerpt, times
from foreframe.check.matching import matched
from foreframe.check.ridge import standardised


@dataclass(frozen=True)
class Way:
    """The rows of a regression at every lag.

    Attributes:
        measure: what predicts what, in words.
        inputs: [lags, rows, inputs], standardised.
        outputs: [rows, columns], standardised; the same for all lags so that errors compare.
        columns: numbers of the output columns.
        actions: the side on which the actions are.
        action_inputs: how many of the inputs change with the actions; they come first.
        places: whether the actions are taken as places to go to.
    """

    measure: str
    inputs: np.ndarray
    outputs: np.ndarray
    columns: np.ndarray
    actions: Literal["inputs", "outputs"]
    action_inputs: int
    places: bool

    def only(self, which: np.ndarray) -> "Way":
        """The same with some of the output columns: ``which`` [columns] are true."""
        return replace(self, outputs=self.outputs[:, which], columns=self.columns[which])

    def exchanged(
        self, groups: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and outputs with the actions of other recordings, repeated as often as needed."""
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
        if self.actions == "outputs":
            return self.inputs, self.outputs[source]
        mixed = self.inputs.copy()
        mixed[:, :, : self.action_inputs] = self.inputs[:, source, : self.action_inputs]
        return mixed, self.outputs


def from_positions(excerpts: list[Excerpt], columns: np.ndarray) -> Iterator[Way]:
    """The actions predict how the positions change.

    Where an action may be the place to go to, the position is an input too, and so is the way
    there: it is small beside both, and a regression that must find it as their difference would
    be the less sure of it, the more smoothly a robot moves.

    Args:
        excerpts: with positions.
        columns: the columns of the actions that are used.
    """
    changes = changes_of(excerpts)
    pairs = {j: pair for j, pair in matched(excerpts).items() if j in columns}

    def stack(excerpt: Excerpt, lag: int, places: bool) -> np.ndarray:
        at = times(excerpt)
        rows = excerpt.actions[at - lag].astype(np.float64)
        parts = [rows[:, columns]]
        if places:
            there = _positions(excerpt)[at]
            ways = [rows[:, j] - scale * there[:, i] for j, (i, scale) in pairs.items()]
            parts += [np.stack(ways, 1)] if ways else []
            parts += [there]
        return np.concatenate(parts, 1)

    for places, measure in (
        (False, "actions predict the changes of position"),
        (True, "actions and positions predict the changes of position"),
    ):
        inputs = np.stack(
            [np.concatenate([stack(e, lag, places) for e in excerpts]) for lag in LAGS]
        )
        width = len(columns) + (len(pairs) if places else 0)
        yield _way(measure, inputs, changes, "inputs", width, places)


def from_images(excerpts: list[Excerpt], columns: np.ndarray) -> Iterator[Way]:
    """The motion in the images predicts the actions: it has the less of noise that is its own.

    Args:
        excerpts: of the recordings.
        columns: the columns of the actions that are used.
    """
    inputs = _motion(excerpts)
    for places, measure in (
        (False, "motion in the images predicts the actions"),
        (True, "motion in the images predicts how the actions change"),
    ):
        outputs = np.concatenate(
            [e.actions[times(e)] - (e.actions[times(e) - 1] if places else 0) for e in excerpts]
        )
        way = _way(measure, inputs, outputs[:, columns], "outputs", len(columns), places)
        yield replace(way, columns=columns[way.columns])


def camera_way(excerpts: list[Excerpt]) -> Way:
    """The motion in the images predicts the changes of position."""
    inputs, outputs = _motion(excerpts), changes_of(excerpts)
    measure = "motion in the images predicts the changes of position"
    return _way(measure, inputs, outputs, "outputs", outputs.shape[1], False)


def _motion(excerpts: list[Excerpt]) -> np.ndarray:
    """[lags, rows, 4]."""
    return np.stack([np.concatenate([e.motion[times(e) + lag] for e in excerpts]) for lag in LAGS])


def changes_of(excerpts: list[Excerpt]) -> np.ndarray:
    """[rows, positions], from each row to the next."""
    return np.concatenate([np.diff(_positions(e), axis=0)[times(e)] for e in excerpts])


def _positions(excerpt: Excerpt) -> np.ndarray:
    assert excerpt.positions is not None
    return excerpt.positions.astype(np.float64)


def _way(
    measure: str,
    inputs: np.ndarray,
    outputs: np.ndarray,
    actions: Literal["inputs", "outputs"],
    width: int,
    places: bool,
) -> Way:
    scaled = standardised(outputs)
    varying = np.flatnonzero(scaled.any(0))
    each = np.stack([standardised(part) for part in inputs])
    return Way(measure, each, scaled[:, varying], varying, actions, width, places)
