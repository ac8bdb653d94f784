"""The threads that a training computes with on the CPU."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

STAT = Path("/proc/stat")
"""Where Linux says what each core has spent its time on."""


def use_threads(threads: int | None, say: Callable[[str], None]) -> None:
    """Compute with so many threads; warn if other processes keep the cores busy.

    Args:
        threads: of PyTorch; None leaves it at what it chose: one for each core, or OMP_NUM_THREADS.
        say: told the warning.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if torch.get_num_threads() == 1:
        return
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    free = len(cores) - busy_cores(cores)
    if cores and torch.get_num_threads() > free + 0.5:
        say(
            f"Warning: other processes keep {len(cores) - free:.1f} of {len(cores)} cores busy. A "
            f"training whose threads share cores with others slows down several times: wait for "
            f"them, or give --threads {max(1, int(free + 0.5))}."
        )


def busy_cores(cores: set[int], seconds: float = 0.2) -> float:
    """How many of these cores were busy over the next moment; 0 where the system does not say.

    Args:
        cores: their numbers.
        seconds: of the moment.
    """
    try:
        before = _jiffies(cores)
        time.sleep(seconds)
        after = _jiffies(cores)
    except (OSError, ValueError):  # not Linux
        return 0.0
    idle, total = (
        sum(b[kind] - a[kind] for a, b in zip(before, after, strict=True)) for kind in (0, 1)
    )
    return len(cores) * (1 - idle / total) if total else 0.0


def _jiffies(cores: set[int]) -> list[tuple[int, int]]:
    """Of each core the time it was idle and all its time, as /proc/stat counts it (proc(5))."""
    times = []
    for line in STAT.read_text().splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name != "cpu" and int(name.removeprefix("cpu")) in cores:
            spent = [int(count) for count in counts[:8]]  # the rest is part of these
            times.append((spent[3] + spent[4], sum(spent)))
    return times
