"""Where the objects of a scene are, read from its frames: a linear map fitted on its replays."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor
from torch.nn import functional as F

CELLS = 16
"""The frame is averaged over so many cells in height and width before it is read."""

RIDGE = 0.03
"""Strength of the ridge penalty, in units of the mean squared size of the centred features."""


@dataclass(frozen=True)
class Readout:
    """Positions in pixels from frames of one scene at each of T steps.

    What all replays share at a step (background, robot, time itself) is subtracted before the fit
    and added after it, so that only the differences between replays are read. Where the fit knows
    nothing, it shrinks towards their mean, on true and on predicted frames alike.

    Attributes:
        features: mean over the fitted replays at each step.
        places: likewise, in pixels.
        weights: from centred features to centred places, the same at all steps.
    """

    features: Float[Tensor, "steps features"]
    places: Float[Tensor, "steps coordinates"]
    weights: Float[Tensor, "features coordinates"]

    @classmethod
    def fit(
        cls,
        frames: UInt8[np.ndarray, "replays steps height width 3"],
        pixels: Float64[np.ndarray, "replays steps objects 2"],
    ) -> "Readout":
        """Ridge regression (Hoerl and Kennard 1970) in its dual form: fewer rows than features.

        Args:
            frames: of the replays of one scene.
            pixels: true positions in them.
        """
        replays, steps = frames.shape[:2]
        x = torch.from_numpy(frames).flatten(0, 1).permute(0, 3, 1, 2)
        features = reduced(x.double().div_(255)).unflatten(0, (replays, steps))
        places = torch.from_numpy(pixels).flatten(2)
        mean, middle = features.mean(0), places.mean(0)
        rows, targets = (features - mean).flatten(0, 1), (places - middle).flatten(0, 1)
        gram = rows @ rows.T
        # Nothing moves in a scene without differences: no weight rather than no answer.
        scale = gram.diagonal().mean().clamp(min=1e-12)
        penalty = RIDGE * scale * torch.eye(len(gram), dtype=gram.dtype)
        return cls(mean, middle, rows.T @ torch.linalg.solve(gram + penalty, targets))

    def read(
        self, frames: Float[Tensor, "n 3 height width"], step: int
    ) -> Float[Tensor, "n objects 2"]:
        """Columns and rows of the objects in frames in [0, 1] of one step, on the CPU."""
        features = reduced(frames.cpu().double())
        flat: Tensor = self.places[step] + (features - self.features[step]) @ self.weights
        return flat.unflatten(1, (flat.shape[1] // 2, 2))

    def read_all(
        self, frames: UInt8[np.ndarray, "replays steps height width 3"]
    ) -> Float64[np.ndarray, "replays steps objects 2"]:
        """The same for whole replays."""
        x = torch.from_numpy(frames).permute(1, 0, 4, 2, 3)
        return torch.stack(
            [self.read(step.double().div(255), t) for t, step in enumerate(x)], 1
        ).numpy()


def reduced(frames: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n features"]:
    """Frames averaged over ``CELLS`` x ``CELLS`` cells."""
    return F.adaptive_avg_pool2d(frames, CELLS).flatten(1)
