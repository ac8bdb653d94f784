"""Colour of a surface point: textures in the object's own coordinates, many points at once."""

import numpy as np
from numpy.typing import NDArray

from foreframe.simulator.things import CHECKED, HOLLOW, STRIPED, Paint

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]


class Paintwork:
    """The paints of all geoms as arrays."""

    def __init__(self, paints: list[Paint]) -> None:
        self.colour = np.array([paint.colour for paint in paints])
        self.second = np.array([paint.second for paint in paints])
        self.texture = np.array([paint.texture for paint in paints])
        self.axis = np.array([paint.axis for paint in paints])
        self.period = np.array([paint.period for paint in paints])
        self.rim = np.array([paint.rim for paint in paints])

    def albedo(self, geoms: Integers, points: Floats) -> Floats:
        """RGB [M, 3] in [0, 1].

        Args:
            geoms: [M] number of the geom that each point lies on.
            points: [M, 3] in the coordinates of the body that the geom belongs to, in metres.
        """
        texture = self.texture[geoms]
        other = np.zeros(len(geoms), dtype=bool)
        at = texture == STRIPED
        if at.any():
            g = geoms[at]
            along = np.einsum("ij,ij->i", points[at], self.axis[g]) / self.period[g]
            other[at] = np.floor(along).astype(int) % 2 == 1
        at = texture == CHECKED
        if at.any():
            # Half a square off, so that no face lies on the border between two squares.
            squares = np.floor(points[at] / self.period[geoms[at], None] + 0.5)
            other[at] = squares.sum(axis=1).astype(int) % 2 == 1
        at = texture == HOLLOW
        if at.any():
            rim = self.rim[geoms[at]]
            inside = np.hypot(points[at, 0], points[at, 1]) < rim[:, 1]
            other[at] = inside & (points[at, 2] > rim[:, 0] - 1e-4)
        return np.where(other[:, None], self.second[geoms], self.colour[geoms])
