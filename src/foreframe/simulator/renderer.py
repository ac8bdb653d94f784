"""A ray caster on ``mujoco.mj_multiRay``: no OpenGL, shadows included, fast on one core.

What stands still is cast and shaded once a sequence, lit and in shadow. A frame casts only the
rays that come near something that moves, and asks about shadows only where one may fall.
"""

import numpy as np
from numpy.typing import NDArray

from foreframe.simulator.camera import Camera
from foreframe.simulator.mujoco_import import mujoco
from foreframe.simulator.paintwork import Paintwork
from foreframe.simulator.world import MOVING, STATIC, World

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LIGHT = np.array([0.35, -0.45, 1.5])
"""Where the lamp is, in metres."""

AMBIENT, SKY, LAMP = 0.58, 0.17, 0.38
"""Light from everywhere, more of it from above, and light from the lamp."""

VIGNETTE = 0.10
"""How much darker the corners are."""

SHARPNESS = 2
"""Rays a pixel across and down."""

_FAR = 1e10
_SLACK = 2e-3
"""Metres before its own surface at which a ray from the lamp counts as arrived."""

_TILE = 4


def _groups(*shown: int) -> NDArray[np.uint8]:
    mask = np.zeros(6, dtype=np.uint8)
    mask[list(shown)] = 1
    return mask


class _Tiles:
    """Directions from one point, in small tiles, so that a few cones tell which rays matter."""

    def __init__(self, directions: Floats, side: int) -> None:
        grid = np.arange(side * side).reshape(side // _TILE, _TILE, side // _TILE, _TILE)
        self.rays = grid.transpose(0, 2, 1, 3).reshape(-1, _TILE * _TILE)
        tiles = directions[self.rays]
        middle = tiles.mean(axis=1)
        self.middle = middle / np.linalg.norm(middle, axis=1, keepdims=True)
        nearest = np.einsum("tij,tj->ti", tiles, self.middle).min(axis=1)
        self.spread = np.arccos(np.clip(nearest, -1.0, 1.0))

    def near(self, origin: Floats, centres: Floats, radii: Floats) -> Integers:
        """Numbers of the rays from ``origin`` in tiles that meet one of the balls."""
        way = centres - origin
        distance = np.linalg.norm(way, axis=1)
        width = np.arcsin(np.clip(radii / distance, 0.0, 1.0))
        cosine = self.middle @ (way / distance[:, None]).T
        limit = np.cos(np.minimum(width[None] + self.spread[:, None], np.pi))
        return self.rays[(cosine >= limit).any(axis=1)].ravel()


def _balls(model: mujoco.MjModel) -> tuple[Integers, Floats, Floats]:
    """Balls that cover what moves: geom [K], centre in the geom's coordinates [K, 3], radius [K].

    A long capsule is covered by several, or its one ball would fill half the image.
    """
    geoms, centres, radii = [], [], []
    for geom in np.flatnonzero(model.geom_group == MOVING):
        offsets, radius = [0.0], float(model.geom_rbound[geom])
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            across, half = model.geom_size[geom, :2]
            pieces = int(np.ceil(half / across))
            offsets = list(half * ((np.arange(pieces) + 0.5) / pieces * 2 - 1))
            radius = float(np.hypot(half / pieces, across)) + 1e-6
            offsets = [-half, *offsets, half]
        for offset in offsets:
            geoms.append(geom)
            centres.append((0.0, 0.0, offset))
            radii.append(radius)
    return np.array(geoms), np.array(centres), np.array(radii)


class Renderer:
    """Draws the frames of one sequence, in which the camera stands still.

    Args:
        world: the scene, posed (``World.pose``).
        camera: where it is seen from.
        size: height and width of the frames in pixels, an even number.
    """

    def __init__(self, world: World, camera: Camera, size: int) -> None:
        self._world, self._size, self._side = world, size, size * SHARPNESS
        self._eye = camera.position
        self._directions = camera.rays(self._side)
        self._paintwork = Paintwork(world.paints)
        self._balls = _balls(world.model)
        self._tiles = _Tiles(self._directions, self._side)
        self._still()
        steps = (np.arange(size) + 0.5) / size * 2 - 1
        self._vignette = 1 - VIGNETTE / 2 * (steps[:, None] ** 2 + steps[None] ** 2)[..., None]

    def _cast(
        self, origin: Floats, directions: Floats, groups: NDArray[np.uint8], normals: bool = True
    ) -> tuple[NDArray[np.int32], Floats, Floats | None]:
        """Geom [M] (-1: none), distance [M] (-1: none) and surface normal [M, 3] per ray."""
        count = len(directions)
        geoms = np.full(count, -1, dtype=np.int32)
        distances = np.full(count, -1.0)
        normal = np.zeros(3 * count) if normals else None
        if count:
            rays = np.ascontiguousarray(directions).reshape(-1)
            model, data = self._world.model, self._world.data
            mujoco.mj_multiRay(
                model, data, origin, rays, groups, True, -1, geoms, distances, normal, count, _FAR
            )
        return geoms, distances, None if normal is None else normal.reshape(-1, 3)

    def _shade(
        self, geoms: NDArray[np.int32], points: Floats, normals: Floats
    ) -> tuple[Floats, Floats]:
        """Colours [M, 3] of surface points in shadow, and what the lamp adds."""
        model, data = self._world.model, self._world.data
        bodies = model.geom_bodyid[geoms]
        frames = data.xmat[bodies].reshape(-1, 3, 3)
        local = np.einsum("ij,ijk->ik", points - data.xpos[bodies], frames)
        albedo = self._paintwork.albedo(geoms, local)
        to_lamp = LIGHT - points
        to_lamp /= np.linalg.norm(to_lamp, axis=1, keepdims=True)
        slant = np.clip(np.einsum("ij,ij->i", normals, to_lamp), 0.0, None)
        return albedo * (AMBIENT + SKY * normals[:, 2:]), albedo * (LAMP * slant[:, None])

    def _in_shadow(self, points: Floats, groups: NDArray[np.uint8]) -> NDArray[np.bool_]:
        way = points - LIGHT
        distance = np.linalg.norm(way, axis=1)
        _, hit, _ = self._cast(LIGHT, way / distance[:, None], groups, normals=False)
        return (hit >= 0) & (hit < distance - _SLACK)

    def _still(self) -> None:
        geoms, self._depth, normals = self._cast(self._eye, self._directions, _groups(STATIC))
        if normals is None or (geoms < 0).any():
            raise AssertionError("the floor fills the camera's view")
        points = self._eye + self._directions * self._depth[:, None]
        self._dark, lamp = self._shade(geoms, points, normals)
        self._lit = ~self._in_shadow(points, _groups(STATIC))
        self._bright = self._dark + lamp * self._lit[:, None]
        way = points - LIGHT
        self._reach = np.linalg.norm(way, axis=1)
        self._from_lamp = way / self._reach[:, None]
        self._lamp_tiles = _Tiles(self._from_lamp, self._side)

    def frame(self) -> Floats:
        """[size, size, 3]: what the camera sees now, before exposure and noise, about 0 to 1."""
        data = self._world.data
        geoms, offsets, radii = self._balls
        frames = data.geom_xmat[geoms].reshape(-1, 3, 3)
        centres = data.geom_xpos[geoms] + np.einsum("ijk,ik->ij", frames, offsets)
        image = self._bright.copy()

        near = self._lamp_tiles.near(LIGHT, centres, radii)
        near = near[self._lit[near]]
        _, hit, _ = self._cast(LIGHT, self._from_lamp[near], _groups(MOVING), normals=False)
        dark = near[(hit >= 0) & (hit < self._reach[near] - _SLACK)]
        image[dark] = self._dark[dark]

        near = self._tiles.near(self._eye, centres, radii)
        seen, hit, normals = self._cast(self._eye, self._directions[near], _groups(MOVING))
        assert normals is not None
        front = (hit >= 0) & (hit < self._depth[near])
        rays = near[front]
        points = self._eye + self._directions[rays] * hit[front, None]
        shade, lamp = self._shade(seen[front], points, normals[front])
        shadow = self._in_shadow(points, _groups(STATIC, MOVING))
        image[rays] = shade + lamp * ~shadow[:, None]

        size = self._size
        pixels = image.reshape(size, SHARPNESS, size, SHARPNESS, 3).mean(axis=(1, 3))
        return np.asarray(pixels * self._vignette)
