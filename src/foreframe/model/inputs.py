"""What a caller gives, brought to the one form that the model takes, or refused in one line."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from foreframe.config.model import Size
from foreframe.errors import ForeframeError

Array = Any
"""A tensor, a NumPy array, or nested lists of numbers."""


class Given(NamedTuple):
    """Given frames and their condition, batched.

    Attributes:
        past: [B, n_past, 3, H, W], uint8 or float in [0, 1].
        actions: [B, rows, A].
        positions: [B, rows, P].
        single: whether the caller gave one sequence without a batch axis.
    """

    past: Tensor
    actions: Tensor | None
    positions: Tensor | None
    single: bool


def given(past: Array, actions: Array | None, positions: Array | None, size: Size) -> Given:
    """Accept arrays of several kinds where their meaning is clear.

    Args:
        past: frames [B, n_past, 3, H, W], or [B, n_past, H, W, 3], or the same of one sequence
            without B; uint8, or floats in [0, 1].
        actions: [B, rows, A], or [rows, A] of one sequence.
        positions: likewise.
        size: height and width in pixels that the model takes.

    Raises:
        ForeframeError: another shape, size or range; an empty batch; batches that do not match.
    """
    frames = _frames(_tensor("past", past), size)
    single = frames.dim() == 4
    rows = {"actions": actions, "positions": positions}
    tensors = {
        name: None if part is None else _tensor(name, part).float() for name, part in rows.items()
    }
    if single:
        frames = frames[None]
        tensors = {
            name: part[None] if part is not None and part.dim() == 2 else part
            for name, part in tensors.items()
        }
    _check_rows(tensors, len(frames))
    return Given(frames, tensors["actions"], tensors["positions"], single)


def _tensor(name: str, values: Array) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ForeframeError(f"{name}: not an array of numbers ({error}).") from error


def _frames(frames: Tensor, size: Size) -> Tensor:
    """[..., n_past, 3, H, W]; still without a batch axis where none was given."""
    shape, (height, width) = list(frames.shape), size
    if frames.dim() not in (4, 5):
        raise ForeframeError(
            f"past: has shape {shape}; give frames [B, n_past, 3, {height}, {width}]."
        )
    if frames.shape[-3] != 3 and frames.shape[-1] == 3:
        frames = frames.movedim(-1, -3)
    if list(frames.shape[-3:]) != [3, height, width]:
        raise ForeframeError(
            f"past: has shape {shape}, and the model takes 3 channels of {width}x{height} "
            "pixels. Resize the frames first."
        )
    if frames.numel() == 0:
        raise ForeframeError(f"past: has shape {shape}, which holds no frames.")
    if frames.dtype == torch.uint8:
        return frames
    if not frames.is_floating_point():
        raise ForeframeError(f"past: is of {frames.dtype}; give uint8, or floats in [0, 1].")
    # One look at the given frames, before anything is computed from them.
    low, high = (float(value) for value in torch.aminmax(frames.detach()))
    if not (low >= -0.01 and high <= 1.01):
        raise ForeframeError(
            f"past: its floats lie in [{low:.3g}, {high:.3g}]; give uint8, or floats in [0, 1]."
        )
    return frames


def _check_rows(parts: Mapping[str, Tensor | None], batch: int) -> None:
    for name, part in parts.items():
        if part is None:
            continue
        if part.dim() != 3 or len(part) != batch:
            raise ForeframeError(
                f"{name}: has shape {list(part.shape)}; give one row a frame for each of the "
                f"{batch} sequences: [{batch}, rows, numbers]."
            )
