"""The weights of a run with the principal directions of their latent: what to turn to see z."""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.store import Store
from foreframe.model.spans import time_first
from foreframe.runs.hub import VideoCVAE

_SEQUENCES = 24
_FRAMES = 24


class Weights:
    """The weights of a run at one time, and what follows from them.

    A training may write better ones meanwhile; a session keeps those that it began with.

    Attributes:
        model: in evaluation mode.

    Args:
        model: in evaluation mode.
        recordings: that the directions are computed on; None where there are none.
    """

    def __init__(self, model: VideoCVAE, recordings: Callable[[], Store | None]) -> None:
        self.model, self._recordings = model, recordings

    @property
    def known_directions(self) -> "Directions | None":
        """The directions, if they have been computed already; never waits."""
        return vars(self).get("directions")

    @cached_property
    def directions(self) -> "Directions | None":
        """The principal directions of the latent; computed once, only in the engine's thread."""
        if self.model.config.latent_of_episode:
            return None  # it is drawn before the first step: there is nothing to turn
        recordings = self._recordings()
        return None if recordings is None else principal_directions(self.model, recordings)


class Directions(NamedTuple):
    """The Gaussian that the z of many recordings follow together, in its principal axes.

    Attributes:
        mean: [z], the mean of z.
        axes: [z, z], one direction in each row; along the first the posterior's means vary most.
        deviations: [z], the standard deviation of z along each axis: the spread of the posterior's
            means and the posterior's own together.
        shares: [z], the share of the variance of the posterior's means along each axis.
    """

    mean: Float[Tensor, " z"]
    axes: Float[Tensor, "z z"]
    deviations: Float[Tensor, " z"]
    shares: list[float]

    def place(
        self, values: list[float | None], noise: Float[Tensor, "k z"]
    ) -> Float[Tensor, "k z"]:
        """Latents with some coordinates given, and the others drawn.

        Args:
            values: standard deviations from the mean along the first axes. A None leaves its
                coordinate drawn, and so are all beyond the list.
            noise: [K, z], from N(0, I).
        """
        coordinates = noise.clone()
        for axis, value in enumerate(values):
            if value is not None:
                coordinates[:, axis] = value
        return self.mean + (coordinates * self.deviations) @ self.axes


@torch.no_grad()
def principal_directions(model: VideoCVAE, store: Store) -> Directions:
    """The principal directions of the posterior over some recordings.

    Args:
        model: in evaluation mode.
        store: recordings with frames in the model's size.
    """
    device = next(model.parameters()).device
    frames = max(2, min(_FRAMES, int(store.lengths.min())))
    means, variances = [], []
    for clip in evaluation_batches(store, n_frames=frames, batch_size=4, limit=_SEQUENCES):
        x = time_first(clip.to(device).frames)
        q = model.observe(x, 2 if model.config.skips_from == "svg" else 1).q
        assert q is not None
        means.append(q.mu.flatten(0, 1).cpu())
        variances.append(q.logvar.exp().flatten(0, 1).cpu())
    mu = torch.cat(means).double()
    mean = mu.mean(0)
    _, values, axes = torch.linalg.svd(mu - mean, full_matrices=False)
    if len(axes) < len(mean):  # fewer rows than dimensions: the rest of the axes, any of them
        axes = torch.linalg.qr(torch.cat([axes, torch.eye(len(mean), dtype=mu.dtype)]).T)[0].T
        values = torch.cat([values, values.new_zeros(len(mean) - len(values))])
    along = values.square() / len(mu)
    own = axes.square() @ torch.cat(variances).double().mean(0)
    shares = along / along.sum().clamp(min=np.finfo(np.float64).tiny)
    return Directions(mean.float(), axes.float(), (along + own).sqrt().float(), shares.tolist())
