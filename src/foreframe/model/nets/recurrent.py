"""The recurrent parts of SVG: the frame predictor's LSTM, and the Gaussian LSTM of the latent.

Both run over time-first sequences of any length, one step being a sequence of length 1, and carry
no hidden state of their own: the state goes in and comes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

#: (hidden, cell), each [layers, batch, rnn_size]; None stands for the zero state of a new sequence.
State = tuple[Tensor, Tensor]

# exp(20) is about 5e8: far beyond any useful variance, far below what overflows in the KL.
LOGVAR_LIMIT = 20.0


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian N(mu, exp(logvar)); the last axis is the latent dimension."""

    mu: Float[Tensor, "*batch z"]
    logvar: Float[Tensor, "*batch z"]

    def sample(self, noise: Float[Tensor, "*batch z"]) -> Float[Tensor, "*batch z"]:
        """Reparameterised sample mu + noise * sigma, ``noise`` drawn from N(0, I).

        Source: Kingma & Welling 2014, section 2.4.
        """
        return self.mu + noise * torch.exp(0.5 * self.logvar)

    def kl(self, other: "Gaussian") -> Float[Tensor, "*batch"]:
        """KL(self || other) in nats, summed over the latent dimension.

        Source: the closed form between diagonal Gaussians (Denton & Fergus 2018, the second term
        of equation 2 for N(0, I) and of equation 4 for the learned prior).
        """
        return self.kl_per_dimension(other).sum(-1)

    def kl_per_dimension(self, other: "Gaussian") -> Float[Tensor, "*batch z"]:
        """KL(self || other) in nats, of each latent dimension by itself."""
        difference = self.mu - other.mu
        per_dimension = (
            other.logvar
            - self.logvar
            + torch.exp(self.logvar - other.logvar)
            + difference.square() * torch.exp(-other.logvar)
            - 1.0
        )
        return 0.5 * per_dimension

    def __getitem__(self, index: int | slice) -> "Gaussian":
        return Gaussian(self.mu[index], self.logvar[index])

    def repeat(self, samples: int) -> "Gaussian":
        """[time, B, z] for K samples of each sequence: [time, B * K, z], sample index fastest."""
        if samples == 1:
            return self
        mu, logvar = (x.repeat_interleave(samples, 1) for x in (self.mu, self.logvar))
        return Gaussian(mu, logvar)

    @staticmethod
    def join(parts: "Sequence[Gaussian]") -> "Gaussian":
        """Several along their first axis."""
        return Gaussian(
            torch.cat([part.mu for part in parts]), torch.cat([part.logvar for part in parts])
        )


class Prior(Protocol):
    """What the model asks of a prior: the distribution of z_t, step by step."""

    def __call__(
        self, h: Float[Tensor, "time batch g"], state: State | None
    ) -> tuple[Gaussian, State | None]: ...


class FixedPrior(nn.Module):
    """p(z_t) = N(0, I), the prior of SVG-FP: no parameters, no state.

    Args:
        z_dim: width of the latent.
    """

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.z_dim = z_dim

    def forward(
        self, h: Float[Tensor, "time batch g"], state: State | None = None
    ) -> tuple[Gaussian, State | None]:
        """Standard normals [time, batch, z_dim] for whatever ``h`` is."""
        zeros = h.new_zeros(*h.shape[:-1], self.z_dim)
        return Gaussian(zeros, zeros), state


def at_least_float32(x: Tensor) -> Tensor:
    """What autocast made half as precise, in float32 again; float64 stays."""
    return x.float() if x.element_size() < 4 else x


def _full_precision(x: Tensor) -> torch.autocast:
    """No autocast in here: errors of a recurrence add up, and the KL takes differences.

    It costs next to nothing beside the convolutions.
    """
    return torch.autocast(x.device.type, enabled=False)


class LSTM(nn.Module):
    """The frame predictor: Linear, ``layers`` LSTM cells, Linear and Tanh.

    Args:
        input_size: width of [condition, h, z].
        output_size: width of h_pred (g_dim).
        rnn_size: width of the cells.
        layers: number of cells.
    """

    def __init__(self, input_size: int, output_size: int, rnn_size: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(input_size, rnn_size)
        self.cells = nn.LSTM(rnn_size, rnn_size, layers)
        self.output = nn.Sequential(nn.Linear(rnn_size, output_size), nn.Tanh())

    def forward(
        self, x: Float[Tensor, "time batch input"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch output"], State]:
        """Predict [time, batch, output_size] and the state after the last step."""
        with _full_precision(x):
            hidden, state = self.cells(self.embed(at_least_float32(x)), state)
            return self.output(hidden), state


class GaussianLSTM(nn.Module):
    """Posterior q(z_t | x_1:t) or learned prior p(z_t | x_1:t-1): Linear, LSTM, two Linear heads.

    Args:
        input_size: width of the encoded frame (g_dim).
        z_dim: width of the latent.
        rnn_size: width of the cells.
        layers: number of cells.
    """

    def __init__(self, input_size: int, z_dim: int, rnn_size: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(input_size, rnn_size)
        self.cells = nn.LSTM(rnn_size, rnn_size, layers)
        self.mu = nn.Linear(rnn_size, z_dim)
        self.logvar = nn.Linear(rnn_size, z_dim)

    def forward(
        self, h: Float[Tensor, "time batch g"], state: State | None = None
    ) -> tuple[Gaussian, State]:
        """Gaussians [time, batch, z_dim] and the state after the last step."""
        with _full_precision(h):
            hidden, state = self.cells(self.embed(at_least_float32(h)), state)
            logvar = self.logvar(hidden).clamp(-LOGVAR_LIMIT, LOGVAR_LIMIT)
            return Gaussian(self.mu(hidden), logvar), state
