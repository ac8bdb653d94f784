"""Mean and variance of frames that come batch by batch and are not kept."""

import torch
from jaxtyping import Float
from torch import Tensor


class PixelMoments:
    """Running mean and sum of squared distances of tensors of one shape.

    Source: Chan, Golub and LeVeque 1979, equations 2.1a and 2.1b; with batches of one it is
    Welford's algorithm (1962). In float64, so that the order of the batches does not show.

    Args:
        shape: of one value.
        device: where the values are.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device | str = "cpu") -> None:
        # Apple's MPS has no float64.
        exact = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self.count = 0
        self.mean = torch.zeros(shape, dtype=exact, device=device)
        self.squares = torch.zeros(shape, dtype=exact, device=device)

    def add(self, values: Float[Tensor, "n *shape"]) -> None:
        """Add ``n`` more values."""
        batch = values.to(self.mean.dtype)
        n, mean = len(batch), batch.mean(0)
        both = self.count + n
        delta = mean - self.mean
        self.squares += (batch - mean).square().sum(0) + delta.square() * (self.count * n / both)
        self.mean += delta * (n / both)
        self.count = both

    def variance(self) -> Float[Tensor, " *shape"]:
        """Unbiased estimate; zero while there are fewer than two values."""
        return self.squares / max(self.count - 1, 1)
