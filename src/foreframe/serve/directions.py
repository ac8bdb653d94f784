"""The principal directions of the latent: what to turn to see what z does."""

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


class Directions(NamedTuple):
    """The Gaussian that all z of many recordings follow together, in its principal axes.

    Attributes:
        mean: of z.
        axes: [z, z], a direction in each row, that along which the posterior's means vary most
            first.
        deviations: of z along each, that of the means and that of the posterior itself together.
        shares: of the variance of the posterior's means along each.
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
            values: deviations from the mean along the first axes; None leaves one drawn, as are
                those beyond the list.
            noise: [K, z], from N(0, I).
        """
        coordinates = noise.clone()
        for axis, value in enumerate(values):
            if value is not None:
                coordinates[:, axis] = value
        return self.mean + (coordinates * self.deviations) @ self.axes


@torch.no_grad()
def principal_directions(model: VideoCVAE, store: Store) -> Directions:
    """Those of the posterior over some recordings (evaluation mode).

    Args:
        model: in evaluation mode.
        store: of frames in the model's size.
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
