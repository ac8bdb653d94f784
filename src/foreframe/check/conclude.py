"""From what was measured to what a person should do."""

from collections.abc import Iterator

import numpy as np

from foreframe.check.alignment import Alignment, Link
from foreframe.check.findings import Finding, some
from foreframe.check.scan import Scan
from foreframe.config.model import IMAGE_SIZES, nets_for

_ROWS = {1: "one row", 2: "two rows"}


def change(lag: int) -> str:
    """The change that ``action[t]`` would go with at this lag, in words."""

    def frame(offset: int) -> str:
        return "t" if offset == 0 else f"t{offset:+d}"

    return f"{frame(lag)} to {frame(lag + 1)}"


def length_findings(
    scan: Scan, n_past: int, n_future: int | None, largest: int
) -> Iterator[Finding]:
    """Sequences that are too short for the clips that are asked for."""
    least = n_past + (1 if n_future is None else n_future)
    short = np.flatnonzero(scan.store.lengths < least)
    if len(short):
        names = tuple(scan.store.names[k] for k in short)
        remedy = f"or lower --n-future to {largest} at most" if largest > 0 else ""
        yield Finding(
            "warning" if scan.split == "test" else "error",
            scan.split,
            f"{len(short):,} of {len(scan.store):,} sequences have fewer than n_past + n_future = "
            f"{least} frames ({some(names)}; the shortest has {int(scan.store.lengths.min())}): "
            + ", ".join(part for part in ("remove them", remedy) if part)
            + ".",
            names,
        )


def size_findings(scan: Scan, first: Scan) -> Iterator[Finding]:
    """Frames that no net takes, or that the nets of the ``first`` split do not."""
    height, width = scan.store.size
    if not nets_for(scan.store.size):
        known = " or ".join(f"{size}x{size}" for size in IMAGE_SIZES)
        remedy = " or ".join(f"--size {size}" for size in IMAGE_SIZES)
        yield Finding(
            "error",
            scan.split,
            f"frames of {width}x{height} pixels, and the nets take {known}: "
            f"import the data again with {remedy}.",
        )
    elif nets_for(first.store.size) and scan.store.size != first.store.size:
        size = first.store.size[0]
        yield Finding(
            "error",
            scan.split,
            f"frames of {width}x{height} pixels, but {size}x{size} in {first.split}: a net takes "
            f"one size. Import this split again with --size {size}, or {first.split} with "
            f"--size {height}.",
        )


def alignment_findings(alignment: Alignment) -> Iterator[Finding]:
    """What the links say together."""
    sure = {link.kind: link for link in alignment.links if link.verdict in ("aligned", "shifted")}
    positions, images = sure.get("positions"), sure.get("images")
    if positions is not None and images is not None and positions.best != images.best:
        yield _disagreement(positions, images)
    elif positions is not None:
        yield from _shift(positions)
    elif images is not None:
        # A robot that answers over several frames moves most in a later one. The positions, which
        # say more than pixels, may go with the right change as well as with any.
        unsure = [link for link in alignment.links if link.verdict == "cannot be told"]
        if not any(0 in link.plausible for link in unsure):
            yield from _shift(images)
    elif all(link.verdict == "no link" for link in alignment.links):
        where = " and ".join(
            {"positions": "the recorded positions", "images": "the motion in the images"}[link.kind]
            for link in alignment.links
        )
        yield Finding(
            "warning",
            "",
            f"the actions do not explain the motion: in {where} they have no more effect than "
            "the actions of other sequences. Look whether they belong to these frames; a model "
            "conditioned on them will not follow them.",
        )


def _shift(link: Link) -> Iterator[Finding]:
    if link.verdict != "shifted":
        return
    zero = link.r2[link.lags.index(0)]
    best = link.r2[link.lags.index(link.best)]
    rows = _ROWS[abs(link.best)]
    text = (
        f"action[t] goes with the change from {change(link.best)} (R2 {best:.2f}, for t to t+1 "
        f"{zero:.2f}): "
    )
    if link.best < 0:
        text += f"the rows come {rows} late. "
    else:
        text += f"the rows come {rows} early, or the robot answers late. "
    text += f"Shift them: foreframe import ... --shift-actions {-link.best}"
    yield Finding("warning", "", text + ".")


def _disagreement(positions: Link, images: Link) -> Finding:
    gap = images.best - positions.best
    word = "behind" if gap > 0 else "ahead of"
    text = (
        f"the images are {_frames(abs(gap))} {word} the positions: action[t] goes with the "
        f"change of position from {change(positions.best)}, and with the motion in the images "
        f"from {change(images.best)}. "
    )
    text += (
        "A camera that is late? A model sees the images: "
        f"--shift-actions {-images.best} lines the actions up with them."
        if images.best
        else "Models that are fed positions are told the wrong ones."
    )
    return Finding("warning", "", text)


def _frames(count: int) -> str:
    return {1: "one frame"}.get(count, f"{count} frames")
