"""Random streams of a sequence: functions of what it is, not of what was drawn before it."""

import numpy as np


def stream(seed: int, split: int, number: int, *key: int) -> np.random.Generator:
    """A stream of sequence ``number`` of a split.

    Sequence 7 of the test split is the same whatever the size of the dataset and whatever process
    draws it.

    Args:
        seed: the dataset's, >= 0.
        split: 0 train, 1 validate, 2 test.
        number: of the sequence in its split.
        key: of the stream among those of the sequence.
    """
    return np.random.default_rng(np.random.SeedSequence((seed, split, number), spawn_key=key))
