"""What a candidate costs: how far its frames, or an object in them, are from the goal.

A cost is told one frame of all candidates at a time, and says what each of them costs; what needs
no picture is told none. A new one is a class here, and a name in ``CostName``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from foreframe.planning.registration import Template

Frames = Float[Tensor, "futures 3 height width"]


class Cost(Protocol):
    """What one frame of each future costs.

    Attributes:
        needs_frames: whether it looks at pictures; else places of the object are enough.
    """

    needs_frames: bool

    def __call__(
        self, frames: Frames | None, places: Float[Tensor, "futures 2"] | None
    ) -> Float[Tensor, " futures"]:
        """What each future costs at one step.

        Args:
            frames: in [0, 1].
            places: column and row of the object, where whoever imagines knows them.
        """


@dataclass(frozen=True)
class PixelCost:
    """Mean squared error to the goal picture (Ebert et al. 2018, the simplest of costs)."""

    goal: Float[Tensor, "3 height width"]
    needs_frames = True

    def __call__(self, frames: Frames | None, places: Tensor | None) -> Tensor:
        assert frames is not None
        return (frames - self.goal.to(frames.device)).square().mean((1, 2, 3))


class LpipsCost:
    """LPIPS (alex) to the goal picture (Zhang et al. 2018)."""

    needs_frames = True

    def __init__(self, goal: Float[Tensor, "3 height width"], weights: Path | None = None) -> None:
        from foreframe.metrics.perceptual import LPIPS

        self._goal, self._net = goal, LPIPS("alex", weights)

    def __call__(self, frames: Frames | None, places: Tensor | None) -> Tensor:
        assert frames is not None
        return self._net(frames, self._goal.to(frames.device).expand_as(frames))


@dataclass(frozen=True)
class ObjectCost:
    """Pixels from the object to its goal (Ebert et al. 2018, designated pixels).

    Where whoever imagines knows where objects are, that is taken; else the object is searched for
    in the frames as it looked before.
    """

    goal: Float64[np.ndarray, "2"]
    template: Template
    needs_frames = False

    def __call__(self, frames: Frames | None, places: Tensor | None) -> Tensor:
        if places is None:
            assert frames is not None
            places = self.template.find(frames)
        goal = torch.as_tensor(self.goal, dtype=places.dtype, device=places.device)
        return torch.linalg.vector_norm(places - goal, dim=1)


def picture(frame: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "3 height width"]:
    """A frame as costs take it."""
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float().div_(255)


def steps_that_count(frames: str, horizon: int) -> Sequence[int]:
    """Numbers of the imagined frames that a candidate's cost is the mean of."""
    return range(horizon) if frames == "all" else [horizon - 1]


def judged(
    costs: Float[Tensor, " futures"], count: int, judge: Literal["mean", "worst"]
) -> Float64[np.ndarray, " candidates"]:
    """What each candidate costs, of what each of its ``count`` futures does."""
    of_each = costs.unflatten(0, (-1, count))
    whole = of_each.amax(1) if judge == "worst" else of_each.mean(1)
    return np.asarray(whole.double().numpy())
