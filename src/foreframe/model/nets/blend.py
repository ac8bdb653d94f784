"""Frames blended out of new content and frames that are there already, pixel by pixel."""

import torch
from jaxtyping import Float
from torch import Tensor

SOURCES = 2
"""Frames that a blend copies from: the one before and the last given one."""

DRAWN = 3 + 1 + SOURCES
"""Channels that a decoder draws for a blend: new content, and a weight for it and each source."""


def blend(
    drawn: Float[Tensor, "frames 6 height width"],
    before: Float[Tensor, "frames 3 height width"],
    past: Float[Tensor, "frames 3 height width"],
) -> Float[Tensor, "frames 3 height width"]:
    """x = w_0 sigmoid(y) + w_1 before + w_2 past, with w = softmax of the drawn weights.

    What stands still is copied and stays sharp; what is drawn anew are the moving parts and what
    they uncover. Being a mean of frames in [0, 1], it lies there too. Source: the compositing of
    Finn, Goodfellow & Levine 2016, section 3.2, with two still copies in place of moved ones.

    Args:
        drawn: y [:, :3] and the logits of w [:, 3:], as the decoder gives them.
        before: the frame before each, true or predicted.
        past: the last given frame of each.
    """
    weights = torch.softmax(drawn[:, 3:], 1)
    made = weights[:, :1] * torch.sigmoid(drawn[:, :3])
    made = torch.addcmul(made, weights[:, 1:2], before)
    return torch.addcmul(made, weights[:, 2:], past)
