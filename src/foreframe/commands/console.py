"""What all commands share: the terminal, progress bars, and how a command ends."""

import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from foreframe.system.workers import available_cores

CORES = available_cores()

PATIENCE = 5.0
"""Seconds that one of several processes waits for the others at their end."""

# In a pipe or a log there is no width to keep to.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def say(text: str) -> None:
    """Print a line, taken literally."""
    console.print(text, markup=False, soft_wrap=True)


class _Told(logging.Handler):
    """Prints what the library has to say, as a line of the command's own."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def tell_what_is_logged() -> None:
    """Print what the library logs for its users, such as weights without a checksum."""
    log = logging.getLogger("foreframe")
    if not any(isinstance(handler, _Told) for handler in log.handlers):
        log.addHandler(_Told(logging.INFO))
    log.setLevel(logging.INFO)


def typed(words: Sequence[str]) -> set[str]:
    """Names of the fields that the words of a command set: --no-full-page sets full_page."""
    options = (word.partition("=")[0] for word in words if word.startswith("--"))
    names = {name.removeprefix("--").replace("-", "_") for name in options}
    return names | {name.removeprefix("no_") for name in names}


def progress_bar(*columns: Any) -> Progress:
    """A display of tasks; silent where there is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,  # a log gets the epochs' lines alone
    )


@contextmanager
def counting(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; yields a function of (done, total)."""
    with progress_bar(TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(description, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tell


@contextmanager
def resumable(words: Sequence[str]) -> Iterator[None]:
    """Say how to go on, where a command that keeps what is done is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped. Go on with: {shlex.join(['foreframe', *words])}")
        raise


def leave() -> bool:
    """Part from the other processes of a training; whether all are at their end."""
    if "foreframe.training.processes" in sys.modules:  # else no training has begun
        from foreframe.training.processes import leave_together

        if leave_together(PATIENCE):
            return True
    if console.quiet:
        time.sleep(PATIENCE)  # the launcher ends this process once the first has spoken
    return False
