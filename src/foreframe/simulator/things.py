"""The objects in the bin: their shapes, colours and textures, drawn at random."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Triple = tuple[float, float, float]

PLAIN, STRIPED, CHECKED, HOLLOW = range(4)
"""Textures. HOLLOW paints the opening of a mug on the upper side of its cylinder."""

UPRIGHT = (1.0, 0.0, 0.0, 0.0)
LYING = (np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0)
"""Quaternion that turns an object's z axis into the table's plane."""


@dataclass(frozen=True)
class Paint:
    """What a surface looks like, in the object's own coordinates.

    Attributes:
        colour: RGB in [0, 1].
        second: the colour of the other stripes or squares, or of a mug's inside.
        texture: PLAIN, STRIPED, CHECKED or HOLLOW.
        axis: direction across the stripes.
        period: width of one stripe or square in metres.
        rim: height of the rim and inner radius in metres, for HOLLOW.
    """

    colour: Triple
    second: Triple = (0.0, 0.0, 0.0)
    texture: int = PLAIN
    axis: Triple = (1.0, 0.0, 0.0)
    period: float = 0.02
    rim: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Primitive:
    """One MuJoCo primitive of an object; ``size`` as MuJoCo wants it for this ``shape``."""

    shape: str
    size: Triple
    paint: Paint
    offset: Triple = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Thing:
    """A rigid object.

    Attributes:
        name: what it is, for people.
        parts: its primitives, in its own coordinates.
        radius: radius of a circle on the table that holds it, in metres.
        height: height of its origin above the table when it rests, in metres.
        rest: quaternion (w, x, y, z) of the pose in which it rests, before turning about the
            vertical.
    """

    name: str
    parts: tuple[Primitive, ...]
    radius: float
    height: float
    rest: tuple[float, float, float, float] = UPRIGHT


def _colour(random: np.random.Generator) -> Triple:
    hue, saturation, value = random.uniform((0.0, 0.6, 0.6), (1.0, 0.95, 0.95))
    return colorsys.hsv_to_rgb(hue, saturation, value)


def _paint(random: np.random.Generator) -> Paint:
    texture = int(random.choice([PLAIN, STRIPED, CHECKED], p=[0.6, 0.25, 0.15]))
    colour = _colour(random)
    # White or a dark tone beside the main colour: two saturated colours blur into mud at 64x64.
    second = (0.92, 0.92, 0.88) if random.random() < 0.6 else (0.18, 0.18, 0.22)
    axis = np.eye(3)[random.integers(3)]
    period = float(random.uniform(0.018, 0.026))
    return Paint(colour, second, texture, (axis[0], axis[1], axis[2]), period)


def _box(random: np.random.Generator) -> Thing:
    x, y, z = random.uniform((0.028, 0.028, 0.022), (0.046, 0.046, 0.042))
    return Thing("box", (Primitive("box", (x, y, z), _paint(random)),), float(np.hypot(x, y)), z)


def _cylinder(random: np.random.Generator) -> Thing:
    radius, half = random.uniform((0.028, 0.026), (0.040, 0.050))
    part = Primitive("cylinder", (radius, half, 0.0), _paint(random))
    if random.random() < 0.5:
        return Thing("cylinder", (part,), radius, half)
    return Thing("cylinder", (part,), float(np.hypot(radius, half)), radius, LYING)


def _sphere(random: np.random.Generator) -> Thing:
    radius = random.uniform(0.030, 0.042)
    return Thing(
        "sphere", (Primitive("sphere", (radius, 0.0, 0.0), _paint(random)),), radius, radius
    )


def _capsule(random: np.random.Generator) -> Thing:
    radius, half = random.uniform((0.022, 0.022), (0.030, 0.036))
    part = Primitive("capsule", (radius, half, 0.0), _paint(random))
    return Thing("capsule", (part,), radius + half, radius, LYING)


def _ellipsoid(random: np.random.Generator) -> Thing:
    x, y, z = random.uniform((0.036, 0.028, 0.022), (0.052, 0.042, 0.030))
    return Thing("ellipsoid", (Primitive("ellipsoid", (x, y, z), _paint(random)),), x, z)


def _mug(random: np.random.Generator) -> Thing:
    radius, half = random.uniform((0.032, 0.036), (0.038, 0.048))
    colour = _colour(random)
    inside = (0.35 * colour[0], 0.35 * colour[1], 0.35 * colour[2])
    body = Paint(colour, inside, HOLLOW, rim=(half, 0.82 * radius))
    handle = Primitive("box", (0.010, 0.005, 0.6 * half), Paint(colour), (radius + 0.008, 0.0, 0.0))
    cylinder = Primitive("cylinder", (radius, half, 0.0), body)
    return Thing("mug", (cylinder, handle), radius + 0.018, half)


def _bottle(random: np.random.Generator) -> Thing:
    radius, half = random.uniform((0.025, 0.038), (0.032, 0.050))
    body = Primitive("cylinder", (radius, half, 0.0), _paint(random))
    cap = Paint(_colour(random))
    neck = Primitive("cylinder", (0.45 * radius, 0.014, 0.0), cap, (0.0, 0.0, half + 0.014))
    if random.random() < 0.6:
        return Thing("bottle", (body, neck), radius, half)
    return Thing("bottle", (body, neck), float(np.hypot(half + 0.028, radius)), radius, LYING)


def _tee(random: np.random.Generator) -> Thing:
    bar, stem, thick = random.uniform((0.042, 0.026, 0.013), (0.052, 0.034, 0.017))
    paint = Paint(_colour(random))
    parts = (
        Primitive("box", (thick, bar, 0.020), paint, (-stem, 0.0, 0.0)),
        Primitive("box", (stem, thick, 0.020), paint, (thick, 0.0, 0.0)),
    )
    return Thing("T", parts, float(np.hypot(stem + thick, bar)), 0.020)


KINDS: tuple[Callable[[np.random.Generator], Thing], ...] = (
    _box,
    _cylinder,
    _sphere,
    _capsule,
    _ellipsoid,
    _mug,
    _bottle,
    _tee,
)


def draw_thing(random: np.random.Generator) -> Thing:
    """One object, each kind as likely as any other."""
    return KINDS[random.integers(len(KINDS))](random)
