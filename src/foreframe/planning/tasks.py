"""Tasks in the simulator: a start, a goal that is known to be reachable, and how it is judged.

A task is a stretch of a simulated sequence: the recorded actions push an object away in it, or move
the gripper, so that there is a way. The planner sees the frames before, and a picture or a place of
the goal; the physics is the sequence's own and hidden from it.

The tasks are frozen in ``tasks.json``: numbers of sequences and frames, and nothing that depends on
how a planner fares. ``find`` makes them again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from foreframe.data.lab import SPLITS
from foreframe.errors import ForeframeError
from foreframe.planning.options import Goal, OwnTask, TaskName
from foreframe.planning.planner import ActionSpace
from foreframe.planning.spaces import SPACE
from foreframe.simulator.episode import FRAMES, draw_sequence
from foreframe.simulator.live import Live
from foreframe.simulator.scene import BIN

SEED = 0
"""Of the simulated dataset that the tasks are of, as ``foreframe simulate`` has it by default."""

THRESHOLDS: dict[TaskName, tuple[float, ...]] = {
    "push": (0.05, 0.025),
    "reach": (0.025,),
    "pusht": (0.2, 0.5),
}
"""Distances from the goal, in metres (PushT: share that is not covered), within which a task counts
as done; the first is the one that is reported first."""

_LONGEST = 10
"""Frames in which the recorded actions get there, at most."""
_REST = 0.004
"""Metres a frame below which an object is at rest."""
_IDLE = 20
"""Actions of doing nothing after which a task must still be one."""
_MARGIN = 0.01
"""Metres from the threshold that doing nothing keeps at least."""
_LEAST = {"push": 2 * THRESHOLDS["push"][0], "reach": 2 * THRESHOLDS["reach"][0]}
"""Metres from the start to the goal, at least: twice the threshold, so that doing nothing is no
success, whatever happens."""


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Attributes:
        kind: push an object, or reach a place with the gripper.
        split: of the sequence.
        number: of the sequence in its split.
        start: frame at which the planner takes over; it sees this one and the one before.
        goal: frame whose state is the goal.
        thing: number of the object; 0 and without meaning for reach.
        place: x and y of the goal in metres, for a task of somebody's own; None where it is what
            the recorded actions lead to.
    """

    kind: TaskName
    split: str
    number: int
    start: int
    goal: int
    thing: int = 0
    place: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """Of its files."""
        own = "" if self.place is None else "-own"
        return f"{self.kind}-{self.split}-{self.number:04d}{own}"


@dataclass(frozen=True)
class Setting:
    """A task made ready: the scene at its start, what was seen, and the goal.

    Attributes:
        live: the scene; at its start.
        start: the moment at which the planner takes over.
        frames: the frames that are given.
        action: [4], what led from one to the other.
        goal: [2] or [3], where the object, or the gripper, shall be, in metres.
        pictures: the goal as it looks, by how the arm stands in it.
        pixels: [2], column and row of the goal's place in the picture.
        thing: [2], column and row of the object's place in the last given frame.
        sensor: of the frames that follow.
        space: of the actions.
        rest: the action that does nothing, at the start.
        away: how far what is judged is from its goal now, in metres or in the task's own measure.
    """

    live: Any
    start: Any
    frames: UInt8[np.ndarray, "2 height width 3"]
    action: Float64[np.ndarray, " action"]
    goal: Float64[np.ndarray, " place"]
    pictures: dict[Goal, UInt8[np.ndarray, "height width 3"]]
    pixels: Float64[np.ndarray, "2"]
    thing: Float64[np.ndarray, "2"]
    sensor: np.random.Generator
    space: ActionSpace
    rest: Float64[np.ndarray, " action"]
    away: Callable[[], float]


def point_of(task: Task, live: Live) -> Float64[np.ndarray, "3"]:
    """Where the object's origin, or the gripper, is now, in metres."""
    return live.positions() if task.kind == "reach" else live.centres()[task.thing]


def place_of(task: Task, live: Live) -> Float64[np.ndarray, " place"]:
    """What is judged of it: x and y of the object on the table, or x, y and z of the gripper."""
    return point_of(task, live)[: 2 if task.kind == "push" else 3]


def prepare(task: Task, *, size: int = 64) -> Setting:
    """Run a sequence up to the start of a task, and on to its goal for the pictures."""
    sequence = draw_sequence(SEED, SPLITS.index(task.split), task.number)
    live = Live(sequence.scene, sequence.physics, size=size)
    frames: list[np.ndarray] = []
    for t in range(task.start):
        if t == task.start - 1:
            frames.append(live.frame(sequence.sensor))
        live.step(sequence.actions[t])
    frames.append(live.frame(sequence.sensor))
    start = live.snapshot()
    gripper = live.gripper()
    camera = sequence.scene.camera
    thing = camera.project(point_of(task, live), size)
    if task.place is None:
        for t in range(task.start, task.goal):
            live.step(sequence.actions[t])
    else:
        live.put(task.thing, np.array(task.place))
    goal = place_of(task, live)
    pixels = camera.project(point_of(task, live), size)
    pictures: dict[Goal, np.ndarray] = {"recorded": live.frame()}
    if task.kind == "push":
        live.park(gripper)
        pictures["parked"] = live.frame()
    live.restore(start)
    return Setting(
        live,
        start,
        np.stack(frames),
        sequence.actions[task.start - 1].astype(np.float64),
        goal,
        pictures,
        pixels,
        thing,
        sequence.sensor,
        SPACE,
        idle(sequence.actions[task.start - 1].astype(np.float64)),
        lambda: float(np.linalg.norm(place_of(task, live) - goal)),
    )


def own_task(own: OwnTask, split: str) -> Task:
    """A task that somebody asks for.

    Raises:
        ForeframeError: the object is not there, or the goal lies outside the bin.
    """
    if own.goal is None or own.thing is None:
        raise ForeframeError("give both --goal X Y and --thing N, or neither.")
    if own.sequence < 0:
        raise ForeframeError(f"--sequence {own.sequence}: is a number from 0 on.")
    scene = draw_sequence(SEED, SPLITS.index(split), own.sequence).scene
    count = len(scene.things)
    if not 0 <= own.thing < count:
        raise ForeframeError(
            f"--thing {own.thing}: the scene of sequence {own.sequence} has {count} objects, "
            f"numbered 0 to {count - 1}."
        )
    room = np.array(BIN) - scene.things[own.thing].radius
    if not (np.abs(own.goal) <= room).all():
        raise ForeframeError(
            f"--goal {own.goal[0]:g} {own.goal[1]:g}: lies outside the bin; object {own.thing} "
            f"fits from {-room[0]:.2f} to {room[0]:.2f} in x and from {-room[1]:.2f} to "
            f"{room[1]:.2f} in y."
        )
    return Task("push", split, own.sequence, 1, 1, own.thing, own.goal)


@cache
def _file() -> bytes:
    return resources.files(__package__).joinpath("tasks.json").read_bytes()


def tasks_hash() -> str:
    """SHA-256 of the frozen tasks."""
    return hashlib.sha256(_file()).hexdigest()


@cache
def frozen() -> dict[str, list[Task]]:
    """The tasks of each kind and split ("push test"), in their order."""
    tasks = [Task(**one) for one in json.loads(_file())["tasks"]]
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(f"{task.kind} {task.split}", []).append(task)
    return found


def find(kind: TaskName, split: str, count: int) -> list[Task]:
    """The tasks of a kind, one of each sequence that has one, in the order of the sequences."""
    found: list[Task] = []
    number = 0
    while len(found) < count:
        task = _task_of(kind, split, number)
        if task is not None:
            found.append(task)
        number += 1
    return found


def _task_of(kind: TaskName, split: str, number: int) -> Task | None:
    """The task in a sequence whose goal is the nearest to the least distance; None without one."""
    sequence = draw_sequence(SEED, SPLITS.index(split), number)
    live = Live(sequence.scene, sequence.physics)
    places: list[np.ndarray] = []
    for t in range(FRAMES):
        things = live.centres()[:, :2] if kind == "push" else live.positions()[None]
        places.append(things)
        live.step(sequence.actions[t])
    for _, start, goal, thing in sorted(_stretches(np.stack(places), kind)):
        task = Task(kind, split, number, start, goal, thing)
        if _stays_away(task):
            return task
    return None


def _stays_away(task: Task) -> bool:
    """Whether doing nothing leaves the object, or the gripper, far from the goal all the time.

    An object that lies still may be met by another one that rolls.
    """
    setting = prepare(task)
    for _ in range(_IDLE):
        setting.live.step(idle(setting.action))
        left = np.linalg.norm(place_of(task, setting.live) - setting.goal)
        if left < THRESHOLDS[task.kind][0] + _MARGIN:
            return False
    return True


def idle(action: Float64[np.ndarray, " action"]) -> Float64[np.ndarray, " action"]:
    """Doing nothing after an action: neither on nor round, and as high as it is."""
    return np.array([0.0, 0.0, action[2], 0.0])


def _stretches(
    places: Float64[np.ndarray, "time things place"], kind: TaskName
) -> Iterator[tuple[float, int, int, int]]:
    """How far each thing is moved in each stretch: metres, first and last frame, number."""
    speed = np.linalg.norm(np.diff(places, axis=0), axis=-1)
    for thing in range(places.shape[1]):
        for start in range(1, FRAMES - 4):
            if kind == "push" and speed[start - 1 : start + 1, thing].max() > _REST:
                continue
            for goal in range(start + 3, min(start + _LONGEST, FRAMES - 2) + 1):
                moved = float(np.linalg.norm(places[goal, thing] - places[start, thing]))
                still = kind == "reach" or speed[goal, thing] <= _REST
                if moved >= _LEAST[kind] and still:
                    yield moved, start, goal, thing


def to_json(tasks: list[Task]) -> str:
    """What ``tasks.json`` holds: a task a line."""
    rows = [{k: v for k, v in asdict(task).items() if v is not None} for task in tasks]
    lines = ",\n".join(json.dumps(row) for row in rows)
    return f'{{"seed": {SEED}, "tasks": [\n{lines}\n]}}\n'


def said(kind: TaskName, threshold: float) -> str:
    """What it means to be within a threshold."""
    if kind == "pusht":
        return f"{100 * (1 - threshold):g} % covered"
    return f"within {100 * threshold:g} cm"
