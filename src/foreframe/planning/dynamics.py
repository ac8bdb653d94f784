"""Who imagines candidates: a model, a model that is misled, one that sees no motion, the physics.

Each is told what was seen up to now and gives the cost of every candidate. Contexts are encoded
once a plan; all candidates of an iteration are one batch through the model's own ``begin`` and
``step``, as everywhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from foreframe.model.imagines import Imagines
from foreframe.model.places.cvae import PlacesCVAE
from foreframe.planning.costs import Cost, judged, picture, steps_that_count
from foreframe.planning.following import Followed, follow, has_things
from foreframe.planning.imagining import Beginning
from foreframe.planning.options import PlanOptions
from foreframe.planning.planner import Candidates, Evaluate
from foreframe.planning.tasks import Task, place_of, point_of
from foreframe.simulator.live import Live, Snapshot

_AT_ONCE = 256
"""Futures that are imagined side by side."""

_LATENT = 17
"""Key of the draws of the latent, beside those of the planner."""


@dataclass(frozen=True)
class Now:
    """What is known when a plan is made.

    Attributes:
        frames: the last two that were seen.
        action: what led from one to the other.
        moment: the simulator's own, which only the oracle looks at.
        thing: column and row of the object in the first frames.
        taken: actions that were carried out before.
    """

    frames: UInt8[np.ndarray, "2 height width 3"]
    action: Float64[np.ndarray, " action"]
    moment: Snapshot
    thing: Float64[np.ndarray, "2"]
    taken: Float64[np.ndarray, "steps action"]

    @property
    def step(self) -> int:
        """How many actions were carried out."""
        return len(self.taken)


class Dynamics(Protocol):
    """Whoever says what candidates lead to."""

    def costs(self, now: Now, cost: Cost) -> Evaluate:
        """A function of candidates [N, H, A] to what each costs."""


class Imagined:
    """The model's imagination, of one episode.

    Args:
        model: conditioned on actions alone.
        options: futures of each candidate, how they are judged, which frames count, the seed.
        shuffled: whether each candidate is judged by the future of another one: what the planner
            reaches without listening.
    """

    def __init__(self, model: Imagines, options: PlanOptions, *, shuffled: bool = False) -> None:
        self.model, self.options, self.shuffled = model, options, shuffled
        self._followed: Followed | None = None
        self._seen = 0
        self._start: Any = None

    def begin(self, now: Now) -> Any:
        """The moment of one sequence with K futures, encoded once."""
        config, count = self.model.config, self.options.futures
        random = torch.Generator().manual_seed(
            int(np.random.SeedSequence((self.options.seed, _LATENT, now.step)).generate_state(1)[0])
        )
        noise = torch.randn(1, count, 1, config.z_dim, generator=random)
        past = torch.stack([picture(frame) for frame in now.frames])[None]
        actions = torch.from_numpy(now.action[None, None]).float()
        return self.model.begin(past, actions, n_samples=count, noise=noise)

    def costs(self, now: Now, cost: Cost) -> Evaluate:
        start, slot = self.begin(now), None
        if not cost.needs_frames and has_things(start):
            assert isinstance(self.model, PlacesCVAE)
            since = now.taken[self._seen :]
            self._followed = follow(self.model, start, now.thing, self._followed, since)
            self._seen = now.step
            if self._followed is not None:
                start, slot = self._followed.moment, self._followed.slot
        self._start = start

        def evaluate(candidates: Candidates) -> Float64[np.ndarray, " candidates"]:
            horizon = candidates.shape[1]
            beginning = Beginning(self.model, start, self._noises(horizon, now.step), slot)
            counted = steps_that_count(self.options.frames, horizon)
            portion = max(1, _AT_ONCE // self.options.futures)
            parts = [candidates[k : k + portion] for k in range(0, len(candidates), portion)]
            total = torch.cat([beginning.costs(part, cost, counted) for part in parts])
            costs = judged(total, self.options.futures, self.options.judge)
            return np.roll(costs, 1) if self.shuffled else costs

        return evaluate

    def imagine(
        self, now: Now, actions: Float64[np.ndarray, "steps action"]
    ) -> UInt8[np.ndarray, "steps height width 3"]:
        """The first future of actions, as it would look, from where they were planned."""
        frames: list[np.ndarray] = []

        def see(t: int, drawn: Tensor) -> None:
            seen = drawn[0, 0].permute(1, 2, 0).clamp(0, 1) * 255
            frames.append(seen.round().to(torch.uint8).numpy())

        noises = self._noises(len(actions), now.step)
        Beginning(self.model, self._start, noises).run(actions[None], see, range(len(actions)))
        return np.stack(frames)

    def _noises(self, horizon: int, step: int) -> Sequence[Tensor | None]:
        """Noise [1, K, z] of each step, the same for all candidates: they differ in actions only.

        A model whose latent is of an episode draws none here.
        """
        config = self.model.config
        if config.latent_of_episode:
            return [None] * horizon
        key = np.random.SeedSequence((self.options.seed, _LATENT + 1, step))
        random = torch.Generator().manual_seed(int(key.generate_state(1)[0]))
        return list(torch.randn(horizon, 1, self.options.futures, config.z_dim, generator=random))


@dataclass(frozen=True)
class CopiedLast:
    """Nothing moves: each candidate costs what the last frame does."""

    def costs(self, now: Now, cost: Cost) -> Evaluate:
        last = picture(now.frames[-1])[None]
        known = torch.from_numpy(now.thing)[None].float()
        value = float(cost(last, known)[0])
        return lambda candidates: np.full(len(candidates), value)


@dataclass(frozen=True)
class Physics:
    """The simulator itself, hidden physics included: the best that a planner can be told.

    Args:
        live: the scene.
        options: which frames count.
        task: what is judged.
        truth: where it shall be; then metres from there are the cost, in place of any other.
    """

    live: Live
    options: PlanOptions
    task: Task
    truth: Float64[np.ndarray, " place"] | None = None

    def costs(self, now: Now, cost: Cost) -> Evaluate:
        size = now.frames.shape[2]

        def one(actions: Float64[np.ndarray, "horizon action"]) -> float:
            self.live.restore(now.moment)
            counted = steps_that_count(self.options.frames, len(actions))
            total = 0.0
            for t, action in enumerate(actions):
                self.live.step(action)
                if t in counted:
                    total += self._cost(cost, size) / len(counted)
            return total

        def evaluate(candidates: Candidates) -> Float64[np.ndarray, " candidates"]:
            costs = np.array([one(actions) for actions in candidates])
            self.live.restore(now.moment)
            return costs

        return evaluate

    def _cost(self, cost: Cost, size: int) -> float:
        live = self.live
        if self.truth is not None:
            return float(np.linalg.norm(place_of(self.task, live) - self.truth))
        at = live.scene.camera.project(point_of(self.task, live), size)
        places = torch.from_numpy(at)[None].float()
        frames = picture(live.frame())[None] if cost.needs_frames else None
        return float(cost(frames, places)[0])
