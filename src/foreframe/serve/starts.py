"""Scenes to start from where no recordings are at hand: simulated when somebody asks for them."""

from functools import lru_cache

import numpy as np
from jaxtyping import UInt8

from foreframe.data.lab import SPLITS
from foreframe.data.recording import Recording
from foreframe.simulator.episode import FRAMES, simulate_sequence

SEED = 0
"""Of the dataset whose test sequences they are, as ``foreframe simulate`` has it by default."""

_COUNT = 24
_KEPT = 32
_TEST = SPLITS.index("test")


class Starts:
    """Test sequences of the simulator, in the place of a store.

    Attributes:
        names: as those of a simulated dataset.
        lengths: in frames.

    Args:
        size: height and width of the frames in pixels.
    """

    def __init__(self, size: int) -> None:
        self.names = tuple(f"test/{number}" for number in range(_COUNT))
        self.lengths = np.full(_COUNT, FRAMES)
        self._size = size
        self._made = lru_cache(_KEPT)(self._whole)
        self.first = lru_cache(_COUNT)(self._first)

    def __len__(self) -> int:
        return _COUNT

    def __getitem__(self, number: int) -> Recording:
        return self._made(number)

    def _whole(self, number: int) -> Recording:
        made = simulate_sequence(SEED, _TEST, number, size=self._size)
        return Recording(made.frames, made.actions, made.positions)

    def _first(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """The first frame alone: for a list of them."""
        return simulate_sequence(SEED, _TEST, number, size=self._size, frames=1).frames[0]
