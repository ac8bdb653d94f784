"""Futures of given frames: whole ones, whatever the networks behind them are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.errors import ForeframeError
from foreframe.model.conditioned import Conditioned
from foreframe.model.inputs import Array, given
from foreframe.model.spans import Rollout, Span, time_first


class Imagines(Conditioned):
    """What every model does with its recurrence: ``generate`` and ``futures``.

    Args:
        config: the model's configuration.
    """

    observe: Callable[..., Any]
    """Known frames [known, B, 3, H, W] and n_past to what they say, once for all samples."""

    unroll: Callable[..., Iterator[Span]]
    """That, a condition and noise to the predicted frames, span by span."""

    rollout: Callable[..., Rollout]
    """Frames 1 .. T-1 as predicted, with the posterior and the prior."""

    begin: Callable[..., Any]
    """Given frames and their condition to the moment after them, from which ``step`` imagines."""

    step: Callable[..., tuple[Tensor, Any]]
    """A moment and a row of the condition to one frame more, and the moment after."""

    def step_unseen(
        self,
        now: Any,
        action: Float[Tensor, "batch action"] | None = None,
        position: Float[Tensor, "batch position"] | None = None,
        *,
        noise: Float[Tensor, "batch n_samples z"] | None = None,
    ) -> Any:
        """``step`` for whoever wants the moment after and not the frame.

        A model that does not need the frame to go on does not draw it; its moments then hold the
        last frame that was drawn.
        """
        return self.step(now, action, position, noise=noise)[1]

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
        seen = given(past, actions, positions, self.config.frame_size)
        if seen.past.is_floating_point():  # NumPy's are float64 unless somebody says otherwise
            seen = seen._replace(past=seen.past.to(next(self.parameters()).dtype))
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
        futures: Tensor | None = None
        for _, t, frames in made:  # each is written where it belongs: never are all of them twice
            if futures is None:
                shape = (*frames.shape[:2], n_future, *frames.shape[2:])
                futures = frames.new_empty(shape)
            futures[:, :, t] = frames
        assert futures is not None
        return futures[0] if seen.single else futures

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
            own = noise[:, group].to(observed.frames.device)
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

    def _known(
        self,
        past: Tensor,
        actions: Tensor | None,
        positions: Tensor | None,
        n_frames: int,
        recorded: Tensor | None = None,
    ) -> tuple[Tensor | None, Any]:
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
