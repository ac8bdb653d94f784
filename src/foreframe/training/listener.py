"""What a training tells whoever watches it, and how it is asked to stop."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreframe.training.progress import Progress

_COPY = 1.0
"""Seconds within which a second signal is a launcher's copy of the first."""


class Interrupted(Exception):
    """The user asked to stop (Ctrl-C or a termination signal); everything is saved."""


class Listener:
    """What a training tells whoever watches; the command line draws a progress bar from it."""

    def message(self, text: str) -> None:
        """A line for the user."""

    def packing(self, done: int, total: int) -> None:
        """While a split is packed: sequences done, and all."""

    def begin(self) -> None:
        """Once, before the first step."""

    def step(self, progress: "Progress", values: dict[str, float]) -> None:
        """Now and then within an epoch: the epoch's means so far and the speed."""

    def epoch(self, row: dict[str, Any]) -> None:
        """After each epoch: its row of the history."""


def is_first() -> bool:
    """Whether this process is the only one, or the first of those that a launcher has started.

    It is the one that speaks.
    """
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


@contextmanager
def interrupts(*, several: bool) -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question that the loop asks; a second one ends at once.

    Args:
        several: a launcher may hand on what the terminal has sent to this process already.
    """
    asked: float | None = None

    def handle(number: int, frame: Any) -> None:
        nonlocal asked
        now = time.monotonic()
        if asked is None:
            asked = now
        elif not several or now - asked > _COPY:
            raise KeyboardInterrupt

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[number] = signal.signal(number, handle)
        except ValueError:  # not the main thread: the caller's handlers stay
            continue
    try:
        yield lambda: asked is not None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
