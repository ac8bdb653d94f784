"""A camera that is slower than the rows: frames that are there twice while the robot moves."""

from collections.abc import Iterator
from functools import reduce
from operator import add

import numpy as np

from foreframe.check.findings import Finding

_LEAST, _LEAST_UNSEEN = 0.1, 0.2
"""Part of all frames that are the frame before, from which on that is told: with positions that
say that the robot moved meanwhile, and without."""

_MOVING = 0.3
"""Part of its usual motion that the robot makes meanwhile, if it is the camera that waits."""

_LONG = 3
"""A run of equal frames of more than so many times the usual length is a standstill."""


class SlowCamera:
    """Gathers runs of equal frames, and how the robot moves meanwhile."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []
        self._steps = 0
        self._moved = np.zeros((2, 2))  # [repeated or not, (sum of motion, steps)]

    def add(self, repeats: np.ndarray, positions: np.ndarray | None) -> None:
        """Take a sequence in which something changes.

        Args:
            repeats: [T - 1], whether each frame but the first is the one before.
            positions: [T, P] or None.
        """
        new = np.flatnonzero(np.concatenate([[True], ~repeats, [True]]))
        self._runs.append(np.diff(new))
        self._steps += len(repeats)
        if positions is None or not repeats.any():
            return
        changes = np.diff(positions.astype(np.float64), axis=0)
        size = np.sqrt(np.square(changes).mean(0))
        motion = np.abs(changes[:, size > 0] / size[size > 0]).sum(1)
        if np.isfinite(motion).all():
            for k, which in enumerate((~repeats, repeats)):
                self._moved[k] += motion[which].sum(), which.sum()

    @property
    def rows_a_frame(self) -> float | None:
        """Rows in which the camera makes a frame; None if it makes one in each, as it should."""
        if not self._runs:
            return None
        runs = np.concatenate(self._runs)
        usual = runs[runs <= _LONG * max(1.0, float(np.median(runs)))]
        share = (usual - 1).sum() / max(self._steps, 1)
        (moved, steps), (waiting, waits) = self._moved
        if not waits:
            return float(usual.mean()) if share > _LEAST_UNSEEN else None
        moves = steps > 0 and waiting / waits >= _MOVING * moved / steps
        return float(usual.mean()) if share > _LEAST and moves else None

    @property
    def share(self) -> float:
        """Part of all frames that are the frame before."""
        return sum(int((runs - 1).sum()) for runs in self._runs) / max(self._steps, 1)

    def standstill(self, frames: int) -> bool:
        """Whether so many equal frames are more than this camera's waiting."""
        rows = self.rows_a_frame
        return rows is None or frames > _LONG * rows

    def __add__(self, other: "SlowCamera") -> "SlowCamera":
        """What was gathered of two splits."""
        both = SlowCamera()
        both._runs = self._runs + other._runs
        both._steps, both._moved = self._steps + other._steps, self._moved + other._moved
        return both


def camera_findings(cameras: dict[str, SlowCamera], frame_rate: float | None) -> Iterator[Finding]:
    """What to do about the repeated frames of the splits that have many: said once."""
    slow = {split: camera for split, camera in cameras.items() if camera.rows_a_frame is not None}
    if not slow:
        return
    camera = reduce(add, slow.values())
    rows = camera.rows_a_frame
    if rows is None:
        return
    rate = f"about {1 / rows:.0%} of the rate of the rows"
    if frame_rate is not None:
        rate = f"about {frame_rate / rows:.3g} Hz, and the rows {frame_rate:g} Hz"
    yield Finding(
        "warning",
        next(iter(slow)) if len(slow) == 1 else "",
        f"{camera.share:.0%} of the frames are exactly the frame before, so the camera is slower "
        f"than the rows: it has {rate}. Import the data again with --drop-repeats.",
    )
