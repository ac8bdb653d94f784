"""The conditional VAE over video as it is trained: its networks, its recurrence, its objective.

One rollout serves training, reconstruction, sampling and the page in the browser. A fixed prior is
just another prior: SVG-FP and SVG-LP differ in one object.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from foreframe.config.model import ModelConfig, check_model_config
from foreframe.errors import ForeframeError
from foreframe.model.clip import Clip
from foreframe.model.nets.blend import DRAWN, blend
from foreframe.model.nets.conv import NETS, DecoderContext, Skips, initialise
from foreframe.model.nets.norm import mean_over_processes, statistics_kept
from foreframe.model.nets.recurrent import LSTM, FixedPrior, Gaussian, GaussianLSTM, State


class Memory(NamedTuple):
    """The recurrent state between two steps; None is the start of a sequence."""

    predictor: State | None = None
    prior: State | None = None


class Observed(NamedTuple):
    """What the known frames say, computed once for all samples.

    Attributes:
        h: the encoded frames.
        q: the posterior of z_1 .. z_{known-1}; None if only one frame is known.
        contexts: the decoder's, with the skips of each given frame that they are taken from; the
            last one's are frozen.
        frames: the known frames.
        n_past: how many of them are given ones.
    """

    h: Float[Tensor, "known batch g"]
    q: Gaussian | None
    contexts: list[DecoderContext]
    frames: Float[Tensor, "known batch 3 height width"]
    n_past: int

    def last_past(self, steps: slice) -> Float[Tensor, "steps batch 3 height width"]:
        """The last given frame that each of the steps i - 1 has behind it."""
        numbers = torch.arange(steps.start, steps.stop).clamp(max=self.n_past - 1)
        return self.frames[numbers]


class Span(NamedTuple):
    """What a span of steps yields: frames and the prior of each z."""

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


class CVAE(nn.Module):
    """A conditional VAE over video with one latent z_t per step.

    Args:
        config: the model's configuration.

    Raises:
        ForeframeError: a width or size in ``config`` has no meaning.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        check_model_config(config)
        self.config = config
        c = config
        drawn = DRAWN if c.output == "blend" else 3
        self.encoder, self.decoder = NETS[c.net](c.g_dim, c.width, drawn)
        self.frame_predictor = LSTM(
            c.condition_dim + c.g_dim + c.z_dim, c.g_dim, c.rnn_size, c.predictor_layers
        )
        self.posterior = GaussianLSTM(c.g_dim, c.z_dim, c.rnn_size, c.posterior_layers)
        self.prior: FixedPrior | GaussianLSTM = (
            FixedPrior(c.z_dim)
            if c.prior == "fixed"
            else GaussianLSTM(c.g_dim, c.z_dim, c.rnn_size, c.prior_layers)
        )
        self.apply(initialise)
        # Statistics of the training split's condition, set once by ``standardise_condition``.
        self.register_buffer("condition_mean", torch.zeros(c.condition_dim))
        self.register_buffer("condition_deviation", torch.ones(c.condition_dim))
        # Convolutions run faster on the CPU and on GPUs with the channels innermost.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    condition_mean: Tensor
    condition_deviation: Tensor

    # -- the condition --------------------------------------------------------------------------

    def standardise_condition(
        self,
        actions: tuple[Float[Tensor, " action"], Float[Tensor, " action"]] | None,
        positions: tuple[Float[Tensor, " position"], Float[Tensor, " position"]] | None,
    ) -> None:
        """Take the mean and deviation of the training split's condition.

        A number that never changes keeps deviation 1. Does nothing when the configuration says that
        conditions are fed raw.

        Args:
            actions: mean and standard deviation [action_dim] of the split's actions; None if it
                has none.
            positions: [position_dim], likewise.
        """
        config = self.config
        used = ((actions, config.uses_actions), (positions, config.uses_positions))
        parts = [part for part, on in used if on and part is not None]
        if not config.standardise or not parts:
            return
        mean, deviation = (torch.cat(columns) for columns in zip(*parts, strict=True))
        self.condition_mean.copy_(mean)
        self.condition_deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def condition(
        self,
        actions: Float[Tensor, "batch rows action"] | None,
        positions: Float[Tensor, "batch rows position"] | None,
        n_frames: int,
    ) -> Float[Tensor, "steps batch condition"] | None:
        """The condition of frames 1 .. n_frames-1, time first; None for an unconditional model.

        Args:
            actions: [B, rows, action_dim]; row t acts between frame t and t + 1.
            positions: [B, rows, position_dim]; row t is the end effector at frame t.
            n_frames: number of frames T, given ones included. Source-time needs T - 1 rows,
                target-time T.

        Raises:
            ForeframeError: a part that the model is conditioned on is missing, too short or of
                another width.
        """
        source = self.config.timing == "source"
        rows = n_frames - 1 if source else n_frames
        for name, part in self._condition_parts(actions, positions):
            if part.shape[1] < rows:
                raise ForeframeError(
                    f"{name}: {n_frames} frames in {self.config.timing}-time need {rows} rows, "
                    f"and {part.shape[1]} were given."
                )
        first = 0 if source else 1
        condition = self.condition_rows(
            None if actions is None else actions[:, first:rows],
            None if positions is None else positions[:, first:rows],
        )
        return None if condition is None else condition.transpose(0, 1)

    def condition_rows(
        self,
        actions: Float[Tensor, "*some action"] | None,
        positions: Float[Tensor, "*some position"] | None,
    ) -> Float[Tensor, "*some condition"] | None:
        """Rows of actions and positions as the networks take them; None without a condition.

        Raises:
            ForeframeError: a part that the model is conditioned on is missing or of another width.
        """
        parts = self._condition_parts(actions, positions)
        if not parts:
            return None
        rows = torch.cat([part.to(self.condition_mean.dtype) for _, part in parts], -1)
        return (rows - self.condition_mean) / self.condition_deviation

    def _condition_parts(
        self, actions: Tensor | None, positions: Tensor | None
    ) -> list[tuple[str, Tensor]]:
        """Those that the model is conditioned on, by name."""
        config = self.config
        parts: list[tuple[str, Tensor]] = []
        wanted = [
            ("actions", actions, config.uses_actions, config.action_dim),
            ("positions", positions, config.uses_positions, config.position_dim),
        ]
        for name, part, used, width in wanted:
            if not used:
                continue
            if part is None:
                raise ForeframeError(
                    f"{name}: the model is conditioned on {config.condition_name}, and none were "
                    f"given. Use data that has {name}, or a model trained without them."
                )
            if part.shape[-1] != width:
                raise ForeframeError(
                    f"{name}: {part.shape[-1]} numbers a step, but the model was built for {width}."
                )
            parts.append((name, part))
        return parts

    # -- the recurrence -------------------------------------------------------------------------

    def observe(
        self,
        frames: Float[Tensor, "known batch 3 height width"],
        n_past: int,
        *,
        recompute: bool = False,
    ) -> Observed:
        """Encode the known frames, each once: all T in training, the given ones in generation.

        Args:
            frames: in [0, 1], time first.
            n_past: number of given frames.
            recompute: keep no activations for the backward pass; see ``forward``.
        """
        # The skips of frame n_past - 1 are the last that are not themselves of the future.
        last_skip = n_past if self.config.skips_from == "last-past" else n_past - 1
        # Frames whose skips are used go one by one, the rest at once.
        at_once = 1 if recompute else max(1, len(frames) - last_skip)
        parts: list[Tensor] = []
        contexts: list[DecoderContext] = []
        for frame in frames[:last_skip]:
            h, skips = self._encode(frame, 1, recompute)
            parts.append(h[None])
            contexts.append(self.decoder.context(skips, contexts[-1] if contexts else None))
        for rest in frames[last_skip:].split(at_once):
            if len(rest) > 0:
                h, _ = self._encode(rest.flatten(0, 1), len(rest), recompute)
                parts.append(h.unflatten(0, rest.shape[:2]))
        h = torch.cat(parts)
        q = self.posterior(h[1:])[0] if len(h) > 1 else None
        return Observed(h, q, contexts, frames, n_past)

    def unroll(
        self,
        observed: Observed,
        condition: Float[Tensor, "steps batch condition"] | None,
        noise: Float[Tensor, "steps batch_samples z"],
        *,
        n_past: int,
        teacher_forcing: bool = False,
        z_from_posterior: bool = True,
        first: int = 1,
        recompute: bool = False,
    ) -> Iterator[Span]:
        """Predict frames ``first`` .. T-1, T - 1 being the length of ``noise``, span by span.

        A span is one step, or all those that need nothing from one another: in teacher forcing, the
        inputs being known, all that come after the past. Nothing of a span is kept here but its
        last frame and the recurrent state.

        Args:
            observed: of ``observe``.
            condition: of ``condition``, for T - 1 steps.
            noise: [T-1, B * K, z_dim] from N(0, I), the randomness of z, for K samples of each
                sequence (sample index fastest).
            n_past: number of given frames.
            teacher_forcing: feed the true frame i - 1 in, not the prediction, after the past too.
            z_from_posterior: draw every z from the posterior; else only those of known past frames
                (i < n_past), and from the prior afterwards.
            first: frames before this one are not decoded, and their spans left out.
            recompute: keep no activations for the backward pass; see ``forward``.
        """
        samples = noise.shape[1] // observed.h.shape[1]
        h_true, q = repeat(observed.h, samples), observed.q
        if q is not None and samples > 1:
            q = Gaussian(repeat(q.mu, samples), repeat(q.logvar, samples))
        if condition is not None:
            condition = repeat(condition, samples)
        steps, last_skip = len(noise), len(observed.contexts)
        known = steps if teacher_forcing else n_past
        memory, x_pred = Memory(), noise
        i = 1
        while i <= steps:
            together = last_skip < i <= known and not recompute
            now = slice(i - 1, known if together else i)
            given = i <= known
            h = h_true[now] if given else self._encode(x_pred[-1], 1, recompute)[0][None]
            from_q = q is not None and (z_from_posterior or i < n_past)
            h_pred, p, memory = self.advance(
                h,
                None if condition is None else condition[now],
                memory,
                noise[now],
                q[now] if q is not None and from_q else None,
            )
            i = now.stop + 1
            if i > first:
                context = observed.contexts[min(now.start, last_skip - 1)]
                sources = None
                if self.config.output == "blend":
                    before = repeat(observed.frames[now], samples) if given else x_pred[-1:]
                    past = repeat(observed.last_past(now), samples)
                    sources = (before.flatten(0, 1), past.flatten(0, 1))
                x_pred = self._decode(h_pred, context, sources, recompute)
                yield Span(x_pred, p)

    def advance(
        self,
        h: Float[Tensor, "steps batch g"],
        condition: Float[Tensor, "steps batch condition"] | None,
        memory: Memory,
        noise: Float[Tensor, "steps batch z"],
        q: Gaussian | None = None,
        z: Float[Tensor, "steps batch z"] | None = None,
    ) -> tuple[Float[Tensor, "steps batch g"], Gaussian, Memory]:
        """The recurrence over steps whose input frames are known: h_i-1, c_i, z_i to h_pred_i.

        Args:
            h: the encoded frames before.
            condition: as ``condition`` yields it.
            memory: the state before.
            noise: from N(0, I), the randomness of z.
            q: what z is drawn from; by default the prior.
            z: the latent itself, instead of a draw.

        Returns:
            h_pred, the prior and the state after.
        """
        p, prior_state = self.prior(h, memory.prior)
        if z is None:
            z = (p if q is None else q).sample(noise)
        inputs = [h, z] if condition is None else [condition, h, z]
        h_pred, state = self.frame_predictor(torch.cat(inputs, -1), memory.predictor)
        return h_pred, p, Memory(state, prior_state)

    def _encode(self, x: Tensor, steps: int, recompute: bool) -> tuple[Tensor, Skips]:
        if not recompute:
            return self.encoder(x, steps)
        return checkpoint(self.encoder, x, steps, use_reentrant=False, context_fn=_once_more)

    def _decode(
        self,
        h_pred: Tensor,
        context: DecoderContext,
        sources: tuple[Tensor, Tensor] | None,
        recompute: bool,
    ) -> Tensor:
        """[steps, B, g_dim] to frames [steps, B, 3, H, W] in [0, 1]."""
        inputs = (h_pred.flatten(0, 1), context, len(h_pred), sources)
        if recompute:
            x_pred = checkpoint(self._draw, *inputs, use_reentrant=False, context_fn=_once_more)
        else:
            x_pred = self._draw(*inputs)
        return x_pred.unflatten(0, h_pred.shape[:2])

    def _draw(
        self, h: Tensor, context: DecoderContext, steps: int, sources: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        drawn = self.decoder(h, context, steps)
        return drawn if sources is None else blend(drawn, *sources)

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
        """Predict frames 1 .. T-1, T - 1 being the length of ``noise``.

        Args:
            frames: the known frames in [0, 1], time first: all T for training and reconstruction,
                the first ``n_past`` for generation.
            condition: see ``unroll``, as for the others.
            noise: [T-1, B * K, z_dim].
            n_past: number of given frames.
            teacher_forcing: feed true frames in after the past too.
            z_from_posterior: draw every z from the posterior.
            recompute: keep no activations for the backward pass.
        """
        observed = self.observe(frames, n_past, recompute=recompute)
        spans = list(
            self.unroll(
                observed,
                condition,
                noise,
                n_past=n_past,
                teacher_forcing=teacher_forcing,
                z_from_posterior=z_from_posterior,
                recompute=recompute,
            )
        )
        mu, logvar = (torch.cat([getattr(span.p, k) for span in spans]) for k in ("mu", "logvar"))
        x_pred = torch.cat([span.x_pred for span in spans])
        return Rollout(x_pred, observed.q, Gaussian(mu, logvar))

    # -- the objective --------------------------------------------------------------------------

    def forward(
        self,
        clip: Clip,
        noise: Float[Tensor, "steps batch z"],
        *,
        beta: float,
        n_past: int,
        teacher_forcing: bool,
        free_bits: float = 0.0,
        recompute: bool = False,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The negative evidence lower bound, its KL weighted by ``beta``, and what to log.

        loss = sum_i MSE(x_pred_i, x_i) + beta * sum_i KL(q(z_i) || p(z_i)), i = 1 .. T-1: the MSE
        is the mean over batch, channels and pixels, the KL is summed over z and averaged over the
        batch. Source: Denton & Fergus 2018, section 3, with p(X | Z, c) a Gaussian of fixed
        variance, as docs/model.md derives it.

        Args:
            clip: B clips of T frames.
            noise: [T-1, B, z_dim] from N(0, I).
            beta: weight of the KL.
            n_past: number of given frames.
            teacher_forcing: feed true frames in after the past too.
            free_bits: nats below which the KL of a latent dimension, averaged over the batch (of
                all processes), costs nothing more at a step: the KL of the loss is then
                sum_i sum_d max(free_bits, mean_batch KL_d). Source: Kingma et al. 2016 (inverse
                autoregressive flow), appendix C.8. What is logged stays the KL itself.
            recompute: keep the activations of no step for the backward pass, but compute them again
                there (Chen et al. 2016): less memory, more time.

        Returns:
            the loss, and ``loss``, ``mse`` and ``kld`` divided by T as SVG logs them (detached).
        """
        x = time_first(clip.frames)
        condition = self.condition(clip.actions, clip.positions, clip.n_frames)
        x_pred, q, p = self.rollout(
            x,
            condition,
            noise,
            n_past=n_past,
            teacher_forcing=teacher_forcing,
            recompute=recompute,
        )
        assert q is not None
        mse = (x_pred - x[1:]).square().mean(dim=(1, 2, 3, 4)).sum()
        kld = costs = q.kl(p).mean(dim=1).sum()
        if free_bits > 0:
            mean = mean_over_processes(q.kl_per_dimension(p).mean(dim=1))
            costs = mean.clamp(min=free_bits).sum()
        loss = mse + beta * costs
        logs = {"loss": loss, "mse": mse, "kld": kld}
        return loss, {name: value.detach() / clip.n_frames for name, value in logs.items()}


def _once_more() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The contexts of a checkpointed part's two runs: the second must not be counted again."""
    return nullcontext(), statistics_kept()


def repeat(x: Tensor, samples: int) -> Tensor:
    """[time, B, ...] for K samples of each sequence: [time, B * K, ...], sample index fastest."""
    return x if samples == 1 else x.repeat_interleave(samples, 1)
