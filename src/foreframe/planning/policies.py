"""Scripted policies of different skill, which push an object to a place.

A policy sees where the gripper is told to be, and where the object and its goal are on the table;
it sees no more in the simulator than in a model's imagination, so it can be judged in both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from foreframe.planning.episode import SPACE
from foreframe.planning.planner import coloured_noise
from foreframe.simulator.scene import PUSHING_HEIGHT

_UP, _DOWN = 0.09, 0.0
"""Heights that the gripper is told, in metres above that of pushing."""
_MISSED = 0.03
"""Standard deviation in metres by which the clumsy one mistakes where the object is."""
_CLEAR = 0.055
"""Metres above the table from which the finger tips pass over objects."""
_LOW = 0.03
"""Below it they push."""
_BEHIND = 0.085
"""Metres from an object's middle at which the gripper is let down behind it."""
_ON_LINE = 0.035
"""Metres beside the line of the push at which a push goes on."""
_STRIDE = 0.045
"""Metres a frame of a push."""
_THERE = 0.015
"""Metres from the goal at which a push ends."""


@dataclass(frozen=True)
class Sight:
    """What a policy sees.

    Attributes:
        gripper: [4] x, y, z in metres and yaw in radians that it is told to be at.
        thing: [2] x and y of the object, in metres.
        goal: [2] of its goal.
        step: actions that were taken before.
    """

    gripper: Float64[np.ndarray, "4"]
    thing: Float64[np.ndarray, "2"]
    goal: Float64[np.ndarray, "2"]
    step: int


Policy = Callable[[Sight], Float64[np.ndarray, "4"]]
"""What is seen, to the action; made anew for each episode."""


def policy(name: str, seed: tuple[int, ...], steps: int) -> Policy:
    """A policy of ``NAMES`` for one episode.

    Args:
        name: of it.
        seed: of what is random in it.
        steps: actions of the episode.
    """
    random = np.random.default_rng(seed)
    if name == "still":
        return lambda sight: _action(np.zeros(2), sight.gripper[2] - PUSHING_HEIGHT)
    if name == "random":
        drawn = coloured_noise(random, 1, steps, 4, 2.0)[0]
        actions = np.clip(SPACE.mean + SPACE.deviation * drawn, SPACE.low, SPACE.high)
        return lambda sight: actions[sight.step]
    if name == "straight":
        return lambda sight: _action(_towards(sight.gripper[:2], sight.goal), _DOWN)
    if name == "clumsy":
        missed = random.normal(0.0, _MISSED, 2)
        return lambda sight: _push(Sight(sight.gripper, sight.thing + missed, sight.goal, 0))
    if name == "hasty":
        return lambda sight: _push(sight, stride=2 * _STRIDE, there=0.0)
    return _push


NAMES = ("still", "random", "straight", "clumsy", "hasty", "careful")
"""Policies by growing skill, as they are meant: doing nothing; random actions; straight at the
goal, not round the object; pushing from behind an object that is mistaken for being beside where it
is; pushing from behind with long strides and no end; pushing from behind until it is there."""


def _push(sight: Sight, stride: float = _STRIDE, there: float = _THERE) -> np.ndarray:
    """Round the object to the side away from the goal, down, and towards the goal."""
    gripper, height = sight.gripper[:2], sight.gripper[2]
    left = sight.goal - sight.thing
    far = float(np.linalg.norm(left))
    if far <= there:
        return _action(np.zeros(2), height - PUSHING_HEIGHT)
    along = left / max(far, 1e-9)
    from_thing = gripper - sight.thing
    ahead = float(from_thing @ along)
    beside = from_thing - ahead * along
    on_line = float(np.linalg.norm(beside)) < _ON_LINE and ahead < 0
    if height < _LOW and on_line:
        # The fingers end where the object is at its goal.
        reach = max(0.0, far + max(0.0, -ahead - _BEHIND))
        return _action(along * min(stride, reach if there > 0 else stride) - 0.5 * beside, _DOWN)
    behind = sight.thing - _BEHIND * along
    if float(np.linalg.norm(gripper - behind)) < 0.02:
        return _action(behind - gripper, _DOWN)
    if height < _CLEAR:
        return _action(np.zeros(2), _UP)
    return _action(_towards(gripper, behind), _UP)


def _towards(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The way to a place, as far as one step goes."""
    way = there - here
    far = float(np.linalg.norm(way))
    return np.asarray(way * min(1.0, float(SPACE.high[0]) / max(far, 1e-9)))


def _action(way: np.ndarray, lift: float) -> np.ndarray:
    return np.clip(np.array([*way, lift, 0.0]), SPACE.low, SPACE.high)
