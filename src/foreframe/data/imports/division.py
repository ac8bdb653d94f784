"""How recordings are divided over train, validate and test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foreframe.data.lab import SPLITS
from foreframe.errors import ForeframeError

FEW = 3
"""With fewer recordings than splits, each recording is divided by time."""

_SHORTEST = 12
"""Frames that a piece cut off for validation or testing should have: 2 given, 10 predicted."""


@dataclass(frozen=True)
class Piece:
    """Frames ``start`` to ``stop`` of a recording, and the split that they belong to.

    ``stop`` None: to the end.
    """

    split: str
    start: int = 0
    stop: int | None = None


def divide(
    names: Sequence[str], missing: Sequence[str], fractions: dict[str, float], seed: int
) -> dict[str, str]:
    """A split for every recording, by chance, of the asked-for sizes.

    Args:
        names: names of the recordings.
        missing: splits that some of them go to; the others stay in train.
        fractions: share of each split.
        seed: seed of the choice.

    Returns:
        The split of every name.

    Raises:
        ForeframeError: nothing is left for train.
    """
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    splits = dict.fromkeys(names, "train")
    for split in missing:
        if not fractions[split]:
            continue
        count = max(1, round(len(names) * fractions[split]))
        if count >= len(order):
            raise ForeframeError(
                f"{len(names)} recordings: none is left for training with --validate "
                f"{fractions['validate']:g} --test {fractions['test']:g}. Lower them."
            )
        for _ in range(count):
            splits[names[order.pop()]] = split
    return splits


def divide_more(
    names: Sequence[str],
    have: Mapping[str, int],
    missing: Sequence[str],
    fractions: Mapping[str, float],
    seed: Sequence[int],
) -> dict[str, str]:
    """A split for every recording that comes to a dataset, so that its shares are kept.

    Args:
        names: names of the new recordings.
        have: how many each split has.
        missing: splits that some may go to; the others go to train.
        fractions: share of each split, of all recordings.
        seed: of the choice.

    Returns:
        The split of every name.
    """
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    total = sum(have.values()) + len(names)
    splits = dict.fromkeys(names, "train")
    for split in missing:
        wanted = max(1, round(total * fractions[split])) if fractions[split] else 0
        for _ in range(min(wanted - have.get(split, 0), len(order))):
            splits[names[order.pop()]] = split
    return splits


def divide_by_time(frames: int, missing: Sequence[str], fractions: dict[str, float]) -> list[Piece]:
    """Pieces of one recording: the beginning for train, the end for the others.

    Raises:
        ForeframeError: it is too short.
    """
    wanted = [split for split in SPLITS if split in missing and fractions[split]]
    if frames < 3 * (len(wanted) + 1):
        raise ForeframeError(
            f"a recording of {frames} frames is too short to be divided by time. "
            "Name the split that everything goes to: --split train."
        )
    # Long enough to predict from, as long as train keeps as much.
    least = min(_SHORTEST, frames // (len(wanted) + 1))
    counts = {split: max(least, round(frames * fractions[split])) for split in wanted}
    at = frames - sum(counts.values())
    if at < least:
        raise ForeframeError(
            f"a recording of {frames} frames: too little is left for training with --validate "
            f"{fractions['validate']:g} --test {fractions['test']:g}. Lower them."
        )
    pieces = [Piece("train", 0, at)]
    for split in wanted:
        pieces.append(Piece(split, at, at + counts[split]))
        at += counts[split]
    return pieces
