"""The things of a world put together: found, set in motion by the hand, and drawn."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.model.places.arm import shared
from foreframe.model.places.mechanics import Mechanics, Motion, Reach
from foreframe.model.places.things import CROP, KIND, Finder, Things, pasted

DOING = 48
"""Numbers that say what the arm does."""


class Movers(nn.Module):
    """Things that are found, pushed and drawn.

    Args:
        seen: channels of what is seen at 32x32.
        secret: channels of the latent's map.
        arm: width of the arm's vector.
        pose: numbers of a pose.
        slots: things that are found at most.
    """

    def __init__(self, seen: int, secret: int, arm: int, pose: int, slots: int) -> None:
        super().__init__()
        self.find = Finder(seen, slots)
        self.reach = Reach(arm, pose, DOING)
        self.mechanics = Mechanics(DOING, secret)
        # The logarithm of how much shorter the table's depth looks than its width.
        self.tilt = nn.Parameter(torch.tensor(-0.2))

    def start(self) -> None:
        """How it begins: nothing is found, and little moves."""
        self.find.start()
        self.mechanics.start()

    def laid(
        self,
        frames: Float[Tensor, "steps batch 3 64 64"],
        shown: Float[Tensor, "steps batch 1 64 64"],
        things: Things,
        poses: Float[Tensor, "steps batch_samples things 3"],
    ) -> Float[Tensor, "steps batch_samples 3 64 64"]:
        """Things laid over what is behind them, each at its place: x = b + v (sum_i s_i - m b).

        s_i and m are their colours, times their opacities, and the opacities' sum; v says where
        they are seen. The samples of a sequence share all but the places.

        Args:
            frames: what is behind them.
            shown: the logit of v: what the arm hides is not seen.
            things: of the given frame.
            poses: x, y and turn of each, of K samples.
        """
        with torch.autocast(poses.device.type, enabled=False):
            samples = poses.shape[1] // things.place.shape[0]
            place, turn = poses.split([2, 1], -1)
            place = place + shared(things.anchor - things.place, samples)
            colour, cover = pasted(things.sprite, place, turn, self.tilt.exp()).split([3, 1], 2)
            # [steps, batch, samples, ...] each, what all samples share with one for all.
            shape = (things.place.shape[0], samples)
            colour, cover = (part.unflatten(1, shape) for part in (colour, cover))
            behind = frames[:, :, None]
            seen = torch.sigmoid(shown)[:, :, None] / cover.clamp(min=1)
            change = torch.addcmul(colour, cover, behind, value=-1)
            return torch.addcmul(behind, seen, change).flatten(1, 2)


def no_things(frame: Float[Tensor, "batch 3 64 64"]) -> Things:
    """The things of a model that knows none."""
    batch = frame.shape[0]
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
    return Motion(*(frames.new_zeros(frames.shape[0], 0, n) for n in (2, 2, 1, 1, 1, 1)))
