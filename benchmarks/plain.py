"""The model and its training step as one would write them first: what foreframe is compared with.

Each frame is encoded and decoded by itself, stages concatenate what they get with the skip, tensors
are contiguous NCHW in float32, nothing is compiled, and each module has an optimiser of its own, as
in the public code of Denton & Fergus (2018). Nothing is slow on purpose: activations work in place
and each true frame is encoded once. ``PlainModel(model)`` takes the weights of a ``VideoCVAE``.
"""

from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foreframe.model.nets.blend import DRAWN
from foreframe.model.nets.conv import scaled
from foreframe.runs.hub import VideoCVAE


def block(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.LeakyReLU(0.2, inplace=True))


def conv(i: int, o: int) -> nn.Sequential:
    return block(nn.Conv2d(i, o, 3, 1, 1), o)


def down(i: int, o: int) -> nn.Sequential:
    return block(nn.Conv2d(i, o, 4, 2, 1), o)


def up(i: int, o: int) -> nn.Sequential:
    return block(nn.ConvTranspose2d(i, o, 4, 2, 1), o)


Size = tuple[int, int]


class Encoder(nn.Module):
    def __init__(
        self, stages: list[nn.Module], channels: int, g_dim: int, pool: bool, coarsest: Size
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = nn.Sequential(
            nn.Conv2d(channels, g_dim, coarsest, 1, 0), nn.BatchNorm2d(g_dim), nn.Tanh()
        )
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips: list[Tensor] = []
        for stage in self.stages:
            x = stage(self.pool(x) if skips else x)
            skips.append(x)
        return self.head(self.pool(x)).flatten(1), skips


class Decoder(nn.Module):
    def __init__(
        self, g_dim: int, channels: int, stages: list[nn.Module], upsample: bool, coarsest: Size
    ) -> None:
        super().__init__()
        self.head = block(nn.ConvTranspose2d(g_dim, channels, coarsest, 1, 0), channels)
        self.stages = nn.ModuleList(stages)
        self.upsample = nn.UpsamplingNearest2d(scale_factor=2) if upsample else nn.Identity()

    def forward(self, h: Tensor, skips: list[Tensor]) -> Tensor:
        x = self.head(h[:, :, None, None])
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            x = stage(torch.cat([self.upsample(x), skip], 1))
        return x


def last(i: int, drawn: int, *options: int) -> list[nn.Module]:
    layer = nn.ConvTranspose2d(i, drawn, *options)
    return [layer, nn.Sigmoid()] if drawn == 3 else [layer]


def vgg(sizes: list[int], g_dim: int, drawn: int, at: Size) -> tuple[Encoder, Decoder]:
    a, b, c, *more = sizes
    stages: list[nn.Module] = [
        nn.Sequential(conv(3, a), conv(a, a)),
        nn.Sequential(conv(a, b), conv(b, b)),
        nn.Sequential(conv(b, c), conv(c, c), conv(c, c)),
    ]
    backwards: list[nn.Module] = [
        nn.Sequential(conv(2 * c, c), conv(c, c), conv(c, b)),
        nn.Sequential(conv(2 * b, b), conv(b, a)),
        nn.Sequential(conv(2 * a, a), *last(a, drawn, 3, 1, 1)),
    ]
    coarsest = c
    for d in more:
        stages.append(nn.Sequential(conv(coarsest, d), conv(d, d), conv(d, d)))
        backwards.insert(0, nn.Sequential(conv(2 * d, d), conv(d, d), conv(d, coarsest)))
        coarsest = d
    return (
        Encoder(stages, coarsest, g_dim, True, at),
        Decoder(g_dim, coarsest, backwards, True, at),
    )


def dcgan(sizes: list[int], g_dim: int, drawn: int, at: Size) -> tuple[Encoder, Decoder]:
    a, *_, coarsest = sizes
    stages: list[nn.Module] = [down(i, o) for i, o in zip([3, *sizes], sizes, strict=False)]
    backwards: list[nn.Module] = [
        up(2 * i, o) for i, o in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
    ]
    backwards.append(nn.Sequential(*last(2 * a, drawn, 4, 2, 1)))
    return (
        Encoder(stages, coarsest, g_dim, False, at),
        Decoder(g_dim, coarsest, backwards, False, at),
    )


class Recurrent(nn.Module):
    """Linear, LSTM cells, and an output layer (or two, for a Gaussian)."""

    def __init__(self, i: int, o: int, size: int, layers: int, gaussian: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(i, size)
        self.cells = nn.ModuleList(nn.LSTMCell(size, size) for _ in range(layers))
        if gaussian:
            self.mu, self.logvar = nn.Linear(size, o), nn.Linear(size, o)
        else:
            self.output = nn.Sequential(nn.Linear(size, o), nn.Tanh())
        self.gaussian = gaussian

    def start(self) -> None:
        self.state: list[tuple[Tensor, Tensor] | None] = [None] * len(self.cells)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.embed(x)
        for k, cell in enumerate(self.cells):
            self.state[k] = cell(x, self.state[k])
            x = self.state[k][0]
        if self.gaussian:
            return self.mu(x), self.logvar(x).clamp(-20, 20)
        return self.output(x)


def finish(drawn: Tensor, before: Tensor, past: Tensor) -> Tensor:
    """A frame from new content, the one before and the last given one, if it is a blend."""
    if drawn.shape[1] == 3:
        return drawn
    new, stay, back = drawn[:, 3:].softmax(1).split(1, 1)
    return new * drawn[:, :3].sigmoid() + stay * before + back * past


def kl(mu: Tensor, logvar: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    difference = logvar_p - logvar
    each = difference + (logvar.exp() + (mu - mu_p) ** 2) / logvar_p.exp() - 1
    return 0.5 * each.sum() / len(mu)


class PlainModel(nn.Module):
    """The same function as ``VideoCVAE`` of the same weights."""

    def __init__(self, model: VideoCVAE) -> None:
        super().__init__()
        c = model.config
        height, width = c.frame_size
        stages = (64, 128, 256, 512) if height == 64 else (64, 128, 256, 512, 512)
        sizes = [scaled(channels, c.width) for channels in stages]
        self.encoder, self.decoder = (vgg if c.net.startswith("vgg") else dcgan)(
            sizes, c.g_dim, DRAWN if c.output == "blend" else 3, (4, 4 * width // height)
        )

        r = c.rnn_size
        inputs = c.condition_dim + c.g_dim + c.z_dim
        self.frame_predictor = Recurrent(inputs, c.g_dim, r, c.predictor_layers, False)
        self.posterior = Recurrent(c.g_dim, c.z_dim, r, c.posterior_layers, True)
        self.prior = (
            Recurrent(c.g_dim, c.z_dim, r, c.prior_layers, True) if c.prior == "learned" else None
        )
        self.latent = c.recurrence == "latent"
        for name, module in self.named_children():
            theirs = getattr(model, name)
            values = chain(module.parameters(), module.buffers())
            for mine, other in zip(
                values, chain(theirs.parameters(), theirs.buffers()), strict=True
            ):
                mine.data.copy_(other.data)

    def optimizers(self, lr: float = 0.002) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(m.parameters(), lr, (0.9, 0.999)) for m in self.children()]

    def start(self) -> None:
        for module in (self.frame_predictor, self.posterior, self.prior):
            if module is not None:
                module.start()

    def loss(
        self,
        frames: Tensor,
        condition: Tensor | None,
        noise: Tensor,
        beta: float,
        n_past: int,
        teacher_forcing: bool,
    ) -> Tensor:
        """Frames [T, B, 3, H, W] in [0, 1], condition and noise [T-1, B, ...]."""
        self.start()
        encoded = [self.encoder(frame) for frame in frames]
        total = frames.new_zeros(())
        x_pred = frames[0]
        for i in range(1, len(frames)):
            true = i <= n_past or teacher_forcing
            if true:
                h = encoded[i - 1][0]
            elif not self.latent:
                h = self.encoder(x_pred)[0]
            else:
                h = h_pred
            if i <= n_past:
                skips = encoded[i - 1][1]
            mu, logvar = self.posterior(encoded[i][0])
            z = mu + noise[i - 1] * (logvar / 2).exp()
            p = (
                (torch.zeros_like(mu), torch.zeros_like(mu))
                if self.prior is None
                else self.prior(h)
            )
            known = [h, z] if condition is None else [condition[i - 1], h, z]
            h_pred = self.frame_predictor(torch.cat(known, 1))
            drawn = self.decoder(h_pred, skips)
            before = frames[i - 1] if true else x_pred
            x_pred = finish(drawn, before, frames[min(i, n_past) - 1])
            total = total + F.mse_loss(x_pred, frames[i]) + beta * kl(mu, logvar, *p)
        return total

    @torch.no_grad()
    def sample(self, past: Tensor, condition: Tensor | None, noise: Tensor) -> list[Tensor]:
        """One future: past [n_past, B, 3, H, W], condition and noise [T-1, B, ...]."""
        self.start()
        made: list[Tensor] = []
        x = past[0]
        for i in range(1, len(noise) + 1):
            if i <= len(past) or not self.latent:
                h, found = self.encoder(x)
            else:
                h = h_pred
            if i <= len(past):
                skips = found
            if i < len(past):
                mu, logvar = self.posterior(self.encoder(past[i])[0])
                if self.prior is not None:
                    self.prior(h)
            elif self.prior is None:
                mu, logvar = torch.zeros_like(noise[0]), torch.zeros_like(noise[0])
            else:
                mu, logvar = self.prior(h)
            z = mu + noise[i - 1] * (logvar / 2).exp()
            known = [h, z] if condition is None else [condition[i - 1], h, z]
            h_pred = self.frame_predictor(torch.cat(known, 1))
            if i < len(past):
                x = past[i]
            else:
                x = finish(self.decoder(h_pred, skips), x, past[-1])
                made.append(x)
        return made
