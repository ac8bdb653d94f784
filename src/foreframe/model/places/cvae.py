"""The conditional VAE with places: one latent for an episode, its objective, and its futures."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.config.model import ModelConfig
from foreframe.errors import ForeframeError
from foreframe.model.clip import Clip
from foreframe.model.imagines import Imagines
from foreframe.model.nets.recurrent import Gaussian
from foreframe.model.places.arm import TAUGHT, shared
from foreframe.model.places.lessons import (
    lesson_of_hand,
    lesson_of_pushes,
    lesson_of_spread,
    places_told,
)
from foreframe.model.places.mechanics import Hand
from foreframe.model.places.moment import PlacesImagination
from foreframe.model.places.world import Now, Seen, Sizes, Steps, World
from foreframe.model.spans import Rollout, Span, repeat, time_first

DECODED = 4
"""Future frames of a training clip that are drawn and compared at a step, chosen at random: the
state is unrolled over all of them, and drawing is what takes the time."""

AT_ONCE = 256
"""Frames that are drawn at once when futures are imagined."""

_TINY = 1e-5
"""Squared error under which nothing is gained: a deviation of 0.8 levels of 255."""


class PlacesObserved(NamedTuple):
    """The known frames; what they say depends on the action between the last two given ones.

    Attributes:
        frames: in [0, 1].
        n_past: how many of them are given ones.
    """

    frames: Float[Tensor, "known batch 3 height width"]
    n_past: int


class _Unrolled(NamedTuple):
    """An episode: what is seen, its latent, the steps that can be drawn, and how they began."""

    seen: Seen
    q: Gaussian | None
    p: Gaussian
    taken: Steps
    begun: Now
    hand: Hand | None


class PlacesCVAE(Imagines):
    """A conditional VAE over video whose latent z is one map for the whole episode.

    z carries what the actions do not say, such as masses and friction: q(z | all frames) in
    training, p(z | given frames) when futures are imagined. After the given frames nothing is
    encoded any more.

    Args:
        config: the model's configuration; ``rnn_size`` is the number of channels of the scene's
            state, ``g_dim`` the width of the arm's, ``width`` multiplies the other channel counts.

    Raises:
        ForeframeError: a width or size in ``config`` has no meaning.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.world = World(config.condition_dim, config.z_dim, Sizes.of(config))
        self._register_statistics()
        self.register_buffer("position_mean", torch.zeros(TAUGHT))
        self.register_buffer("position_deviation", torch.ones(TAUGHT))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    position_mean: Tensor
    position_deviation: Tensor

    def standardise_condition(
        self,
        actions: tuple[Float[Tensor, " action"], Float[Tensor, " action"]] | None,
        positions: tuple[Float[Tensor, " position"], Float[Tensor, " position"]] | None,
    ) -> None:
        """See ``Conditioned``; the arm is taught positions, which are standardised too."""
        super().standardise_condition(actions, positions)
        if positions is not None:
            n = min(TAUGHT, len(positions[0]))
            self.position_mean[:n].copy_(positions[0][:n])
            self.position_deviation[:n].copy_(positions[1][:n].clamp(min=1e-6))

    def teach_kinematics(self, matrix: Float[Tensor, "inputs position"]) -> None:
        """The pose begins as an integrator of the actions that leads where positions lead."""
        if not self.config.uses_actions:
            return
        n, actions = min(TAUGHT, matrix.shape[1]), self.config.action_dim
        moves = matrix[-1 - actions : -1, :n].T.to(self.condition_deviation.dtype)
        scaled_ = moves * self.condition_deviation[:actions] / self.position_deviation[:n, None]
        with torch.no_grad():
            self.world.arm.integrate.weight[:n, :actions].copy_(scaled_)

    # -- the objective ----------------------------------------------------------------------------

    def forward(
        self,
        clip: Clip,
        noise: Float[Tensor, "steps batch z"],
        *,
        beta: float,
        n_past: int,
        teacher_forcing: bool = False,
        free_bits: float = 0.0,
        recompute: bool = False,
        arm_alone: bool = False,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The negative evidence lower bound per number, with the variance that fits best.

        loss = mean_t log MSE_t + beta * 2 KL(q(z) || p(z)) / (D T) + lessons: with the variance
        of p(x | z, c) at its optimum, the MSE itself, -log p(x_t) = D/2 log MSE_t (Rybkin et al.
        2021, sigma-VAE, equation 4); beta = 1 is the bound. D numbers a frame, T predicted frames.
        Lessons, never inputs: the squared error of where the arm is taken to be, in variances,
        if the data have positions; if they have tracks, what ``lessons.py`` says of things.

        Args:
            clip: B clips of T frames.
            noise: [T-1, B, z_dim] from N(0, I).
            beta: weight of the KL.
            n_past: number of given frames.
            teacher_forcing: has no meaning here: nothing is fed back but the state.
            free_bits: nats below which the KL of an episode costs nothing.
            recompute: has no meaning here.
            arm_alone: no frame is drawn, and the loss is the lessons alone, if the data have any:
                a fraction of the work. The ``mse`` is then that of the last given frame.

        Returns:
            the loss, and ``loss``, ``mse`` and ``kld``, the last two divided by T as SVG logs them.
        """
        x = time_first(clip.frames)
        condition = self.condition(clip.actions, clip.positions, clip.n_frames)
        assert condition is not None  # check_model_config refuses a model without
        true = None
        if self.config.things and clip.tracks is not None:
            true = places_told(clip.tracks)
        if arm_alone and (true is not None or clip.positions is not None):
            return self._lessons_alone(x, condition, noise, clip.positions, true, n_past)
        told = None if true is None else true[n_past - 1]
        made = self._unroll(PlacesObserved(x, n_past), condition, noise, True, told)
        future, drawn, lessons = x[n_past:], made.taken, x.new_zeros(())
        if clip.positions is not None:
            lessons = lessons + self._place(drawn.pose, clip.positions[:, n_past:])
        if true is not None and made.hand is not None:
            true = true[n_past:]
            forced = self.world.pushed(made.seen, made.begun.motion, made.hand, true)
            lessons = lessons + lesson_of_pushes(drawn.things, forced, true)
            lessons = lessons + self._things(made.seen, made.p, noise, made.hand, true)
            # As in teacher forcing: how a thing looks shall not depend on how well it is foreseen.
            places = torch.where(true.isfinite(), true, drawn.things[..., :2])
            drawn = drawn._replace(things=torch.cat([places, forced[..., 2:]], -1))
        # Which frames are drawn is as random as the noise, and a function of the step like it.
        times = noise[n_past - 1 :, 0, 0].argsort()[:DECODED]
        error = (self.world.draw(made.seen, drawn.at(times)) - future[times]).square()
        mse = error.mean((2, 3, 4))
        assert made.q is not None
        kld = made.q.kl(made.p).mean()
        dimensions = future[:, 0].numel()
        cost = kld if free_bits == 0 else kld.clamp(min=free_bits)
        loss = (mse + _TINY).log().mean() + beta * 2 * cost / dimensions + lessons
        logged = {
            "loss": loss,
            "mse": mse.mean() * (clip.n_frames - 1) / clip.n_frames,
            "kld": kld / clip.n_frames,
        }
        return loss, {name: value.detach() for name, value in logged.items()}

    def _lessons_alone(
        self,
        x: Tensor,
        condition: Tensor,
        noise: Tensor,
        positions: Tensor | None,
        true: Tensor | None,
        n_past: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Where the arm and the things get to; there is no scene, and nothing is drawn."""
        world, loss = self.world, x.new_zeros(())
        told = None if true is None else true[n_past - 1]
        seen, arm = world.look(x[n_past - 1], x[n_past - 2], condition[n_past - 2], told)
        course = world.arm(arm, condition[n_past - 1 :])
        if positions is not None:
            loss = loss + self._place(course.pose, positions[:, n_past:])
        hand = world.hand(arm, course)
        if hand is not None:
            if true is not None:
                p, true = world.prior(seen.coarse), true[n_past:]
                # While nothing is drawn, nothing is secret either: the latent is at its middle.
                motion = world.at_rest(seen, p.mu)
                free, forced = (world.pushed(seen, motion, hand, known) for known in (None, true))
                loss = loss + lesson_of_pushes(free, forced, true)
                loss = loss + self._things(seen, p, noise, hand, true)
            loss = loss + lesson_of_hand(hand.place, x[n_past - 1 :])
        still = (x[n_past:] - x[n_past - 1]).square().mean() * (len(x) - 1) / len(x)
        return loss, {"loss": loss.detach(), "mse": still, "kld": torch.zeros_like(still)}

    def _things(self, seen: Seen, p: Gaussian, noise: Tensor, hand: Hand, true: Tensor) -> Tensor:
        """Things are found, and two samples of the prior spread as the truth does."""
        assert self.world.movers is not None
        z = self._z(p, noise[-2:].transpose(0, 1).flatten(0, 1))
        things = self.world.pushed(seen, self.world.at_rest(seen, z), hand)
        return self.world.movers.find.lesson(seen.things) + lesson_of_spread(things[..., :2], true)

    def _place(self, pose: Tensor, positions: Tensor) -> Tensor:
        n = min(TAUGHT, positions.shape[-1])
        mean, deviation = self.position_mean[:n], self.position_deviation[:n]
        true = (positions[..., :n].transpose(0, 1) - mean) / deviation
        return (pose[..., :n] - true).square().mean()

    # -- the recurrence ---------------------------------------------------------------------------

    def observe(
        self,
        frames: Float[Tensor, "known batch 3 height width"],
        n_past: int,
        *,
        recompute: bool = False,
    ) -> PlacesObserved:
        """The known frames as they are; see ``PlacesObserved``."""
        if n_past < 2:
            raise ForeframeError(
                f"{n_past} given frames: {self.config.net} needs 2 or more, to see how things move."
            )
        return PlacesObserved(frames, n_past)

    def unroll(
        self,
        observed: PlacesObserved,
        condition: Float[Tensor, "steps batch condition"] | None,
        noise: Float[Tensor, "steps batch_samples z"],
        *,
        n_past: int,
        teacher_forcing: bool = False,
        z_from_posterior: bool = True,
        first: int = 1,
        recompute: bool = False,
    ) -> Iterator[Span]:
        """Predict frames ``first`` .. T-1, as many at a time as are drawn at once.

        Given frames are yielded as they are. See ``Recurrence.unroll`` for the arguments; of the
        noise one row counts, that of the last given frame, for z is drawn once.
        """
        made = self._unroll(observed, condition, noise, z_from_posterior)
        samples = noise.shape[1] // observed.frames.shape[1]
        p = _episode(made.p).repeat(samples)
        for i in range(first, n_past):
            yield Span(repeat(observed.frames[i : i + 1], samples), p)
        portion = max(1, AT_ONCE // noise.shape[1])
        for begin in range(0, len(noise) + 1 - n_past, portion):
            steps = made.taken.at(slice(begin, begin + portion))
            yield Span(self.world.draw(made.seen, steps), p)

    def rollout(
        self,
        frames: Float[Tensor, "known batch 3 height width"],
        condition: Float[Tensor, "steps batch condition"] | None,
        noise: Float[Tensor, "steps batch_samples z"],
        *,
        n_past: int,
        teacher_forcing: bool = False,
        z_from_posterior: bool = True,
        recompute: bool = False,
    ) -> Rollout:
        """Frames 1 .. T-1; q and p hold one step, the episode."""
        made = self._unroll(self.observe(frames, n_past), condition, noise, z_from_posterior)
        samples = noise.shape[1] // frames.shape[1]
        given = repeat(frames[1:n_past], samples)
        x_pred = torch.cat([given, self.world.draw(made.seen, made.taken)])
        return Rollout(x_pred, None if made.q is None else _episode(made.q), _episode(made.p))

    def _unroll(
        self,
        observed: PlacesObserved,
        condition: Tensor | None,
        noise: Tensor,
        z_from_posterior: bool,
        told: Tensor | None = None,
    ) -> _Unrolled:
        assert condition is not None  # check_model_config refuses a model without
        frames, n_past = observed
        seen, arm = self.world.look(
            frames[n_past - 1], frames[n_past - 2], condition[n_past - 2], told
        )
        drive = self.world.drive(arm, condition[n_past - 1 :])
        p, q = self.world.prior(seen.coarse), None
        if z_from_posterior and len(frames) > n_past:
            future = frames[n_past:]
            last = seen.coarse.chunk(2, 1)[1]
            q = self.world.posterior(future, seen.last, drive.maps[: len(future)], last)
        z = self._z(p if q is None else q, noise[n_past - 2])
        begun = self.world.begin(seen, arm, z)
        taken, _ = self.world.advance(seen, begun, drive)
        return _Unrolled(seen, q, p, taken, begun, drive.hand)

    @staticmethod
    def _z(of: Gaussian, noise: Tensor) -> Tensor:
        samples = noise.shape[0] // of.mu.shape[0]
        return Gaussian(shared(of.mu, samples), shared(of.logvar, samples)).sample(noise)

    # -- step by step -----------------------------------------------------------------------------

    def begin(
        self,
        past: Shaped[Tensor, "batch n_past 3 height width"],
        actions: Float[Tensor, "batch rows action"] | None = None,
        positions: Float[Tensor, "batch rows position"] | None = None,
        *,
        n_samples: int = 1,
        noise: Float[Tensor, "batch n_samples steps z"] | None = None,
        z: Float[Tensor, "batch n_samples z"] | None = None,
    ) -> PlacesImagination:
        """The moment after the given frames, with the latent of the whole episode drawn.

        Args:
            past: [B, n_past, 3, H, W], the given frames: uint8 or float in [0, 1].
            actions: of the given frames: [B, n_past - 1 or more, A].
            positions: [B, rows, P], likewise, for models that are conditioned on them.
            n_samples: futures K of each sequence.
            noise: [B, K, n_past - 1, z_dim] from N(0, I); the last row draws z.
            z: the latent itself, instead of a draw from the prior.
        """
        batch, n_past = past.shape[:2]
        condition, observed = self._known(past, actions, positions, n_past)
        if noise is None:
            noise = torch.randn(batch, n_samples, max(n_past - 1, 1), self.config.z_dim)
        frames = observed.frames
        assert condition is not None
        with self._imagining():
            seen, arm = self.world.look(frames[-1], frames[-2], condition[n_past - 2])
            if z is None:
                drawn = noise[:, :, n_past - 2].to(frames.device).flatten(0, 1)
                own = self._z(self.world.prior(seen.coarse), drawn)
            else:
                own = z.to(frames.device).flatten(0, 1)
            now = self.world.begin(seen, arm, own)
        return PlacesImagination(now, seen, shared(frames[-1], n_samples), frames[-1])

    def step(
        self,
        now: PlacesImagination,
        action: Float[Tensor, "batch action"] | None = None,
        position: Float[Tensor, "batch position"] | None = None,
        *,
        noise: Float[Tensor, "batch n_samples z"] | None = None,
        z: Float[Tensor, "batch n_samples z"] | None = None,
    ) -> tuple[Float[Tensor, "batch n_samples 3 height width"], PlacesImagination]:
        """Imagine one frame more: the very step that ``futures`` takes for each of its frames.

        Args:
            now: of ``begin`` or of the step before; it stays as it is.
            action: [B, A], the row of the condition that leads to the frame.
            position: [B, P], likewise.
            noise: has no meaning here: z is drawn once, by ``begin``.
            z: refused for the same reason.

        Returns:
            float32 frames in [0, 1], and the moment after.
        """
        if z is not None:
            raise ForeframeError(
                f"z: {self.config.net} has one latent for the whole episode; give it to begin."
            )
        taken, after = self._taken(now, action, position)
        with self._imagining():
            x = self.world.draw(now.seen, taken)[0]
        moment = now._replace(now=after, x=x)
        return x.unflatten(0, (now.batch, now.n_samples)), moment

    def step_unseen(
        self,
        now: PlacesImagination,
        action: Float[Tensor, "batch action"] | None = None,
        position: Float[Tensor, "batch position"] | None = None,
        *,
        noise: Float[Tensor, "batch n_samples z"] | None = None,
    ) -> PlacesImagination:
        """See ``Imagines``: the state goes on, and nothing is drawn."""
        return now._replace(now=self._taken(now, action, position)[1])

    def things_moved(
        self, now: PlacesImagination, actions: Float[Tensor, "batch steps action"]
    ) -> Float[Tensor, "steps batch_samples things 2"]:
        """Where actions take the things, x and y in [-1, 1] of the image; no scene, no frame.

        What moves things is the hand alone, so this is the very motion that ``step`` draws, at a
        hundredth of its price.

        Args:
            now: of ``begin`` or ``step``.
            actions: one after another; of a model that is conditioned on actions alone.
        """
        condition = self.condition_rows(actions.to(now.x.device).transpose(0, 1), None)
        assert condition is not None
        with self._imagining():
            hand = self.world.hand(now.now.arm, self.world.arm(now.now.arm, condition))
            assert hand is not None  # a model without things has no slots to ask for
            return self.world.pushed(now.seen, now.now.motion, hand)[..., :2]

    def _taken(
        self, now: PlacesImagination, action: Tensor | None, position: Tensor | None
    ) -> tuple[Steps, Now]:
        device = now.x.device
        condition = self.condition_rows(
            None if action is None else action.to(device),
            None if position is None else position.to(device),
        )
        assert condition is not None
        with self._imagining():
            drive = self.world.drive(now.now.arm, condition[None])
            return self.world.advance(now.seen, now.now, drive)


def _episode(of: Gaussian) -> Gaussian:
    """[B, z] as the only step of an episode: [1, B, z]."""
    return Gaussian(of.mu[None], of.logvar[None])
