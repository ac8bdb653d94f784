"""Image metrics, each with its protocol in words; higher is better for all of them."""

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
    "RGB in [0, 1], data range 1, Gaussian window 11x11 with sigma 1.5, mean over pixels and "
    "channels, then predicted frames, then sequences"
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


def ssim(
    prediction: Float[Tensor, "*batch 3 height width"],
    truth: Float[Tensor, "*batch 3 height width"],
) -> Float[Tensor, "*batch"]:
    """Structural similarity (Wang et al. 2004) with a Gaussian 11x11 window, data range 1.

    Args:
        prediction: frames in [0, 1].
        truth: frames in [0, 1], the same shape.
    """
    leading = prediction.shape[:-3]
    # Imported here: it takes a second, and fails where no temporary file can be written.
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(
        prediction.reshape(-1, *prediction.shape[-3:]),
        truth.reshape(-1, *truth.shape[-3:]),
        data_range=1.0,
        reduction="none",
    )
    assert isinstance(value, Tensor)
    return value.reshape(leading)
