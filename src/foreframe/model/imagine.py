"""The trained model as it is used: futures of whole sequences, or imagined step by step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.errors import ForeframeError
from foreframe.model.cvae import CVAE, Memory, repeat, time_first
from foreframe.model.imagination import Imagination
from foreframe.model.nets.recurrent import Gaussian


class Imagining(CVAE):
    """A conditional VAE over video with one latent z_t per step.

    Args:
        config: the model's configuration.

    Raises:
        ForeframeError: a width or size in ``config`` has no meaning.
    """

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
        self._require_past(n_past)
        if n_future < 1:
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
        device = next(self.parameters()).device
        batch, n_past = past.shape[:2]
        self._require_past(n_past)
        if noise is None:
            noise = torch.randn(batch, n_samples, n_past - 1, self.config.z_dim)
        condition = self.condition(
            None if actions is None else actions.to(device),
            None if positions is None else positions.to(device),
            n_past,
        )
        if condition is not None:
            condition = repeat(condition, n_samples)
        drawn = noise.to(device).flatten(0, 1).transpose(0, 1)
        memory = Memory()
        with self._imagining():
            frames = time_first(past.to(device))
            observed = self.observe(frames, n_past)
            h, q = repeat(observed.h, n_samples), observed.q
            for i in range(n_past - 1):
                now = slice(i, i + 1)
                assert q is not None
                seen = Gaussian(repeat(q.mu[now], n_samples), repeat(q.logvar[now], n_samples))
                row = None if condition is None else condition[now]
                _, _, memory = self.advance(h[now], row, memory, drawn[now], seen)
        return Imagination(
            memory, observed.contexts[-1], repeat(frames[-1:], n_samples)[0], h[-1], frames[-1]
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
        batch, samples = now.batch, now.n_samples
        device = now.x.device
        if noise is None:
            noise = torch.randn(batch, samples, self.config.z_dim, device=device)
        condition = self.condition_rows(
            None if action is None else action.to(device),
            None if position is None else position.to(device),
        )
        with self._imagining():
            h = self._encode(now.x, 1, False)[0] if now.h is None else now.h
            h_pred, _, memory = self.advance(
                h[None],
                None if condition is None else repeat(condition[None], samples),
                now.memory,
                noise.to(device).flatten(0, 1)[None],
                z=None if z is None else z.to(device).flatten(0, 1)[None],
            )
            sources = None
            if self.config.output == "blend":
                sources = (now.x, repeat(now.past[None], samples)[0])
            x = self._decode(h_pred, now.context, sources, False)[0]
        return x.unflatten(0, (batch, samples)), now._replace(memory=memory, x=x, h=None)

    def _require_past(self, n_past: int) -> None:
        least = 2 if self.config.skips_from == "svg" else 1
        if n_past < least:
            raise ForeframeError(
                f"generate: {n_past} given frames: too few, the model needs {least} or more."
            )

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
