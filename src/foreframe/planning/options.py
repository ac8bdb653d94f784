"""What is planned, how, and how often. Free of PyTorch, so that the command line starts at once."""

from dataclasses import dataclass, replace
from typing import Literal

from foreframe.errors import ForeframeError, at_least

TaskName = Literal["push", "reach", "pusht"]
CostName = Literal["pixels", "lpips", "object"]
Goal = Literal["recorded", "parked"]


@dataclass(frozen=True)
class PlannerOptions:
    """How sequences of actions are searched for."""

    planner: Literal["icem", "mppi"] = "icem"
    """Cross-entropy method with coloured noise and kept elites (iCEM), or path integrals (MPPI)."""
    samples: int = 40
    """Candidates of the first iteration."""
    horizon: int = 10
    """Frames that are imagined of each candidate, at most: as many as the episode still has."""
    iterations: int = 3
    """How often candidates are drawn, each time about the best of those before."""
    decay: float = 1.25
    """By what the number of candidates is divided from one iteration to the next."""
    elites: float = 0.1
    """Share of the candidates that the next ones are drawn about (iCEM)."""
    keep: float = 0.3
    """Share of the elites that stay candidates, in the next iteration and in the next plan."""
    beta: float = 2.0
    """Exponent of the noise's spectrum: 0 is white, 2 a random walk; actions that last push."""
    gamma: float = 0.05
    """Temperature of MPPI, in standard deviations of the candidates' costs."""

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            ForeframeError: names the option.
        """
        at_least(2, samples=self.samples)
        at_least(1, horizon=self.horizon, iterations=self.iterations)
        for name, low, high in (("elites", 0, 1), ("keep", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise ForeframeError(f"--{name} {getattr(self, name)}: is a share from 0 to 1.")
        if not self.decay >= 1:
            raise ForeframeError(f"--decay {self.decay}: must be 1 or more.")
        if not 0 <= self.beta <= 10:
            raise ForeframeError(f"--beta {self.beta}: must lie between 0 and 10.")
        if not self.gamma > 0:
            raise ForeframeError(f"--gamma {self.gamma}: must be above 0.")


@dataclass(frozen=True)
class OwnTask:
    """A task of one's own, in the place of the frozen ones."""

    goal: tuple[float, float] | None = None
    """Where an object shall be pushed: x (towards the camera) and y (to the image's right) on the
    table, in metres; the bin's middle is 0 0."""
    thing: int | None = None
    """Number of the object in its scene."""
    sequence: int = 0
    """Number of the simulated sequence, of --split, whose scene it is."""


@dataclass(frozen=True)
class PlanOptions:
    """What is tried, and how it is judged."""

    episodes: int = 100
    """Tasks, the first of those that are frozen."""
    split: Literal["validate", "test"] = "test"
    """Where the tasks come from: settings are chosen on validate, and reported on test."""
    steps: int = 15
    """Actions of an episode."""
    replan: int = 3
    """Actions that are carried out before a new plan is made."""
    cost: CostName | None = None
    """What a candidate costs: squared error to the goal picture (pixels), LPIPS to it, or the
    distance of the object from its goal in the picture (object). By default object, where one is
    to be pushed, else pixels."""
    frames: Literal["last", "all"] = "last"
    """Frames of a candidate that count."""
    futures: int = 4
    """Futures that are imagined of each candidate: what nobody can see, such as an object's mass,
    differs among them."""
    judge: Literal["mean", "worst"] = "mean"
    """What a candidate with several futures costs: their mean, or the worst of them."""
    seed: int = 0
    """Of the planner's draws and of the latents."""
    oracle: bool = True
    """Plan with the simulator's own physics, too: with the true state as the cost, and with the
    same cost as the model."""

    def of(self, task: TaskName) -> "PlanOptions":
        """The same with the cost that is usual for a task, where none was asked for."""
        usual: CostName = "object" if task == "push" else "pixels"
        return replace(self, cost=self.cost or usual)

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            ForeframeError: names the option.
        """
        at_least(1, episodes=self.episodes, steps=self.steps, replan=self.replan)
        at_least(1, futures=self.futures)
        at_least(0, seed=self.seed)
