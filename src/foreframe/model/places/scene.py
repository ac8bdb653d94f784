"""The scene: what the arm may touch, as a map that is carried on; and the latent of an episode."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.model.nets.recurrent import Gaussian, at_least_float32
from foreframe.model.places.arm import shared
from foreframe.model.places.layers import conv

LATENT = 8
"""Height and width of the latent's map."""


class Scene(nn.Module):
    """A gated recurrence over maps that reads where the arm is and where it was.

    s_t = u s_{t-1} + (1 - u) n, with the gate u and the candidate n convolved from s_{t-1} and the
    arm's maps: the minimal gated unit (Zhou et al. 2016) with convolutions (Ballas et al. 2016).

    Args:
        channels: of the state.
        arm: channels of the arm's maps.
        kernel: of the recurrence.
    """

    def __init__(self, channels: int, arm: int, kernel: int = 5) -> None:
        super().__init__()
        self.gate_arm, self.new_arm = conv(2 * arm, channels), conv(2 * arm, channels)
        self.gate, self.new = (conv(channels, channels, kernel) for _ in range(2))

    def start(self) -> None:
        """How the recurrence begins: it remembers."""
        with torch.no_grad():
            for part in (self.gate, self.new):
                nn.init.orthogonal_(part.weight.view(len(part.weight), -1))
                part.weight.mul_(0.7)
            assert self.gate.bias is not None
            self.gate.bias.fill_(1.0)

    def forward(
        self,
        state: Float[Tensor, "batch_samples channels 16 16"],
        arm: Float[Tensor, "steps_1 batch maps 16 16"],
    ) -> list[Tensor]:
        """The state after each step.

        Args:
            state: before the first.
            arm: the arm's maps, at the step before the first and at each; shared by the K samples
                of a sequence.
        """
        batch = arm.shape[1]
        samples = state.shape[0] // batch
        both = torch.cat([arm[1:], arm[:-1]], 2).flatten(0, 1)
        # What the arm says is convolved for all steps at once, and once for all samples.
        said = zip(self.gate_arm(both).split(batch), self.new_arm(both).split(batch), strict=True)
        states = []
        for gate, new in said:
            u = torch.sigmoid(shared(gate, samples) + self.gate(state))
            n = torch.tanh(shared(new, samples) + self.new(state))
            state = torch.lerp(n, state.to(n.dtype), u)
            states.append(state)
        return states


class EpisodePrior(nn.Module):
    """p(z | given frames), one latent map [channels, 8, 8] for an episode.

    Args:
        seen: channels of what is seen at 16x16.
        channels: of the latent.
    """

    def __init__(self, seen: int, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(seen, 64, 4, 2, 1), nn.ReLU(), conv(64, 2 * channels))

    def start(self) -> None:
        """How it begins: nearly N(0, I)."""
        _small(self.net[-1])

    def forward(self, seen: Float[Tensor, "batch seen 16 16"]) -> Gaussian:
        """A Gaussian over [B, channels * 64]."""
        mu, logvar = at_least_float32(self.net(seen)).chunk(2, 1)
        return Gaussian(mu.flatten(1), logvar.clamp(-6, 2).flatten(1))


class EpisodePosterior(nn.Module):
    """q(z | the whole clip): each future frame beside the last given one and where the arm is.

    The mean and the maximum over time say what happened, whenever it did.

    Args:
        arm: channels of the arm's maps.
        seen: channels of the last given frame's features at 16x16.
        channels: of the latent.
        width: channels in between.
    """

    def __init__(self, arm: int, seen: int, channels: int, width: int = 64) -> None:
        super().__init__()
        self.fine = nn.Conv2d(6, 32, 4, 2, 1)
        self.coarse = nn.Conv2d(32, width, 4, 2, 1)
        self.arm = conv(arm, width)
        self.down = nn.Conv2d(width, width, 4, 2, 1)
        self.pooled = conv(2 * width + seen, width)
        self.out = conv(width, 2 * channels)

    def start(self) -> None:
        """How it begins: nearly N(0, I)."""
        _small(self.out)

    def forward(
        self,
        future: Float[Tensor, "steps batch 3 64 64"],
        last: Float[Tensor, "batch 3 64 64"],
        arm: Float[Tensor, "steps batch maps 16 16"],
        seen: Float[Tensor, "batch seen 16 16"],
    ) -> Gaussian:
        """A Gaussian over [B, channels * 64]."""
        steps = len(future)
        x = torch.cat([future - last, last.expand_as(future)], 2).flatten(0, 1)
        x = F.relu(self.fine(x.contiguous(memory_format=torch.channels_last)))
        x = F.relu(self.coarse(x) + self.arm(arm.flatten(0, 1)))
        x = F.relu(self.down(x)).unflatten(0, (steps, -1))
        x = torch.cat([x.mean(0), x.amax(0), F.avg_pool2d(seen, 2)], 1)
        mu, logvar = at_least_float32(self.out(F.relu(self.pooled(x)))).chunk(2, 1)
        return Gaussian(mu.flatten(1), logvar.clamp(-8, 4).flatten(1))


def _small(layer: nn.Module) -> None:
    assert isinstance(layer, nn.Conv2d)
    with torch.no_grad():
        layer.weight.mul_(0.01)
