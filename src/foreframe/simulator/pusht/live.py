"""PushT running: carried on action by action, looked at, put back to an earlier state exactly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foreframe.simulator.pusht.gym_import import PushTEnv
from foreframe.simulator.pusht.tee import MIDDLE, placed

Floats = NDArray[np.float64]

SIDE = 512
"""Length of the plane's sides in its own unit, which gym-pusht calls pixels."""

INTERVAL = 0.1
"""Seconds from one frame to the next: gym-pusht takes ten commands a second."""

LONGEST = 100.0
"""The largest command in each direction."""

REACH = (25.0, SIDE - 25.0)
"""The target stays between these in each direction: within the walls."""

_ELSEWHERE = (60.0, 60.0, 256.0, 300.0, 0.0)
"""Disc and T far from each other and from the walls, from where they are put into place."""


@dataclass(frozen=True)
class State:
    """A moment of PushT: all that what follows depends on.

    Attributes:
        agent: [2], x and y of the disc.
        agent_velocity: [2], per second.
        block: [3], x and y of the T's origin and its angle.
        block_velocity: [3], per second.
    """

    agent: Floats
    agent_velocity: Floats
    block: Floats
    block_velocity: Floats

    @classmethod
    def at_rest(cls, agent: Floats, block: Floats) -> "State":
        """A disc [2] and a T [3] that do not move."""
        return cls(agent, np.zeros(2), block, np.zeros(3))


class LivePushT:
    """PushT from a state on.

    Each frame begins from the numbers of a ``State`` alone: the environment is set up anew from
    them. What pymunk remembers of contacts beyond them is forgotten every tenth of a second, so
    going back to a state is exact, whatever happened since.

    Args:
        state: the first moment.
        size: height and width of the frames in pixels.
    """

    def __init__(self, state: State, *, size: int = 64) -> None:
        self._size = size
        self._env = PushTEnv(obs_type="state")
        # Draws only: an environment that has taken a step marks its target in the picture.
        self._easel = PushTEnv(visualization_width=SIDE, visualization_height=SIDE)
        self._easel.obs_type = "state"
        self._easel.reset(options={"reset_to_state": _ELSEWHERE})
        self.restore(state)

    def step(self, action: Floats) -> None:
        """Carry out an action [2] in the time of one frame: the target, seen from the disc."""
        agent = self._state.agent
        self._env.step(np.clip(agent + np.asarray(action, np.float64), *REACH))
        self.restore(_state_of(self._env))

    def frame(self, sensor: np.random.Generator | None = None) -> NDArray[np.uint8]:
        """What is seen now, [size, size, 3]; there is no noise, so that a sensor is not used."""
        _put(self._easel, self._state)
        picture = Image.fromarray(np.ascontiguousarray(self._easel.render()))
        # Each pixel is the mean of the area that it covers.
        return np.array(picture.resize((self._size, self._size), Image.Resampling.BOX))

    def positions(self) -> Floats:
        """[2]: the disc now."""
        return self._state.agent.copy()

    def pose(self) -> Floats:
        """[3]: x and y of the T's origin now, and its angle."""
        return self._state.block.copy()

    def middle(self) -> Floats:
        """[2]: the T's centre of gravity now."""
        return placed(MIDDLE, self._state.block)

    def snapshot(self) -> State:
        """The moment, to come back to."""
        return self._state

    def restore(self, moment: State) -> None:
        """Go back to a moment: what follows is what would have followed then."""
        self._env.reset(options={"reset_to_state": _ELSEWHERE})
        _put(self._env, moment)
        self._state = moment

    def park(self, agent: Floats) -> None:
        """Put the disc [2] elsewhere at once, through whatever lies there: for a picture."""
        self.restore(State.at_rest(np.array(agent, np.float64), self._state.block))


def _state_of(env: Any) -> State:
    agent, block = env.agent, env.block
    return State(
        np.array(agent.position),
        np.array(agent.velocity),
        np.array([*block.position, block.angle]),
        np.array([*block.velocity, block.angular_velocity]),
    )


def _put(env: Any, state: State) -> None:
    agent, block = env.agent, env.block
    agent.position, agent.velocity = tuple(state.agent), tuple(state.agent_velocity)
    # The angle first: the T turns about its centre of gravity, which would move its origin.
    block.angle = float(state.block[2])
    block.position = tuple(state.block[:2])
    block.velocity = tuple(state.block_velocity[:2])
    block.angular_velocity = float(state.block_velocity[2])
    for body in (agent, block):
        env.space.reindex_shapes_for_body(body)
