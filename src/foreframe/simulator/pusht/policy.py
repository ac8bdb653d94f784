"""Who pushes the T in recordings: goes behind it and pushes, goes along its edge, wanders.

Commands are chosen in segments of a few frames. Unlike those of the robot they depend on where the
T is now: nothing about it is hidden, so a command says no more about the future than the frame.
"""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

from foreframe.simulator.pusht.live import LONGEST, REACH, SIDE, State
from foreframe.simulator.pusht.tee import MIDDLE, OUTLINE, placed, shape_of

Floats = NDArray[np.float64]

COLUMNS = (
    "dx: how far right of the disc its target lies until the next frame (512ths of the frame)",
    "dy: how far below the disc its target lies until the next frame (512ths of the frame)",
)
"""Meaning of the two action columns."""

PUSHING, FOLLOWING = 0.6, 0.15
"""Probabilities that a segment pushes the T, and that it goes along its edge; else it wanders."""

STEP = 45.0
"""Standard deviation of dx and of dy while wandering."""

SHAKE = 6.0
"""Standard deviation of what is added to each command."""

_PACE = (35.0, 90.0)
"""Least and greatest length of a command in a segment."""
_CLEAR = 28.0
"""Distance of the disc's centre from the T's edge where a push begins: its radius is 15."""
_FREE = 110.0
"""Radius of the way round the T."""
_ROOM = 110.0
"""The T is not pushed to where its centre is nearer to a side than this."""
_FURTHER = 90.0
"""How far a push may lead, for that."""
_APPROACH = 9
"""Frames after which a push that has not begun is given up."""


def draw_start(random: np.random.Generator) -> State:
    """A T anywhere in the middle, and a disc near it that does not touch it."""
    angle = random.uniform(-np.pi, np.pi)
    middle = random.uniform(150.0, SIDE - 150.0, 2)
    block = np.array([*(middle - placed(MIDDLE, np.array([0.0, 0.0, angle]))), angle])
    while True:
        way = random.uniform(-np.pi, np.pi)
        agent = middle + random.uniform(60.0, 200.0) * np.array([np.cos(way), np.sin(way)])
        inside = bool(np.all((agent > REACH[0] + 5) & (agent < REACH[1] - 5)))
        if inside and _distance(agent, block) > _CLEAR:
            return State.at_rest(agent, block)


class Policy:
    """Commands, one after another.

    Args:
        random: what they are drawn from.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._segment: Iterator[Floats] = iter(())
        self._now = State.at_rest(np.zeros(2), np.zeros(3))

    def __call__(self, now: State) -> NDArray[np.float32]:
        """The command [2] at a moment; ``COLUMNS`` says what it means."""
        self._now = now
        command = next(self._segment, None)
        while command is None:
            self._segment = self._draw()
            command = next(self._segment, None)
        shaken = command + self._random.normal(0.0, SHAKE, 2)
        return np.clip(shaken, -LONGEST, LONGEST).astype(np.float32)

    def _draw(self) -> Iterator[Floats]:
        kind = self._random.random()
        pace = self._random.uniform(*_PACE)
        if kind < PUSHING:
            return self._push(pace)
        return self._follow(pace) if kind < PUSHING + FOLLOWING else self._wander()

    def _push(self, pace: float) -> Iterator[Floats]:
        """To a place behind the T, and from there through a point of its edge."""
        point, inwards = self._point_to_push()
        frames = int(self._random.integers(4, 10))
        turn = self._random.normal(0.0, 0.2)
        for _ in range(_APPROACH):
            block = self._now.block
            behind = placed(point - _CLEAR * inwards, block)
            way = behind - self._now.agent
            if np.linalg.norm(way) < 18.0:
                break
            yield self._round(behind, pace)
        else:
            return
        course = placed(inwards, np.array([0.0, 0.0, self._now.block[2] + turn]))
        for _ in range(frames):
            yield pace * course

    def _point_to_push(self) -> tuple[Floats, Floats]:
        """A point of the T's edge and the direction into it, where there is room to push."""
        ends = np.roll(OUTLINE, -1, axis=0)
        lengths = np.linalg.norm(ends - OUTLINE, axis=1)
        middle = placed(MIDDLE, self._now.block)
        for _ in range(8):
            side = self._random.choice(len(OUTLINE), p=lengths / lengths.sum())
            along = (ends[side] - OUTLINE[side]) / lengths[side]
            point = OUTLINE[side] + self._random.uniform(0.1, 0.9) * (ends[side] - OUTLINE[side])
            inwards = np.array([-along[1], along[0]])
            course = placed(inwards, np.array([0.0, 0.0, self._now.block[2]]))
            goes = middle + _FURTHER * course
            if np.all((goes > _ROOM) & (goes < SIDE - _ROOM)):
                break
        return point, inwards

    def _round(self, goal: Floats, pace: float) -> Floats:
        """A command towards a place, round the T where it lies between."""
        agent, middle = self._now.agent, placed(MIDDLE, self._now.block)
        out, there = agent - middle, goal - middle
        turn = np.arctan2(out[0] * there[1] - out[1] * there[0], out @ there)
        if abs(turn) > 0.9:
            way = np.arctan2(out[1], out[0]) + np.sign(turn) * min(abs(turn), 0.7)
            goal = middle + _FREE * np.array([np.cos(way), np.sin(way)])
        way = goal - agent
        distance = float(np.linalg.norm(way))
        # In one frame the disc gets about 0.4 times as far as its target is.
        return np.asarray(way / max(distance, 1e-6) * min(distance / 0.4, 1.3 * pace))

    def _follow(self, pace: float) -> Iterator[Floats]:
        """Along the edge of the T, about as near as touching it."""
        sign = self._random.choice([-1.0, 1.0])
        distance = self._random.uniform(10.0, 30.0)
        for _ in range(int(self._random.integers(5, 10))):
            nearest = _nearest(self._now.agent, self._now.block)
            out = self._now.agent - nearest
            far = max(float(np.linalg.norm(out)), 1e-6)
            out /= far
            yield sign * pace * np.array([-out[1], out[0]]) + 1.5 * (distance - far) * out

    def _wander(self) -> Iterator[Floats]:
        """Anywhere, held for three frames."""
        for _ in range(4):
            step = self._random.normal(0.0, STEP, 2)
            goes = self._now.agent + 1.2 * step
            if np.all((goes > REACH[0]) & (goes < REACH[1])):
                break
        for _ in range(3):
            yield step


def _nearest(place: Floats, block: Floats) -> Floats:
    """The point of the T's edge that is the nearest to a place."""
    corners = placed(OUTLINE, block)
    along = np.roll(corners, -1, axis=0) - corners
    share = ((place - corners) * along).sum(1) / np.square(along).sum(1)
    points = corners + np.clip(share, 0.0, 1.0)[:, None] * along
    return np.asarray(points[np.linalg.norm(points - place, axis=1).argmin()])


def _distance(place: Floats, block: Floats) -> float:
    """From a place to the T; 0 within it."""
    return float(shape_of(block).distance(shapely.Point(place)))
