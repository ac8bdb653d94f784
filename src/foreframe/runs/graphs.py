"""``begin`` and ``step`` of a model as functions of named tensors: what other runtimes can run.

A moment is a tree of tensors. Its leaves have names ("now.motion.place"); those that the given
frames decide (``kept``) stay as they are from step to step, the others (``state``) change, and what
depends on the weights alone is part of the graph.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from foreframe.errors import ForeframeError
from foreframe.runs.hub import VideoCVAE

EXAMPLE = 4
"""Futures of the example that is traced; any number may be asked for afterwards."""

_OTHER = 3
_OF_THE_WEIGHTS = "context.kernels."
"""Leaves that are a function of the weights."""


@dataclass(frozen=True)
class Leaf:
    """A tensor of a moment.

    Attributes:
        name: its place in the moment.
        axis: the axis of the futures; None if all futures share it.
        changes: whether a step makes another of it.
    """

    name: str
    axis: int | None
    changes: bool


class _Begin(nn.Module):
    """Given frames, their condition and noise to the leaves of the moment after them."""

    def __init__(self, model: VideoCVAE, told: Sequence[str], wanted: Sequence[int]) -> None:
        super().__init__()
        self.model, self.told, self.wanted = model, told, wanted

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        frames, *rows, noise = given
        named = dict(zip(self.told, rows, strict=True))
        leaves = _leaves(self.model, _begun(self.model, frames, named, noise))
        # Cloned: two leaves may be one tensor here, and need names of their own.
        return tuple(leaves[k].clone() for k in self.wanted)


class _Step(nn.Module):
    """A row of the condition, noise and the leaves of a moment to frames and the leaves after."""

    def __init__(
        self,
        model: VideoCVAE,
        told: Sequence[str],
        spec: Any,
        constants: dict[int, Tensor | None],
        changing: Sequence[int],
    ) -> None:
        super().__init__()
        self.model, self.told, self.spec, self.changing = model, told, spec, changing
        self.places = list(constants)
        for k, value in constants.items():
            self.register_buffer(f"constant_{k}", value, persistent=False)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        rows = dict(zip(self.told, given[: len(self.told)], strict=True))
        rest = list(given[len(self.told) :])
        noise = None if self.model.config.latent_of_episode else rest.pop(0)
        for k in self.places:  # in their order, so that each comes to its place
            rest.insert(k, getattr(self, f"constant_{k}"))
        moment = pytree.tree_unflatten(rest, self.spec)
        frames, after = self.model.step(
            moment,
            rows.get("action"),
            rows.get("position"),
            noise=None if noise is None else noise[None],
        )
        leaves = _leaves(self.model, after)
        return (frames[0], *(leaves[k] for k in self.changing))


@dataclass(frozen=True)
class Graphs:
    """A model's two functions, and what goes in and out of them.

    Attributes:
        begin: frames [1, n_past, 3, H, W] in [0, 1], rows of the condition and noise [K, n_past -
            1, z] to all leaves.
        begin_inputs: names, in their order.
        step: a row of the condition, noise [K, z] where the model draws at each step, and all
            leaves to frames [K, 3, H, W] and the leaves that change.
        step_inputs: names, in their order; the leaves come last.
        leaves: of a moment.
        examples: inputs of begin and of step, for ``EXAMPLE`` futures.
    """

    begin: nn.Module
    begin_inputs: list[str]
    step: nn.Module
    step_inputs: list[str]
    leaves: list[Leaf]
    examples: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]

    def without(self, names: Collection[str]) -> "Graphs":
        """The same with less of the moment: leaves that no step reads need not travel.

        Only ``begin`` is another function; of ``step``, who runs it leaves out what is not read.
        """
        assert isinstance(self.begin, _Begin)
        kept = [k for k, leaf in enumerate(self.leaves) if leaf.name not in names]
        begin = _Begin(self.begin.model, self.begin.told, [self.begin.wanted[k] for k in kept])
        leaves = [self.leaves[k] for k in kept]
        inputs, example = [], []
        for name, tensor in zip(self.step_inputs, self.examples[1], strict=True):
            if name not in names:
                inputs.append(name)
                example.append(tensor)
        return replace(
            self,
            begin=begin,
            step_inputs=inputs,
            leaves=leaves,
            examples=(self.examples[0], tuple(example)),
        )


def graphs_of(model: VideoCVAE, n_past: int) -> Graphs:
    """The functions of a model.

    Args:
        model: in any mode.
        n_past: frames that are given.

    Raises:
        ForeframeError: fewer than two given frames.
    """
    if n_past < 2:
        raise ForeframeError(f"n_past {n_past}: two given frames are needed to begin from.")
    model = model.eval()
    example, other = _given(model, n_past, EXAMPLE, 1), _given(model, n_past, _OTHER, 2)
    told = [name for name, width in model.config.needs.items() if width is not None]
    moments = []
    for given in (example, other):
        frames, *rows, noise = given
        moments.append(_begun(model, frames, dict(zip(told, rows, strict=True)), noise))
    spec = pytree.tree_structure(_plain(model, moments[0]))
    paths, _ = pytree.tree_flatten_with_path(_plain(model, moments[0]))
    names = [_name(path) for path, _ in paths]
    values, others = (_leaves(model, moment) for moment in moments)
    constants: dict[int, Tensor | None] = {
        k: value if value is None else value.detach().clone()
        for k, (name, value) in enumerate(zip(names, values, strict=True))
        if value is None or name.startswith(_OF_THE_WEIGHTS)
    }
    row = [torch.zeros(1, width) for width in _widths(model)]
    row_names = [name.removesuffix("s") for name in told]
    drawn = [] if model.config.latent_of_episode else [torch.randn(EXAMPLE, model.config.z_dim)]
    with torch.no_grad():
        named = dict(zip(row_names, row, strict=True))
        _, after = model.step(
            moments[0],
            named.get("action"),
            named.get("position"),
            noise=None if not drawn else drawn[0][None],
        )
    later = _leaves(model, after)
    free = [k for k in range(len(values)) if k not in constants]
    changing = [k for k in free if later[k] is not values[k]]
    leaves = [Leaf(names[k], _axis(values[k], others[k]), k in changing) for k in free]
    begin_inputs = ["frames", *told, "noise"]
    step_inputs = [*row_names, *(["noise"] if drawn else []), *(leaf.name for leaf in leaves)]
    return Graphs(
        _Begin(model, told, free),
        begin_inputs,
        _Step(model, row_names, spec, constants, changing),
        step_inputs,
        leaves,
        # Cloned: where two leaves are one tensor, tracing would take them for one ever after.
        (example, (*row, *drawn, *(values[k].clone() for k in free))),
    )


def _widths(model: VideoCVAE) -> list[int]:
    return [width for width in model.config.needs.values() if width is not None]


def _given(model: VideoCVAE, n_past: int, futures: int, seed: int) -> tuple[Tensor, ...]:
    """Inputs of begin, drawn."""
    random = torch.Generator().manual_seed(seed)
    height, width = model.config.frame_size
    rows = n_past - (1 if model.config.timing == "source" else 0)
    return (
        torch.rand(1, n_past, 3, height, width, generator=random),
        *(torch.randn(1, rows, each, generator=random) for each in _widths(model)),
        torch.randn(futures, n_past - 1, model.config.z_dim, generator=random),
    )


def _begun(model: VideoCVAE, frames: Tensor, rows: dict[str, Tensor], noise: Tensor) -> Any:
    return model.begin(
        frames,
        rows.get("actions"),
        rows.get("positions"),
        n_samples=noise.shape[0],
        noise=noise[None],
    )


def _plain(model: VideoCVAE, moment: Any) -> Any:
    """A moment in the one form that it has after any step."""
    if getattr(moment, "h", None) is not None and model.config.recurrence != "latent":
        return moment._replace(h=None)  # the last frame is encoded by the step itself
    return moment


def _leaves(model: VideoCVAE, moment: Any) -> list[Tensor]:
    leaves: list[Tensor] = pytree.tree_leaves(_plain(model, moment))
    return leaves


def _axis(one: Tensor, other: Tensor) -> int | None:
    """The axis in which they differ: that of the futures."""
    unequal = [k for k, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)) if a != b]
    return unequal[0] if unequal else None


def _name(path: Sequence[Any]) -> str:
    """now.motion.place; memory.predictor.0."""
    return ".".join(str(getattr(key, "name", getattr(key, "idx", key))) for key in path)
