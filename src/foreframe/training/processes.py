"""Training processes that work together, as torchrun starts them.

They decide everything together: what one of them raises, all raise, so that none waits for another
that has ended. What they agree about travels between CPUs, so that no GPU is waited for.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from foreframe.errors import ForeframeError

Value = TypeVar("Value")

_groups: dict[str, dist.ProcessGroup] = {}
"""Groups of all processes on the CPU, by their use; empty in a single process."""


class Processes:
    """The processes of a training; a single one needs no launcher and waits for nobody.

    Args:
        device: that was chosen, such as "cuda" for one of the GPUs each.

    Attributes:
        number: how many there are.
        index: of this one, from 0.
        first: whether this is the one that writes files, validates and speaks.
        device: of this one.

    Raises:
        ForeframeError: they cannot train together on this device, or cannot reach one another.
    """

    def __init__(self, device: torch.device) -> None:
        self.number = int(os.environ.get("WORLD_SIZE", 1))
        self.index = int(os.environ.get("RANK", 0)) if self.number > 1 else 0
        self.first = self.index == 0
        self.device = device if self.number == 1 else _own_device(device, self.number)
        if self.number > 1 and not _groups:
            try:
                if not dist.is_initialized():
                    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
                # Packing the data or a validation, for which the others wait, may take hours.
                for use in ("agree", "leave"):
                    _groups[use] = dist.new_group(backend="gloo", timeout=timedelta(days=7))
            except (RuntimeError, ValueError) as error:
                raise ForeframeError(
                    f"the {self.number} processes cannot reach one another "
                    f"({str(error).splitlines()[0]}). Start them with torchrun."
                ) from error

    def part(self, size: int) -> slice:
        """This process's part of a batch of ``size``."""
        return slice(size * self.index // self.number, size * (self.index + 1) // self.number)

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in one of them; all have to ask at the same step."""
        if self.number == 1:
            return list(flags)
        asked = torch.tensor(flags, dtype=torch.int32)
        with _others_alive():
            dist.all_reduce(asked, dist.ReduceOp.MAX, _groups["agree"])
        return [bool(flag) for flag in asked.tolist()]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all of them, on the CPU; all have to ask at the same step."""
        values = values.to("cpu", copy=True)  # summed in place
        if self.number > 1:
            with _others_alive():
                dist.all_reduce(values, dist.ReduceOp.SUM, _groups["agree"])
            values = values / self.number
        return values

    def on_first(self, work: Callable[[], Value]) -> Value:
        """What ``work`` returns or raises in the first process, in all of them.

        The others do not run it: they wait, and get a (pickled) copy.
        """
        if self.number == 1:
            return work()
        own: BaseException | None = None
        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = work()
            except BaseException as error:
                own, told[1] = error, self._portable(error)
        with _others_alive():
            dist.broadcast_object_list(told, 0, _groups["agree"])
        if told[1] is not None:
            raise own or told[1]
        return told[0]

    def first_before_others(self, work: Callable[[], Value]) -> Value:
        """What ``work`` returns here; the others begin when the first has done it."""
        done: list[Value] = []
        self.on_first(lambda: done.append(work()))
        with self.agreed():
            if not done:
                done.append(work())
        return done[0]

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """What one process raises in the block, all raise at its end."""
        if self.number == 1:
            yield
            return
        own: BaseException | None = None
        try:
            yield
        except BaseException as error:
            own = error
        errors: list[Any] = [None] * self.number
        with _others_alive():
            portable = None if own is None else self._portable(own)
            dist.all_gather_object(errors, portable, _groups["agree"])
        for raised in (own, *errors):
            if raised is not None:
                raise raised

    def _portable(self, error: BaseException) -> BaseException:
        """``error`` as the others raise it."""
        if isinstance(error, ForeframeError | KeyboardInterrupt):
            return error
        if isinstance(error, OSError):
            return OSError(error.errno, error.strerror or str(error), error.filename)
        return ForeframeError(
            f"process {self.index} has failed ({type(error).__name__}: {error}). See its traceback."
        )


def _own_device(device: torch.device, number: int) -> torch.device:
    """The device of this process among ``number``: the CPU, or the GPU of its own."""
    if device.type not in ("cpu", "cuda"):
        raise ForeframeError(
            f"{number} processes were started, which cannot train together on {device.type}. "
            "Start them with torchrun, on CUDA or with --device cpu."
        )
    if device.type == "cpu":
        return device
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if here > torch.cuda.device_count():
        raise ForeframeError(
            f"--device cuda: {here} processes for {torch.cuda.device_count()} GPUs. "
            "Start at most one process for each GPU, or give --device cpu."
        )
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(own)
    return own


def leave_together(patience: float = 5.0) -> bool:
    """Wait until every process is at its end, then part from them.

    A launcher ends all processes as soon as one ends with an error: this lets the first say why.

    Args:
        patience: seconds to wait at most.

    Returns:
        whether all of them came; False if they have not reached one another yet.
    """
    if not _groups:
        return False
    try:
        dist.monitored_barrier(_groups["leave"], timedelta(seconds=patience))
    except RuntimeError:
        return False
    _groups.clear()
    dist.destroy_process_group()
    return True


@contextmanager
def _others_alive() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ForeframeError(
            "another process of this training has ended. See what it or its launcher says, "
            "and go on from the last checkpoint: --resume."
        ) from error
