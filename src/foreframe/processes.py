"""Training processes that work together, as torchrun or accelerate launch start them."""

from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import PartialState
from torch import Tensor

Value = TypeVar("Value")


class Processes:
    """The processes of a training; a single one needs no launcher and waits for nobody.

    Args:
        device: that was chosen, such as "cuda" for one of the GPUs each.

    Attributes:
        number: how many there are.
        index: of this one, from 0.
        first: whether this is the one that writes files and speaks.
        device: of this one.
    """

    def __init__(self, device: torch.device) -> None:
        if not dist.is_initialized():
            # A process that trains twice (tests, notebooks) may want another device then.
            PartialState._reset_state()
        accelerator = Accelerator(cpu=device.type == "cpu")
        self.device: torch.device = accelerator.device
        self.number: int = accelerator.num_processes
        self.index: int = accelerator.process_index
        self.first = self.index == 0
        # What is agreed on lies with the CPU, so that no GPU is waited for.
        self._group = None
        if self.number > 1 and dist.get_backend() != "gloo":
            self._group = dist.new_group(backend="gloo")

    def part(self, size: int) -> slice:
        """This process's part of a batch of ``size``."""
        return slice(size * self.index // self.number, size * (self.index + 1) // self.number)

    def any(self, flag: bool) -> bool:
        """Whether it holds in one of them; all have to ask at the same step."""
        if self.number == 1:
            return flag
        asked = torch.tensor([int(flag)])
        dist.all_reduce(asked, dist.ReduceOp.MAX, self._group)
        return bool(asked.item())

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all of them; all have to ask at the same step."""
        if self.number > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.number
        return values

    def of_first(self, value: Value) -> Value:
        """What the first has; all have to ask at the same time, the others wait for it."""
        if self.number == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, 0, self._group)
        return told[0]
