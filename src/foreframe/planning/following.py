"""An object followed through an episode: which of the model's own things it is, frame by frame."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from foreframe.model.places.cvae import PlacesCVAE
from foreframe.model.places.moment import PlacesImagination

_NEAR = 1 / 8
"""Of a frame's width: how far from where it is expected an object may be found."""

_ALIKE = 4.0
"""Squared difference of looks that weighs as much as ``_NEAR`` does."""


@dataclass(frozen=True)
class Followed:
    """An object as it is known at a moment.

    Attributes:
        moment: from which futures are imagined: that of the frames that were seen, or, where the
            object is hidden in them, what was imagined up to them.
        slot: number of the thing among the model's.
        place: column and row.
        looks: what it looked like when it was first seen.
    """

    moment: PlacesImagination
    slot: int
    place: Float64[np.ndarray, "2"]
    looks: Tensor


def follow(
    model: PlacesCVAE,
    seen: PlacesImagination,
    given: Float64[np.ndarray, "2"],
    before: Followed | None,
    actions: Float64[np.ndarray, "steps action"],
) -> Followed | None:
    """The object in what was seen last; None if it was never found.

    Args:
        model: that imagines.
        seen: of the last two frames.
        given: column and row of the object in the first frames, which someone pointed at.
        before: as it was followed up to the last plan.
        actions: that were carried out since.
    """
    size = seen.x.shape[-1]
    expected, going = given, None
    if before is not None:
        going = before.moment
        for action in torch.from_numpy(actions).float():
            going = model.step_unseen(going, action[None])
        expected = _pixels(going.now.motion.place[:, before.slot].mean(0), size)
    things = seen.seen.things
    away = np.linalg.norm(_pixels(things.place[0], size) - expected, axis=1) / (size * _NEAR)
    away[things.there[0, :, 0].numpy() < 0.5] = np.inf
    unlike = np.zeros(len(away))
    if before is not None:
        unlike = (things.kind[0] - before.looks).square().mean(1).double().numpy() / _ALIKE
    slot = int((away + unlike).argmin())
    if away[slot] <= 1:
        looks = things.kind[0, slot] if before is None else before.looks
        return Followed(seen, slot, _pixels(things.place[0, slot], size), looks)
    if before is None or going is None:
        return None
    return Followed(going, before.slot, expected, before.looks)


def _pixels(places: Tensor, size: int) -> Float64[np.ndarray, "*things 2"]:
    """Column and row of x and y in [-1, 1]."""
    return np.asarray((places.double().numpy() + 1) / 2 * size)


def has_things(moment: Any) -> bool:
    """Whether a moment is of a model that knows of things, and of at least one slot for them."""
    return isinstance(moment, PlacesImagination) and moment.seen.things.place.shape[1] > 0
