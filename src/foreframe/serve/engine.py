"""One thread for all that networks compute; steps that wait at the same time become one batch."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from foreframe.model.imagination import Imagination
from foreframe.runs.hub import VideoCVAE
from foreframe.serve.fairness.turns import FullError, Turns
from foreframe.serve.refusal import ENDING, Refusal

AT_ONCE = {"cpu": 16}
"""Futures that are stepped in one go; more would keep the next client waiting for long."""
_AT_ONCE_ELSEWHERE = 64


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

    PyTorch uses all cores for one step; two threads would only get into each other's way. Clients
    take turns (see ``Turns``), and a batch is no larger than that the next client soon has its own.

    Args:
        taken: called with the number of futures in each batch.
        waiting: pieces of work of one client that may wait.
    """

    def __init__(
        self, taken: Callable[[int], None] = lambda futures: None, waiting: int = 256
    ) -> None:
        self._waiting: Turns[Step | Call] = Turns(waiting)
        self._taken = taken
        self._thread = threading.Thread(target=self._work, name="foreframe-engine", daemon=True)
        self._thread.start()

    def step(
        self, step: Step, client: str = "", *, aside: bool = False
    ) -> "Future[tuple[np.ndarray, Imagination]]":
        """Queue a step of a client; the result is its ``done``.

        Args:
            step: that is wanted.
            client: that wants it.
            aside: whether it belongs to a prediction or an export, and nobody is steering.

        Raises:
            Refusal: the client has too much waiting, or the engine has been closed.
        """
        self._put(client, step, aside)
        return step.done

    def call(self, work: Callable[[], Any], client: str = "") -> "Future[Any]":
        """Queue any other work for the engine's thread, between two batches.

        Raises:
            Refusal: see ``step``.
        """
        call = Call(work)
        self._put(client, call, aside=True)
        return call.done

    def _put(self, client: str, wanted: Step | Call, aside: bool) -> None:
        try:
            self._waiting.put(client, wanted, aside=aside)
        except FullError:
            raise Refusal(503, "too much of yours is waiting already; try again soon.") from None

    def close(self) -> None:
        """Refuse what is waiting, finish what is begun, and end."""
        for wanted in self._waiting.close():
            if wanted.done.set_running_or_notify_cancel():
                wanted.done.set_exception(Refusal(503, ENDING))
        self._thread.join(timeout=3)

    def _work(self) -> None:
        while (wanted := self._waiting.next()) is not None:
            if isinstance(wanted, Call):
                self._settle(wanted)
            else:
                self._take([wanted, *self._like(wanted)])

    def _like(self, first: Step) -> list[Step]:
        """Steps that wait, too, and that can be joined with the first."""
        kind = first.kind
        steps = self._waiting.more(
            lambda other: isinstance(other, Step) and other.kind == kind,
            max(1, _at_once(first) // first.now.n_samples) - 1,
        )
        return [step for step in steps if isinstance(step, Step)]

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


def _at_once(step: Step) -> int:
    return AT_ONCE.get(step.now.x.device.type, _AT_ONCE_ELSEWHERE)
