"""The things of a world put together: found, set in motion by the hand, and drawn."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.model.places.arm import shared
from foreframe.model.places.layers import conv
from foreframe.model.places.mechanics import Mechanics, Motion, Reach
from foreframe.model.places.things import CROP, KIND, Finder, Things, pasted

DOING = 48
"""Numbers that say what the arm does."""


class Layer(NamedTuple):
    """Things as they are drawn, over frames [steps * batch_samples].

    Attributes:
        colour: of what is there.
        cover: how much of each pixel they take.
        left: how much of each pixel they took in the given frame.
    """

    colour: Float[Tensor, "frames 3 64 64"]
    cover: Float[Tensor, "frames 1 64 64"]
    left: Float[Tensor, "frames 1 64 64"]


class Movers(nn.Module):
    """Things that are found, pushed and drawn.

    Args:
        seen: channels of what is seen at 32x32.
        secret: channels of the latent's map.
        arm: width of the arm's vector.
        pose: numbers of a pose.
        slots: things that are found at most.
        fine: channels of the decoder at 32x32, which is told where things are.
    """

    def __init__(self, seen: int, secret: int, arm: int, pose: int, slots: int, fine: int) -> None:
        super().__init__()
        self.find = Finder(seen, slots)
        self.reach = Reach(arm, pose, DOING)
        self.mechanics = Mechanics(DOING, secret)
        self.tell = conv(5, fine)

    def start(self) -> None:
        """How it begins: nothing is found, and little moves."""
        self.find.start()
        self.mechanics.start()

    def layer(self, things: Things, places: Float[Tensor, "steps batch_samples things 2"]) -> Layer:
        """Things drawn at their places."""
        with torch.autocast(places.device.type, enabled=False):
            anchors = places + shared(
                things.anchor - things.place, places.shape[1] // len(things.place)
            )
            colour, cover = pasted(things.sprite, anchors).split([3, 1], 2)
            colour = colour / cover.clamp(min=1e-3)
            batch = len(things.place)
            left = things.cover[None, :, None].expand(
                len(places), -1, places.shape[1] // batch, -1, -1, -1
            )
            return Layer(colour.flatten(0, 1), cover.clamp(max=1).flatten(0, 1), left.flatten(0, 2))

    def told(self, layer: Layer) -> Float[Tensor, "frames fine 32 32"]:
        """What the decoder is told of the things."""
        maps = torch.cat([layer.colour * layer.cover, layer.cover, layer.left], 1)
        return self.tell(F.avg_pool2d(maps, 2))


def no_things(frame: Float[Tensor, "batch 3 64 64"]) -> Things:
    """The things of a model that knows none."""
    batch = len(frame)
    return Things(
        place=frame.new_zeros(batch, 0, 2),
        there=frame.new_zeros(batch, 0, 1),
        kind=frame.new_zeros(batch, 0, KIND),
        sprite=frame.new_zeros(batch, 0, 4, CROP, CROP),
        anchor=frame.new_zeros(batch, 0, 2),
        cover=frame.new_zeros(batch, 1, 64, 64),
        marks=frame.new_zeros(batch, 3, 32, 32),
    )


def no_motion(frames: Tensor) -> Motion:
    """How they move, in ``len(frames)`` futures."""
    return Motion(*(frames.new_zeros(len(frames), 0, n) for n in (2, 2, 1, 1)))
