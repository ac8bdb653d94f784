"""Many futures of each sequence scored as they are imagined, in memory that does not grow."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreframe.metrics import psnr, ssim
from foreframe.model import VideoCVAE

AT_ONCE = {"cpu": 16, "cuda": 256, "mps": 64}
"""Futures, over all sequences of a batch, that are imagined side by side: what fills the device."""


class Scores(NamedTuple):
    """Of each frame of each future.

    Attributes:
        psnr: dB.
        ssim: at most 1.
        first: the first future of each sequence itself, uint8; None unless asked for.
    """

    psnr: Float[Tensor, "batch n_samples n_future"]
    ssim: Float[Tensor, "batch n_samples n_future"]
    first: Shaped[Tensor, "batch n_future 3 height width"] | None


@torch.no_grad()
def score_futures(
    model: VideoCVAE,
    past: Shaped[Tensor, "batch n_past 3 height width"],
    truth: Float[Tensor, "batch n_future 3 height width"],
    actions: Float[Tensor, "batch rows action"] | None,
    positions: Float[Tensor, "batch rows position"] | None,
    noise: Float[Tensor, "batch n_samples steps z"],
    *,
    keep_first: bool = False,
    at_once: int | None = None,
) -> Scores:
    """Imagine K futures of each sequence and score every frame, on the device of the model.

    The past is encoded once for all K. The futures are imagined side by side in groups, and each
    frame is scored and dropped before the next one: the memory depends neither on K nor on the
    length.

    Args:
        model: imagines, in evaluation mode.
        past: the given frames: uint8 or float in [0, 1].
        truth: the frames that followed, in [0, 1].
        actions: one row a frame, given ones included; see ``VideoCVAE.generate``.
        positions: likewise.
        noise: [B, K, n_past + n_future - 1, z_dim] from N(0, I), one draw for each future.
        keep_first: also return the first future of each sequence.
        at_once: futures that are imagined side by side, over all sequences; by default what fills
            the device.

    Returns:
        scores on the model's device.

    Raises:
        ForeframeError: see ``VideoCVAE.condition``.
    """
    batch, n_samples = noise.shape[:2]
    device = next(model.parameters()).device
    truth = truth.to(device)
    scores = torch.empty(2, batch, n_samples, truth.shape[1], device=device)
    first: list[Tensor] = []
    group = max(1, (at_once or AT_ONCE.get(device.type, 64)) // batch)
    made = model.futures(
        past, actions, positions, noise=noise, n_future=truth.shape[1], at_once=group
    )
    for samples, t, frames in made:
        expected = truth[:, None, t].expand_as(frames)
        scores[0, :, samples, t] = psnr(frames, expected)
        scores[1, :, samples, t] = ssim(frames, expected)
        if keep_first and samples.start == 0:
            first.append(frames[:, 0].mul(255).round_().byte())
    return Scores(scores[0], scores[1], torch.stack(first, 1) if keep_first else None)
