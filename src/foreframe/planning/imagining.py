"""What candidates cost, imagined from a moment of a model: one batch, step by step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from foreframe.model.imagines import Imagines
from foreframe.model.places.cvae import PlacesCVAE
from foreframe.planning.costs import Cost
from foreframe.planning.planner import Candidates

T = TypeVar("T")


def at_once(work: Callable[[], T]) -> T:
    """Do a piece of work here and now."""
    return work()


@dataclass(frozen=True)
class Beginning:
    """From where candidates are imagined.

    Attributes:
        model: that imagines.
        moment: of one sequence with K futures.
        noises: of each step, [1, K, z] from N(0, I), the same for all candidates: they differ in
            actions only; None for models whose latent is of an episode.
        slot: number of the thing whose place is judged among the model's; None where frames are.
        positions: candidates [N, H, A] to the positions [N, H, P] that they lead through, for
            models that are told these, too.
    """

    model: Imagines
    moment: Any
    noises: Sequence[Tensor | None]
    slot: int | None = None
    positions: Callable[[Candidates], Float64[Any, "candidates horizon position"]] | None = None

    @property
    def futures(self) -> int:
        """Futures K of each candidate."""
        return int(self.moment.n_samples)

    def places(
        self, candidates: Candidates, do: Callable[[Callable[[], Tensor]], Tensor] = at_once
    ) -> Float[Tensor, "steps futures 2"]:
        """Column and row of the thing in ``slot`` after each action, of each candidate's futures.

        A model with things knows them without drawing a frame.
        """
        model, slot = self.model, self.slot
        assert isinstance(model, PlacesCVAE)
        assert slot is not None
        moment = type(self.moment).join([self.moment] * len(candidates))
        actions = torch.from_numpy(candidates).float()
        moved = do(lambda: model.things_moved(moment, actions)[:, :, slot])
        return (moved + 1) / 2 * moment.x.shape[-1]

    def costs(
        self,
        candidates: Candidates,
        cost: Cost,
        counted: Sequence[int],
        do: Callable[[Callable[[], Any]], Any] = at_once,
    ) -> Float[Tensor, " futures"]:
        """What each future of each candidate costs, one candidate after another.

        Args:
            candidates: [N, H, A].
            cost: of one frame.
            counted: numbers of the steps whose mean it is.
            do: does the model's work, a step at a time.
        """
        total = torch.zeros(len(candidates) * self.futures)
        if self.slot is not None:
            places = self.places(candidates, do)
            for t in counted:
                total += cost(None, places[t]).cpu() / len(counted)
            return total

        def judge(t: int, frames: Tensor) -> None:
            if t in counted:
                total.add_(cost(frames.flatten(0, 1), None).cpu() / len(counted))

        self.run(candidates, judge, counted, do)
        return total

    def run(
        self,
        candidates: Candidates,
        see: Callable[[int, Float[Tensor, "candidates samples 3 height width"]], None],
        drawn: Sequence[int],
        do: Callable[[Callable[[], Any]], Any] = at_once,
    ) -> None:
        """Imagine candidates as one batch.

        Args:
            candidates: [N, H, A].
            see: told the number of a step and its frames.
            drawn: the steps whose frames are wanted.
            do: does the model's work, a step at a time.
        """
        count, horizon = candidates.shape[:2]
        moment = type(self.moment).join([self.moment] * count)
        actions = torch.from_numpy(candidates).float()
        rolled = None
        if self.positions is not None:
            rolled = torch.from_numpy(self.positions(candidates)).float()
        for t in range(horizon):
            noise = self.noises[t]
            told = (actions[:, t], None if rolled is None else rolled[:, t])
            spread = None if noise is None else noise.expand(count, -1, -1)
            moment = do(_Step(self.model, moment, told, spread, see if t in drawn else None, t))


@dataclass(frozen=True)
class _Step:
    """One step of all candidates, to be done by whoever computes."""

    model: Imagines
    moment: Any
    told: tuple[Tensor, Tensor | None]
    noise: Tensor | None
    see: Callable[[int, Tensor], None] | None
    t: int

    def __call__(self) -> Any:
        if self.see is None:
            return self.model.step_unseen(self.moment, *self.told, noise=self.noise)
        frames, after = self.model.step(self.moment, *self.told, noise=self.noise)
        self.see(self.t, frames)
        return after
