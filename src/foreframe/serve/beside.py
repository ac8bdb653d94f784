"""The simulator beside the imagination: the same actions, and what really happens then.

Only this module needs MuJoCo, and only where somebody drives both.
"""

import numpy as np
from jaxtyping import Float64, UInt8

from foreframe.serve.refusal import Refusal
from foreframe.serve.served import SceneKey
from foreframe.simulator.episode import draw_sequence
from foreframe.simulator.live import Live, Snapshot

_APART = 4.0
"""Mean difference of the last given frame from the simulator's, in levels of 255, at which they are
not the same scene any more; the sensor's noise alone makes 2."""

_SENSOR = 3
"""Key of the sensor's noise, beside those of the futures."""


class Beside:
    """A simulated scene that is carried on from the given frames of its sequence.

    Args:
        key: of the sequence.
        given: the given frames, which end where it begins.
        start: number of the first of them.
        seed: of the session.

    Raises:
        Refusal: the simulator here does not show what was recorded.
    """

    def __init__(
        self,
        key: SceneKey,
        given: UInt8[np.ndarray, "n_past height width 3"],
        start: int,
        seed: int,
    ) -> None:
        sequence = draw_sequence(key.seed, key.split, key.number)
        self._live = Live(sequence.scene, sequence.physics, size=given.shape[1])
        for action in sequence.actions[: start + len(given) - 1]:
            self._live.step(action)
        apart = np.abs(self._live.frame().astype(float) - given[-1]).mean()
        if apart > _APART:
            raise Refusal(
                409,
                "the simulator here does not show what was recorded (another version of MuJoCo, or "
                "other data): it cannot be driven beside.",
            )
        self._seed = seed
        self.start = self._live.snapshot()

    def step(
        self, moment: Snapshot, action: Float64[np.ndarray, " action"], t: int
    ) -> tuple[Snapshot, UInt8[np.ndarray, "height width 3"]]:
        """What an action leads to from a moment, and what the camera then sees.

        Args:
            moment: of this scene.
            action: in the simulator's units.
            t: frames after the given ones; the sensor's noise is a function of the seed and t.
        """
        self._live.restore(moment)
        self._live.step(action)
        sensor = np.random.default_rng((self._seed, t, _SENSOR))
        return self._live.snapshot(), self._live.frame(sensor)

    def within(self, place: Float64[np.ndarray, "2"]) -> bool:
        """Whether a column and row of the picture show the bottom of the bin."""
        return self._live.in_bin(place)
