"""The worlds that datasets are simulated in, each a module that is found by its name.

A world is a module with what ``Recorder`` has. It is imported when it is asked for: a world whose
packages are missing stands in nobody's way.
"""

from importlib import import_module
from typing import Any, Literal, Protocol, cast

from foreframe.data.recording import Recording

WorldName = Literal["robot", "pusht"]

_MODULES: dict[WorldName, str] = {
    "robot": "foreframe.simulator.robot",
    "pusht": "foreframe.simulator.pusht.recorder",
}

GENERATORS: dict[WorldName, str] = {
    "robot": "foreframe simulated robot pushing, version 1",
    "pusht": "foreframe simulated PushT, version 1",
}
"""What a dataset is said to be made by. The number goes up when the same seed no longer gives the
same files."""


class Recorder(Protocol):
    """What records sequences in a world."""

    def describe(self, size: int) -> dict[str, Any]:
        """What a dataset says of its world: programs, columns, looks, and what is hidden.

        Args:
            size: height and width of the frames in pixels.
        """

    def record(self, seed: int, split: int, number: int, *, size: int) -> Recording:
        """Sequence ``number`` of a split, a pure function of the arguments.

        Args:
            seed: the dataset's seed, >= 0.
            split: 0 train, 1 validate, 2 test.
            number: the sequence's number in its split, from 0.
            size: height and width of the frames in pixels.
        """


def recorder(world: WorldName) -> Recorder:
    """What records in a world.

    Raises:
        ForeframeError: a package that it needs is missing.
    """
    return cast(Recorder, import_module(_MODULES[world]))
