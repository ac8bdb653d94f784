"""One thread for all that networks compute; steps that wait at the same time become one batch."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from foreframe.model.imagination import Imagination
from foreframe.runs.hub import VideoCVAE

AT_ONCE = 64
"""Futures that are stepped in one go."""


@dataclass
class Step:
    """A step that somebody waits for.

    Attributes:
        model: that imagines.
        now: the moment before, of one sequence.
        action: [A], or None.
        position: [P], or None.
        noise: [K, z], from N(0, I).
        z: [K, z], the latent itself instead.
        done: the frames, uint8 [K, H, W, 3], and the moment after.
    """

    model: VideoCVAE
    now: Imagination
    action: Tensor | None
    position: Tensor | None
    noise: Tensor
    z: Tensor | None = None
    done: "Future[tuple[UInt8[np.ndarray, 'k height width 3'], Imagination]]" = field(
        default_factory=Future
    )

    @property
    def kind(self) -> tuple[Any, ...]:
        """Steps of one kind can be joined."""
        parts = (self.action, self.position, self.z)
        return id(self.model), self.now.n_samples, *(part is None for part in parts)


@dataclass
class Call:
    """Any other work of a network."""

    work: Callable[[], Any]
    done: "Future[Any]" = field(default_factory=Future)


class Engine:
    """Takes a step at once when idle; steps that arrive while it is busy become one batch.

    PyTorch uses all cores for one step; two threads would only get into each other's way.

    Args:
        taken: called with the number of futures in each batch.
    """

    def __init__(self, taken: Callable[[int], None] = lambda futures: None) -> None:
        self._waiting: SimpleQueue[Step | Call | None] = SimpleQueue()
        self._taken = taken
        self._thread = threading.Thread(target=self._work, name="foreframe-engine", daemon=True)
        self._thread.start()

    def step(self, step: Step) -> "Future[tuple[np.ndarray, Imagination]]":
        """Queue a step; the result is its ``done``."""
        self._waiting.put(step)
        return step.done

    def call(self, work: Callable[[], Any]) -> "Future[Any]":
        """Queue any other work for the engine's thread, between two batches."""
        call = Call(work)
        self._waiting.put(call)
        return call.done

    def close(self) -> None:
        """Finish what is waiting, and end."""
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            waiting = [self._waiting.get()]
            while not self._waiting.empty():
                waiting.append(self._waiting.get())
            kinds: dict[tuple[Any, ...], list[Step]] = {}
            for wanted in waiting:
                if isinstance(wanted, Step):
                    kinds.setdefault(wanted.kind, []).append(wanted)
                elif isinstance(wanted, Call):
                    self._settle(wanted)
            for steps in kinds.values():
                together = max(1, AT_ONCE // steps[0].now.n_samples)
                for first in range(0, len(steps), together):
                    self._take(steps[first : first + together])
            if None in waiting:
                return

    def _settle(self, call: Call) -> None:
        if not call.done.set_running_or_notify_cancel():
            return
        try:
            result = call.work()
        except BaseException as error:
            call.done.set_exception(error)
        else:
            call.done.set_result(result)

    def _take(self, steps: list[Step]) -> None:
        steps = [step for step in steps if step.done.set_running_or_notify_cancel()]
        if not steps:
            return
        parts = [step.now for step in steps]
        try:
            frames, joined = steps[0].model.step(
                parts[0].join(parts),
                _stack([step.action for step in steps]),
                _stack([step.position for step in steps]),
                noise=torch.stack([step.noise for step in steps]),
                z=_stack([step.z for step in steps]),
            )
            pictures = frames.mul(255).round_().byte().permute(0, 1, 3, 4, 2).contiguous()
            results = list(zip(pictures.cpu().numpy(), joined.split(parts), strict=True))
        except BaseException as error:
            for step in steps:
                step.done.set_exception(error)
            return
        self._taken(sum(len(step.noise) for step in steps))
        for step, result in zip(steps, results, strict=True):
            step.done.set_result(result)


def _stack(rows: list[Tensor | None]) -> Tensor | None:
    present = [row for row in rows if row is not None]
    return torch.stack(present) if present else None
