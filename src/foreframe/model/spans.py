"""Frames over time as the model passes them on: time first, in spans of steps."""

from typing import NamedTuple

from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.model.nets.recurrent import Gaussian


class Span(NamedTuple):
    """The frames of a span of steps, and the prior of each z."""

    x_pred: Float[Tensor, "steps batch 3 height width"]
    p: Gaussian


class Rollout(NamedTuple):
    """Frames 1 .. T-1 as predicted, with the posterior (where frames were known) and the prior."""

    x_pred: Float[Tensor, "steps batch 3 height width"]
    q: Gaussian | None
    p: Gaussian


def time_first(frames: Shaped[Tensor, "batch time 3 height width"]) -> Tensor:
    """[B, T, 3, H, W] to [T, B, 3, H, W] in [0, 1], each frame contiguous in channels-last order.

    Done once a batch, so that the loop over time slices without copying.
    """
    frames = frames.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return frames if frames.is_floating_point() else frames.float().div_(255)


def repeat(x: Tensor, samples: int) -> Tensor:
    """[time, B, ...] for K samples of each sequence: [time, B * K, ...], sample index fastest."""
    return x if samples == 1 else x.repeat_interleave(samples, 1)
