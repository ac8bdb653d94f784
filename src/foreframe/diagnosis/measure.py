"""What the latent carries, and what it is worth in predicted frames."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.store import Store
from foreframe.evaluation.options import SequenceOptions
from foreframe.evaluation.sampling import noise_of_batch
from foreframe.metrics import psnr
from foreframe.model.clip import Clip
from foreframe.model.latent import LatentNumbers, latent_numbers
from foreframe.model.nets.recurrent import Gaussian
from foreframe.model.spans import time_first
from foreframe.runs.hub import VideoCVAE

SOURCES = ("posterior", "prior", "prior-mean", "zero")
"""Where z is taken from after the given frames."""


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        latent: of q and p over all steps, free-running with z from the posterior.
        psnr: dB over the predicted frames, by the source of z.
        between_samples: dB between two samples from the prior: the lower, the more they differ.
        sequences: how many.
    """

    latent: LatentNumbers
    psnr: dict[str, float]
    between_samples: float
    sequences: int

    @property
    def cost_of_zero(self) -> float:
        """dB that are lost when the posterior's z is set to zero."""
        return self.psnr["posterior"] - self.psnr["zero"]

    @property
    def gap(self) -> float:
        """dB that are lost when z is drawn from the prior, which cannot see the frame."""
        return self.psnr["posterior"] - self.psnr["prior"]


@torch.no_grad()
def measure(
    model: VideoCVAE,
    store: Store,
    options: SequenceOptions,
    *,
    batch_size: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Predict with z from several sources, in evaluation mode and float32.

    Args:
        model: in evaluation mode.
        store: the split.
        options: given and predicted frames, sequences and seed.
        batch_size: sequences at once.
        progress: called with (sequences done, all).
    """
    device = next(model.parameters()).device
    sequences = options.count(len(store))
    scores: dict[str, list[Tensor]] = {name: [] for name in (*SOURCES, "between")}
    posteriors: list[Gaussian] = []
    priors: list[Gaussian] = []
    done = 0
    for clip in evaluation_batches(
        store, n_frames=options.n_frames, batch_size=batch_size, limit=sequences
    ):
        indices = range(done, done + len(clip))
        noise = noise_of_batch(options.seed, indices, 2, options.n_frames, model.config.z_dim)
        values, q, p = _measure_batch(model, clip.to(device), options.n_past, noise.to(device))
        for name, value in values.items():
            scores[name].append(value)
        posteriors.append(q)
        priors.append(p)
        done += len(clip)
        progress(done, sequences)
    means = {name: float(torch.cat(values).double().mean()) for name, values in scores.items()}
    return Measured(
        latent=latent_numbers(_all_sequences(posteriors), _all_sequences(priors)),
        psnr={source: means[source] for source in SOURCES},
        between_samples=means["between"],
        sequences=done,
    )


def _measure_batch(
    model: VideoCVAE, clip: Clip, n_past: int, noise: Tensor
) -> tuple[dict[str, Tensor], Gaussian, Gaussian]:
    """PSNR [B] by the source of z, and posterior and prior of every z.

    Args:
        model: in evaluation mode.
        clip: on its device.
        n_past: given frames.
        noise: [B, 2, n_frames - 1, z_dim].
    """
    x = time_first(clip.frames)
    condition = model.condition(clip.actions, clip.positions, len(x))
    observed = model.observe(x, n_past)
    first, second = noise.permute(1, 2, 0, 3)

    def imagine(own: Tensor, *, from_posterior: bool = False) -> Tensor:
        spans = model.unroll(
            observed, condition, own, n_past=n_past, z_from_posterior=from_posterior
        )
        return torch.cat([span.x_pred for span in spans])[n_past - 1 :]

    reconstruction = model.rollout(x, condition, first, n_past=n_past)
    q = reconstruction.q
    assert q is not None
    # z = mu + noise * sigma: this noise makes z zero.
    none = (-q.mu * torch.exp(-0.5 * q.logvar)).expand_as(first)
    zero, mean = imagine(none, from_posterior=True), imagine(torch.zeros_like(first))
    one, other = imagine(first), imagine(second)
    pairs = {
        "posterior": (reconstruction.x_pred[n_past - 1 :], x[n_past:]),
        "zero": (zero, x[n_past:]),
        "prior-mean": (mean, x[n_past:]),
        "prior": (one, x[n_past:]),
        "between": (one, other),
    }
    return {name: psnr(*pair).mean(0) for name, pair in pairs.items()}, q, reconstruction.p


def _all_sequences(batches: list[Gaussian]) -> Gaussian:
    """Distributions [steps, B, z] of several batches as one."""
    mu, logvar = (torch.cat([getattr(one, k) for one in batches], 1) for k in ("mu", "logvar"))
    return Gaussian(mu, logvar)
