"""How things move: pushed by the hand, by one another, and on by themselves.

Interactions between things, and between each of them and the arm, are learnt functions of where
they are to one another (interaction networks: Battaglia et al. 2016). How a thing moves is not seen
in its colours: its part of the latent z says how heavy and how slippery it may be.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.model.places.arm import full_precision, shared
from foreframe.model.places.layers import moved
from foreframe.model.places.things import KIND, Things

TOUCH = (8.0, 32.0, 128.0)
"""Scales of the squared distance to the hand: deviations of 8, 4 and 2 pixels of 64."""


class Motion(NamedTuple):
    """How the things of B * K futures move (sample index fastest).

    Attributes:
        place: x and y in [-1, 1] of the image.
        speed: the last step's change of place.
        turn: by how much each has turned since the given frame, in radians.
        spin: the last step's change of turn.
        hidden: of each thing's recurrence.
        secret: what z says of each: its part of the latent.
    """

    place: Float[Tensor, "batch_samples things 2"]
    speed: Float[Tensor, "batch_samples things 2"]
    turn: Float[Tensor, "batch_samples things 1"]
    spin: Float[Tensor, "batch_samples things 1"]
    hidden: Float[Tensor, "batch_samples things hidden"]
    secret: Float[Tensor, "batch_samples things secret"]

    @property
    def pose(self) -> Float[Tensor, "batch_samples things 3"]:
        """x, y and turn."""
        return torch.cat([self.place, self.turn], -1)


class Hand(NamedTuple):
    """Where the end of the arm is in the image, and what the arm does, step by step.

    Attributes:
        place: x and y in [-1, 1], at the step before the first and at each.
        doing: of each step.
    """

    place: Float[Tensor, "steps_1 batch 2"]
    doing: Float[Tensor, "steps batch doing"]


def _net(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, outputs),
    )


class Mechanics(nn.Module):
    """How things move: pushed by the hand, by one another, and on by themselves.

    v_t = g (u_t + d) + (1 - g) k v_{t-1}, where u_t is how far the hand moved, and the gates g
    (pushed) and k (going on) and the correction d come from a GRU of each thing that is told where
    the hand and the other things are. A thing turns likewise: by g s + (1 - g) k (its last turn).

    Args:
        doing: numbers that say what the arm does.
        secret: numbers of each thing's part of the latent.
        width: of the recurrence.
    """

    def __init__(self, doing: int, secret: int, width: int = 80) -> None:
        super().__init__()
        self.width = width
        own = KIND + secret
        self.told = _net(6 + 2 * own, 64, 32)
        self.gru = nn.GRUCell(12 + 2 * len(TOUCH) + own + 32 + doing, width)
        self.first = nn.Linear(own + 2, width)
        self.out = nn.Sequential(nn.Linear(width, 64), nn.SiLU(), nn.Linear(64, 5))

    def start(self) -> None:
        """How it begins: little moves."""
        last = self.out[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.normal_(0, 0.01)
            last.bias.copy_(torch.tensor([0.0, 0.0, -1.5, -1.0, 0.0]))

    def begin(
        self, things: Things, z: Float[Tensor, "batch_samples secret height width"]
    ) -> Motion:
        """The things at rest in the given frame, each with its part of the latent."""
        samples = z.shape[0] // things.place.shape[0]
        place = shared(things.place, samples)
        with full_precision(place):
            secret = moved(z.float(), place[:, :, None])[..., 0].transpose(1, 2)
            kind = shared(things.kind, samples)
            hidden = torch.tanh(self.first(torch.cat([kind, secret, place], -1)))
        still, straight = torch.zeros_like(place), torch.zeros_like(place[..., :1])
        return Motion(place, still, straight, straight, hidden, secret)

    def forward(
        self,
        things: Things,
        motion: Motion,
        hand: Hand,
        forced: Float[Tensor, "steps batch_samples things 2"] | None = None,
    ) -> list[Motion]:
        """The things after each of the steps.

        Args:
            things: of the given frame.
            motion: theirs, at the given frame.
            hand: over the steps.
            forced: where they truly are after each step: the next step then begins there (teacher
                forcing; NaN: where the thing is taken to be).
        """
        samples = motion.place.shape[0] // things.place.shape[0]
        there = shared(things.there, samples)
        others = (
            there[:, :, None]
            * there[:, None]
            * (1 - torch.eye(there.shape[1]).to(there))[..., None]
        )
        with full_precision(there):
            own = torch.cat([shared(things.kind, samples), motion.secret], -1)
            steps = []
            for t, doing in enumerate(hand.doing):
                before, now = (shared(place, samples) for place in hand.place[t : t + 2])
                after = self._step(motion, own, others, (before, now, shared(doing, samples)))
                steps.append(after)
                if forced is not None:
                    after = _corrected(after, motion.place, forced[t])
                motion = after
        return steps

    def _step(
        self, motion: Motion, own: Tensor, others: Tensor, hand: tuple[Tensor, Tensor, Tensor]
    ) -> Motion:
        place, speed, turn, spin, hidden, secret = motion
        before, now, doing = (part[:, None] for part in hand)
        count = place.shape[1]

        def pairs(x: Tensor) -> list[Tensor]:
            """Of each thing, and of each other beside it."""
            shape = (-1, count, count, x.shape[-1])
            return [x[:, :, None].expand(shape), x[:, None].expand(shape)]

        apart = 5 * (place[:, :, None] - place[:, None])
        near = (-apart.square().sum(-1, keepdim=True) / 4).exp() * others
        said = torch.cat([apart.clamp(-4, 4), *pairs(15 * speed), *pairs(own)], -1)
        felt = (self.told(said) * near).sum(2)
        push = now - before
        # How near the hand is, before and after, at three scales: a touch is a matter of distance.
        far = torch.cat([place - before, place - now], -1).unflatten(-1, (2, 2)).square().sum(-1)
        touch = [(-far * scale).exp() for scale in TOUCH]
        inputs = [
            *touch,
            (5 * (place - before)).clamp(-4, 4),
            (5 * (place - now)).clamp(-4, 4),
            15 * push.expand_as(place),
            15 * speed,
            turn.clamp(-4, 4),
            3 * spin,
            place.clamp(-1.2, 1.2),
            own,
            felt,
            doing.expand(-1, count, -1),
        ]
        hidden = self.gru(torch.cat(inputs, -1).flatten(0, 1), hidden.flatten(0, 1)).view_as(hidden)
        correct, gates, turned = self.out(hidden).split([2, 2, 1], -1)
        pushed, on = torch.sigmoid(gates).split(1, -1)
        speed = pushed * (push + 0.3 * correct) + (1 - pushed) * on * speed
        spin = pushed * turned + (1 - pushed) * on * spin
        return Motion(place + speed, speed, turn + spin, spin, hidden, secret)


def _corrected(motion: Motion, before: Tensor, true: Tensor) -> Motion:
    """The motion as it truly was, for things of which that is known."""
    place = torch.where(true.isfinite(), true, motion.place)
    return motion._replace(place=place, speed=place - before)


class Reach(nn.Module):
    """From the arm to its hand: where it is in the image, and what it does.

    Args:
        arm: width of the arm's vector.
        pose: numbers of a pose.
        doing: numbers that say what the arm does.
    """

    def __init__(self, arm: int, pose: int, doing: int = 48) -> None:
        super().__init__()
        self.place = nn.Linear(pose, 2)
        self.more = nn.Sequential(nn.Linear(pose, 32), nn.SiLU(), nn.Linear(32, 2))
        self.doing = nn.Sequential(nn.Linear(arm + 2 * pose, doing), nn.Tanh())

    def forward(
        self, hidden: Float[Tensor, "steps batch arm"], pose: Float[Tensor, "steps_1 batch pose"]
    ) -> Hand:
        """The hand at the step before the first and at each; ``hidden`` is of the steps alone."""
        with full_precision(hidden):
            place = self.place(pose) + 0.1 * self.more(pose)
            return Hand(place, self.doing(torch.cat([hidden, pose[1:], pose[:-1]], -1)))
