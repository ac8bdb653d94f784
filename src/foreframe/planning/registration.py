"""An object searched for in frames, by how it looked in the one that was given."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

_HALF = 4
"""Pixels of the template on each side of its middle."""

_SHARP = 600.0
"""By how much the best match outweighs others, for a mean squared difference of 1."""


@dataclass(frozen=True)
class Template:
    """How an object looked, and where it was.

    Attributes:
        patch: about its place.
        place: column and row, in pixels.
        reach: pixels from there within which it is searched for.
    """

    patch: Float[Tensor, "3 side side"]
    place: Float64[np.ndarray, "2"]
    reach: float

    @classmethod
    def of(
        cls,
        frame: Float[Tensor, "3 height width"],
        place: Float64[np.ndarray, "2"],
        reach: float = 24.0,
    ) -> "Template":
        """The object at a place (column, row) in a frame; what lies beyond its edge is repeated."""
        side = 2 * _HALF + 1
        padded = F.pad(frame[None], (_HALF,) * 4, mode="replicate")[0]
        limits = np.array(frame.shape[:0:-1]) - 1
        column, row = np.clip(np.floor(place), 0, limits).astype(int)
        return cls(padded[:, row : row + side, column : column + side], place, reach)

    def find(self, frames: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 2"]:
        """Column and row of the best match in each frame: the mean of the places that match well.

        Matches are weighed by exp(-s d^2), d^2 the mean squared difference of colours.
        """
        patch = self.patch.to(frames)
        padded = F.pad(frames, (_HALF,) * 4, mode="replicate")
        ones = torch.ones_like(patch)
        # |x - p|^2 = |x|^2 - 2 x p + |p|^2, each a convolution.
        apart = (
            F.conv2d(padded.square(), ones[None])
            - 2 * F.conv2d(padded, patch[None])
            + patch.square().sum()
        )[:, 0] / patch.numel()
        height, width = apart.shape[1:]
        rows, columns = (torch.arange(n, device=frames.device) + 0.5 for n in (height, width))
        away = (rows[:, None] - self.place[1]) ** 2 + (columns[None] - self.place[0]) ** 2
        apart = apart.masked_fill(away > self.reach**2, torch.inf)
        apart = apart - apart.flatten(1).amin(1)[:, None, None]
        weights = torch.softmax((-_SHARP * apart).flatten(1), 1).unflatten(1, (height, width))
        return torch.stack([(weights.sum(1) * columns).sum(1), (weights.sum(2) * rows).sum(1)], 1)
