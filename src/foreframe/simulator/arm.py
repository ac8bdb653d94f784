"""The robot: a gripper that pushes, and an arm of two links that is only seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BASE = np.array([-0.62, 0.0, 0.25])
"""Shoulder, behind the bin, in metres."""

LINK = 0.45
"""Length of the upper arm and of the forearm, in metres."""

LINK_RADIUS = 0.030
WRIST_HEIGHT = 0.155
"""The wrist's height above the end effector (the middle between the finger tips), in metres."""

STIFFNESS = 1500.0
"""Gain of the position servos, N/m (N m/rad for the yaw)."""

DAMPING = 60.0
ARMATURE = 0.5


@dataclass(frozen=True)
class LinkPose:
    """Middle [3] of a link and the quaternion [4] that turns the z axis along it."""

    middle: Floats
    quaternion: Floats


def _along(start: Floats, end: Floats) -> LinkPose:
    direction = (end - start) / np.linalg.norm(end - start)
    # Half-way rotation from z to the direction; the links never point straight down.
    quaternion = np.array([1.0 + direction[2], -direction[1], direction[0], 0.0])
    return LinkPose((start + end) / 2, quaternion / np.linalg.norm(quaternion))


def elbow(wrist: Floats) -> Floats:
    """Where the elbow is, above the line from the shoulder to the wrist [3].

    Two-link inverse kinematics in the vertical plane through both: with equal links the elbow
    stands over the middle of that line. A wrist beyond reach gives a straight arm.
    """
    reach = wrist - BASE
    distance = float(np.linalg.norm(reach))
    along = reach / distance
    up = np.array([0.0, 0.0, 1.0]) - along[2] * along
    up = up / np.linalg.norm(up)
    return BASE + reach / 2 + up * np.sqrt(max(LINK**2 - (distance / 2) ** 2, 0.0))


def link_poses(end_effector: Floats) -> tuple[LinkPose, LinkPose]:
    """Upper arm and forearm for an end effector at [3]."""
    wrist = end_effector + np.array([0.0, 0.0, WRIST_HEIGHT])
    bend = elbow(wrist)
    return _along(BASE, bend), _along(bend, wrist)
