"""The camera: where it stands, the ray behind each pixel, and where a point lands in the image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POSITION = (0.60, 0.0, 0.56)
"""Metres; the robot stands on the far side of the bin, at negative x."""

LOOK_AT = (-0.01, 0.0, 0.03)
FIELD_OF_VIEW = 44.0
"""Vertical, in degrees."""

JITTER = 0.004
"""Standard deviation of the camera's place from one sequence to the next, in metres."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, upright, with square pixels.

    Attributes:
        position: [3] in metres.
        look_at: [3], the point in the middle of the image.
        field_of_view: vertical angle in degrees.
    """

    position: Floats
    look_at: Floats
    field_of_view: float = FIELD_OF_VIEW

    def axes(self) -> Floats:
        """[3, 3]: the image's right, the image's down and the viewing direction, one per row."""
        forward = self.look_at - self.position
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def rays(self, size: int) -> Floats:
        """[size * size, 3]: unit directions through the middles of the pixels, row by row."""
        reach = np.tan(np.radians(self.field_of_view) / 2)
        steps = ((np.arange(size) + 0.5) / size * 2 - 1) * reach
        down, right = np.meshgrid(steps, steps, indexing="ij")
        pixels = np.stack([right, down, np.ones_like(right)], axis=-1).reshape(-1, 3)
        # Not a matrix product: a BLAS may round differently with another number of threads.
        rays = np.einsum("ij,jk->ik", pixels, self.axes())
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def project(self, points: Floats, size: int) -> Floats:
        """Pixel coordinates (column, row) [..., 2] of points [..., 3] in an image of ``size``."""
        seen = (points - self.position) @ self.axes().T
        reach = np.tan(np.radians(self.field_of_view) / 2)
        return (seen[..., :2] / seen[..., 2:] / reach + 1) / 2 * size

    def on_level(self, pixels: Floats, size: int, height: float) -> Floats:
        """Where the rays of pixels (column, row) [..., 2] meet a level: x and y [..., 2] in metres.

        Args:
            pixels: in an image of ``size``.
            size: height and width of the image in pixels.
            height: of the level above the table, in metres.
        """
        reach = np.tan(np.radians(self.field_of_view) / 2)
        across = (np.asarray(pixels) / size * 2 - 1) * reach
        rays = np.concatenate([across, np.ones_like(across[..., :1])], -1) @ self.axes()
        there = self.position + rays * ((height - self.position[2]) / rays[..., 2:])
        return np.asarray(there[..., :2])


def draw_camera(random: np.random.Generator) -> Camera:
    """The default camera, a few millimetres out of place."""
    return Camera(np.array(POSITION) + random.normal(0.0, JITTER, 3), np.array(LOOK_AT))
