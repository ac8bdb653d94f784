"""What the frames of one sequence say: hashes, blank and repeated frames, cuts, copy-last PSNR."""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8, UInt64

from foreframe.check.motion import GRID, picture_motion, small_copies
from foreframe.data.recording import Recording

MOTION_FRAMES = 1000
"""Frames of a sequence, from its start, whose motion is measured."""

SKETCHED = 8
"""Frames of a sequence that its sketch is made of, from the first to the last."""

_CHUNK_BYTES = 32 << 20
_BLANK = 8
"""Levels by which the pixels of a single-coloured frame may differ (compression leaves traces)."""

_BLACK = 16
"""Level up to which a pixel is black: video codecs put black at 16."""

_CUT_CHANGE, _CUT_AREA, _USUAL_AREA = 0.1, 0.6, 0.2


@dataclass(frozen=True)
class Look:
    """What is kept of one sequence of T frames.

    Attributes:
        hashes: [T] of the frames; equal ones are equal pixel by pixel.
        blank: [T], whether a frame has a single colour.
        black: whether every frame is black.
        cuts: frames before which nearly everything changes at once, which it usually does not.
        low: darkest value of any pixel and channel.
        high: brightest one.
        total: sum over the frames of their mean value in 0..255.
        sketch: [SKETCHED, 8, 8], brightness of a few frames less their mean: how the picture
            changes, without what always stands still.
        copy_last: PSNR in dB if the last given frame is repeated; None if there are too few frames.
        motion: [changes, 4] as ``picture_motion`` has it; None if it was not asked for.
    """

    hashes: UInt64[np.ndarray, " time"]
    blank: Bool[np.ndarray, " time"]
    black: bool
    cuts: Int[np.ndarray, " cuts"]
    low: int
    high: int
    total: float
    sketch: Float32[np.ndarray, "sketched 8 8"]
    copy_last: float | None
    motion: Float32[np.ndarray, "changes 4"] | None

    @property
    def digest(self) -> bytes:
        """Equal for sequences of the same frames."""
        return hashlib.blake2b(self.hashes.tobytes(), digest_size=16).digest()

    @property
    def repeats(self) -> Bool[np.ndarray, " changes"]:
        """Whether each frame but the first is exactly the one before."""
        return self.hashes[1:] == self.hashes[:-1]

    @property
    def frozen(self) -> bool:
        """Whether no pixel ever changes."""
        return len(self.hashes) > 1 and bool(self.repeats.all())


def look_at(sequence: Recording, *, n_past: int, n_future: int, motion: bool) -> Look:
    """Go through a sequence once, a bounded number of frames at a time.

    Args:
        sequence: the recording; its frames may be a memory map.
        n_past: given frames, for the PSNR.
        n_future: frames that are predicted by repeating the last given one.
        motion: whether to measure the motion.
    """
    frames = sequence.frames
    steps, height, width = frames.shape[:3]
    chunk = max(1, _CHUNK_BYTES // (height * width * 3 * 4))
    hashes = np.empty(steps, np.uint64)
    blank = np.zeros(steps, bool)
    area = np.zeros(max(steps - 1, 0), np.float32)
    sketched = np.linspace(0, steps - 1, SKETCHED).round().astype(int)
    sketch = np.empty((SKETCHED, GRID, GRID), np.float32)
    moved: list[np.ndarray] = []
    low, high, total = 255, 0, 0.0
    before: np.ndarray | None = None
    for start in range(0, steps, chunk):
        part = np.ascontiguousarray(frames[start : start + chunk])
        stop = start + len(part)
        hashes[start:stop] = [_hash(frame) for frame in part]
        low, high = min(low, int(part.min())), max(high, int(part.max()))
        small = small_copies(part)
        total += float(small.mean((1, 2, 3), dtype=np.float64).sum()) * 255
        blank[start:stop] = _blank(part, small)
        for k in np.flatnonzero((sketched >= start) & (sketched < stop)):
            sketch[k] = small[sketched[k] - start].mean(-1)
        joined = small if before is None else np.concatenate([before, small])
        first = stop - len(joined)
        changed = np.abs(np.diff(joined, axis=0)).max(-1) > _CUT_CHANGE
        area[first : stop - 1] = changed.mean((1, 2))
        if motion and first < MOTION_FRAMES:
            moved.append(picture_motion(joined[: MOTION_FRAMES - first]))
        before = small[-1:]
    sketch -= sketch.mean(0)
    return Look(
        hashes=hashes,
        blank=blank,
        black=bool(blank.all()) and high <= _BLACK,
        cuts=_cuts(area, blank),
        low=low,
        high=high,
        total=total,
        sketch=sketch.reshape(SKETCHED, 8, GRID // 8, 8, GRID // 8).mean((2, 4)),
        copy_last=_copy_last(frames, n_past, n_future),
        motion=np.concatenate(moved) if moved else None,
    )


def _hash(frame: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(frame.data, digest_size=8).digest(), "little")


def _blank(frames: UInt8[np.ndarray, "time height width 3"], small: np.ndarray) -> np.ndarray:
    likely = np.ptp(small, axis=(1, 2)).max(-1) * 255 <= _BLANK
    blank = np.zeros(len(frames), bool)
    for k in np.flatnonzero(likely):  # averages may hide a small thing
        blank[k] = np.ptp(frames[k], axis=(0, 1)).max() <= _BLANK
    return blank


def _cuts(area: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Changes of a large area in a sequence whose changes are usually small."""
    sudden = (area > _CUT_AREA) & ~blank[1:] & ~blank[:-1]
    if len(area) < 4 or np.median(area) > _USUAL_AREA:
        return np.empty(0, np.int64)
    return np.flatnonzero(sudden) + 1


def _copy_last(frames: np.ndarray, n_past: int, n_future: int) -> float | None:
    """Mean over the frames of the project's own PSNR."""
    if len(frames) < n_past + n_future:
        return None
    import torch

    from foreframe.metrics import psnr

    shown = torch.from_numpy(np.array(frames[n_past - 1 : n_past + n_future]))
    shown = shown.permute(0, 3, 1, 2).float().div_(255)
    return float(psnr(shown[:1].expand_as(shown[1:]), shown[1:]).double().mean())
