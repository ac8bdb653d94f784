"""A simulated sequence carried out again: the same scene and actions under other hidden physics."""

import json
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from foreframe.data.lab import SPLITS
from foreframe.errors import ForeframeError
from foreframe.simulator.simulate import DESCRIPTION
from foreframe.simulator.worlds import GENERATORS
from foreframe.system.places import Place


@dataclass(frozen=True)
class Replay:
    """One sequence of T frames with N objects, as it went.

    Attributes:
        frames: RGB.
        metres: x and y of the objects' origins on the table at each frame.
        pixels: column and row at which the camera sees them, hidden by others or not.
    """

    frames: UInt8[np.ndarray, "time height width 3"]
    metres: Float64[np.ndarray, "time objects 2"]
    pixels: Float64[np.ndarray, "time objects 2"]


@dataclass(frozen=True)
class Simulation:
    """What a dataset of ``foreframe simulate`` was made from.

    Attributes:
        seed: seed of the dataset.
        size: height and width of its frames in pixels.
    """

    seed: int
    size: int

    def replay(self, split: str, number: int, physics: int, *, frames: int) -> Replay:
        """Sequence ``number`` of a split with the same camera and the same sensor noise.

        Args:
            split: train, validate or test.
            number: number of the sequence in its split, the last part of its name.
            physics: 0 for the sequence's own, which gives its recorded frames again; any other
                number for masses, frictions and centres of mass drawn again.
            frames: how many, from the first on.

        Raises:
            ForeframeError: MuJoCo is missing.
        """
        # Here, not above: whether data are simulated can be asked without MuJoCo.
        from foreframe.simulator.episode import simulate_sequence

        episode = simulate_sequence(
            self.seed,
            SPLITS.index(split),
            number,
            physics=physics,
            size=self.size,
            frames=frames,
        )
        return Replay(
            episode.frames,
            episode.centres[..., :2],
            episode.camera.project(episode.centres, self.size),
        )


def find_simulation(root: Place) -> Simulation:
    """What the simulated dataset in ``root`` was made from.

    Raises:
        ForeframeError: it is not one, or one of another version of the simulator; says why.
    """
    path = root / DESCRIPTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        generator, seed, (height, width) = values["generator"], int(values["seed"]), values["size"]
    except FileNotFoundError as error:
        raise ForeframeError(
            f"{root}: there is no {DESCRIPTION}, so it was not made by foreframe simulate."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForeframeError(f"{path}: is not a description of a simulated dataset.") from error
    if generator == GENERATORS["pusht"]:
        raise ForeframeError(
            f"{root}: is of PushT, where nothing is hidden that could be drawn again; only the "
            "robot's data can be replayed under other physics."
        )
    if generator != GENERATORS["robot"] or height != width:
        raise ForeframeError(
            f"{path}: made by {generator!r}, and this version simulates as "
            f"{GENERATORS['robot']!r}. Simulate the data again."
        )
    return Simulation(seed, int(height))
