"""False conditions: what a model loses under them says how much it listens to its condition."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foreframe.config.model import ModelConfig
from foreframe.data.statistics import Statistics
from foreframe.data.store.store import Store
from foreframe.metrics.intervals import numbered
from foreframe.model.clip import Clip

FALSE = ("permuted", "zeroed", "opposed")
"""Another recording's condition (the whole of it, given steps included), zeros, and the sequence's
own condition mirrored about the mean of the training split."""


class FalseConditions:
    """The false conditions of the first sequences of a split.

    Args:
        config: what the model is conditioned on.
        store: the split.
        means: statistics of "actions" and "positions" of the training split, about whose means the
            opposed condition is mirrored.
        n_frames: of each sequence.
        sequences: how many.
        seed: of which sequence lends its condition to which.

    Attributes:
        names: those of ``FALSE`` that make sense: none for a model without a condition, no permuted
            one where all sequences are of one recording.
    """

    def __init__(
        self,
        config: ModelConfig,
        store: Store,
        means: Mapping[str, Statistics | None],
        *,
        n_frames: int,
        sequences: int,
        seed: int,
    ) -> None:
        self._store, self._means, self._n_frames = store, means, n_frames
        self._uses = {"actions": config.uses_actions, "positions": config.uses_positions}
        self._order = lenders(store.recordings[:sequences], seed)
        self.names: tuple[str, ...] = ()
        if config.condition != "none":
            self.names = FALSE[1:] if self._order is None else FALSE

    def of(self, name: str, indices: Sequence[int], clip: Clip) -> Clip:
        """The clip with a false condition.

        Args:
            name: one of ``names``.
            indices: of the clip's sequences in the split.
            clip: with their own condition.
        """
        if name == "permuted":
            return self._permuted(indices, clip)
        if name == "zeroed":
            return _changed(clip, lambda part, own: torch.zeros_like(own))
        return _changed(clip, self._mirrored)

    def _permuted(self, indices: Sequence[int], clip: Clip) -> Clip:
        assert self._order is not None
        others = [self._store.rows(int(self._order[k]), 0, self._n_frames) for k in indices]
        return _changed(
            clip,
            lambda part, own: torch.from_numpy(np.stack([getattr(one, part) for one in others])),
        )

    def _mirrored(self, part: str, own: Tensor) -> Tensor:
        statistics = self._means[part]
        if statistics is None or not self._uses[part]:
            return own
        return 2 * torch.from_numpy(statistics.mean).to(own.dtype) - own


def _changed(clip: Clip, change: Callable[[str, Tensor], Tensor]) -> Clip:
    actions, positions = (
        None if own is None else change(part, own)
        for part, own in (("actions", clip.actions), ("positions", clip.positions))
    )
    return replace(clip, actions=actions, positions=positions)


def lenders(recordings: Sequence[str], seed: int) -> NDArray[np.int_] | None:
    """Which sequence lends its condition to each: one of another recording.

    Clips and views of one recording have actions that are alike, or the same.

    Args:
        recordings: the recording that each sequence is of.
        seed: of the choice.

    Returns:
        [n]; None where all are of one recording.
    """
    numbers = numbered(recordings)
    if numbers is None:
        return permutation_without_fixed_points(len(recordings), seed) if recordings[1:] else None
    of = np.array(numbers)
    if of.max() == 0:
        return None
    random = np.random.default_rng((seed, 3))
    return np.array([random.choice(np.flatnonzero(of != own)) for own in of])


def permutation_without_fixed_points(n: int, seed: int) -> NDArray[np.int_]:
    """A random cyclic permutation of n >= 2 things: none keeps its place (Sattolo 1986)."""
    order = np.arange(n)
    random = np.random.default_rng((seed, 3))
    for i in range(n - 1, 0, -1):
        j = int(random.integers(i))
        order[i], order[j] = order[j], order[i]
    return order
