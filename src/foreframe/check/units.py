"""Sequences of one split whose numbers are in other units than those of the rest."""

from collections.abc import Iterator

import numpy as np

from foreframe.check.findings import Finding, some

_SCALES = {
    1000.0: "millimetres and metres",
    100.0: "centimetres and metres",
    180 / np.pi: "degrees and radians",
}
_NEAR = 1.5
"""Factor by which the ratio may differ from a known one: sequences move more and less."""

_GAP = 4.0
"""Factor between the nearest sequences of both kinds."""

_FEWEST, _SHARE = 2, 0.05
"""Number and share of the sequences that must be of either kind."""

_AS_MUCH = 3.0
"""Factor by which the pictures of both kinds may differ in how much they change: a robot that
hardly moves has small numbers too."""


def mixed_units(
    part: str, split: str, names: list[str], reach: np.ndarray, stir: np.ndarray
) -> Iterator[Finding]:
    """Columns that reach a known factor farther in some sequences than in the others.

    Args:
        part: "actions" or "positions".
        split: name of the split.
        names: names of the sequences.
        reach: [sequences, columns], greatest less smallest value; NaN for what is no measure.
        stir: [sequences], how much the pictures change.
    """
    kinds: dict[bytes, list[tuple[int, float]]] = {}
    for column, reaches in enumerate(reach.T):
        found = _divided(reaches)
        if found is not None:
            large, ratio = found
            kinds.setdefault(np.packbits(large).tobytes(), []).append((column, ratio))
    if not kinds:
        return
    packed, columns = max(kinds.items(), key=lambda item: len(item[1]))
    large = np.unpackbits(np.frombuffer(packed, np.uint8), count=len(names)).astype(bool)
    varying = int(np.isfinite(reach).any(0).sum())
    moving = np.median(stir[large]), np.median(stir[~large])
    if len(columns) < min(2, varying) or max(moving) > _AS_MUCH * max(min(moving), 1e-9):
        return
    ratio = float(np.median([ratio for _, ratio in columns]))
    known = min(_SCALES, key=lambda scale: abs(np.log(ratio / scale)))
    fewer = large if large.sum() <= (~large).sum() else ~large
    odd = tuple(names[k] for k in np.flatnonzero(fewer))
    numbers = some([str(k) for k, _ in columns], 8)
    yield Finding(
        "warning",
        split,
        f"column{'s' * (len(columns) > 1)} {numbers} of the {part}: in {len(odd):,} of "
        f"{len(names):,} sequences ({some(odd)}) they vary {ratio:.3g} times as "
        f"{'much' if fewer is large else 'little'} as in the rest. Are {_SCALES[known]} mixed? "
        "Bring all to one unit.",
        odd,
    )


def _divided(reaches: np.ndarray) -> tuple[np.ndarray, float] | None:
    """[sequences], those that reach far, and how much farther; None if all are of one kind."""
    able = np.isfinite(reaches) & (reaches > 0)
    if not able.all():
        return None
    sizes = np.log(reaches)
    order = np.sort(sizes)
    gaps = np.diff(order)
    least = int(max(_FEWEST, _SHARE * len(order)))
    inside = slice(least - 1, len(gaps) - least + 1)
    if not len(gaps[inside]):
        return None
    at = least - 1 + int(gaps[inside].argmax())
    if gaps[at] < np.log(_GAP):
        return None
    large = sizes > (order[at] + order[at + 1]) / 2
    ratio = float(np.exp(np.median(sizes[large]) - np.median(sizes[~large])))
    near = min(abs(np.log(ratio / scale)) for scale in _SCALES)
    return (large, ratio) if near < np.log(_NEAR) else None
