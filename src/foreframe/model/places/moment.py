"""A moment in imagined futures of a model with places: joined and split along the batch."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.model.places.nested import each
from foreframe.model.places.world import Now, Seen


class PlacesImagination(NamedTuple):
    """K futures of each of B sequences at one moment; ``begin`` and ``step`` make them.

    Attributes:
        now: the state.
        seen: what the given frames say.
        x: the last frame of each future, in [0, 1].
        past: the last given frame of each sequence.
    """

    now: Now
    seen: Seen
    x: Float[Tensor, "batch_samples 3 height width"]
    past: Float[Tensor, "batch 3 height width"]

    @property
    def batch(self) -> int:
        """Sequences B."""
        return self.past.shape[0]

    @property
    def n_samples(self) -> int:
        """Futures K of each."""
        return self.x.shape[0] // self.past.shape[0]

    @staticmethod
    def join(parts: Sequence["PlacesImagination"]) -> "PlacesImagination":
        """Several of one model, with the same K, as one along the batch: stepped in one go."""
        if len(parts) == 1:
            return parts[0]
        joined: PlacesImagination = each(lambda *tensors: torch.cat(tensors), *parts)
        return joined

    def split(self, parts: Sequence["PlacesImagination"]) -> list["PlacesImagination"]:
        """What became of ``parts``, which were joined and stepped; each in memory of its own."""
        if len(parts) == 1:
            return [self]
        whole = self.batch
        bounds = pairwise(accumulate((part.batch for part in parts), initial=0))

        def cut(low: int, high: int) -> Callable[[Tensor], Tensor]:
            return lambda x: x[len(x) * low // whole : len(x) * high // whole].clone()

        return [
            part._replace(now=each(cut(*ends), self.now), x=cut(*ends)(self.x))
            for part, ends in zip(parts, bounds, strict=True)
        ]
