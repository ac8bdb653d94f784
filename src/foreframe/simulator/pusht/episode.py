"""One sequence of PushT: drawn from its own random streams, simulated, filmed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foreframe.data.recording import Recording
from foreframe.simulator.pusht.live import SIDE, LivePushT, State
from foreframe.simulator.pusht.policy import Policy, draw_start
from foreframe.simulator.streams import stream

FRAMES = 30
_SCENE, _ACTIONS = range(2)


@dataclass(frozen=True)
class PushTCourse:
    """A sequence of T frames before it is filmed.

    Attributes:
        states: T of them, one for each frame.
        actions: float32 [T, 2]; ``actions[t]`` acts between frame t and t + 1.
    """

    states: list[State]
    actions: NDArray[np.float32]


def run_sequence(seed: int, split: int, number: int, frames: int = FRAMES) -> PushTCourse:
    """What happens in sequence ``number`` of a split, a pure function of the arguments.

    Args:
        seed: the dataset's seed, >= 0.
        split: 0 train, 1 validate, 2 test.
        number: the sequence's number in its split, from 0.
        frames: how many.
    """
    live = LivePushT(draw_start(stream(seed, split, number, _SCENE)))
    policy = Policy(stream(seed, split, number, _ACTIONS))
    states, actions = [], []
    for _ in range(frames):
        states.append(live.snapshot())
        actions.append(policy(states[-1]))
        if len(states) < frames:
            live.step(actions[-1].astype(np.float64))
    return PushTCourse(states, np.stack(actions))


def record_sequence(seed: int, split: int, number: int, *, size: int = 64) -> Recording:
    """The sequence as it is recorded, with the T's centre of gravity as its track."""
    course = run_sequence(seed, split, number)
    live = LivePushT(course.states[0], size=size)
    frames, positions, tracks = [], [], []
    for state in course.states:
        live.restore(state)
        frames.append(live.frame())
        positions.append(live.positions())
        tracks.append((live.middle() / SIDE).round(6))
    return Recording(
        np.stack(frames),
        course.actions,
        np.stack(positions).astype(np.float32),
        np.stack(tracks).astype(np.float32),
    )
