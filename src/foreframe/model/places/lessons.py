"""Lessons: what the data say beside the frames, where they say it; never an input of the model."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.model.places.arm import full_precision
from foreframe.model.places.layers import centres

FARTHEST = 6.0
"""Pixels of 64 beyond which a thing's error counts in proportion, not squared: whoever misses a
push altogether shall not outweigh all others."""

FORCED = 10.0
"""Weight of the lesson in how things move in one step beside that in where they get."""

SPREAD = 0.1
"""Weight of the lesson in how samples spread: as that in where things get to at three pixels."""

_CLOSE = 1e-3
"""Halves of a frame's width under which two ways of moving are the same."""


def places_told(
    tracks: Float[Tensor, "batch time coordinates"],
) -> Float[Tensor, "time batch things 2"]:
    """Tracks, in fractions of the frame, as places in [-1, 1]; NaN stays NaN."""
    return (2 * tracks - 1).unflatten(-1, (-1, 2)).transpose(0, 1)


def lesson_of_motion(
    places: Float[Tensor, "steps batch things 2"], true: Float[Tensor, "steps batch things 2"]
) -> Float[Tensor, ""]:
    """Mean squared error of the things' places, in halves of a frame's width (Huber).

    A weight of 1 beside the bound of the frames is that of a Gaussian likelihood with a deviation
    of 0.7 pixels for six things in frames of 64x64.
    """
    known = true.isfinite().all(-1)
    apart = torch.where(known[..., None], places - true, 0.0).square().sum(-1)
    limit = (FARTHEST / 32) ** 2
    far = apart.clamp(min=limit)
    cost = torch.where(apart < limit, apart, 2 * (far * limit).sqrt() - limit)
    return cost.sum() / known.sum().clamp(min=1)


def lesson_of_pushes(
    free: Float[Tensor, "steps batch things 3"],
    forced: Float[Tensor, "steps batch things 3"],
    true: Float[Tensor, "steps batch things 2"],
) -> Float[Tensor, ""]:
    """How things move, rolled out and one step ahead of where they truly were.

    Args:
        free: x, y and turn of each, rolled out.
        forced: the same, one step ahead.
        true: where they truly are.
    """
    return lesson_of_motion(free[..., :2], true) + FORCED * lesson_of_motion(forced[..., :2], true)


def lesson_of_spread(
    places: Float[Tensor, "steps batch_two things 2"],
    true: Float[Tensor, "steps batch things 2"],
) -> Float[Tensor, ""]:
    """``SPREAD`` times the energy score of two samples of how each thing moves.

    (|a - y| + |b - y|) / 2 - |a - b| / 2 for samples a and b and the truth y, where |.| is the root
    of the mean square distance over the steps, in halves of a frame's width: a proper score, lowest
    if the samples spread as the truth does (Gneiting & Raftery 2007, equation 22).

    Args:
        places: of two samples of each sequence, side by side.
        true: where the things get to; NaN where that is not known.
    """
    known = true.isfinite().all(-1)
    true = torch.where(known[..., None], true, 0.0)
    steps = known.sum(0).clamp(min=1)

    def apart(x: Tensor, y: Tensor) -> Tensor:
        far = torch.where(known, (x - y).square().sum(-1), 0.0)
        return (far.sum(0) / steps + _CLOSE**2).sqrt()

    one, other = places.unflatten(1, (-1, 2)).unbind(2)
    score = (apart(one, true) + apart(other, true) - apart(one, other)) / 2
    there = known.any(0)
    return SPREAD * torch.where(there, score, 0.0).sum() / there.sum().clamp(min=1)


def lesson_of_hand(
    hand: Float[Tensor, "steps_1 batch 2"], frames: Float[Tensor, "steps_1 batch 3 64 64"]
) -> Float[Tensor, ""]:
    """The hand is about where the frames change: a first idea of where it is in the image.

    The middle of the squared change between two frames, less what is noise, against the middle of
    the way between the hand's places.
    """
    with full_precision(hand):
        change = (frames[1:] - frames[:-1]).float().square().mean(2)
        change = F.relu(change - 3 * change.flatten(2).median(-1).values[..., None, None])
        total = change.sum((2, 3))
        middle = torch.einsum("tbyx,yxi->tbi", change, centres(64).to(change))
        middle = middle / total.clamp(min=1e-6)[..., None]
        weight = total.clamp(max=1.0)
        apart = ((hand[1:] + hand[:-1]) / 2 - middle).square().sum(-1)
        return (apart * weight).sum() / weight.sum().clamp(min=1e-6)
