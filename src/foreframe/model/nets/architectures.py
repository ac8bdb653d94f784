"""The nets by name: SVG's vgg and dcgan, for frames of 64x64, 128x128 and 64x128 pixels.

Sources: Denton & Fergus 2018 (SVG), appendix; the layer tables stand in docs/model.md.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from foreframe.model.nets.conv import (
    Decoder,
    DecoderStage,
    Encoder,
    Layers,
    Size,
    activation,
    block,
    coarsest,
    scaled,
)


def vgg_block(in_channels: int, out_channels: int) -> Layers:
    """V(i, o): Conv3x3 stride 1 padding 1, BatchNorm, LeakyReLU(0.2)."""
    return block(nn.Conv2d(in_channels, out_channels, 3, 1, 1))


def vgg_stage(*channels: int) -> Layers:
    """A chain of V blocks through the given channel counts."""
    return Layers(*(vgg_block(i, o) for i, o in pairwise(channels)))


def _transpose_head(g_dim: int, channels: int, size: Size) -> Layers:
    return block(nn.ConvTranspose2d(g_dim, channels, coarsest(size), 1, 0))


CHANNELS = (64, 128, 256, 512)
"""Out of the stages of the nets for 64x64 frames; those for 128x128 have a fifth of 512."""


def _last(layer: nn.ConvTranspose2d) -> list[nn.Module]:
    """A frame is drawn in [0, 1]; what is drawn for a blend goes through its own functions."""
    return [layer, nn.Sigmoid()] if layer.out_channels == 3 else [layer]


def _vgg(g_dim: int, channels: Sequence[int], size: Size, drawn: int) -> tuple[Encoder, Decoder]:
    encoder, decoder = list[Layers](), list[DecoderStage]()
    for k, (before, here) in enumerate(pairwise([3, *channels])):
        deep = k >= 2  # three convolutions in a stage, not two
        encoder.append(vgg_stage(before, here, *[here] * (1 + deep)))
        if k == 0:
            after: Sequence[nn.Module] = _last(nn.ConvTranspose2d(here, drawn, 3, 1, 1))
        else:
            after = list(vgg_stage(here, *[here] * deep, before))
        first = nn.Conv2d(2 * here, here, 3, 1, 1)
        decoder.insert(
            0,
            DecoderStage(first, nn.BatchNorm2d(here), activation(), *after, upsample=True),
        )
    return (
        Encoder(encoder, channels, g_dim, size=size, pool=True),
        Decoder(_transpose_head(g_dim, channels[-1], size), decoder, channels[::-1]),
    )


def _dcgan(g_dim: int, channels: Sequence[int], size: Size, drawn: int) -> tuple[Encoder, Decoder]:
    encoder, decoder = list[Layers](), list[DecoderStage]()
    for before, here in pairwise([3, *channels]):
        encoder.append(block(nn.Conv2d(before, here, 4, 2, 1)))
        finest = not decoder
        first = nn.ConvTranspose2d(2 * here, drawn if finest else before, 4, 2, 1)
        after = _last(first)[1:] if finest else [nn.BatchNorm2d(before), activation()]
        decoder.insert(0, DecoderStage(first, *after, upsample=False))
    return (
        Encoder(encoder, channels, g_dim, size=size, pool=False),
        Decoder(
            _transpose_head(g_dim, channels[-1], size), decoder, [*channels[-2::-1], channels[0]]
        ),
    )


def _channels(width: float, *more: int) -> list[int]:
    return [scaled(channels, width) for channels in (*CHANNELS, *more)]


def vgg64(g_dim: int, width: float, drawn: int = 3) -> tuple[Encoder, Decoder]:
    """The VGG-style pair for 64x64 frames; skips at 64, 32, 16 and 8 pixels.

    Args:
        g_dim: width of h.
        width: multiplier of every channel count (1.0: 64 to 512 channels).
        drawn: channels that the decoder draws; 3 are a frame in [0, 1], others are as they come.
    """
    return _vgg(g_dim, _channels(width), (64, 64), drawn)


def vgg128(g_dim: int, width: float, drawn: int = 3) -> tuple[Encoder, Decoder]:
    """The VGG-style pair for 128x128 frames, with a stage more; skips at 128, 64, 32, 16 and 8."""
    return _vgg(g_dim, _channels(width, 512), (128, 128), drawn)


def dcgan64(g_dim: int, width: float, drawn: int = 3) -> tuple[Encoder, Decoder]:
    """The DCGAN-style pair for 64x64 frames; skips at 32, 16, 8 and 4 pixels.

    Args:
        g_dim: width of h.
        width: multiplier of every channel count (1.0: 64 to 512 channels).
        drawn: channels that the decoder draws; 3 are a frame in [0, 1], others are as they come.
    """
    return _dcgan(g_dim, _channels(width), (64, 64), drawn)


def dcgan128(g_dim: int, width: float, drawn: int = 3) -> tuple[Encoder, Decoder]:
    """The DCGAN-style pair for 128x128 frames, with a stage more; skips at 64, 32, 16, 8 and 4."""
    return _dcgan(g_dim, _channels(width, 512), (128, 128), drawn)


def vgg64x128(g_dim: int, width: float, drawn: int = 3) -> tuple[Encoder, Decoder]:
    """``vgg64`` for frames of height 64 and width 128: two views side by side, one h for both."""
    return _vgg(g_dim, _channels(width), (64, 128), drawn)


def dcgan64x128(g_dim: int, width: float, drawn: int = 3) -> tuple[Encoder, Decoder]:
    """``dcgan64`` for frames of height 64 and width 128: two views side by side, one h for both."""
    return _dcgan(g_dim, _channels(width), (64, 128), drawn)


#: SVG's nets by name: a function of (g_dim, width, drawn) to a matching encoder and decoder.
NETS = {
    "vgg64": vgg64,
    "vgg128": vgg128,
    "vgg64x128": vgg64x128,
    "dcgan64": dcgan64,
    "dcgan128": dcgan128,
    "dcgan64x128": dcgan64x128,
}
