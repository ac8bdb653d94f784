"""A moving average of the weights, which predicts better than those of the last step alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a model's weights and running statistics.

    After step t (from 0) each tensor a becomes d a + (1 - d) w, with d = min(decay, (1 + t) / (10 +
    t)), so that the first steps are soon forgotten. Source: Polyak & Juditsky 1992; the warm-up is
    that of the TensorFlow documentation.

    Args:
        model: whose weights are averaged; changed in place by the training from now on.
        decay: above 0 and below 1; 1 / (1 - decay) steps count.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        floats = {k: t for k, t in model.state_dict().items() if t.is_floating_point()}
        self._names, self._weights = list(floats), list(floats.values())
        self._average = [tensor.clone() for tensor in self._weights]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The averages by the names of the weights, for a checkpoint and from one."""
        return dict(zip(self._names, self._average, strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after step ``step`` in."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, self._weights, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averages for its weights in here."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self._weights, self._average, strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)
