"""Moved copies of the last given frame: pieces that move with the arm.

What moves is carried, not painted again, and carried from the given frame itself: however far the
horizon, nothing is copied twice. Source: the masked moved copies of Finn, Goodfellow & Levine 2016,
section 3.2 (affine pieces: their STP).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.model.places.layers import centres, moved


class Pieces(nn.Module):
    """Pieces of the given frame that the arm takes with it, each moved by an affine map.

    The map is linear in how far the pose has changed, with the identity where it has not, so that
    what small motions teach holds for large ones; a small network corrects it (perspective).

    Args:
        pose: numbers of a pose.
        pieces: how many.
    """

    def __init__(self, pose: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(pose, 6 * pieces, bias=False)
        self.mix = nn.Linear(pose, 4, bias=False)
        last = nn.Linear(96, 4 * 6 * pieces)
        self.more = nn.Sequential(nn.Linear(2 * pose, 96), nn.ReLU(), last)
        nn.init.zeros_(self.linear.weight)
        nn.init.normal_(last.weight, 0, 0.003)
        nn.init.zeros_(last.bias)
        self.register_buffer("identity", torch.eye(2, 3), persistent=False)
        at = torch.cat([centres(64), torch.ones(64, 64, 1)], -1)
        self.register_buffer("at", at, persistent=False)

    identity: Tensor
    at: Tensor

    def forward(
        self, pose: Float[Tensor, "steps batch pose"], first: Float[Tensor, "batch pose"]
    ) -> Float[Tensor, "pieces steps batch 64 64 2"]:
        """Where each pixel of each piece comes from, in the given frame.

        Args:
            pose: of the arm, at each step.
            first: at the given frame.
        """
        with torch.autocast(pose.device.type, enabled=False):
            change = pose - first
            more = self.more(torch.cat([pose, first.expand_as(pose)], -1)).unflatten(-1, (4, -1))
            # What corrects is multiplied with the change too: no change, no motion.
            moves = self.linear(change) + (self.mix(change)[..., None] * more).sum(-2)
            maps = self.identity + moves.unflatten(-1, (self.pieces, 2, 3))
            return torch.einsum("tbpij,hwj->ptbhwi", maps, self.at)


def carried(
    source: Float[Tensor, "batch channels 64 64"], grid: Float[Tensor, "steps frames 64 64 2"]
) -> Float[Tensor, "steps frames channels 64 64"]:
    """``source`` as seen at the places of each step; shared by K samples of a sequence."""
    steps, frames = grid.shape[:2]
    batch = source.shape[0]
    rows = grid.unflatten(1, (batch, -1)).permute(1, 0, 2, 3, 4, 5).reshape(batch, -1, 64, 2)
    seen = moved(source, rows).view(batch, -1, steps, frames // batch, 64, 64)
    return seen.permute(2, 0, 3, 1, 4, 5).flatten(1, 2)
