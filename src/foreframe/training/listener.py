"""What a training tells whoever watches it, and how it says that it was stopped."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreframe.training.checkpoint import Progress


class Interrupted(Exception):
    """The user asked to stop (Ctrl-C or a termination signal); everything is saved."""


class Listener:
    """What a training tells whoever watches; the command line draws a progress bar from it."""

    def message(self, text: str) -> None:
        """A line for the user."""

    def packing(self, done: int, total: int) -> None:
        """While a split is packed: sequences done, and all."""

    def step(self, progress: "Progress", values: dict[str, float]) -> None:
        """Now and then within an epoch: the epoch's means so far and the speed."""

    def epoch(self, row: dict[str, Any]) -> None:
        """After each epoch: its row of the history."""


def is_first() -> bool:
    """Whether this process is the only one, or the first of those that a launcher has started.

    It is the one that speaks.
    """
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"
