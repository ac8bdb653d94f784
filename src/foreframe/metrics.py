"""Image metrics, each with its protocol in words; higher is better for all of them."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

#: A perfect frame has no finite PSNR; the cap keeps means and JSON valid.
PSNR_CAP = 100.0

PSNR_PROTOCOL = (
    "10 log10(1 / MSE) of each colour channel in [0, 1] (at most 100 dB), mean over channels, "
    "then predicted frames, then sequences"
)
SSIM_PROTOCOL = (
    "RGB in [0, 1], data range 1, Gaussian window 11x11 with sigma 1.5, frames reflected at their "
    "borders, mean over pixels and channels, then predicted frames, then sequences"
)


def psnr(
    prediction: Float[Tensor, "*batch 3 height width"],
    truth: Float[Tensor, "*batch 3 height width"],
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB, per channel and then averaged, as the lab defines it.

    Args:
        prediction: frames in [0, 1].
        truth: frames in [0, 1], the same shape.
    """
    mse = (prediction - truth).square().mean(dim=(-2, -1))
    return (-10.0 * torch.log10(mse)).clamp(max=PSNR_CAP).mean(-1)


SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # K1 and K2 of the paper, for data range 1


@lru_cache(maxsize=8)
def _window(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[size, size]: row i weighs the pixels of the window around pixel i, reflected at the ends."""
    reach = SSIM_WINDOW // 2
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / SSIM_SIGMA).square())
    rows = torch.zeros(size, size + 2 * reach, dtype=torch.float64)
    for i, row in enumerate(rows):
        row[i : i + SSIM_WINDOW] = weights / weights.sum()
    inside = rows[:, reach:-reach]
    inside[:, 1 : reach + 1] += rows[:, :reach].flip(1)
    inside[:, -reach - 1 : -1] += rows[:, -reach:].flip(1)
    return inside.to(device, dtype)


def ssim(
    prediction: Float[Tensor, "*batch 3 height width"],
    truth: Float[Tensor, "*batch 3 height width"],
) -> Float[Tensor, "*batch"]:
    """Structural similarity with a Gaussian 11x11 window of sigma 1.5, data range 1.

    Source: Wang et al. 2004, section III B and C; frames are reflected at their borders. The window
    is a product of two of one dimension, so each local mean is two small matrix products.

    Args:
        prediction: frames in [0, 1], at least 6x6.
        truth: frames in [0, 1], the same shape.
    """
    x, y = prediction, truth
    rows = _window(x.shape[-2], x.device, x.dtype)
    columns = _window(x.shape[-1], x.device, x.dtype)
    maps = torch.stack([x, y, x * x, y * y, x * y])
    # Variances are small differences of large means: not in half precision.
    with torch.autocast(x.device.type, enabled=False):
        mean_x, mean_y, xx, yy, xy = rows @ maps @ columns.T
    variances = (xx - mean_x.square()).clamp(min=0) + (yy - mean_y.square()).clamp(min=0)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    contrast_structure = (2 * (xy - mean_x * mean_y) + _C2) / (variances + _C2)
    return (luminance * contrast_structure).mean(dim=(-3, -2, -1))
