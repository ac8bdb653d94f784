"""The model with places, put together: what is seen, how it moves on, how a frame is drawn."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.config.model import ModelConfig
from foreframe.model.nets.conv import scaled
from foreframe.model.nets.norm import batch_norm
from foreframe.model.nets.recurrent import at_least_float32
from foreframe.model.places.arm import Arm, ArmMaps, ArmState, Bumps, Course, shared
from foreframe.model.places.copies import Pieces, carried
from foreframe.model.places.layers import Encoder, conv, initialise
from foreframe.model.places.mechanics import Hand, Motion
from foreframe.model.places.movers import Movers, no_motion, no_things
from foreframe.model.places.nested import each
from foreframe.model.places.scene import LATENT, EpisodePosterior, EpisodePrior, Scene
from foreframe.model.places.things import Things

STILL = 2
"""Copies that stay: the last given frame and the one before it."""

HIDDEN = 8.0
"""By how much the logit of a given frame's pixel sinks where a thing was cut out of it."""


class Sizes(NamedTuple):
    """Channels and counts."""

    fine: int = 48
    coarse: int = 96
    arm: int = 256
    pose: int = 16
    points: int = 32
    bumps: int = 12
    drawn: int = 48
    scene: int = 64
    pieces: int = 3
    things: int = 0

    @classmethod
    def of(cls, config: ModelConfig) -> "Sizes":
        """Those of a model, some of them scaled by its width."""
        sizes = cls()
        return sizes._replace(
            fine=scaled(sizes.fine, config.width),
            coarse=scaled(sizes.coarse, config.width),
            drawn=scaled(sizes.drawn, config.width),
            arm=config.g_dim,
            scene=config.rnn_size,
            things=config.things,
        )


class Seen(NamedTuple):
    """What the given frames say, computed once for all samples and all steps.

    Attributes:
        last: the last given frame.
        before: the one before it.
        skip: features of both at 32x32, as the decoder takes them.
        coarse: features at 16x16: of the one before, of the last.
        alpha: which pixels each piece takes along.
        pose: of the arm.
        things: what may be pushed; none (no slots) if the model has no things.
    """

    last: Float[Tensor, "batch 3 64 64"]
    before: Float[Tensor, "batch 3 64 64"]
    skip: Float[Tensor, "batch fine 32 32"]
    coarse: Float[Tensor, "batch coarse2 16 16"]
    alpha: Float[Tensor, "batch pieces 64 64"]
    pose: Float[Tensor, "batch pose"]
    things: Things


class Now(NamedTuple):
    """The state between two steps.

    Attributes:
        arm: where the arm is; the K samples of a sequence share it.
        maps: the arm's maps.
        scene: of B * K futures (sample index fastest); of B where only things differ.
        motion: of the things of B * K futures.
    """

    arm: ArmState
    maps: Float[Tensor, "batch maps 16 16"]
    scene: Float[Tensor, "scenes channels 16 16"]
    motion: Motion


class Steps(NamedTuple):
    """Steps that were taken and can be drawn.

    Attributes:
        pose: of the arm.
        maps: of the arm, at 16x16.
        bumps: of the arm; only the steps that are drawn need them as maps.
        scene: its state.
        things: x, y and turn of each.
    """

    pose: Float[Tensor, "steps batch pose"]
    maps: Float[Tensor, "steps batch maps 16 16"]
    bumps: Bumps
    scene: Float[Tensor, "steps scenes channels 16 16"]
    things: Float[Tensor, "steps batch_samples things 3"]

    def at(self, times: slice | Tensor) -> "Steps":
        """Some of them."""
        some: Steps = each(lambda part: part[times], self)
        return some


class World(nn.Module):
    """An arm that the actions move, a scene that it touches, and the frames that both make.

    Args:
        condition: numbers that each step is told.
        z_dim: numbers of an episode's latent, a multiple of 64.
        sizes: channels and counts.
    """

    def __init__(self, condition: int, z_dim: int, sizes: Sizes) -> None:
        super().__init__()
        s = self.sizes = sizes
        self.encoder = Encoder(s.fine, s.coarse)
        self.arm = Arm(2 * s.coarse + 2, condition, s.arm, s.pose, s.points, forgets=s.things > 0)
        self.maps = ArmMaps(s.arm, s.pose, s.bumps, s.drawn)
        maps, bumps, z = self.maps.channels, 3 * s.bumps, z_dim // LATENT**2
        self.first = nn.Sequential(
            conv(2 * s.coarse + 2, s.scene), nn.ReLU(), conv(s.scene, s.scene)
        )
        self.movers = Movers(2 * s.fine, z, s.arm, s.pose, s.things) if s.things else None
        if self.movers is None:
            self.z_up = nn.ConvTranspose2d(z, s.scene, 4, 2, 1)
            self.z_in = conv(2 * s.scene, s.scene)
        self.prior = EpisodePrior(2 * s.coarse, z)
        self.posterior = EpisodePosterior(maps, s.coarse, z)
        self.scene = Scene(s.scene, maps)
        self.pieces = Pieces(s.pose, s.pieces)
        self.alpha = nn.Sequential(conv(2 * s.fine, 48), nn.ReLU(), conv(48, 4 * s.pieces))
        # The decoder, from 16x16 to 32x32; each pixel there draws four of 64x64.
        self.from_scene, self.from_arm = conv(s.scene, s.coarse), conv(maps, s.coarse)
        self.norm = nn.BatchNorm2d(s.coarse)
        self.up = nn.ConvTranspose2d(s.coarse, s.fine, 4, 2, 1)
        self.skip, self.from_bumps = conv(2 * s.fine, s.fine), conv(bumps, s.fine)
        self.refine = conv(s.fine, s.fine)
        # Beside the weights of all sources: whether a thing is seen there, or hidden by the arm.
        self.sources = STILL + 1 + s.pieces
        self.out = conv(s.fine, 4 * (3 + self.sources + (s.things > 0)))
        at = torch.linspace(-1, 1, 16)
        grid = torch.stack(torch.meshgrid(at, at, indexing="ij"))[None]
        self.register_buffer("grid", grid, persistent=False)
        self.apply(initialise)
        self._start()

    grid: Tensor

    def _start(self) -> None:
        self.scene.start()
        if self.movers is not None:
            self.movers.start()
            # Samples of a world with things are compared from the first step on.
            self.prior.start()
            self.posterior.start()
        with torch.no_grad():
            if self.movers is None:
                self.z_in.weight.mul_(0.1)
            # Both halves of what was one convolution over [scene, arm].
            own, other = self.from_scene.in_channels, self.from_arm.in_channels
            self.from_scene.weight.mul_((own / (own + other)) ** 0.5)
            self.from_arm.weight.mul_((other / (own + other)) ** 0.5)
            self.out.weight.mul_(0.1)
            assert self.out.bias is not None
            self.out.bias[4 * 3 : 4 * 4] = 2.0  # at first all is the last given frame
            self.out.bias[4 * (3 + self.sources) :] = 3.0  # and nothing is hidden

    # -- what is seen -----------------------------------------------------------------------------

    def look(
        self,
        last: Float[Tensor, "batch 3 64 64"],
        before: Float[Tensor, "batch 3 64 64"],
        arriving: Float[Tensor, "batch condition"],
        told: Float[Tensor, "batch things 2"] | None = None,
    ) -> tuple[Seen, ArmState]:
        """What two given frames say, and where the arm is in the last of them.

        Args:
            last: the last given frame, in [0, 1].
            before: the one before it.
            arriving: the condition that led from one to the other.
            told: places of the things in the last given frame, in training; else they are found.
        """
        both = torch.cat([before, last]).contiguous(memory_format=torch.channels_last)
        fine, coarse = (torch.cat(features.chunk(2), 1) for features in self.encoder(both))
        arm = self.arm.begin(self._placed(coarse), arriving)
        alpha = F.pixel_shuffle(at_least_float32(self.alpha(fine)).contiguous(), 2)
        things = no_things(last) if self.movers is None else self.movers.find(fine, last, told)
        return Seen(last, before, self.skip(fine), coarse, alpha, arm.pose, things), arm

    def _placed(self, coarse: Tensor) -> Tensor:
        grid = self.grid.to(coarse.dtype).expand(coarse.shape[0], -1, -1, -1)
        return torch.cat([coarse, grid], 1)

    def begin(self, seen: Seen, arm: ArmState, z: Float[Tensor, "batch_samples z"]) -> Now:
        """The state at the last given frame, for K samples of z."""
        first = self.first(self._placed(seen.coarse))
        at = z.view(z.shape[0], -1, LATENT, LATENT)
        maps = self.maps(arm.hidden, self.maps.where(arm.hidden, arm.pose))
        if self.movers is not None:
            return Now(arm, maps, torch.tanh(first), self.at_rest(seen, z))
        first = shared(first, z.shape[0] // seen.last.shape[0])
        scene = torch.tanh(first + self.z_in(F.relu(torch.cat([self.z_up(at), first], 1))))
        return Now(arm, maps, scene, no_motion(z))

    def drive(self, arm: ArmState, condition: Float[Tensor, "steps batch condition"]) -> "Drive":
        """Where the actions take the arm: needed of every step before the scene is."""
        course = self.arm(arm, condition)
        hidden, pose = course.hidden.flatten(0, 1), course.pose.flatten(0, 1)
        bumps = self.maps.where(hidden, pose)
        steps = condition.shape[0]
        maps, place, height = (
            part.unflatten(0, (steps, -1)) for part in (self.maps(hidden, bumps), *bumps)
        )
        return Drive(course.after, course.pose, maps, Bumps(place, height), self.hand(arm, course))

    def hand(self, before: ArmState, course: Course) -> Hand | None:
        """The end of the arm in the image, over a course; None if there are no things."""
        if self.movers is None:
            return None
        return self.movers.reach(course.hidden, torch.cat([before.pose[None], course.pose]))

    def at_rest(self, seen: Seen, z: Float[Tensor, "batch_samples z"]) -> Motion:
        """The things of the given frame before they move, for K samples of z."""
        assert self.movers is not None
        return self.movers.mechanics.begin(seen.things, z.view(z.shape[0], -1, LATENT, LATENT))

    # -- the steps --------------------------------------------------------------------------------

    def advance(self, seen: Seen, now: Now, drive: "Drive") -> tuple[Steps, Now]:
        """Take all steps of ``drive``: the one recurrence of training, sampling and stepping."""
        states = self.scene(now.scene, torch.cat([now.maps[None], drive.maps]))
        motions = [now.motion] * len(states)
        if self.movers is not None and drive.hand is not None:
            motions = self.movers.mechanics(seen.things, now.motion, drive.hand)
        things = torch.stack([motion.pose for motion in motions])
        taken = Steps(drive.pose, drive.maps, drive.bumps, torch.stack(states), things)
        return taken, Now(drive.after, drive.maps[-1], states[-1], motions[-1])

    def pushed(
        self,
        seen: Seen,
        motion: Motion,
        hand: Hand,
        forced: Float[Tensor, "steps batch things 2"] | None = None,
    ) -> Float[Tensor, "steps batch_samples things 3"]:
        """x, y and turn of things; if ``forced``, one step ahead of where they truly were."""
        assert self.movers is not None
        motions = self.movers.mechanics(seen.things, motion, hand, forced)
        return torch.stack([motion.pose for motion in motions])

    def draw(self, seen: Seen, steps: Steps) -> Float[Tensor, "steps batch_samples 3 64 64"]:
        """The frames of steps, all at once, in [0, 1].

        b = w_0 last + w_1 before + w_2 sigmoid(y) + sum_k w_k piece_k, with w = softmax of what is
        drawn and, for the pieces, of a weight that was drawn on the given frame and moves along.
        In a model with things, b is without them: what they cover of the given frames weighs next
        to nothing there, and they are laid over b (``Movers.laid``).
        """
        count, scenes = steps.scene.shape[:2]
        samples = scenes // seen.last.shape[0]
        content, logits, shown = self._decoded(seen, steps).split(
            [3, self.sources, int(self.movers is not None)], 1
        )
        pieces = [
            over_samples(
                carried(torch.cat([seen.last, seen.alpha[:, k : k + 1]], 1), grid), samples
            )
            for k, grid in enumerate(self.pieces(steps.pose, seen.pose))
        ]
        still, new = logits[:, :STILL], logits[:, STILL : STILL + 1]
        if self.movers is not None:
            still = still - HIDDEN * seen.things.cover.repeat(count, 1, 1, 1)
        along = logits[:, STILL + 1 :] + torch.cat([piece[:, 3:] for piece in pieces], 1)
        weights = torch.softmax(torch.cat([still, new, along], 1), 1).split(1, 1)
        x = weights[STILL] * torch.sigmoid(content)
        for weight, source in zip(weights, (seen.last, seen.before), strict=False):
            x = torch.addcmul(x, weight, shared(source, samples).repeat(count, 1, 1, 1))
        for weight, piece in zip(weights[STILL + 1 :], pieces, strict=True):
            x = torch.addcmul(x, weight, piece[:, :3])
        x = x.unflatten(0, (count, scenes))
        if self.movers is None:
            return x
        return self.movers.laid(x, shown.unflatten(0, (count, scenes)), seen.things, steps.things)

    def _decoded(self, seen: Seen, steps: Steps) -> Tensor:
        """New content and the logits of all sources [steps * scenes, ., 64, 64]."""
        count, scenes = steps.scene.shape[:2]
        shape, samples = (count, -1), scenes // seen.last.shape[0]
        arm = self.from_arm(steps.maps.flatten(0, 1)).unflatten(0, shape)
        x = self.from_scene(steps.scene.flatten(0, 1)) + over_samples(arm, samples)
        x = self.up(batch_norm(x, self.norm, slope=0.0))
        fine = self.maps.fine(each(lambda part: part.flatten(0, 1), steps.bumps))
        bumps = self.from_bumps(fine).unflatten(0, shape)
        x = x + over_samples(bumps + seen.skip, samples)
        x = F.relu(self.refine(F.relu(x)))
        return F.pixel_shuffle(at_least_float32(self.out(x)).contiguous(), 2)


def over_samples(x: Float[Tensor, "steps batch *rest"], samples: int) -> Tensor:
    """[steps, B, ...] for K samples of each sequence, flat: [steps * B * K, ...]."""
    return (x if samples == 1 else x.repeat_interleave(samples, 1)).flatten(0, 1)


class Drive(NamedTuple):
    """Where the actions take the arm.

    Attributes:
        after: the last step's state.
        pose: of each step.
        maps: at 16x16.
        bumps: what is drawn of the arm at 32x32.
        hand: where the end of the arm is in the image; None if there are no things.
    """

    after: ArmState
    pose: Float[Tensor, "steps batch pose"]
    maps: Float[Tensor, "steps batch maps 16 16"]
    bumps: Bumps
    hand: Hand | None = None
