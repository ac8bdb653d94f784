"""One task tried once: plans made and carried out in the simulator, until its actions are spent."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from foreframe.planning.costs import Cost
from foreframe.planning.dynamics import Dynamics, Imagined, Now
from foreframe.planning.options import PlannerOptions, PlanOptions
from foreframe.planning.planner import Plan, coloured_noise, make_plan
from foreframe.planning.spaces import SPACE as SPACE
from foreframe.planning.tasks import Setting, Task

_PLANNER, _RANDOM = 1, 2
"""Keys of the draws."""


@dataclass(frozen=True)
class Tried:
    """How an episode went.

    Attributes:
        frames: what was seen: the two given frames, then one after each action.
        actions: that were carried out.
        distances: metres from what is judged to its goal, at the start and after each action.
        plans: number of plans.
        seconds: of planning, in all.
        imagined: frames that were imagined, or simulated, for the plans.
        foreseen: the given frames, and each later one as it was imagined when its action was
            planned; None where that was not asked for.
    """

    frames: UInt8[np.ndarray, "time height width 3"]
    actions: Float64[np.ndarray, "steps action"]
    distances: Float64[np.ndarray, " moments"]
    plans: int
    seconds: float
    imagined: int
    foreseen: UInt8[np.ndarray, "time height width 3"] | None = None


def carry_out(
    task: Task,
    setting: Setting,
    act: Callable[[Now], Float64[np.ndarray, "some action"]],
    *,
    steps: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, actions and distances of an episode whose actions come from ``act``.

    Args:
        task: what is to be done.
        setting: made ready by ``prepare``; left as it then is.
        act: what is known, to the next few actions.
        steps: actions in all.
    """
    live = setting.live
    live.restore(setting.start)
    frames, last = list(setting.frames), setting.action
    distances = [setting.away()]
    taken: list[np.ndarray] = []
    while len(taken) < steps:
        now = Now(
            np.stack(frames[-2:]), last, live.snapshot(), setting.thing, _rows(setting, taken)
        )
        for action in act(now)[: steps - len(taken)]:
            live.step(action)
            frames.append(live.frame(setting.sensor))
            distances.append(setting.away())
            taken.append(action)
            last = np.asarray(action, np.float64)
    return np.stack(frames), np.stack(taken), np.array(distances)


def _rows(setting: Setting, taken: list[np.ndarray]) -> np.ndarray:
    return np.stack(taken) if taken else np.empty((0, len(setting.space.mean)))


def tried_with_plans(
    task: Task,
    setting: Setting,
    dynamics: Dynamics,
    cost: Cost,
    planner: PlannerOptions,
    options: PlanOptions,
    *,
    film: bool = False,
) -> Tried:
    """An episode in which a new plan is made every few actions.

    Args:
        task: what is to be done.
        setting: made ready by ``prepare``.
        dynamics: who imagines candidates.
        cost: what they cost.
        planner: how they are searched for.
        options: how many actions there are, and when a new plan is made.
        film: keep what was imagined of each action that is carried out.
    """
    before: Plan | None = None
    plans, seconds, imagined = 0, 0.0, 0
    foreseen: list[np.ndarray] = []

    def act(now: Now) -> np.ndarray:
        nonlocal before, plans, seconds, imagined
        begun = time.monotonic()
        random = np.random.default_rng((options.seed, _PLANNER, task.number, now.step))
        before = make_plan(
            dynamics.costs(now, cost),
            setting.space,
            min(planner.horizon, options.steps - now.step),
            planner,
            random,
            before,
            options.replan,
        )
        plans, imagined = plans + 1, imagined + before.imagined
        seconds += time.monotonic() - begun
        chosen = before.actions[: options.replan]
        if film and isinstance(dynamics, Imagined):
            foreseen.append(dynamics.imagine(now, chosen))
        return chosen

    done = carry_out(task, setting, act, steps=options.steps)
    shown = np.concatenate([setting.frames, *foreseen])[: len(done[0])] if foreseen else None
    return Tried(*done, plans, seconds, imagined, shown)


def tried_without(
    task: Task, setting: Setting, options: PlanOptions, *, random: PlannerOptions | None = None
) -> Tried:
    """An episode of no actions, or of random ones as a planner draws its first candidates."""
    space = setting.space
    actions = np.tile(setting.rest, (options.steps, 1))
    if random is not None:
        draws = np.random.default_rng((options.seed, _RANDOM, task.number))
        noise = coloured_noise(draws, 1, options.steps, len(space.mean), random.beta)
        actions = np.clip(space.mean + space.deviation * noise[0], space.low, space.high)
    done = carry_out(task, setting, lambda now: actions[now.step :], steps=options.steps)
    return Tried(*done, 0, 0.0, 0)
