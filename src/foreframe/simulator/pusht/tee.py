"""The T: its outline, where a pose puts it, and how much of one pose another covers."""

import numpy as np
import shapely
from numpy.typing import NDArray

Floats = NDArray[np.float64]

OUTLINE = np.array(
    [
        (-60.0, 0.0),
        (60.0, 0.0),
        (60.0, 30.0),
        (15.0, 30.0),
        (15.0, 120.0),
        (-15.0, 120.0),
        (-15.0, 30.0),
        (-60.0, 30.0),
    ]
)
"""[8, 2]: corners of the T about its origin, the middle of the bar's outer edge, in order."""

MIDDLE = np.array([0.0, 45.0])
"""[2]: its centre of gravity, about which it turns."""


def placed(points: Floats, pose: Floats) -> Floats:
    """Points of the T [..., 2] where a pose (x and y of the origin, angle) puts them."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]) + pose[:2])


def shape_of(pose: Floats) -> shapely.Polygon:
    """The T at a pose [3]."""
    return shapely.Polygon(placed(OUTLINE, pose))


def coverage(pose: Floats, goal: Floats) -> float:
    """The share of the T at pose ``goal`` [3] that the T at ``pose`` [3] covers."""
    there = shape_of(goal)
    return float(there.intersection(shape_of(pose)).area / there.area)
