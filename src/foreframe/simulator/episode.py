"""One sequence: drawn from its own random streams, simulated, filmed; and replayed otherwise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foreframe.simulator.actions import draw_actions
from foreframe.simulator.camera import Camera
from foreframe.simulator.live import INTERVAL as INTERVAL
from foreframe.simulator.live import NOISE as NOISE
from foreframe.simulator.live import Live
from foreframe.simulator.scene import (
    MOST_THINGS,
    Physics,
    Scene,
    draw_physics,
    draw_scene,
)
from foreframe.simulator.streams import stream

Floats = NDArray[np.float64]

FRAMES = 30
_SCENE, _ACTIONS, _PHYSICS, _SENSOR = range(4)


@dataclass(frozen=True)
class Episode:
    """A simulated sequence of T frames with N objects.

    Attributes:
        frames: uint8 [T, H, W, 3] RGB.
        actions: float32 [T, 4]; ``actions[t]`` acts between frame t and t + 1.
        positions: float32 [T, 3], the end effector at frame t, in metres.
        centres: float64 [T, N, 3], the objects' origins at frame t, in metres.
        camera: what it was seen by.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]
    positions: NDArray[np.float32]
    centres: Floats
    camera: Camera

    def tracks(self) -> NDArray[np.float32]:
        """[T, 2 * MOST_THINGS]: where the camera sees the objects' origins, hidden or not.

        The columns are x0, y0, x1, y1, ..., fractions of the frame's width and height from its left
        and top, to six decimals; NaN for the objects that the scene does not have.
        """
        seen = self.camera.project(self.centres, 1).round(6)
        length, count, _ = seen.shape
        tracks = np.full((length, 2 * MOST_THINGS), np.nan, np.float32)
        tracks[:, : 2 * count] = seen.reshape(length, -1)
        return tracks


def moved_pixels(centres: Floats, camera: Camera, size: int) -> Floats:
    """[N]: how far each object got, at most, from where the image first showed it, in pixels.

    Args:
        centres: [T, N, 3] in metres.
        camera: what they are seen by.
        size: height and width of the image in pixels.
    """
    seen = camera.project(centres, size)
    return np.asarray(np.linalg.norm(seen - seen[:1], axis=-1).max(axis=0))


def run_episode(
    scene: Scene,
    physics: Physics,
    actions: NDArray[np.float32],
    sensor: np.random.Generator,
    *,
    size: int = 64,
) -> Episode:
    """Carry out ``actions`` [T, 4] in a scene under given physics and film it.

    The first frame depends on the scene and the sensor only: the objects lie where middling
    physics let them settle.
    """
    live = Live(scene, physics, size=size)
    frames, positions, centres = [], [], []
    for action in actions:
        frames.append(live.frame(sensor))
        positions.append(live.positions())
        centres.append(live.centres())
        if len(frames) < len(actions):
            live.step(action)
    return Episode(
        frames=np.stack(frames),
        actions=actions,
        positions=np.stack(positions).astype(np.float32),
        centres=np.stack(centres),
        camera=scene.camera,
    )


@dataclass(frozen=True)
class Sequence:
    """What a sequence is made of, before it is simulated.

    Attributes:
        scene: what stands where.
        physics: hidden.
        actions: [FRAMES, 4] to be carried out.
        sensor: of the noise of its frames, in their order.
    """

    scene: Scene
    physics: Physics
    actions: NDArray[np.float32]
    sensor: np.random.Generator


def draw_sequence(seed: int, split: int, number: int, physics: int | Physics = 0) -> Sequence:
    """What sequence ``number`` of a split is made of; see ``simulate_sequence``."""
    scene = draw_scene(stream(seed, split, number, _SCENE))
    actions = draw_actions(scene, stream(seed, split, number, _ACTIONS), FRAMES)
    if not isinstance(physics, Physics):
        drawn = stream(seed, split, number, _PHYSICS, physics)
        physics = draw_physics(drawn, len(scene.things))
    return Sequence(scene, physics, actions, stream(seed, split, number, _SENSOR))


def simulate_sequence(
    seed: int,
    split: int,
    number: int,
    *,
    physics: int | Physics = 0,
    actions: NDArray[np.float32] | None = None,
    size: int = 64,
    frames: int = FRAMES,
) -> Episode:
    """Sequence ``number`` of a split, a pure function of the arguments.

    Args:
        seed: the dataset's seed, >= 0.
        split: 0 train, 1 validate, 2 test.
        number: the sequence's number in its split, from 0.
        physics: 0 for the dataset's own hidden physics; any other number replays the same scene
            and the same actions, with the same sensor noise, under other masses, frictions and
            centres of mass. Or those themselves, of as many objects as the scene has or more.
        actions: [FRAMES, 4] to be carried out in the place of the sequence's own.
        size: height and width of the frames in pixels.
        frames: how many, from the first on; fewer than all are the beginning of the same sequence.
    """
    sequence = draw_sequence(seed, split, number, physics)
    if actions is None:
        actions = sequence.actions
    return run_episode(
        sequence.scene, sequence.physics, actions[:frames], sequence.sensor, size=size
    )
