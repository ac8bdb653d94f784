"""Tensors in nested tuples, taken together."""

from collections.abc import Callable
from typing import Any

from torch import Tensor


def each(function: Callable[..., Tensor], *trees: Any) -> Any:
    """``function`` of the tensors that stand in the same place of several nested tuples."""
    if isinstance(trees[0], Tensor):
        return function(*trees)
    return type(trees[0])(*(each(function, *parts) for parts in zip(*trees, strict=True)))
