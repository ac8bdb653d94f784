"""Batch normalisation with the statistics of each time step, and the LeakyReLU after it.

A convolution may take the frames of several time steps at once; the statistics stay those of one
step, as in a loop that takes one frame after another, and the running statistics are updated in the
order of the steps. So the function that is computed does not depend on how steps are gathered.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from foreframe.model.nets.recurrent import at_least_float32

_recomputing = ContextVar("recomputing", default=False)


@contextmanager
def statistics_kept() -> Iterator[None]:
    """Running statistics stay as they are: what runs in here has run, and been counted, before."""
    token = _recomputing.set(True)
    try:
        yield
    finally:
        _recomputing.reset(token)


def batch_norm(x: Tensor, norm: nn.BatchNorm2d, steps: int = 1, slope: float = 1.0) -> Tensor:
    """``norm`` and LeakyReLU(``slope``) of frames, step by step.

    In training each step is normalised with its own mean and variance (Ioffe & Szegedy 2015), over
    all processes if there are several; in evaluation with the running ones.

    Args:
        x: [steps * batch, C, H, W], time first.
        norm: parameters and running statistics.
        steps: time steps that ``x`` holds.
        slope: of the LeakyReLU for negative values; 1: none.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if not norm.training:
        y = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return y if slope == 1.0 else F.leaky_relu_(y, slope)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        y, mean, variance, count = _over_all_processes(x, norm, steps)
        y = y if slope == 1.0 else F.leaky_relu_(y, slope)
    else:
        y, mean, variance = _StepwiseNorm.apply(x, norm.weight, norm.bias, steps, norm.eps, slope)
        count = x.numel() // x.shape[1] // steps
    if not _recomputing.get():
        _update(norm, mean, variance * (count / max(count - 1, 1)))
    return y


@torch.no_grad()
def _update(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """The running statistics after steps with these, [steps, C], one after another."""
    steps, momentum = len(mean), norm.momentum or 0.0
    past = (1 - momentum) ** torch.arange(steps, -1, -1, device=mean.device, dtype=mean.dtype)
    weights = momentum * past[1:, None]
    for running, new in ((norm.running_mean, mean), (norm.running_var, variance)):
        assert running is not None
        if steps == 1:
            running.lerp_(new[0], momentum)
        else:
            running.mul_(past[0]).add_((weights * new).sum(0))
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(steps)


class _StepwiseNorm(torch.autograd.Function):
    """PyTorch's own kernels on one step after another, without copies, and LeakyReLU in place."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, steps: int, eps: float, slope: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.empty_like(x)
        mean = weight.new_empty(steps, len(weight))
        rstd = torch.empty_like(mean)
        for x_t, y_t, mean_t, rstd_t in zip(
            x.chunk(steps), y.chunk(steps), mean, rstd, strict=True
        ):
            torch.native_batch_norm(
                x_t, weight, bias, None, None, True, 0.0, eps, out=(y_t, mean_t, rstd_t)
            )
            if slope != 1.0:
                F.leaky_relu_(y_t, slope)
        ctx.save_for_backward(x, y if slope != 1.0 else None, weight, mean, rstd)
        ctx.eps, ctx.slope = eps, slope
        variance = rstd.pow(-2).sub_(eps).clamp_(min=0)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, mean, rstd = ctx.saved_tensors
        steps = len(mean)
        parts, of_weight, of_bias = [], torch.zeros_like(mean), torch.zeros_like(mean)
        for t, (x_t, g_t) in enumerate(zip(x.chunk(steps), gradient.chunk(steps), strict=True)):
            if y is not None:
                y_t = y.chunk(steps)[t]
                g_t = torch.ops.aten.leaky_relu_backward(g_t, y_t, ctx.slope, True)
            part, of_weight[t], of_bias[t] = torch.ops.aten.native_batch_norm_backward(
                g_t, x_t, weight, None, None, mean[t], rstd[t], True, ctx.eps, [True] * 3
            )
            parts.append(part)
        of_x = parts[0] if steps == 1 else torch.cat(parts)
        return of_x, of_weight.sum(0), of_bias.sum(0), None, None, None


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is that of every process's loss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor) -> Tensor:
        of_x = of_total.clone()
        dist.all_reduce(of_x)
        return of_x


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean over the training processes, if there are several; differentiable."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return x
    return _Sum.apply(x) / dist.get_world_size()


def _over_all_processes(
    x: Tensor, norm: nn.BatchNorm2d, steps: int
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Normalised frames, mean and variance [steps, C] and the number of values of all processes.

    The processes have equally many frames. PyTorch's SyncBatchNorm works on GPUs alone.
    """
    by_step = at_least_float32(x).unflatten(0, (steps, -1))
    dims = (1, 3, 4)
    processes = dist.get_world_size()
    # The mean first: the difference of mean squares would cancel where it is large.
    mean = mean_over_processes(by_step.mean(dims))
    centred = by_step - mean[:, None, :, None, None]
    variance = mean_over_processes(centred.square().mean(dims))
    scale = (variance + norm.eps).rsqrt() * norm.weight
    y = centred * scale[:, None, :, None, None] + norm.bias[:, None, None]
    count = processes * x.numel() // x.shape[1] // steps
    return y.flatten(0, 1).to(x.dtype), mean.detach(), variance.detach(), count
