"""Convolutions as this model uses them, and how they begin."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.model.nets.norm import batch_norm


def conv(i: int, o: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size, or divides it by ``stride``."""
    return nn.Conv2d(i, o, kernel, stride, (kernel - 1) // 2)


def initialise(module: nn.Module) -> None:
    """He et al. 2015 for convolutions, biases 0; the rest keeps PyTorch's default."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, (2 / (4 * module.weight.shape[0])) ** 0.5)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def centres(size: int) -> Float[Tensor, "size size 2"]:
    """x and y of pixel centres in [-1, 1], as ``grid_sample`` counts without aligned corners."""
    at = (torch.arange(size) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], -1)


def moved(
    x: Float[Tensor, "batch channels height width"], grid: Float[Tensor, "batch rows columns 2"]
) -> Float[Tensor, "batch channels rows columns"]:
    """``x`` as seen at the places ``grid``, bilinear; beyond its border, the border."""
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


class Encoder(nn.Module):
    """A frame to features at half and at a quarter of its size.

    Args:
        fine: channels at 32x32.
        coarse: channels at 16x16.
    """

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, fine, 4, 2, 1)
        self.coarse = nn.Conv2d(fine, coarse, 4, 2, 1)
        self.norm = nn.BatchNorm2d(coarse)

    def forward(
        self, x: Float[Tensor, "frames 3 64 64"]
    ) -> tuple[Float[Tensor, "frames fine 32 32"], Float[Tensor, "frames coarse 16 16"]]:
        """Features of frames in [0, 1]."""
        fine = F.relu(self.fine(x))
        return fine, batch_norm(self.coarse(fine), self.norm, slope=0.0)
