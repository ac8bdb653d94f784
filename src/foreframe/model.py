"""VideoCVAE: action-conditioned stochastic video generation (Denton & Fergus 2018, conditional).

One rollout serves training, reconstruction, sampling and the page in the browser. A fixed prior is
just another prior: SVG-FP and SVG-LP differ in one object.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from foreframe.clip import Clip
from foreframe.config import from_dict
from foreframe.errors import ForeframeError
from foreframe.model_config import ModelConfig as ModelConfig
from foreframe.model_config import check_model_config
from foreframe.nets.blend import DRAWN, blend
from foreframe.nets.conv import NETS, DecoderContext, Skips, initialise
from foreframe.nets.norm import mean_over_processes, statistics_kept
from foreframe.nets.recurrent import LSTM, FixedPrior, Gaussian, GaussianLSTM, State
from foreframe.weights import load_into, local_or_hub, read_tensors


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


class VideoCVAE(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="foreframe",
    tags=["video-prediction", "world-model", "robotics"],
):
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
        config = self.config
        parts: list[Tensor] = []
        wanted = [
            ("actions", actions, config.uses_actions, config.action_dim),
            ("positions", positions, config.uses_positions, config.position_dim),
        ]
        rows = n_frames - 1 if config.timing == "source" else n_frames
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
            if part.shape[1] < rows:
                raise ForeframeError(
                    f"{name}: {n_frames} frames in {config.timing}-time need {rows} rows, "
                    f"and {part.shape[1]} were given."
                )
            parts.append(part.to(self.condition_mean.dtype))
        if not parts:
            return None
        condition = torch.cat([part[:, :rows] for part in parts], -1).transpose(0, 1)
        condition = (condition - self.condition_mean) / self.condition_deviation
        return condition if config.timing == "source" else condition[1:]

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
        h_true, q = _repeat(observed.h, samples), observed.q
        if q is not None and samples > 1:
            q = Gaussian(_repeat(q.mu, samples), _repeat(q.logvar, samples))
        if condition is not None:
            condition = _repeat(condition, samples)
        steps, last_skip = len(noise), len(observed.contexts)
        known = steps if teacher_forcing else n_past
        memory, x_pred = Memory(), noise
        i = 1
        while i <= steps:
            together = last_skip < i <= known and not recompute
            now = slice(i - 1, known if together else i)
            given = i <= known
            h = h_true[now] if given else self._encode(x_pred[-1], 1, recompute)[0][None]
            p, prior_state = self.prior(h, memory.prior)
            from_q = q is not None and (z_from_posterior or i < n_past)
            z = (q[now] if q is not None and from_q else p).sample(noise[now])
            inputs = [h, z] if condition is None else [condition[now], h, z]
            h_pred, state = self.frame_predictor(torch.cat(inputs, -1), memory.predictor)
            memory = Memory(state, prior_state)
            i = now.stop + 1
            if i > first:
                context = observed.contexts[min(now.start, last_skip - 1)]
                sources = None
                if self.config.output == "blend":
                    before = _repeat(observed.frames[now], samples) if given else x_pred[-1:]
                    past = _repeat(observed.last_past(now), samples)
                    sources = (before.flatten(0, 1), past.flatten(0, 1))
                x_pred = self._decode(h_pred, context, sources, recompute)
                yield Span(x_pred, p)

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

    # -- the future -----------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self,
        past: Shaped[Tensor, "batch n_past 3 height width"],
        actions: Float[Tensor, "batch rows action"] | None = None,
        positions: Float[Tensor, "batch rows position"] | None = None,
        *,
        n_samples: int = 1,
        n_future: int | None = None,
        noise: Float[Tensor, "batch n_samples steps z"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n_samples n_future 3 height width"]:
        """Imagine ``n_samples`` futures of each sequence, in evaluation mode.

        All frames are kept; ``futures`` yields them one after another.

        Args:
            past: [B, n_past, 3, H, W], the given frames: uint8 or float in [0, 1].
            actions: [B, rows, A], one row a frame, given frames included: ``actions[:, t]`` acts
                between frame t and t + 1.
            positions: [B, rows, P], for models that are conditioned on them.
            n_samples: futures K of each sequence.
            n_future: frames to predict; by default up to the last row of the condition.
            noise: [B, K, n_past + n_future - 1, z_dim] from N(0, I), to repeat a draw exactly.
            generator: of the noise, when none is given; a CPU generator draws the same numbers
                whatever device the model is on.

        Returns:
            float32 frames in [0, 1], [B, K, n_future, 3, H, W].

        Raises:
            ForeframeError: see ``condition``; or neither a condition nor ``n_future`` says how far.
        """
        if n_future is None:
            n_future = self._rows(actions, positions) - past.shape[1]
        if noise is None:
            noise = torch.randn(
                len(past),
                n_samples,
                max(past.shape[1] + n_future - 1, 0),
                self.config.z_dim,
                generator=generator,
                device=None if generator is None else generator.device,
            )
        futures = self.futures(past, actions, positions, noise=noise, n_future=n_future)
        return torch.stack([frames for _, _, frames in futures], 2)

    def _rows(self, actions: Tensor | None, positions: Tensor | None) -> int:
        used = [
            part.shape[1]
            for part, on in (
                (actions, self.config.uses_actions),
                (positions, self.config.uses_positions),
            )
            if on and part is not None
        ]
        if not used:
            raise ForeframeError("generate: without a condition, say how many frames: n_future=...")
        return min(used)

    def futures(
        self,
        past: Shaped[Tensor, "batch n_past 3 height width"],
        actions: Float[Tensor, "batch rows action"] | None,
        positions: Float[Tensor, "batch rows position"] | None,
        *,
        noise: Float[Tensor, "batch n_samples steps z"],
        n_future: int,
        at_once: int | None = None,
        recorded: Shaped[Tensor, "batch n_future 3 height width"] | None = None,
    ) -> Iterator[tuple[slice, int, Float[Tensor, "batch some_samples 3 height width"]]]:
        """Yield the frames of K futures of each sequence one after another, as they are imagined.

        None of them is kept here, so that long futures and many samples take no more memory than
        one step of ``at_once`` samples; the past is encoded once. In evaluation mode, without
        gradients. See ``generate`` for the other arguments.

        Args:
            past: the given frames.
            actions: of all frames.
            positions: of all frames.
            noise: [B, K, n_past + n_future - 1, z_dim].
            n_future: frames to predict.
            at_once: samples of each sequence that are imagined side by side; by default all.
            recorded: the frames that followed. Every z is then drawn from the posterior, which has
                seen them: reconstruction, the best that the latent can do.

        Returns:
            for each group of samples, and each frame in it: which samples, the number of the
            future frame from 0, and the frames [B, samples of the group, 3, H, W].
        """
        n_past = past.shape[1]
        if n_past < (2 if self.config.skips_from == "svg" else 1) or n_future < 1:
            raise ForeframeError(
                f"generate: {n_past} given and {n_future} future frames: too few "
                "(one row of the condition belongs to each frame, the given ones included)."
            )
        device = next(self.parameters()).device
        condition = self.condition(
            None if actions is None else actions.to(device),
            None if positions is None else positions.to(device),
            n_past + n_future,
        )
        with self._imagining():
            frames = time_first(past.to(device))
            if recorded is not None:
                frames = torch.cat([frames, time_first(recorded.to(device))])
            observed = self.observe(frames, n_past)
        samples = noise.shape[1]
        for start in range(0, samples, at_once or samples):
            group = slice(start, min(start + (at_once or samples), samples))
            own = noise[:, group].to(device)
            spans = self.unroll(
                observed,
                condition,
                own.flatten(0, 1).transpose(0, 1),
                n_past=n_past,
                z_from_posterior=recorded is not None,
                first=n_past,
            )
            for t in range(n_future):
                with self._imagining():  # only here: whoever takes the frames has their own mode
                    frames = next(spans).x_pred[0]
                yield group, t, frames.unflatten(0, own.shape[:2])

    @contextmanager
    def _imagining(self) -> Iterator[None]:
        """Evaluation mode without gradients; training goes on afterwards if it was under way."""
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(was_training)

    # -- weights --------------------------------------------------------------------------------

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        **model_kwargs: Any,
    ) -> "VideoCVAE":
        # Safetensors only: the mixin's own fallback would unpickle a file of unknown origin. And
        # the config again, since the mixin drops unknown keys in silence.
        hub = {
            "revision": revision,
            "cache_dir": cache_dir,
            "force_download": force_download,
            "token": token,
            "local_files_only": local_files_only,
        }
        config_file, weights_file = (
            local_or_hub(model_id, name, hub) for name in ("config.json", "model.safetensors")
        )
        values = json.loads(config_file.read_text(encoding="utf-8"))
        model = cls(from_dict(ModelConfig, values, str(config_file)))
        load_into(model, read_tensors(weights_file)[0], weights_file)
        return model.to(map_location).eval()


def _once_more() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The contexts of a checkpointed part's two runs: the second must not be counted again."""
    return nullcontext(), statistics_kept()


def _repeat(x: Tensor, samples: int) -> Tensor:
    """[time, B, ...] for K samples of each sequence: [time, B * K, ...], sample index fastest."""
    return x if samples == 1 else x.repeat_interleave(samples, 1)
