"""The conditional VAE over video: its objective, and the futures that it imagines.

Source: Denton & Fergus 2018, Stochastic Video Generation with a Learned Prior, with a condition.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.errors import ForeframeError
from foreframe.model.clip import Clip
from foreframe.model.imagination import Imagination
from foreframe.model.inputs import Array, given
from foreframe.model.nets.norm import mean_over_processes
from foreframe.model.nets.recurrent import Gaussian
from foreframe.model.recurrence import (
    Memory,
    Observed,
    Recurrence,
    Sources,
    repeat,
    time_first,
)


class Rollout(NamedTuple):
    """Frames 1 .. T-1 as predicted, with the posterior (where frames were known) and the prior."""

    x_pred: Float[Tensor, "steps batch 3 height width"]
    q: Gaussian | None
    p: Gaussian


class CVAE(Recurrence):
    """A conditional VAE over video with one latent z_t per step.

    Args:
        config: the model's configuration.

    Raises:
        ForeframeError: a width or size in ``config`` has no meaning.
    """

    # -- the objective --------------------------------------------------------------------------

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
        x_pred = torch.cat([span.x_pred for span in spans])
        return Rollout(x_pred, observed.q, Gaussian.join([span.p for span in spans]))

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
        past: Array,
        actions: Array | None = None,
        positions: Array | None = None,
        *,
        n_samples: int = 1,
        n_future: int | None = None,
        noise: Float[Tensor, "batch n_samples steps z"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "*batch n_samples n_future 3 height width"]:
        """Imagine ``n_samples`` futures of each sequence, in evaluation mode.

        All frames are kept; ``futures`` yields them one after another. Tensors, NumPy arrays and
        channels-last frames are taken, and one sequence without a batch axis.

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
            float32 frames in [0, 1], [B, K, n_future, 3, H, W]; of one sequence without B.

        Raises:
            ForeframeError: see ``condition`` and ``inputs.given``; or neither a condition nor
                ``n_future`` says how far.
        """
        seen = given(past, actions, positions, self.config.image_size)
        if n_future is None:
            n_future = self._rows(seen.actions, seen.positions) - seen.past.shape[1]
        if noise is None:
            noise = torch.randn(
                len(seen.past),
                n_samples,
                max(seen.past.shape[1] + n_future - 1, 0),
                self.config.z_dim,
                generator=generator,
                device=None if generator is None else generator.device,
            )
        made = self.futures(*seen[:3], noise=noise, n_future=n_future)
        frames = torch.stack([frames for _, _, frames in made], 2)
        return frames[0] if seen.single else frames

    def _rows(self, actions: Tensor | None, positions: Tensor | None) -> int:
        parts = {"actions": actions, "positions": positions}
        rows = [
            part.shape[1]
            for name, part in parts.items()
            if part is not None and self.config.needs[name] is not None
        ]
        if not rows:
            raise ForeframeError("generate: without a condition, say how many frames: n_future=...")
        return min(rows)

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
        if n_future < 1:
            raise ForeframeError(
                f"generate: {n_past} given and {n_future} future frames: too few "
                "(one row of the condition belongs to each frame, the given ones included)."
            )
        condition, observed = self._known(past, actions, positions, n_past + n_future, recorded)
        samples = noise.shape[1]
        for start in range(0, samples, at_once or samples):
            group = slice(start, min(start + (at_once or samples), samples))
            own = noise[:, group].to(observed.h.device)
            spans = self.unroll(
                observed,
                condition,
                own.flatten(0, 1).transpose(0, 1),
                n_past=n_past,
                z_from_posterior=recorded is not None,
                first=n_past,
            )
            frames = (frame for span in spans for frame in span.x_pred)
            for t in range(n_future):
                with self._imagining():  # only here: whoever takes the frames has their own mode
                    frame = next(frames)
                yield group, t, frame.unflatten(0, own.shape[:2])

    # -- step by step ---------------------------------------------------------------------------

    def begin(
        self,
        past: Shaped[Tensor, "batch n_past 3 height width"],
        actions: Float[Tensor, "batch rows action"] | None = None,
        positions: Float[Tensor, "batch rows position"] | None = None,
        *,
        n_samples: int = 1,
        noise: Float[Tensor, "batch n_samples steps z"] | None = None,
    ) -> Imagination:
        """The moment after the given frames, from which ``step`` imagines on.

        Args:
            past: [B, n_past, 3, H, W], the given frames: uint8 or float in [0, 1].
            actions: of the given frames: [B, n_past - 1 or more, A] in source-time, n_past or more
                in target-time.
            positions: [B, rows, P], likewise.
            n_samples: futures K of each sequence.
            noise: [B, K, n_past - 1, z_dim] from N(0, I), the randomness of the given frames' z.

        Raises:
            ForeframeError: see ``condition``; or there are fewer given frames than the skips need.
        """
        batch, n_past = past.shape[:2]
        if noise is None:
            noise = torch.randn(batch, n_samples, n_past - 1, self.config.z_dim)
        condition, observed = self._known(past, actions, positions, n_past)
        drawn = noise.to(observed.h.device).flatten(0, 1).transpose(0, 1)
        seen = observed.repeated(n_samples)
        memory = Memory()
        if n_past > 1:
            with self._imagining():
                memory = self.predict(
                    seen.h[:-1],
                    None if condition is None else repeat(condition, n_samples),
                    memory,
                    drawn,
                    observed.contexts[0],
                    None,
                    q=seen.q,
                    draw=False,
                ).memory
        return Imagination(
            memory, observed.contexts[-1], seen.frames[-1], seen.h[-1], observed.frames[-1]
        )

    def step(
        self,
        now: Imagination,
        action: Float[Tensor, "batch action"] | None = None,
        position: Float[Tensor, "batch position"] | None = None,
        *,
        noise: Float[Tensor, "batch n_samples z"] | None = None,
        z: Float[Tensor, "batch n_samples z"] | None = None,
    ) -> tuple[Float[Tensor, "batch n_samples 3 height width"], Imagination]:
        """Imagine one frame more: the very step that ``futures`` takes for each of its frames.

        Args:
            now: of ``begin`` or of the step before; it stays as it is, so that one can go back to
                it and act otherwise.
            action: [B, A], the row of the condition that leads to the frame: the action between
                the last frame and this one in source-time.
            position: [B, P], likewise.
            noise: [B, K, z_dim] from N(0, I), the randomness of z; by default drawn.
            z: the latent itself, instead of a draw from the prior.

        Returns:
            float32 frames in [0, 1], and the moment after.

        Raises:
            ForeframeError: see ``condition_rows``.
        """
        samples, device = now.n_samples, now.x.device
        if noise is None:
            noise = torch.randn(now.batch, samples, self.config.z_dim, device=device)
        condition = self.condition_rows(
            None if action is None else action.to(device),
            None if position is None else position.to(device),
        )
        sources = None
        if self.config.output == "blend":
            sources = Sources(now.x[None], repeat(now.past[None], samples))
        with self._imagining():
            h = self._encode(now.x, 1, False)[0] if now.h is None else now.h
            made = self.predict(
                h[None],
                None if condition is None else repeat(condition[None], samples),
                now.memory,
                noise.to(device).flatten(0, 1)[None],
                now.context,
                sources,
                z=None if z is None else z.to(device).flatten(0, 1)[None],
            )
        assert made.x_pred is not None
        x = made.x_pred[0]
        fed_back = made.h_pred[0] if self.config.recurrence == "latent" else None
        after = now._replace(memory=made.memory, x=x, h=fed_back)
        return x.unflatten(0, (now.batch, samples)), after

    def _known(
        self,
        past: Tensor,
        actions: Tensor | None,
        positions: Tensor | None,
        n_frames: int,
        recorded: Tensor | None = None,
    ) -> tuple[Tensor | None, Observed]:
        """The condition of ``n_frames`` frames, and what the given (and recorded) ones say."""
        n_past = past.shape[1]
        least = 2 if self.config.skips_from == "svg" else 1
        if n_past < least:
            raise ForeframeError(
                f"generate: {n_past} given frames: too few, the model needs {least} or more."
            )
        device = next(self.parameters()).device
        condition = self.condition(
            None if actions is None else actions.to(device),
            None if positions is None else positions.to(device),
            n_frames,
        )
        with self._imagining():
            frames = time_first(past.to(device))
            if recorded is not None:
                frames = torch.cat([frames, time_first(recorded.to(device))])
            return condition, self.observe(frames, n_past)

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
