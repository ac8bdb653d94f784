"""vgg and dcgan: convolutional encoders and their mirrored decoders with skips.

Sources: Denton & Fergus 2018 (SVG), appendix; the layer tables stand in docs/model.md.

The layers are listed as the paper has them, and computed in fewer operations; both reductions are
exact, and the weights are those of the plain layers, so checkpoints know nothing of them.

Skips. A decoder stage begins with a convolution over [its own features, the encoder's skip].
Convolution is linear, so conv([up, skip]) = conv_a(up) + conv_b(skip), and conv_b(skip) + bias,
here called a *skip term*, is the same at every step once the skips are frozen: it is computed once
a sequence, not once a frame.

Upsampling. Nearest x2 upsampling followed by a 3x3 convolution repeats products: each output pixel
sees only 2x2 different inputs. It is one transposed convolution (kernel 4, stride 2, padding 1)
whose kernel is the flipped 3x3 kernel convolved with a 2x2 block of ones, with 2.25 times fewer
operations.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.model.nets.norm import batch_norm
from foreframe.model.nets.recurrent import at_least_float32

Skips = list[Tensor]

NEGATIVE_SLOPE = 0.2

_CACHE = 12 * 2**20
"""Bytes of features that a CPU takes at a time: as many frames as that are convolved at once."""


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


def activation() -> nn.Module:
    """LeakyReLU(0.2)."""
    return nn.LeakyReLU(NEGATIVE_SLOPE)


class Layers(nn.Sequential):
    """Layers in a row, over the frames of one or several time steps at once.

    BatchNorm takes the statistics of each step (see ``foreframe.model.nets.norm``), and the
    LeakyReLU after it works in place.
    """

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        """``x`` [steps * batch, C, H, W], time first."""
        layers = list(self)
        for layer, after in zip_longest(layers, layers[1:]):
            if isinstance(layer, nn.BatchNorm2d):
                slope = NEGATIVE_SLOPE if isinstance(after, nn.LeakyReLU) else 1.0
                x = batch_norm(x, layer, steps, slope)
            elif isinstance(layer, Layers):
                x = layer(x, steps)
            elif not isinstance(layer, nn.LeakyReLU):
                x = layer(x)
        return x


def block(convolution: nn.Conv2d | nn.ConvTranspose2d) -> Layers:
    """A convolution, BatchNorm, LeakyReLU(0.2)."""
    return Layers(convolution, nn.BatchNorm2d(convolution.out_channels), activation())


Size = tuple[int, int]
"""Height and width in pixels."""


def coarsest(size: Size) -> Size:
    """Of frames of that size, the height and width where a head makes one vector of all: 4x4."""
    height, width = size
    return 4, 4 * width // height


def _head(in_channels: int, g_dim: int, kernel: Size) -> Layers:
    return Layers(nn.Conv2d(in_channels, g_dim, kernel, 1, 0), nn.BatchNorm2d(g_dim), nn.Tanh())


def _in_portions(
    function: Callable[[Tensor, int], Tensor], x: Tensor, steps: int, values: int
) -> Tensor:
    """``function(x, steps)``, on a CPU for as many steps at a time as its caches hold.

    Args:
        function: of frames [steps * batch, ...] and the number of steps.
        x: [steps * batch, ...].
        steps: time steps in ``x``.
        values: values in the largest features of one frame.
    """
    portion = steps
    if x.device.type == "cpu":
        size = 2 if torch.is_autocast_enabled("cpu") else 4
        portion = max(1, min(steps, _CACHE // (values * size * (x.shape[0] // steps))))
    if portion == steps:
        return function(x, steps)
    parts = x.split(portion * (x.shape[0] // steps))
    return torch.cat([function(part, steps * part.shape[0] // x.shape[0]) for part in parts])


def _pixels(size: Size) -> int:
    return size[0] * size[1]


class Encoder(nn.Module):
    """A frame to its feature vector ``h`` and the skips: stages, finest first, then one head.

    Args:
        stages: each halves the resolution or, for the first of vgg, keeps it.
        channels: channels out of each stage.
        g_dim: width of ``h``.
        size: height and width of the frames.
        pool: 2x2 max-pooling before every stage but the first, and before the head (vgg).
    """

    def __init__(
        self,
        stages: Sequence[Layers],
        channels: Sequence[int],
        g_dim: int,
        *,
        size: Size,
        pool: bool,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = _head(channels[-1], g_dim, coarsest(size))
        self.channels, self.size, self.pool = tuple(channels), size, pool

    @property
    def largest_features(self) -> int:
        """Values in the largest features of one frame."""
        first = _pixels(self.size) if self.pool else _pixels(self.size) // 4
        return max(n * (first >> 2 * i) for i, n in enumerate(self.channels))

    def forward(
        self, x: Float[Tensor, "frames 3 height width"], steps: int = 1
    ) -> tuple[Float[Tensor, "frames g"], Skips]:
        """Encode frames in [0, 1]: ``h`` [steps * batch, g_dim] in float32 and the skips.

        Args:
            x: [steps * batch, 3, height, width], time first.
            steps: time steps in ``x``.

        Returns:
            h, and the skips, finest first: of a single step only, nobody needs those of several.
        """
        skips: Skips = []
        pixels = _pixels(self.size)
        for stage, channels in zip(self.stages, self.channels, strict=True):
            pixels = pixels if self.pool else pixels // 4

            def through(x: Tensor, portion: int, stage: nn.Module = stage) -> Tensor:
                x = stage(x, portion)
                if steps == 1:
                    skips.append(x)
                return F.max_pool2d(x, 2) if self.pool else x

            x = _in_portions(through, x, steps, channels * pixels)
            pixels = pixels // 4 if self.pool else pixels
        # The recurrences and the KL work in full precision, whatever the convolutions use.
        return at_least_float32(self.head(x, steps).flatten(1)), skips


class DecoderContext(NamedTuple):
    """What a decoder computes once and uses at every step.

    Attributes:
        kernels: of each stage, for its own features and for the skip; once for a set of weights.
        terms: the skips' share of each stage, coarsest first; once for a set of skips.
    """

    kernels: list[tuple[Tensor, Tensor]]
    terms: list[Tensor]


def upsampling_kernel(kernel: Float[Tensor, "o i 3 3"]) -> Float[Tensor, "i o 4 4"]:
    """The kernel of the transposed convolution that is nearest x2 upsampling, then ``kernel``.

    An output pixel sees each input pixel through one or two taps in each direction: their sum.
    """
    taps = F.pad(kernel.flip(2, 3), (1, 1, 1, 1))
    taps = taps[:, :, 1:] + taps[:, :, :-1]
    taps = taps[:, :, :, 1:] + taps[:, :, :, :-1]
    return taps.transpose(0, 1)


class DecoderStage(nn.Module):
    """A convolution over [up, skip], done in its two halves, and the layers after it.

    Args:
        first: the convolution over the concatenation.
        rest: what follows.
        upsample: nearest x2 of the running features before ``first`` (vgg); dcgan's transposed
            convolutions do it themselves, for features and skip.
    """

    def __init__(
        self, first: nn.Conv2d | nn.ConvTranspose2d, *rest: nn.Module, upsample: bool
    ) -> None:
        super().__init__()
        self.first = first
        self.rest = Layers(*rest)
        self.upsample = upsample

    def kernels(self, skip_channels: int) -> tuple[Tensor, Tensor]:
        """The halves of the first convolution, ready to be used at every step."""
        weight = self.first.weight
        transposed = isinstance(self.first, nn.ConvTranspose2d)
        sizes = [self.first.in_channels - skip_channels, skip_channels]
        own, other = weight.split(sizes, 0 if transposed else 1)
        if self.upsample:
            own = upsampling_kernel(own)
        device = weight.device.type
        if torch.is_autocast_enabled(device):  # here once, where autocast would at each use
            dtype = torch.get_autocast_dtype(device)
            own, other = own.to(dtype), other.to(dtype)
        return tuple(half.contiguous(memory_format=torch.channels_last) for half in (own, other))

    def skip_term(self, skip: Tensor, kernel: Tensor) -> Tensor:
        """conv_b(skip), with the bias."""
        first = self.first
        convolve = F.conv_transpose2d if isinstance(first, nn.ConvTranspose2d) else F.conv2d
        stride, padding = first.stride[0], cast(int, first.padding[0])
        return convolve(skip, kernel, first.bias, stride=stride, padding=padding)

    def forward(self, x: Tensor, kernel: Tensor, term: Tensor, steps: int = 1) -> Tensor:
        """The stage's output for running features ``x`` [steps * batch, channels, H, W].

        Args:
            x: the features, before upsampling.
            kernel: for the stage's own features.
            term: the skip term [batch / K, ...], shared by the steps and by K samples (sample
                index fastest).
            steps: time steps in ``x``.
        """
        x = F.conv_transpose2d(x, kernel, stride=2, padding=1)
        samples = x.shape[0] // steps // term.shape[0]
        x = x.unflatten(0, (steps, term.shape[0], samples)) + term[:, None]
        output: Tensor = self.rest(x.flatten(0, 2), steps)
        return output


class Decoder(nn.Module):
    """``h`` and skips back to a frame; every stage begins with a convolution over [up, skip].

    Args:
        head: (B, g_dim, 1, 1) to the coarsest resolution, 4x4 (4x8 of wide frames).
        stages: coarsest first; each doubles the resolution.
        channels: the largest number of channels within each stage.
    """

    def __init__(
        self, head: nn.Module, stages: Sequence[DecoderStage], channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.head = head
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels)

    def context(self, skips: Skips, known: DecoderContext | None = None) -> DecoderContext:
        """What does not change from step to step, for these skips.

        Args:
            skips: the encoder's, finest first.
            known: a context of the same weights, whose kernels are taken.
        """
        pairs = list(zip(cast(list[DecoderStage], self.stages), reversed(skips), strict=True))
        kernels = (
            [stage.kernels(skip.shape[1]) for stage, skip in pairs]
            if known is None
            else known.kernels
        )
        terms = [
            stage.skip_term(skip, kernel)
            for (stage, skip), (_, kernel) in zip(pairs, kernels, strict=True)
        ]
        return DecoderContext(kernels, terms)

    def forward(
        self, h: Float[Tensor, "frames g"], context: DecoderContext, steps: int = 1
    ) -> Float[Tensor, "frames drawn height width"]:
        """Decode to frames in [0, 1] (or what is drawn in their place), float32.

        Args:
            h: [steps * batch, g_dim], time first.
            context: of ``context``, for the same batch, or for batch / K sequences that K samples
                each share (sample index fastest).
            steps: time steps in ``h``, all with the same skips.
        """
        x = self.head(h[:, :, None, None], steps)
        pixels = x.shape[-2] * x.shape[-1]
        for stage, (kernel, _), term, channels in zip(
            self.stages, context.kernels, context.terms, self.channels, strict=True
        ):
            pixels *= 4

            def through(
                x: Tensor,
                steps: int,
                stage: nn.Module = stage,
                kernel: Tensor = kernel,
                term: Tensor = term,
            ) -> Tensor:
                return cast(Tensor, stage(x, kernel, term, steps))

            x = _in_portions(through, x, steps, channels * pixels)
        return at_least_float32(x)
