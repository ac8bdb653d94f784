"""A scene that runs: carried on action by action, looked at, put back to an earlier state."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foreframe.simulator.actions import next_target
from foreframe.simulator.arm import DAMPING, STIFFNESS
from foreframe.simulator.mujoco_import import mujoco
from foreframe.simulator.renderer import Renderer
from foreframe.simulator.scene import BIN, Physics, Scene, nominal_physics
from foreframe.simulator.world import TIME_STEP, World, build_world

Floats = NDArray[np.float64]

INTERVAL = 0.1
"""Seconds from one frame to the next."""

NOISE = 0.01
"""Standard deviation of the sensor noise, of a full scale of 1."""

SETTLING = 0.4
"""Seconds under middling physics before the first frame, so that objects lie at rest."""

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclass(frozen=True)
class Snapshot:
    """A moment of a scene that runs: all that what follows depends on.

    Attributes:
        state: MuJoCo's own, with what its solver begins from.
        target: [4], where the gripper is told to be.
    """

    state: Floats
    target: Floats


class Live:
    """A scene under given hidden physics, from its first moment on.

    The first moment depends on the scene alone: the objects lie where middling physics let them
    settle.

    Args:
        scene: what stands where, and who looks at it.
        physics: masses, frictions, centres of mass.
        size: height and width of the frames in pixels.
    """

    def __init__(self, scene: Scene, physics: Physics, *, size: int = 64) -> None:
        self.scene, self._size = scene, size
        self.world = build_world(scene, physics)
        self.world.data.qpos[:] = _settled(scene)
        self.world.data.qpos[self.world.slides] = scene.gripper
        self.world.pose()
        self._target = scene.gripper
        self._renderer: Renderer | None = None

    def step(self, action: Floats) -> None:
        """Carry out an action [4] in the time of one frame."""
        goal = next_target(self._target, np.asarray(action, np.float64))
        _advance(self.world, self._target, goal)
        self._target = goal
        self.world.pose()

    def frame(self, sensor: np.random.Generator | None = None) -> NDArray[np.uint8]:
        """What the camera sees now, [size, size, 3]; without a sensor, without its noise."""
        if self._renderer is None:
            self._renderer = Renderer(self.world, self.scene.camera, self._size)
        frame = self._renderer.frame() * self.scene.exposure
        if sensor is not None:
            frame = frame + sensor.normal(0.0, NOISE, frame.shape)
        return np.rint(np.clip(frame, 0.0, 1.0) * 255).astype(np.uint8)

    def positions(self) -> Floats:
        """[3]: the end effector now, in metres."""
        return self.world.positions()

    def centres(self) -> Floats:
        """[N, 3]: the objects' origins now, in metres."""
        return self.world.centres()

    def gripper(self) -> Floats:
        """[4]: x, y, z and yaw of the gripper now."""
        return np.array(self.world.data.qpos[self.world.slides])

    def in_bin(self, pixel: Floats) -> bool:
        """Whether a pixel (column, row) [2] shows the table within the bin's walls."""
        place = self.scene.camera.on_level(pixel, self._size, 0.0)
        return bool((np.abs(place) <= BIN).all())

    def snapshot(self) -> Snapshot:
        """The moment, to come back to."""
        model, data = self.world.model, self.world.data
        state = np.empty(mujoco.mj_stateSize(model, _STATE))
        mujoco.mj_getState(model, data, state, _STATE)
        return Snapshot(state, self._target.copy())

    def restore(self, moment: Snapshot) -> None:
        """Go back to a moment of this scene: what follows is what would have followed then."""
        mujoco.mj_setState(self.world.model, self.world.data, moment.state, _STATE)
        self._target = moment.target.copy()
        self.world.pose()

    def put(self, thing: int, place: Floats) -> None:
        """Put an object at x and y [2] at once, turned as it is: for a picture."""
        model = self.world.model
        joint = int(model.body_jntadr[self.world.things[thing]])
        first = int(model.jnt_qposadr[joint])
        self.world.data.qpos[first : first + 2] = place
        self.world.pose()

    def park(self, gripper: Floats) -> None:
        """Put the gripper [4] elsewhere at once, through whatever stands there: for a picture."""
        self.world.data.qpos[self.world.slides] = gripper
        self._target = np.array(gripper, np.float64)
        self.world.pose()


def _settled(scene: Scene) -> Floats:
    world = build_world(scene, nominal_physics(len(scene.things)))
    mujoco.mj_step(world.model, world.data, round(SETTLING / TIME_STEP))
    return np.array(world.data.qpos)


def _advance(world: World, target: Floats, goal: Floats) -> None:
    """Lead the gripper from ``target`` to ``goal`` [4] in the time of one frame."""
    steps = round(INTERVAL / TIME_STEP)
    pace = (goal - target) / INTERVAL
    for step in range(1, steps + 1):
        # Asking for a little more makes up for the lag of a damped servo at constant pace.
        world.data.ctrl[:] = target + (goal - target) * (step / steps) + pace * DAMPING / STIFFNESS
        mujoco.mj_step(world.model, world.data)
