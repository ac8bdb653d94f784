"""The robot's commands: a random walk in the bin that now and then heads for an object.

The commands depend on the scene and on their own random stream only, never on how the objects
move. So the same commands can be replayed under other physics, and a command says nothing about
the future but what it does to the robot.
"""

import numpy as np
from numpy.typing import NDArray

from foreframe.simulator.scene import BIN, MARGIN, PUSHING_HEIGHT, Scene

Floats = NDArray[np.float64]

COLUMNS = (
    "dx: metres the gripper's target moves along x before the next frame (towards the camera)",
    "dy: metres the gripper's target moves along y before the next frame (to the image's right)",
    "lift: metres above the pushing height that the gripper goes to (0 = down)",
    "dyaw: radians the gripper turns about the vertical before the next frame",
)
"""Meaning of the four action columns."""

HOLD = 3
"""Frames for which a command is held."""

STEP = 0.045
"""Standard deviation of dx and of dy, in metres a frame."""

LONGEST_STEP = 0.10
TURN = 0.12
"""Standard deviation of dyaw, in radians a frame."""

LARGEST_YAW = 1.4
HEADING = 0.2
"""Probability that a segment heads for an object."""

LIFTING = 0.2
"""Probability that a segment that does not is lifted."""

RISE = 0.045
"""The target's height changes by at most this much a frame, in metres."""

REACH = np.array(BIN) - MARGIN
"""[2]: the gripper's target stays within plus or minus this, in metres."""


def next_target(target: Floats, action: Floats) -> Floats:
    """Where the gripper is told to be at the next frame.

    Args:
        target: [4] x, y, z, yaw at this frame.
        action: [4] as in ``COLUMNS``.
    """
    place = np.clip(target[:2] + action[:2], -REACH, REACH)
    climb = np.clip(PUSHING_HEIGHT + action[2] - target[2], -RISE, RISE)
    yaw = np.clip(target[3] + action[3], -LARGEST_YAW, LARGEST_YAW)
    return np.array([*place, target[2] + climb, yaw])


def _segment(target: Floats, scene: Scene, random: np.random.Generator) -> Floats:
    turn = random.normal(0.0, TURN)
    if random.random() < HEADING:
        way = scene.places[random.integers(len(scene.things))] - target[:2]
        distance = max(float(np.linalg.norm(way)), 1e-6)
        # Past the object's middle, at a pace that a free segment might have.
        pace = min((distance + 0.04) / HOLD, 0.08)
        return np.array([*(way / distance * pace), 0.0, turn])
    lift = random.uniform(0.03, 0.09) if random.random() < LIFTING else 0.0
    for _ in range(4):
        # A draw that would run into the margin is drawn again a few times: a robot that keeps
        # pressing against its limits shows nothing.
        step = np.clip(random.normal(0.0, STEP, 2), -LONGEST_STEP, LONGEST_STEP)
        if np.all(np.abs(target[:2] + HOLD * step) <= REACH):
            break
    return np.array([*step, lift, turn])


def draw_actions(scene: Scene, random: np.random.Generator, frames: int) -> NDArray[np.float32]:
    """Commands [frames, 4] for a scene; ``COLUMNS`` says what they mean."""
    actions = np.zeros((frames, 4))
    target = scene.gripper
    for t in range(frames):
        actions[t] = actions[t - 1] if t % HOLD else _segment(target, scene, random)
        target = next_target(target, actions[t])
    return actions.astype(np.float32)
