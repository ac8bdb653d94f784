"""Small copies of frames, and how the picture moves from one frame to the next."""

from functools import cache

import numpy as np
from jaxtyping import Float32, UInt8

GRID = 16
"""Height and width of the small copies: coarse enough that a few pixels of motion are a small step,
for which brightness changes in proportion to the motion."""

MOTION_COLUMNS = ("right", "down", "zoom", "turn")
"""What ``picture_motion`` estimates."""

_STEADY = 0.02
"""Part of the equations' mean size that is added to their diagonal: motion along an edge, which no
picture can tell, comes out as 0 and not as noise."""

_FLOOR = 1e-4
"""Squared differences of brightness below this are noise, and weigh little."""


@cache
def _averaging(cells: int, pixels: int) -> Float32[np.ndarray, "cells pixels"]:
    """The matrix that averages ``pixels`` into ``cells`` equal parts, cutting pixels at borders."""
    edges = np.linspace(0, pixels, cells + 1)
    first, last = np.arange(pixels), np.arange(pixels) + 1
    overlap = np.minimum(edges[1:, None], last) - np.maximum(edges[:-1, None], first)
    return (overlap.clip(0) * (cells / pixels)).astype(np.float32)


def small_copies(
    frames: UInt8[np.ndarray, "time height width 3"],
) -> Float32[np.ndarray, "time grid grid 3"]:
    """Frames in [0, 1], averaged over areas to ``GRID`` x ``GRID``."""
    steps, height, width = frames.shape[:3]
    rows = _averaging(GRID, height) @ frames.reshape(steps, height, width * 3).astype(np.float32)
    columns = rows.reshape(steps, GRID, width, 3).swapaxes(2, 3) @ _averaging(GRID, width).T
    return np.ascontiguousarray(columns.swapaxes(2, 3)) / np.float32(255)


def picture_motion(
    small: Float32[np.ndarray, "time grid grid 3"],
) -> Float32[np.ndarray, "changes 4"]:
    """How what moves has moved from each frame to the next: ``MOTION_COLUMNS``.

    One shift, zoom and turn for all that changes, by least squares on the brightness (Lucas and
    Kanade 1981; Bergen et al. 1992 for motions with more parameters than a shift). Pixels weigh by
    how much they change, up to the mean change, so that what stands still does not hold it back.
    Shifts are in cells of the grid; zoom and turn are taken about the middle of the change, so that
    they do not repeat the shift.

    Args:
        small: T frames, as ``small_copies`` makes them.

    Returns:
        T - 1 rows.
    """
    change = np.diff(small, axis=0)
    mean = (small[1:] + small[:-1]) / 2
    down, right = np.zeros_like(mean), np.zeros_like(mean)
    down[:, 1:-1] = (mean[:, 2:] - mean[:, :-2]) / 2
    right[:, :, 1:-1] = (mean[:, :, 2:] - mean[:, :, :-2]) / 2

    weight = np.square(change).sum(-1)
    weight = np.minimum(weight / (weight.mean((1, 2), keepdims=True) + _FLOOR), 1.0)
    total = weight.sum((1, 2)) + 1e-6
    y, x = np.mgrid[:GRID, :GRID].astype(np.float32) / (GRID / 2) - 1
    x_off = (x - ((weight * x).sum((1, 2)) / total)[:, None, None])[..., None]
    y_off = (y - ((weight * y).sum((1, 2)) / total)[:, None, None])[..., None]

    root = np.sqrt(weight)[..., None]
    steps = len(change)
    slopes = np.stack(
        [
            (root * part).reshape(steps, -1)
            for part in (right, down, right * x_off + down * y_off, down * x_off - right * y_off)
        ],
        1,
    )
    equations = slopes @ slopes.swapaxes(1, 2)
    size = np.trace(equations, axis1=1, axis2=2)[:, None, None]
    equations += (_STEADY * size + 1e-4) * np.eye(len(MOTION_COLUMNS), dtype=np.float32)
    wanted = slopes @ (root * change).reshape(steps, -1, 1)
    return -np.linalg.solve(equations, wanted)[..., 0]
