"""Tasks in PushT: bring the T to a pose that the recorded actions bring it to.

What is judged is how much of the T as it shall lie the T as it lies does not cover: 1 - coverage.
The tasks are frozen in ``tasks_pusht.json``, as those of the robot are in ``tasks.json``.
"""

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources

import numpy as np

from foreframe.data.lab import SPLITS
from foreframe.planning.costs import Cost, picture
from foreframe.planning.dynamics import Now
from foreframe.planning.options import Goal, PlanOptions
from foreframe.planning.planner import Candidates, Evaluate
from foreframe.planning.spaces import PUSHT_SPACE
from foreframe.planning.tasks import SEED, THRESHOLDS, Setting, Task
from foreframe.simulator.pusht.episode import FRAMES, PushTCourse, run_sequence
from foreframe.simulator.pusht.live import SIDE, LivePushT, State
from foreframe.simulator.pusht.tee import MIDDLE, coverage, placed

_LONGEST = 10
"""Frames in which the recorded actions get there, at most."""
_COVERED = 0.5
"""Coverage at the start, at most: far from what counts as done."""
_IDLE = 20
"""Actions of doing nothing after which a task must still be one."""
_MARGIN = 0.2
"""Share not covered, beyond what counts as done, that doing nothing keeps at least."""
_REST = 1.0
"""512ths of the plane a frame below which the T is at rest."""


def prepare(task: Task, *, size: int = 64) -> Setting:
    """A task made ready: the T at its start, what was seen, and the goal."""
    course = run_sequence(SEED, SPLITS.index(task.split), task.number)
    start, goal = course.states[task.start], course.states[task.goal].block
    live = LivePushT(course.states[task.start - 1], size=size)
    frames = [live.frame()]
    live.restore(course.states[task.goal])
    pictures: dict[Goal, np.ndarray] = {"recorded": live.frame()}
    live.restore(State.at_rest(start.agent, goal))
    pictures["parked"] = live.frame()
    live.restore(start)
    frames.append(live.frame())
    return Setting(
        live,
        start,
        np.stack(frames),
        course.actions[task.start - 1].astype(np.float64),
        goal,
        pictures,
        placed(MIDDLE, goal) / SIDE * size,
        placed(MIDDLE, start.block) / SIDE * size,
        np.random.default_rng(0),  # no noise is seen
        PUSHT_SPACE,
        np.zeros(2),
        lambda: 1.0 - coverage(live.pose(), goal),
    )


class PushTPhysics:
    """PushT itself: the best that a planner can be told.

    Args:
        setting: a task made ready.
        options: which frames count.
        truth: whether what is judged is the cost, in place of any other.
    """

    def __init__(self, setting: Setting, options: PlanOptions, *, truth: bool = False) -> None:
        self.setting, self.options, self.truth = setting, options, truth

    def costs(self, now: Now, cost: Cost) -> Evaluate:
        """See ``Dynamics``."""
        live = self.setting.live

        def one(actions: np.ndarray) -> float:
            live.restore(now.moment)
            total, counted = 0.0, 0
            for t, action in enumerate(actions):
                live.step(action)
                if self.options.frames == "all" or t == len(actions) - 1:
                    total, counted = total + self._cost(cost), counted + 1
            return total / counted

        def evaluate(candidates: Candidates) -> np.ndarray:
            costs = np.array([one(actions) for actions in candidates])
            live.restore(now.moment)
            return costs

        return evaluate

    def _cost(self, cost: Cost) -> float:
        if self.truth:
            return self.setting.away()
        return float(cost(picture(self.setting.live.frame())[None], None)[0])


@cache
def frozen() -> dict[str, list[Task]]:
    """The tasks of each split ("pusht test"), in their order."""
    found: dict[str, list[Task]] = {}
    for one in json.loads(file_of_tasks())["tasks"]:
        task = Task(**one)
        found.setdefault(f"{task.kind} {task.split}", []).append(task)
    return found


@cache
def file_of_tasks() -> bytes:
    """The frozen tasks as they lie in the package."""
    return resources.files(__package__).joinpath("tasks_pusht.json").read_bytes()


def find(split: str, count: int) -> list[Task]:
    """The tasks, one of each sequence that has one, in the order of the sequences."""
    found: list[Task] = []
    number = 0
    while len(found) < count:
        course = run_sequence(SEED, SPLITS.index(split), number)
        tasks = (
            Task("pusht", split, number, start, goal)
            for _, start, goal in sorted(_stretches(course), reverse=True)
        )
        one = next((task for task in tasks if _stays_away(task)), None)
        if one is not None:
            found.append(one)
        number += 1
    return found


def _stays_away(task: Task) -> bool:
    """Whether doing nothing leaves the T far from done all the time: the disc may roll on."""
    setting = prepare(task)
    for _ in range(_IDLE):
        setting.live.step(setting.rest)
        if setting.away() < THRESHOLDS["pusht"][0] + _MARGIN:
            return False
    return True


def _stretches(course: PushTCourse) -> Iterator[tuple[float, int, int]]:
    """How much of the T covers its later pose in each stretch: coverage, first and last frame."""
    poses = np.array([state.block for state in course.states])
    speed = np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1)
    for start in range(1, FRAMES - 4):
        if speed[start - 1 : start + 1].max() > _REST:
            continue
        for goal in range(start + 3, min(start + _LONGEST, FRAMES - 2) + 1):
            covered = coverage(poses[start], poses[goal])
            if covered <= _COVERED and speed[goal] <= _REST:
                yield covered, start, goal
