"""A scene (what stands where, seen from where) and the physics that is hidden from the camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foreframe.simulator.camera import Camera, draw_camera
from foreframe.simulator.things import Thing, draw_thing

Floats = NDArray[np.float64]

BIN = (0.23, 0.28)
"""Half sizes of the bin in x and y, in metres."""

WALL = 0.06
"""Height of its walls, in metres."""

LEAST_THINGS, MOST_THINGS = 4, 8
SPACING = 0.085
"""Least distance between two objects' middles at the start, in metres."""

GRIPPER_RADIUS = 0.052
MARGIN = 0.058
"""The gripper's target keeps this far from the walls, in metres: the fingers fit at any yaw."""

PUSHING_HEIGHT = 0.012
"""Height of the finger tips above the table when they are down, in metres."""

MASS = (0.03, 0.8)
"""Range of the objects' masses in kg, log-uniform."""

FRICTION = (0.15, 1.0)
"""Range of the objects' friction coefficients, log-uniform."""

CENTRE_OF_MASS = 0.006
"""Standard deviation of the centre of mass from the shape's, per axis, in metres."""


@dataclass(frozen=True)
class Scene:
    """All that the first frame shows.

    Attributes:
        things: the objects, N of them.
        places: [N, 2] where they stand, in metres.
        turns: [N] their rotation about the vertical, in radians.
        gripper: [4] x, y, z in metres and yaw in radians of the end effector at the start.
        camera: where the camera is.
        exposure: factor on the brightness.
    """

    things: tuple[Thing, ...]
    places: Floats
    turns: Floats
    gripper: Floats
    camera: Camera
    exposure: float


@dataclass(frozen=True)
class Physics:
    """What no frame shows: masses [N] in kg, frictions [N], centre-of-mass offsets [N, 3] in m."""

    masses: Floats
    frictions: Floats
    offsets: Floats


def _places(things: tuple[Thing, ...], random: np.random.Generator) -> Floats | None:
    """Gripper first, then the objects [1 + N, 2], or None when one found no room."""
    radii = [GRIPPER_RADIUS] + [thing.radius for thing in things]
    placed: list[Floats] = []
    for index, radius in enumerate(radii):
        room = np.array(BIN) - (MARGIN if index == 0 else radius + 0.012)
        for _ in range(40):
            place = random.uniform(-room, room)
            if all(
                np.linalg.norm(place - other) >= max(SPACING, radius + radii[before] + 0.004)
                for before, other in enumerate(placed)
            ):
                placed.append(place)
                break
        else:
            return None
    return np.array(placed)


def draw_scene(random: np.random.Generator) -> Scene:
    """Four to eight objects and the gripper, none touching another."""
    count = int(random.integers(LEAST_THINGS, MOST_THINGS + 1))
    places = None
    while places is None:
        things = tuple(draw_thing(random) for _ in range(count))
        places = _places(things, random)
    return Scene(
        things=things,
        places=places[1:],
        turns=random.uniform(-np.pi, np.pi, count),
        gripper=np.array([*places[0], PUSHING_HEIGHT, random.uniform(-1.0, 1.0)]),
        camera=draw_camera(random),
        exposure=float(np.exp(random.normal(0.0, 0.025))),
    )


def _log_uniform(random: np.random.Generator, ends: tuple[float, float], count: int) -> Floats:
    return np.exp(random.uniform(np.log(ends[0]), np.log(ends[1]), count))


def draw_physics(random: np.random.Generator, count: int) -> Physics:
    """Hidden properties of ``count`` objects."""
    return Physics(
        masses=_log_uniform(random, MASS, count),
        frictions=_log_uniform(random, FRICTION, count),
        offsets=random.normal(0.0, CENTRE_OF_MASS, (count, 3)),
    )


def nominal_physics(count: int) -> Physics:
    """Middling objects without surprises: they settle under these before the first frame."""
    return Physics(np.full(count, 0.2), np.full(count, 0.5), np.zeros((count, 3)))
