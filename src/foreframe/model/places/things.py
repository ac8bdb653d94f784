"""Things: what the arm may push, found in the given frame, and drawn wherever they are."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.model.places.arm import full_precision
from foreframe.model.places.layers import centres, conv, moved

CROP = 24
"""Height and width in pixels of the part of the given frame that may belong to a thing."""

KIND = 24
"""Numbers that say what a thing looks like."""

_FOUND = 0.4
"""A peak of the map of things below this probability is none."""

_NEAR = 2.5
"""Pixels of a 32x32 map over which a thing's own mark spreads, as twice its variance."""


class Things(NamedTuple):
    """The things of the given frame; N slots, of which some may be empty.

    Attributes:
        place: x and y in [-1, 1] of the image.
        there: 1 for a slot that holds a thing, else 0.
        kind: what each looks like.
        sprite: colour times opacity, and opacity, of the pixels about its place.
        anchor: the middle of each sprite: the place, on the grid of the pixels, so that what is cut
            out and put down where it was is the same to the bit.
        cover: opacity of all of them in the given frame.
        marks: logits of the map of things, and how far beside a cell's middle they lie.
    """

    place: Float[Tensor, "batch things 2"]
    there: Float[Tensor, "batch things 1"]
    kind: Float[Tensor, "batch things kind"]
    sprite: Float[Tensor, "batch things 4 crop crop"]
    anchor: Float[Tensor, "batch things 2"]
    cover: Float[Tensor, "batch 1 64 64"]
    marks: Float[Tensor, "batch 3 32 32"]


class Finder(nn.Module):
    """Finds the things of a given frame: peaks of a map, their looks, and the pixels of each.

    Args:
        seen: channels of what is seen at 32x32.
        slots: things that are found at most.
    """

    def __init__(self, seen: int, slots: int) -> None:
        super().__init__()
        self.slots = slots
        self.features = nn.Sequential(conv(seen, 48), nn.ReLU(), conv(48, 24))
        self.marks = nn.Sequential(nn.ReLU(), conv(24, 32), nn.ReLU(), conv(32, 3))
        self.kind = nn.Sequential(
            nn.Linear(24 * 49, 96), nn.SiLU(), nn.Linear(96, KIND), nn.LayerNorm(KIND)
        )
        self.pixels = nn.Sequential(conv(24, 32), nn.ReLU(), conv(32, 4))
        self.register_buffer("cells", centres(32), persistent=False)
        self.register_buffer("wide", centres(7) * 0.25, persistent=False)
        self.register_buffer("coarse", centres(CROP // 2) * (CROP / 64), persistent=False)
        self.register_buffer("crop", centres(CROP) * (CROP / 64), persistent=False)

    cells: Tensor
    wide: Tensor
    coarse: Tensor
    crop: Tensor

    def start(self) -> None:
        """How it begins: it finds nothing, and a thing is round about its place."""
        marks, pixels = self.marks[-1], self.pixels[-1]
        assert isinstance(marks, nn.Conv2d)
        assert isinstance(pixels, nn.Conv2d)
        assert marks.bias is not None
        with torch.no_grad():
            marks.weight.mul_(0.1)
            marks.bias[0] = -4.0
            pixels.weight.mul_(0.3)
            # Where a thing is to the hand is to be heard first, then what it looks like.
            norm = self.kind[-1]
            assert isinstance(norm, nn.LayerNorm)
            norm.weight.fill_(0.3)

    def forward(
        self,
        fine: Float[Tensor, "batch seen 32 32"],
        frame: Float[Tensor, "batch 3 64 64"],
        told: Float[Tensor, "batch things 2"] | None,
    ) -> Things:
        """Look for things, or at those whose places are told (NaN: an empty slot).

        Args:
            fine: features of the given frames.
            frame: the last of them.
            told: where they are, in training.
        """
        features = self.features(fine)
        marks = self.marks(features).float()
        with full_precision(fine):
            place, there = self._peaks(marks) if told is None else _told(told)
            features = features.float()
            kind = self.kind(_cut(features, place, self.wide).flatten(2)) * there
            pixels = self.pixels(_cut(features, place, self.coarse).flatten(0, 1))
            # Round about its place to begin with, and nothing at the edge of what is cut out.
            far = self.crop.square().sum(-1) * (64 / CROP) ** 2
            logits = F.pixel_shuffle(pixels.contiguous(), 2).unflatten(0, place.shape[:2])
            opacity = torch.sigmoid(logits + 4 - 12 * far) * there[..., None, None]
            anchor = ((place + 1) * 32).round() / 32 - 1
            colour = _cut(frame.float(), anchor, self.crop) * opacity
            sprite = torch.cat([colour, opacity], 2)
            cover = pasted(sprite, anchor[None])[0, :, 3:].clamp(max=1)
        return Things(place, there, kind, sprite, anchor, cover, marks)

    @torch.no_grad()
    def _peaks(self, marks: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the highest peaks [B, slots, 2], and which of them count [B, slots, 1]."""
        heights = torch.sigmoid(marks[:, :1])
        top = heights == F.max_pool2d(heights, 3, 1, 1)
        best, cells = (heights * top).flatten(1).topk(self.slots, 1)
        beside = marks[:, 1:].flatten(2).gather(2, cells[:, None].expand(-1, 2, -1))
        place = self.cells.flatten(0, 1)[cells] + beside.transpose(1, 2) / 16
        return place, (best > _FOUND).float()[..., None]

    def lesson(self, things: Things) -> Float[Tensor, ""]:
        """What finding costs, against the places that were told: cross-entropy, and pixels."""
        apart = (self.cells - things.place[:, :, None, None]) * 16
        near = (-apart.square().sum(-1) / _NEAR).exp() * things.there[..., None]
        target = near.amax(1)
        found = F.binary_cross_entropy_with_logits(things.marks[:, 0], target)
        # Of the thing that is nearest to each cell; only cells that a peak may be in count.
        nearest = near.argmax(1)[:, None, :, :, None].expand(-1, -1, -1, -1, 2)
        beside = -apart.gather(1, nearest)[:, 0].permute(0, 3, 1, 2)
        off = (things.marks[:, 1:] - beside).square().sum(1)
        weight = (target > 0.3).float()
        return found + 0.1 * (off * weight).sum() / weight.sum().clamp(min=1)


def _told(told: Tensor) -> tuple[Tensor, Tensor]:
    there = told.isfinite().all(-1, keepdim=True)
    return torch.where(there, told, 0.0), there.float()


def _cut(x: Tensor, place: Tensor, window: Tensor) -> Tensor:
    """[B, things, C, n, n]: ``x`` about each place."""
    n = window.shape[0]
    grid = window + place[:, :, None, None]
    cut = moved(x, grid.flatten(1, 2)).unflatten(2, (place.shape[1], n))
    return cut.transpose(1, 2)


def pasted(
    sprite: Float[Tensor, "batch things channels crop crop"],
    place: Float[Tensor, "steps batch_samples things 2"],
    turn: Float[Tensor, "steps batch_samples things 1"] | None = None,
    tilt: Float[Tensor, ""] | float = 1.0,
) -> Float[Tensor, "steps batch_samples channels 64 64"]:
    """The sum of sprites, each turned and about its place, bilinear.

    Args:
        sprite: of each thing.
        place: x and y in [-1, 1] of the sprites' middles.
        turn: about them, in radians, from x towards y; none by default.
        tilt: height over width of a circle on the table, as the camera sees it: what turns, turns
            on the table.
    """
    steps, frames = place.shape[:2]
    batch, things, channels, n, _ = sprite.shape
    window = n + 2
    middle = (place + 1) * 32
    # A window of whole pixels about each place; one that would leave the image stops at its edge.
    corner = (middle.detach().floor() - window // 2).clamp(0, 64 - window).long()
    off = corner + 0.5 - middle
    # Where the window's pixels come from in the sprite: a linear map of their place in the window.
    if turn is None:
        turn = torch.zeros_like(place[..., :1])
    cos, sin = turn.cos(), turn.sin()
    along, down = torch.cat([cos, -sin * tilt], -1), torch.cat([sin / tilt, cos], -1)
    maps = torch.stack([along, down, off[..., :1] * along + off[..., 1:] * down], -2) * (2 / n)
    # Each thing once, whatever the number of steps and samples: they are rows of one grid.
    maps = (
        maps.unflatten(1, (batch, -1)).permute(1, 3, 0, 2, 4, 5).reshape(batch * things, -1, 3, 2)
    )
    own = torch.arange(window, device=place.device)
    at = torch.cartesian_prod(own, own).flip(-1)  # x and y of a window's pixels, row by row
    grid = F.pad(at.to(maps.dtype), (0, 1), value=1.0) @ maps
    seen = F.grid_sample(
        sprite.flatten(0, 1), grid.view(batch * things, -1, window, 2), align_corners=False
    )
    # Thing by thing, [channels, steps, batch, samples, window * window] each.
    laid = seen.view(batch, things, channels, steps, -1, window**2).permute(1, 2, 3, 0, 4, 5)
    image = 64 * 64 * torch.arange(steps * frames, device=place.device).view(steps, frames, 1)
    first = image + 64 * corner[..., 1] + corner[..., 0]
    beside = at[:, 0] + 64 * at[:, 1]
    canvas = seen.new_zeros(channels, steps * frames * 64 * 64)
    for thing, pixel in zip(laid, first.unbind(2), strict=True):
        pixels = (pixel[..., None] + beside).flatten()
        canvas.index_add_(1, pixels, thing.reshape(channels, -1))
    return canvas.view(channels, steps, frames, 64, 64).permute(1, 2, 0, 3, 4)
