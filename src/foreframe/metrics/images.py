"""PSNR and SSIM of frames, in the variants that publications use under the same two names."""

from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

#: A perfect frame has no finite PSNR; the cap keeps means and JSON valid.
PSNR_CAP = 100.0
_LEAST_MSE = 10 ** (-PSNR_CAP / 10)


def psnr(
    prediction: Float[Tensor, "*batch 3 height width"],
    truth: Float[Tensor, "*#batch 3 height width"],
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB, per channel and then averaged, as the lab defines it.

    Args:
        prediction: frames in [0, 1].
        truth: frames in [0, 1], the same shape.
    """
    return decibels((prediction - truth).square().mean(dim=(-2, -1))).mean(-1)


def psnr_of_frame(
    prediction: Float[Tensor, "*batch 3 height width"],
    truth: Float[Tensor, "*#batch 3 height width"],
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB of the squared error over all channels of a frame.

    Never above ``psnr``: the logarithm of a mean is at least the mean of the logarithms.

    Args:
        prediction: frames in [0, 1].
        truth: frames in [0, 1], the same shape.
    """
    return decibels(squared_error(prediction, truth))


MOVES = 20 / 255
"""Difference to the last given frame, in some channel, above which a pixel truly changes."""


def psnr_of_moving(
    prediction: Float[Tensor, "*batch 3 height width"],
    truth: Float[Tensor, "*#batch 3 height width"],
    last: Float[Tensor, "*#batch 3 height width"],
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB over the pixels that truly change.

    A frame in which none does is scored over all its pixels.

    Args:
        prediction: frames in [0, 1].
        truth: frames in [0, 1], the same shape.
        last: the last given frame of each.
    """
    moves = (truth - last).abs().amax(-3) > MOVES
    counts = torch.where(moves.any(dim=(-2, -1), keepdim=True), moves, True).float()
    error = (prediction - truth).square().mean(-3)
    return decibels((error * counts).sum((-2, -1)) / counts.sum((-2, -1)))


def squared_error(
    prediction: Float[Tensor, "*batch 3 height width"],
    truth: Float[Tensor, "*#batch 3 height width"],
) -> Float[Tensor, "*batch"]:
    """Mean squared error over the pixels and channels of a frame."""
    return (prediction - truth).square().mean(dim=(-3, -2, -1))


def decibels(mse: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """10 log10(1 / MSE) for values in [0, 1], at most ``PSNR_CAP``."""
    return -10.0 * torch.log10(mse.clamp(min=_LEAST_MSE))


# -- SSIM ---------------------------------------------------------------------------------------

Window = Literal["gaussian", "gaussian inside", "uniform inside"]
"""The local window of SSIM.

gaussian: 11x11 with sigma 1.5, around every pixel, frames reflected at their borders.
gaussian inside: the same, around the pixels whose window lies within the frame.
uniform inside: 7x7 with even weights and sample (co)variances, likewise; scikit-image's default.
"""

GAUSSIAN_SIZE = 11
GAUSSIAN_SIGMA = 1.5
UNIFORM_SIZE = 7
K1, K2 = 0.01, 0.03


@lru_cache(maxsize=16)
def _window(size: int, window: Window, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[windows, size]: row i weighs the pixels that the i-th window looks at."""
    if window == "uniform inside":
        weights = torch.full((UNIFORM_SIZE,), 1 / UNIFORM_SIZE, dtype=torch.float64)
    else:
        reach = GAUSSIAN_SIZE // 2
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weights = torch.exp(-0.5 * (offsets / GAUSSIAN_SIGMA).square())
        weights /= weights.sum()
    reach = len(weights) // 2
    rows = torch.zeros(size, size + 2 * reach, dtype=torch.float64)
    for i, row in enumerate(rows):
        row[i : i + len(weights)] = weights
    inside = rows[:, reach:-reach]
    if window == "gaussian":
        inside[:, 1 : reach + 1] += rows[:, :reach].flip(1)
        inside[:, -reach - 1 : -1] += rows[:, -reach:].flip(1)
    else:
        inside = inside[reach:-reach]
    return inside.to(device, dtype)


def ssim(
    prediction: Float[Tensor, "*batch channels height width"],
    truth: Float[Tensor, "*#batch channels height width"],
    *,
    window: Window = "gaussian",
    data_range: float = 1.0,
) -> Float[Tensor, "*batch"]:
    """Structural similarity, mean over windows and channels.

    Source: Wang et al. 2004, section III B and C. The windows are products of two of one dimension,
    so each local mean is two small matrix products.

    Args:
        prediction: frames in [0, 1], at least as large as the window.
        truth: frames in [0, 1]; one for several predictions (size 1 there) is looked at once.
        window: see ``Window``.
        data_range: the span of values that the constants C1 and C2 are taken from. Frames in [0, 1]
            have 1; a larger one inflates the result.
    """
    x, y = prediction, truth
    rows = _window(x.shape[-2], window, x.device, x.dtype)
    columns = _window(x.shape[-1], window, x.device, x.dtype)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    # Variances are small differences of large means: not in half precision.
    with torch.autocast(x.device.type, enabled=False):
        mean_x, xx, xy = rows @ torch.stack([x, x * x, x * y]) @ columns.T
        mean_y, yy = rows @ torch.stack([y, y * y]) @ columns.T
    count = UNIFORM_SIZE**2
    unbiased = count / (count - 1) if window == "uniform inside" else 1.0
    # In place where a map is not needed again: the time goes into memory traffic.
    product, square_x, square_y = mean_x * mean_y, mean_x.square(), mean_y.square()
    variances = (xx - square_x).clamp_(min=0) + (yy - square_y).clamp_(min=0)
    contrast_structure = (xy - product).mul_(2 * unbiased).add_(c2)
    contrast_structure.div_(variances.mul_(unbiased).add_(c2))
    luminance = product.mul_(2).add_(c1).div_((square_x + square_y).add_(c1))
    return luminance.mul_(contrast_structure).mean(dim=(-3, -2, -1))


def ssim_as_svg(
    prediction: Float[Tensor, "*batch 3 height width"],
    truth: Float[Tensor, "*#batch 3 height width"],
) -> Float[Tensor, "*batch"]:
    """SSIM of each channel with a uniform 7x7 window and data range 2, which inflates it.

    What scikit-image's defaults made of floats in [0, 1] when SVG's scores were computed.
    """
    return ssim(prediction, truth, window="uniform inside", data_range=2.0)


def ssim_grey(
    prediction: Float[Tensor, "*batch 3 height width"],
    truth: Float[Tensor, "*#batch 3 height width"],
) -> Float[Tensor, "*batch"]:
    """SSIM of the luma (ITU-R BT.601), Gaussian windows within the frame, data range 1."""
    return ssim(luma(prediction), luma(truth), window="gaussian inside")


def luma(
    frames: Float[Tensor, "*batch 3 height width"],
) -> Float[Tensor, "*batch 1 height width"]:
    """Grey frames: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""
    red, green, blue = frames.unbind(-3)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)
