"""What the latent carries, and what it is worth in predicted frames."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.store import Store
from foreframe.evaluation.sampling import sequence_noise
from foreframe.metrics import psnr
from foreframe.model.latent import LatentNumbers, latent_numbers
from foreframe.model.nets.recurrent import Gaussian
from foreframe.model.recurrence import Observed
from foreframe.model.spans import time_first
from foreframe.runs.hub import VideoCVAE

SOURCES = ("posterior", "prior", "prior-mean", "zero")
"""Where z is taken from after the given frames."""


@dataclass(frozen=True)
class Diagnosis:
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
    *,
    n_past: int,
    n_future: int,
    sequences: int,
    seed: int,
    batch_size: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Predict with z from several sources, in evaluation mode and float32.

    Args:
        model: in evaluation mode.
        store: the split.
        n_past: given frames.
        n_future: predicted frames.
        sequences: the first ones, at most ``len(store)``.
        seed: of the noise of z.
        batch_size: sequences at once.
        progress: called with (sequences done, all).
    """
    device = next(model.parameters()).device
    n_frames = n_past + n_future
    found: dict[str, list[Tensor]] = {source: [] for source in (*SOURCES, "between")}
    kept: list[tuple[Gaussian, Gaussian]] = []
    done = 0
    for clip in evaluation_batches(
        store, n_frames=n_frames, batch_size=batch_size, limit=sequences
    ):
        x = time_first(clip.to(device).frames)
        actions, positions = (
            None if part is None else part.to(device) for part in (clip.actions, clip.positions)
        )
        condition = model.condition(actions, positions, n_frames)
        draws = torch.stack(
            [
                sequence_noise(seed, done + k, 2, n_frames - 1, model.config.z_dim)
                for k in range(len(clip))
            ]
        ).to(device)
        first, second = draws.permute(1, 2, 0, 3)
        observed = model.observe(x, n_past)
        q = observed.q
        assert q is not None

        imagine = partial(_imagine, model, observed, condition, n_past)
        truth = x[n_past:]
        made, p = imagine(first, from_posterior=True)
        kept.append((q, p))
        found["posterior"].append(psnr(made, truth).mean(0))
        # z = mu + noise * sigma, so this noise makes it nothing.
        nothing = -q.mu * torch.exp(-0.5 * q.logvar)
        found["zero"].append(psnr(imagine(nothing, from_posterior=True)[0], truth).mean(0))
        mean = imagine(torch.zeros_like(first), from_posterior=False)[0]
        found["prior-mean"].append(psnr(mean, truth).mean(0))
        one, other = (imagine(noise, from_posterior=False)[0] for noise in (first, second))
        found["prior"].append(psnr(one, truth).mean(0))
        found["between"].append(psnr(one, other).mean(0))
        done += len(clip)
        progress(done, sequences)
    q, p = (
        Gaussian(*(torch.cat([getattr(pair[i], k) for pair in kept], 1) for k in ("mu", "logvar")))
        for i in (0, 1)
    )
    means = {name: float(torch.cat(values).double().mean()) for name, values in found.items()}
    return Diagnosis(
        latent=latent_numbers(q, p),
        psnr={source: means[source] for source in SOURCES},
        between_samples=means["between"],
        sequences=done,
    )


def _imagine(
    model: VideoCVAE,
    observed: Observed,
    condition: Tensor | None,
    n_past: int,
    noise: Tensor,
    *,
    from_posterior: bool,
) -> tuple[Tensor, Gaussian]:
    """Predicted frames [n_future, B, 3, H, W], free-running, and the prior of every z."""
    spans = list(
        model.unroll(observed, condition, noise, n_past=n_past, z_from_posterior=from_posterior)
    )
    frames = torch.cat([span.x_pred for span in spans])[n_past - 1 :]
    return frames, Gaussian.join([span.p for span in spans])


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The numbers as plain values."""
    latent = diagnosis.latent
    return {
        "sequences": diagnosis.sequences,
        "kl": latent.kl,
        "kl_per_dimension": latent.kl_per_dimension,
        "kl_per_step": latent.kl_per_step,
        "mean_variance": latent.mean_variance,
        "active_units": latent.active_units,
        "active_by_kl": latent.active_by_kl,
        "sigma_q": latent.sigma_q,
        "sigma_p": latent.sigma_p,
        "mu_q": latent.mu_q,
        "psnr": diagnosis.psnr,
        "cost_of_zero": diagnosis.cost_of_zero,
        "prior_posterior_gap": diagnosis.gap,
        "between_samples": diagnosis.between_samples,
    }
