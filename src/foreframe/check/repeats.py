"""Sequences and frames that are there more than once, within a split and across splits."""

from collections import defaultdict
from collections.abc import Iterator
from copy import copy
from itertools import combinations
from typing import Literal

import numpy as np

from foreframe.check.findings import Finding, some
from foreframe.check.look import SKETCHED, Look

_TABLES, _BITS = 12, 14
_MOST = 40
"""Candidates for one sequence in one table."""

_CHUNK = 2048
_NEAR = 0.25
"""Near duplicates differ, frame by frame, by less than this part of what either changes itself."""

_STIR = 2.0 / 255
"""A sequence that changes less than this has no motion to be known by."""


class Seen:
    """What is kept of a split's sequences to find repetitions.

    It is kept in a few arrays that are made beforehand: many small ones would fragment the memory.

    Attributes:
        split: name of the split.
        names: names of the sequences.
        hashes: [frames], hashes of all frames of the sequences one after another.
        blank: [frames], whether a frame is blank and so does not count.
        owner: [frames], the sequence that each frame belongs to.
        digests: a digest of each sequence's frames together; None if all of them are blank.
        sketches: [sequences, ...], see ``Look``.
    """

    def __init__(self, split: str, names: list[str], lengths: np.ndarray) -> None:
        self.split, self.names = split, names
        self.hashes = np.zeros(int(lengths.sum()), np.uint64)
        self.blank = np.ones(len(self.hashes), bool)
        self.owner = np.repeat(np.arange(len(lengths)), lengths)
        self.digests: list[bytes | None] = []
        self.sketches = np.zeros((len(lengths), SKETCHED * 64), np.float16)
        self._filled = 0

    @property
    def stir(self) -> np.ndarray:
        """[sequences], how much the pictures change, as a deviation of their brightness."""
        return np.sqrt(np.square(self.sketches, dtype=np.float32).mean(1))

    def mirrored(self, axis: int) -> "Seen":
        """The same with the sketches mirrored: left and right (axis 2), or top and bottom (1)."""
        other = copy(self)
        shape = (-1, SKETCHED, 8, 8)
        other.sketches = np.flip(self.sketches.reshape(shape), axis + 1).reshape(
            len(self.names), -1
        )
        return other

    def add(self, look: Look) -> None:
        """Keep what is needed of the next sequence."""
        own = slice(self._filled, self._filled + len(look.hashes))
        self.hashes[own], self.blank[own] = look.hashes, look.blank
        self._filled = own.stop
        self.sketches[len(self.digests)] = look.sketch.ravel()
        self.digests.append(None if look.blank.all() else look.digest)


def repeats_within(seen: Seen) -> Iterator[Finding]:
    """Sequences of a split that are the same, frame by frame."""
    first: dict[bytes, int] = {}
    again: list[tuple[int, int]] = []
    for k, digest in enumerate(seen.digests):
        if digest is not None and first.setdefault(digest, k) != k:
            again.append((k, first[digest]))
    if again:
        names = tuple(seen.names[k] for k, _ in again)
        pairs = [f"{seen.names[k]} = {seen.names[other]}" for k, other in again]
        yield Finding(
            "warning",
            seen.split,
            f"{_are(len(again), 'sequence')} the same as another, frame by frame ({some(pairs)}): "
            "they count twice in training and in every mean. Remove them.",
            names,
        )


def repeats_across(splits: list[Seen]) -> Iterator[Finding]:
    """Sequences and frames that two splits share, and recordings that are nearly the same."""
    for one, other in combinations(splits, 2):
        same = _same(one, other)
        shared = _shared_frames(one, other, skip=set(same))
        near = _near(one, other, skip=set(same) | set(shared))
        known = set(same) | set(shared) | set(near)
        if same:
            yield _same_finding(one, other, same)
        if shared:
            yield _shared_finding(one, other, shared)
        if near:
            yield Finding(
                "warning",
                other.split,
                f"{_are(len(near), 'sequence')} nearly the same as one in {one.split} "
                f"({_pairs(one, other, near, '~')}): the same recording, encoded twice? Remove "
                "them from one split.",
                tuple(other.names[k] for k in near),
            )
        yield from _mirrored_findings(one, other, known)


def _mirrored_findings(one: Seen, other: Seen, known: set[int]) -> Iterator[Finding]:
    """Sequences of ``other`` that are one of ``one`` in a mirror, and not as they are."""
    for axis, sides in ((2, "left and right"), (1, "top and bottom")):
        near = _near(one, other.mirrored(axis), skip=known)
        if near:
            yield Finding(
                "warning",
                other.split,
                f"{_are(len(near), 'sequence')} one in {one.split} with {sides} exchanged "
                f"({_pairs(one, other, near, '~')}): a mirrored copy tells nothing that training "
                "has not seen. Keep mirrored copies in the split of their recordings.",
                tuple(other.names[k] for k in near),
            )


def _same(one: Seen, other: Seen) -> dict[int, int]:
    """Sequences of ``other`` with those of ``one`` that have the same frames."""
    known = {digest: k for k, digest in enumerate(one.digests) if digest is not None}
    return {k: known[digest] for k, digest in enumerate(other.digests) if digest in known}


def _same_finding(one: Seen, other: Seen, same: dict[int, int]) -> Finding:
    if one.split == "train":
        level: Literal["error", "warning"] = "error"
        reason = "what is trained on cannot tell how well a model predicts"
    else:
        level, reason = "warning", "the two splits should be independent"
    return Finding(
        level,
        other.split,
        f"{_are(len(same), 'sequence')} also in {one.split} ({_pairs(one, other, same, '=')}): "
        f"{reason}. Remove them from one of the splits.",
        tuple(other.names[k] for k in same),
    )


def _shared_finding(one: Seen, other: Seen, shared: dict[int, tuple[int, int]]) -> Finding:
    frames = sum(count for count, _ in shared.values())
    k, (_, j) = next(iter(shared.items()))
    return Finding(
        "warning",
        other.split,
        f"{_are(frames, 'frame')} also in {one.split}, in {len(shared):,} of "
        f"{len(other.names):,} sequences ({other.names[k]} has one of {one.split}'s "
        f"{one.names[j]}). Clips of one recording belong in one split: divide by "
        "recording. Harmless if they only begin alike, as in a simulator.",
        tuple(other.names[k] for k in shared),
    )


def _pairs(one: Seen, other: Seen, matches: dict[int, int], sign: str) -> str:
    return some(
        [f"{other.names[k]} {sign} {one.split}'s {one.names[j]}" for k, j in matches.items()]
    )


def _shared_frames(one: Seen, other: Seen, skip: set[int]) -> dict[int, tuple[int, int]]:
    """Sequence of ``other``: number of its frames that ``one`` has, and a sequence that has one."""
    known, owner = one.hashes[~one.blank], one.owner[~one.blank]
    order = np.argsort(known, kind="stable")
    known, owner = known[order], owner[order]
    shared: dict[int, tuple[int, int]] = {}
    if not len(known):
        return shared
    place = np.minimum(np.searchsorted(known, other.hashes), len(known) - 1)
    for at in np.flatnonzero((known[place] == other.hashes) & ~other.blank):
        k = int(other.owner[at])
        if k not in skip:
            count, first = shared.get(k, (0, int(owner[place[at]])))
            shared[k] = (count + 1, first)
    return shared


def _near(one: Seen, other: Seen, skip: set[int]) -> dict[int, int]:
    """Sequences of ``other`` with one of ``one`` from which they differ hardly.

    Compared are the sketches: what changes in the picture. So a background that all recordings of
    a fixed camera share counts for nothing, and two recordings are near only if they also move
    alike. Candidates agree in all signs of one of several random projections (Charikar 2002), and
    are few; so the time grows with the number of sequences, not of pairs.
    """
    middle = one.sketches[:_CHUNK].mean(0, dtype=np.float32)
    directions = np.random.default_rng(0).normal(size=(len(middle), _TABLES * _BITS))
    codes_one, stir_one = _codes(one.sketches, middle, directions.astype(np.float32))
    codes_other, stir_other = _codes(other.sketches, middle, directions.astype(np.float32))
    near: dict[int, int] = {}
    for table in range(_TABLES):
        buckets: dict[int, list[int]] = defaultdict(list)
        for j in np.flatnonzero(stir_one > _STIR).tolist():
            if len(bucket := buckets[int(codes_one[j, table])]) < _MOST:
                bucket.append(j)
        for k in np.flatnonzero(stir_other > _STIR).tolist():
            candidates = buckets.get(int(codes_other[k, table]))
            if k in near or k in skip or not candidates:
                continue
            apart = one.sketches[candidates].astype(np.float32) - other.sketches[k]
            distance = np.sqrt(np.square(apart).mean(1))
            nearest = candidates[int(distance.argmin())]
            if distance.min() < _NEAR * min(stir_one[nearest], stir_other[k]):
                near[k] = nearest
    return near


def _codes(
    sketches: np.ndarray, middle: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each sketch, its signs in each table as a number, and how much it changes."""
    powers = 1 << np.arange(_BITS)
    codes, stirs = [], []
    for start in range(0, len(sketches), _CHUNK):
        part = sketches[start : start + _CHUNK].astype(np.float32)
        signs = ((part - middle) @ directions > 0).reshape(len(part), _TABLES, _BITS)
        codes.append((signs @ powers).astype(np.int32))
        stirs.append(np.sqrt(np.square(part).mean(1)))
    return np.concatenate(codes), np.concatenate(stirs)


def _are(number: int, what: str) -> str:
    return f"{number:,} {what} is" if number == 1 else f"{number:,} {what}s are"
