"""vgg64 and dcgan64: convolutional encoders and their mirrored decoders with skips.

Sources: Denton & Fergus 2018 (SVG), appendix; the layer tables stand in docs/model.md.

A decoder stage begins with a convolution over [its own features, the encoder's skip]. Convolution
is linear, so conv([up, skip]) = conv_a(up) + conv_b(skip), and conv_b(skip) + bias, here called a
*skip term*, is the same at every step once the skips are frozen: it is computed once a sequence,
not once a frame. The weights are those of the plain layer, so checkpoints know nothing of it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Skips = list[Tensor]

NEGATIVE_SLOPE = 0.2


def initialise(module: nn.Module) -> None:
    """SVG's initialisation: Conv and Linear N(0, 0.02), BatchNorm weight N(1, 0.02), biases 0.

    LSTM cells keep PyTorch's default. Use as ``net.apply(initialise)``.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def scaled(channels: int, width: float) -> int:
    """``channels`` times the width multiplier, rounded to a multiple of 8 (at least 8)."""
    return max(8, round(channels * width / 8) * 8)


def _activation() -> nn.Module:
    return nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)


class ConvBlock(nn.Sequential):
    """A convolution (given), BatchNorm, LeakyReLU(0.2)."""

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__(convolution, nn.BatchNorm2d(convolution.out_channels), _activation())


def vgg_block(in_channels: int, out_channels: int) -> ConvBlock:
    """V(i, o) of FACTS: Conv3x3 stride 1 padding 1, BatchNorm, LeakyReLU(0.2)."""
    return ConvBlock(nn.Conv2d(in_channels, out_channels, 3, 1, 1))


def vgg_stage(*channels: int) -> nn.Sequential:
    """A chain of V blocks through the given channel counts."""
    return nn.Sequential(*(vgg_block(i, o) for i, o in pairwise(channels)))


def _head(in_channels: int, g_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, g_dim, 4, 1, 0), nn.BatchNorm2d(g_dim), nn.Tanh())


class Encoder(nn.Module):
    """A frame to its feature vector ``h`` and the skips: stages, finest first, then a 4x4 head.

    Args:
        stages: each halves the resolution or, for the first of vgg, keeps it.
        pool: 2x2 max-pooling before every stage but the first, and before the head (vgg).
        channels: channels out of the last stage.
        g_dim: width of ``h``.
    """

    def __init__(
        self, stages: Sequence[nn.Module], channels: int, g_dim: int, *, pool: bool
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = _head(channels, g_dim)
        self.pool = pool

    def forward(self, x: Float[Tensor, "batch 3 64 64"]) -> tuple[Float[Tensor, "batch g"], Skips]:
        """Encode frames in [0, 1]: ``h`` [batch, g_dim] in float32 and the skips, finest first."""
        skips: Skips = []
        for stage in self.stages:
            if self.pool and skips:
                x = F.max_pool2d(x, 2)
            x = stage(x)
            skips.append(x)
        if self.pool:
            x = F.max_pool2d(x, 2)
        # The recurrences and the KL work in full precision, whatever the convolutions use.
        return self.head(x).flatten(1).float(), skips


def _repeat_for(term: Tensor, batch: int) -> Tensor:
    """Skip terms of B sequences shared by B * K samples, sample index fastest."""
    return term if len(term) == batch else term.repeat_interleave(batch // len(term), 0)


class DecoderStage(nn.Module):
    """A convolution over [up, skip], done in its two halves, and the layers after it.

    Args:
        first: the convolution over the concatenation.
        rest: what follows.
    """

    def __init__(self, first: nn.Conv2d | nn.ConvTranspose2d, *rest: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.rest = nn.Sequential(*rest)

    def skip_term(self, skip: Tensor) -> Tensor:
        """conv_b(skip), with the bias."""
        transposed = isinstance(self.first, nn.ConvTranspose2d)
        own = self.first.in_channels - skip.shape[1]
        half = self.first.weight[own:] if transposed else self.first.weight[:, own:]
        return self._convolve(skip, half, self.first.bias)

    def forward(self, up: Tensor, skip_term: Tensor) -> Tensor:
        """The stage's output for running features ``up`` [B, channels, H, W]."""
        own = up.shape[1]
        transposed = isinstance(self.first, nn.ConvTranspose2d)
        half = self.first.weight[:own] if transposed else self.first.weight[:, :own]
        x = self._convolve(up, half, None)
        output: Tensor = self.rest(x + _repeat_for(skip_term, len(x)))
        return output

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        transposed = isinstance(self.first, nn.ConvTranspose2d)
        convolve = F.conv_transpose2d if transposed else F.conv2d
        stride, padding = self.first.stride[0], int(self.first.padding[0])
        return convolve(x, weight, bias, stride=stride, padding=padding)


def _joined_block(convolution: nn.Conv2d | nn.ConvTranspose2d, *rest: nn.Module) -> DecoderStage:
    return DecoderStage(convolution, nn.BatchNorm2d(convolution.out_channels), _activation(), *rest)


class Decoder(nn.Module):
    """``h`` and skips back to a frame; every stage begins with a convolution over [up, skip].

    Args:
        head: (B, g_dim, 1, 1) to the coarsest resolution.
        stages: coarsest first.
        upsample: nearest x2 before each stage (vgg); dcgan's transposed convolutions do it
            themselves.
    """

    def __init__(self, head: nn.Module, stages: Sequence[DecoderStage], *, upsample: bool) -> None:
        super().__init__()
        self.head = head
        self.stages = nn.ModuleList(stages)
        self.upsample = upsample

    def skip_terms(self, skips: Skips) -> Skips:
        """The skips' share of each stage's first convolution, bias included, coarsest first.

        Args:
            skips: the encoder's, finest first.
        """
        return [
            cast(DecoderStage, stage).skip_term(skip)
            for stage, skip in zip(self.stages, reversed(skips), strict=True)
        ]

    def forward(
        self, h: Float[Tensor, "batch g"], skip_terms: Skips
    ) -> Float[Tensor, "batch 3 64 64"]:
        """Decode to frames in [0, 1], float32.

        Args:
            h: [batch, g_dim].
            skip_terms: of ``skip_terms``, for the same batch, or for batch / K sequences that K
                samples each share (sample index fastest).
        """
        x = self.head(h[:, :, None, None])
        for stage, term in zip(self.stages, skip_terms, strict=True):
            if self.upsample:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = stage(x, term)
        output: Tensor = x.float()
        return output


def _transpose_head(g_dim: int, channels: int) -> ConvBlock:
    return ConvBlock(nn.ConvTranspose2d(g_dim, channels, 4, 1, 0))


def vgg64(g_dim: int, width: float) -> tuple[Encoder, Decoder]:
    """The VGG-style pair for 64x64 frames; skips at 64, 32, 16 and 8 pixels.

    Args:
        g_dim: width of h.
        width: multiplier of every channel count (1.0: 64 to 512 channels).
    """
    a, b, c, d = (scaled(channels, width) for channels in (64, 128, 256, 512))
    encoder = Encoder(
        [
            vgg_stage(3, a, a),
            vgg_stage(a, b, b),
            vgg_stage(b, c, c, c),
            vgg_stage(c, d, d, d),
        ],
        d,
        g_dim,
        pool=True,
    )
    decoder = Decoder(
        _transpose_head(g_dim, d),
        [
            _joined_block(nn.Conv2d(2 * d, d, 3, 1, 1), *vgg_stage(d, d, c)),
            _joined_block(nn.Conv2d(2 * c, c, 3, 1, 1), *vgg_stage(c, c, b)),
            _joined_block(nn.Conv2d(2 * b, b, 3, 1, 1), *vgg_stage(b, a)),
            _joined_block(
                nn.Conv2d(2 * a, a, 3, 1, 1), nn.ConvTranspose2d(a, 3, 3, 1, 1), nn.Sigmoid()
            ),
        ],
        upsample=True,
    )
    return encoder, decoder


def dcgan64(g_dim: int, width: float) -> tuple[Encoder, Decoder]:
    """The DCGAN-style pair for 64x64 frames; skips at 32, 16, 8 and 4 pixels.

    Args:
        g_dim: width of h.
        width: multiplier of every channel count (1.0: 64 to 512 channels).
    """
    a, b, c, d = (scaled(channels, width) for channels in (64, 128, 256, 512))

    def down(i: int, o: int) -> ConvBlock:
        return ConvBlock(nn.Conv2d(i, o, 4, 2, 1))

    def up(i: int, o: int) -> DecoderStage:
        return _joined_block(nn.ConvTranspose2d(i, o, 4, 2, 1))

    encoder = Encoder([down(3, a), down(a, b), down(b, c), down(c, d)], d, g_dim, pool=False)
    decoder = Decoder(
        _transpose_head(g_dim, d),
        [
            up(2 * d, c),
            up(2 * c, b),
            up(2 * b, a),
            DecoderStage(nn.ConvTranspose2d(2 * a, 3, 4, 2, 1), nn.Sigmoid()),
        ],
        upsample=False,
    )
    return encoder, decoder


#: Every net by name: a function of (g_dim, width) to a matching encoder and decoder.
NETS = {"vgg64": vgg64, "dcgan64": dcgan64}
