"""Candidates of any planner imagined as one batch: what the adapters share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.errors import ForeframeError
from foreframe.model.imagines import Imagines


@dataclass(frozen=True)
class Candidates:
    """Imagines what sequences of actions lead to, by the model's own ``begin`` and ``step``.

    All candidates share the draws of the latent, which are a function of the seed: they differ in
    their actions alone. Those of one call are the ones that ``model.generate`` makes of one
    sequence with ``generator=torch.Generator().manual_seed(seed)``.

    Attributes:
        model: conditioned on actions alone, in source-time.
        n_past: given frames.
        futures: futures K of each candidate.
        seed: of the latent.
        at_once: futures that are imagined side by side.

    Raises:
        ForeframeError: the model is told something else, or a number has no meaning.
    """

    model: Imagines
    n_past: int
    futures: int
    seed: int
    at_once: int

    def __post_init__(self) -> None:
        config = self.model.config
        if config.condition != "actions" or config.timing != "source":
            raise ForeframeError(
                f"the model is told {config.condition_name}; a planner has nothing but the actions "
                "up to each frame. Train a model with --condition actions --timing source."
            )
        for name, least in (("n_past", 2), ("futures", 1), ("seed", 0), ("at_once", 1)):
            if getattr(self, name) < least:
                raise ForeframeError(f"{name} {getattr(self, name)}: must be at least {least}.")

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def check(self, past: Tensor, told: Tensor, planned: Tensor) -> None:
        """Refuse what does not fit the model.

        Args:
            past: [B, frames, 3, H, W], of a size that the model takes.
            told: [B, frames - 1, A], the actions between them.
            planned: [..., H, A], the candidates.

        Raises:
            ForeframeError: names what does not fit.
        """
        width = self.model.config.action_dim
        if past.shape[1] != self.n_past:
            raise ForeframeError(
                f"{past.shape[1]} given frames: the model was asked for with n_past={self.n_past}."
            )
        for name, part in (("actions of the given frames", told), ("candidates", planned)):
            if part.shape[-1] != width:
                raise ForeframeError(
                    f"{name}: {part.shape[-1]} numbers a step, but the model was built for {width}."
                )
        if told.shape[:2] != (len(past), self.n_past - 1):
            raise ForeframeError(
                f"actions of the given frames: have shape {list(told.shape)}; between "
                f"{self.n_past} frames of {len(past)} there are "
                f"[{len(past)}, {self.n_past - 1}, {width}]."
            )
        if planned.shape[-2] < 1:
            raise ForeframeError("candidates: hold no actions after the given frames.")
        for name, part in (("actions of the given frames", told), ("candidates", planned)):
            if not torch.isfinite(part).all():
                raise ForeframeError(f"{name}: hold numbers that are not finite.")

    def imagine(
        self,
        past: Shaped[Tensor, "batch n_past 3 height width"],
        told: Float[Tensor, "batch known action"],
        planned: Float[Tensor, "batch candidates horizon action"],
        *,
        last_only: bool,
    ) -> Iterator[tuple[slice, int, Float[Tensor, "batch some futures 3 height width"]]]:
        """Yield imagined frames, some of the candidates at a time, one frame after another.

        Args:
            past: the given frames, bytes or float32, encoded once for all candidates of a sequence.
            told: the actions between them.
            planned: S candidates for each of B sequences.
            last_only: yield the last frame of each candidate alone.

        Returns:
            which candidates, the number of the frame from 0, and the frames on the model's device.
        """
        batch, count, horizon = planned.shape[:3]
        drawn = torch.randn(
            1,
            self.futures,
            self.n_past - 1 + horizon,
            self.model.config.z_dim,
            generator=torch.Generator().manual_seed(self.seed),
        )
        known, later = drawn[:, :, : self.n_past - 1], drawn[:, :, self.n_past - 1 :]
        start = self.model.begin(
            past.to(self.device),
            told.to(self.device),
            n_samples=self.futures,
            noise=known.expand(batch, -1, -1, -1),
        )
        portion = max(1, self.at_once // (batch * self.futures))
        for first in range(0, count, portion):
            some = slice(first, min(first + portion, count))
            for t, frames in self._steps(start, planned[:, some], later, last_only):
                yield some, t, frames

    def _steps(
        self, start: Any, planned: Tensor, later: Tensor, last_only: bool
    ) -> Iterator[tuple[int, Tensor]]:
        batch, count, horizon = planned.shape[:3]
        # Joined moments are in the order candidate, sequence.
        moment = type(start).join([start] * count)
        actions = planned.transpose(0, 1).flatten(0, 1).to(self.device)
        for t in range(horizon):
            noise = later[:, :, t].expand(batch * count, -1, -1)
            if last_only and t + 1 < horizon:
                moment = self.model.step_unseen(moment, actions[:, t], noise=noise)
            else:
                frames, moment = self.model.step(moment, actions[:, t], noise=noise)
                yield t, frames.unflatten(0, (count, batch)).transpose(0, 1)
