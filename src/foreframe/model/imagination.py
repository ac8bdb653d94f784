"""A moment in imagined futures: all that the next step needs, and nothing in the networks."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.model.nets.conv import DecoderContext
from foreframe.model.nets.recurrent import State
from foreframe.model.recurrence import Memory


class Imagination(NamedTuple):
    """K futures of each of B sequences at one moment; ``VideoCVAE.begin`` and ``step`` make them.

    Attributes:
        memory: the recurrent state, of B * K futures (sample index fastest).
        context: the decoder's, of the last given frame of each sequence.
        x: the last frame of each future, in [0, 1].
        h: the same encoded, where that is known already.
        past: the last given frame of each sequence.
    """

    memory: Memory
    context: DecoderContext
    x: Float[Tensor, "batch_samples 3 height width"]
    h: Float[Tensor, "batch_samples g"] | None
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
    def join(parts: Sequence["Imagination"]) -> "Imagination":
        """Several of one model, with the same K, as one along the batch: stepped in one go."""
        first = parts[0]
        if len(parts) == 1:
            return first
        known = [part.h for part in parts if part.h is not None]
        futures = [len(part.x) for part in parts]
        return Imagination(
            Memory(
                _join_states([part.memory.predictor for part in parts], futures),
                _join_states([part.memory.prior for part in parts], futures),
            ),
            DecoderContext(
                first.context.kernels,
                [torch.cat(terms) for terms in zip(*(p.context.terms for p in parts), strict=True)],
            ),
            torch.cat([part.x for part in parts]),
            # Those known would have to be told from the others: all are encoded again.
            torch.cat(known) if len(known) == len(parts) else None,
            torch.cat([part.past for part in parts]),
        )

    def split(self, parts: Sequence["Imagination"]) -> list["Imagination"]:
        """What became of ``parts``, which were joined and stepped; each in memory of its own."""
        if len(parts) == 1:
            return [self]
        bounds = pairwise(accumulate((len(part.x) for part in parts), initial=0))
        return [
            part._replace(
                memory=Memory(
                    _part_of(self.memory.predictor, rows), _part_of(self.memory.prior, rows)
                ),
                x=self.x[rows].clone(),
                h=None if self.h is None else self.h[rows].clone(),
            )
            for part, rows in zip(parts, (slice(*ends) for ends in bounds), strict=True)
        ]


def _join_states(states: Sequence[State | None], futures: Sequence[int]) -> State | None:
    """States [layers, futures, rnn_size] along the futures; None is the start, which is zeros."""
    present = [state for state in states if state is not None]
    if not present:
        return None
    zeros = torch.zeros_like(present[0][0][:, :1])
    whole = [
        (zeros.expand(-1, n, -1),) * 2 if state is None else state
        for state, n in zip(states, futures, strict=True)
    ]
    hidden, cell = zip(*whole, strict=True)
    return torch.cat(hidden, 1), torch.cat(cell, 1)


def _part_of(state: State | None, rows: slice) -> State | None:
    if state is None:
        return None
    return state[0][:, rows].clone(), state[1][:, rows].clone()
