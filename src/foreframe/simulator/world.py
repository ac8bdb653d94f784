"""The MuJoCo model of a scene: table, bin, objects, gripper, and the arm that is only seen."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreframe.simulator import arm
from foreframe.simulator.mujoco_import import mujoco
from foreframe.simulator.scene import BIN, WALL, Physics, Scene
from foreframe.simulator.things import STRIPED, Paint

Floats = NDArray[np.float64]

TIME_STEP = 0.004
"""Seconds a physics step."""

STATIC, MOVING, UNSEEN = 0, 1, 5
"""Geom groups: what never moves in a sequence, what does, and what the camera does not see."""

TABLE = Paint((0.72, 0.67, 0.60), (0.69, 0.64, 0.57), STRIPED, (0.0, 1.0, 0.0), 0.07)
FLOOR = Paint((0.48, 0.49, 0.50))
WALLS = Paint((0.47, 0.56, 0.65))
LINKS = Paint((0.40, 0.42, 0.46), (0.82, 0.48, 0.22), STRIPED, (0.0, 0.0, 1.0), 0.15)
PALM = Paint((0.24, 0.25, 0.29))
FINGERS = Paint((0.86, 0.80, 0.36))

_TABLE_BITS = {"contype": 1, "conaffinity": 0}
_THING_BITS = {"contype": 2, "conaffinity": 1 | 2 | 4}
_GRIPPER_BITS = {"contype": 4, "conaffinity": 0}
_NO_CONTACT = {"contype": 0, "conaffinity": 0}

_ROBOT_FRICTION = 0.1
"""MuJoCo takes the larger of two frictions, so that an object's own always counts."""

_PUSH_FORCE = 40.0
_YAW_TORQUE = 5.0


@dataclass
class World:
    """A compiled scene.

    Attributes:
        model: the MuJoCo model.
        data: its state.
        paints: one per geom, in the model's order.
        things: body number of each object, in the scene's order.
        links: mocap number of the upper arm and of the forearm.
        tip: site number of the end effector.
        slides: [4] position addresses of the gripper's x, y, z and yaw joints.
    """

    model: Any
    data: Any
    paints: list[Paint]
    things: list[int]
    links: tuple[int, int]
    tip: int
    slides: list[int]

    def positions(self) -> Floats:
        """[3]: the end effector now, in metres."""
        return np.array(self.data.site_xpos[self.tip])

    def centres(self) -> Floats:
        """[N, 3]: the objects' origins now, in metres."""
        return np.array(self.data.xpos[self.things])

    def pose(self) -> None:
        """Bring every body's place up to date with the joints, the arm's links included."""
        mujoco.mj_kinematics(self.model, self.data)
        for link, pose in zip(self.links, arm.link_poses(self.positions()), strict=True):
            self.data.mocap_pos[link] = pose.middle
            self.data.mocap_quat[link] = pose.quaternion
        mujoco.mj_kinematics(self.model, self.data)


@dataclass
class _Builder:
    spec: Any
    paints: dict[str, Paint] = field(default_factory=dict)

    def geom(self, body: Any, shape: str, size: Any, paint: Paint, **options: Any) -> Any:
        name = f"g{len(self.paints)}"
        self.paints[name] = paint
        kind = getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}")
        return body.add_geom(name=name, type=kind, size=size, **options)


def _add_bin(build: _Builder) -> None:
    world = build.spec.worldbody
    x, y = BIN
    thick = 0.008
    surface = {"group": STATIC, "friction": [_ROBOT_FRICTION, 0.005, 0.0001], **_TABLE_BITS}
    build.geom(world, "box", [x, y, 0.02], TABLE, pos=[0, 0, -0.02], **surface)
    build.geom(
        world, "box", [1.5, 1.5, 0.02], FLOOR, pos=[0, 0, -0.06], group=STATIC, **_NO_CONTACT
    )
    for side in (-1, 1):
        for middle, size in (
            ([side * (x + thick), 0, WALL / 2], [thick, y + 2 * thick, WALL / 2]),
            ([0, side * (y + thick), WALL / 2], [x, thick, WALL / 2]),
        ):
            build.geom(world, "box", size, WALLS, pos=middle, **surface)
        # Nothing that is pushed hard leaves the bin: an unseen fence goes on above the walls.
        for middle, size in (
            ([side * (x + 0.05), 0, 0.3], [0.05, y + 0.1, 0.3]),
            ([0, side * (y + 0.05), 0.3], [x, 0.05, 0.3]),
        ):
            build.geom(world, "box", size, WALLS, pos=middle, **{**surface, "group": UNSEEN})


def _add_gripper(build: _Builder) -> None:
    robot = build.spec.worldbody.add_body(name="gripper", pos=[0, 0, 0], gravcomp=1.0)
    joints = (("x", [1, 0, 0]), ("y", [0, 1, 0]), ("z", [0, 0, 1]), ("yaw", [0, 0, 1]))
    for name, axis in joints:
        kind = mujoco.mjtJoint.mjJNT_HINGE if name == "yaw" else mujoco.mjtJoint.mjJNT_SLIDE
        joint = robot.add_joint(name=name, type=kind, axis=axis, armature=arm.ARMATURE)
        joint.damping = [arm.DAMPING, 0.0, 0.0]
        actuator = build.spec.add_actuator(
            name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT
        )
        actuator.set_to_position(kp=arm.STIFFNESS)
        limit = _YAW_TORQUE if name == "yaw" else _PUSH_FORCE
        actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator.forcerange = [-limit, limit]
    solid = {
        "group": MOVING,
        "density": 600.0,
        "friction": [_ROBOT_FRICTION, 0.005, 0.0001],
        **_GRIPPER_BITS,
    }
    build.geom(robot, "box", [0.018, 0.045, 0.011], PALM, pos=[0, 0, 0.085], **solid)
    for side in (-1, 1):
        build.geom(
            robot, "box", [0.010, 0.007, 0.039], FINGERS, pos=[0, side * 0.035, 0.037], **solid
        )
    seen = {"group": MOVING, "density": 0.0, **_NO_CONTACT}
    build.geom(robot, "cylinder", [0.020, 0.03, 0], PALM, pos=[0, 0, 0.125], **seen)
    robot.add_site(name="tip", pos=[0, 0, 0])
    for name in ("upper", "fore"):
        link = build.spec.worldbody.add_body(name=name, mocap=True)
        build.geom(link, "capsule", [arm.LINK_RADIUS, arm.LINK / 2, 0], LINKS, **seen)


def _times(a: Floats, b: Floats) -> Floats:
    product = np.zeros(4)
    mujoco.mju_mulQuat(product, np.asarray(a, float), np.asarray(b, float))
    return product


def _add_things(build: _Builder, scene: Scene, physics: Physics) -> list[Any]:
    bodies = []
    for index, thing in enumerate(scene.things):
        turn = scene.turns[index] / 2
        quaternion = _times(np.array([np.cos(turn), 0, 0, np.sin(turn)]), np.array(thing.rest))
        place = [*scene.places[index], thing.height]
        body = build.spec.worldbody.add_body(name=f"thing{index}", pos=place, quat=quaternion)
        body.add_freejoint()
        friction = [physics.frictions[index], 0.005, 0.0006]
        for part in thing.parts:
            build.geom(
                body,
                part.shape,
                list(part.size),
                part.paint,
                pos=list(part.offset),
                group=MOVING,
                density=500.0,
                condim=6,
                friction=friction,
                **_THING_BITS,
            )
        bodies.append(body)
    return bodies


def build_world(scene: Scene, physics: Physics) -> World:
    """Compile a scene under given hidden physics; the state is the scene as drawn."""
    spec = mujoco.MjSpec()
    spec.option.timestep = TIME_STEP
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    build = _Builder(spec)
    _add_bin(build)
    _add_gripper(build)
    bodies = _add_things(build, scene, physics)
    model = spec.compile()
    # The shapes give the inertia for an even density; now scale it and move the centre of mass.
    for index, body in enumerate(bodies):
        number = model.body(body.name).id
        scale = physics.masses[index] / model.body_mass[number]
        body.explicitinertial = True
        body.mass = physics.masses[index]
        body.inertia = model.body_inertia[number] * scale
        body.ipos = model.body_ipos[number] + physics.offsets[index]
        body.iquat = model.body_iquat[number]
    model = spec.compile()
    data = mujoco.MjData(model)
    slides = [int(model.joint(name).qposadr[0]) for name in ("x", "y", "z", "yaw")]
    data.qpos[slides] = scene.gripper
    data.ctrl[:] = scene.gripper
    world = World(
        model=model,
        data=data,
        paints=[build.paints[model.geom(g).name] for g in range(model.ngeom)],
        things=[model.body(body.name).id for body in bodies],
        links=(int(model.body("upper").mocapid[0]), int(model.body("fore").mocapid[0])),
        tip=model.site("tip").id,
        slides=slides,
    )
    world.pose()
    return world
