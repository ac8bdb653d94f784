"""The landscape of actions: does what a candidate costs have its minimum at the true action?

A planner looks for the action whose imagined frame is nearest to a goal. Here the goal is the frame
that really followed, so the best action is known: the recorded one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from foreframe.config.model import ModelConfig
from foreframe.data.statistics import Statistics
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.evaluation.conditions import lenders
from foreframe.evaluation.sampling import sequence_noise
from foreframe.metrics.intervals import bootstrap, paired
from foreframe.model.imagines import Imagines
from foreframe.probe.inverse import Columns
from foreframe.probe.options import ProbeOptions
from foreframe.probe.result import (
    BORROWED,
    MEAN_ACTION,
    RANDOM_POINT,
    Distance,
    Landscape,
    Nearer,
    Recovery,
)

FRAMES = 4
"""Frames that are imagined, at most; the last is compared with what followed, as planners do."""

REACH = 1.0
"""Standard deviations from the middle of the grid to its edge."""

AT_ONCE = 256
"""Points that are imagined side by side."""

_FLAT = 1e-5
"""Share of the least cost by which another point may cost more and still be as good: rounding."""


@dataclass(frozen=True)
class Grid:
    """Points about a middle, as offsets in standard deviations.

    Attributes:
        side: points a side, an odd number: one of them is the middle.
    """

    side: int

    @property
    def ticks(self) -> Float64[np.ndarray, " side"]:
        """Offsets along one side."""
        half = self.side // 2
        return REACH * np.arange(-half, half + 1) / half

    @property
    def points(self) -> Float64[np.ndarray, "points 2"]:
        """Offsets of all points; the second number changes fastest."""
        return np.stack(np.meshgrid(self.ticks, self.ticks, indexing="ij"), -1).reshape(-1, 2)

    def least(self, costs: Float64[np.ndarray, " points"]) -> Float64[np.ndarray, "minima 2"]:
        """The point of least cost; all of them where several cost as little but for rounding."""
        return self.points[costs <= costs.min() * (1 + _FLAT)]

    def distance(self, costs: Float64[np.ndarray, " points"]) -> float:
        """From the middle to the minimum; the mean over the minima where there are several.

        So a landscape that is flat has the distance of a point drawn at random.
        """
        return float(np.linalg.norm(self.least(costs), axis=1).mean())

    @property
    def chance(self) -> float:
        """Mean distance of all points from the middle: that of one drawn at random."""
        return float(np.linalg.norm(self.points, axis=1).mean())


def check_columns(asked: Sequence[int] | None, statistics: Statistics | None) -> None:
    """Refuse columns of an action that are not there or do not vary.

    Args:
        asked: numbers of columns; None if none were asked for.
        statistics: of the training split's actions; None if it has none.

    Raises:
        ForeframeError: names those that vary.
    """
    if asked is None or statistics is None:
        return
    kept = Columns.of(statistics).kept
    if not set(asked) <= set(kept):
        listed = ", ".join(map(str, kept)) or "none"
        raise ForeframeError(
            f"--columns {' '.join(map(str, asked))}: of the {len(statistics.mean)} numbers of an "
            f"action, those that vary in the training split are {listed}."
        )


def chosen_columns(columns: Columns, shown: Recovery) -> list[int]:
    """The two columns of an action that true frames show best.

    Args:
        columns: those that vary in the training split, in their order.
        shown: how well each of them was recovered from true frames.

    Returns:
        their numbers in ascending order; fewer where fewer vary in the sequences that were looked
        at.
    """
    known = [
        (-value, column)
        for column, value in zip(columns.kept, shown.per_dimension, strict=True)
        if value is not None
    ]
    return sorted(column for _, column in sorted(known)[:2])


def why_none(config: ModelConfig, columns: Sequence[int] | None) -> str | None:
    """Why a model has no landscape; None if it has one.

    Args:
        config: of the model.
        columns: of ``chosen_columns``; None for data without actions.
    """
    if not config.uses_actions:
        return "the model is told no actions."
    if config.uses_positions:
        return "the model is told positions, too, and the recorded ones say where the arm went."
    if columns is None or len(columns) < 2:
        return "fewer than two numbers of an action vary."
    return None


def landscape(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    columns: Sequence[int],
    statistics: Statistics,
    options: ProbeOptions,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Landscape:
    """Vary two numbers of the recorded actions over a grid, and find what costs least.

    Every point of the grid adds an offset to two columns of the actions that lead to the frames
    imagined; all else stays as recorded. All points share the given frames, which are encoded once,
    and one draw of the latent. A point costs the mean squared error of the last imagined frame to
    the recorded one. The first sequence of each recording is a start.

    Args:
        model: conditioned on actions alone.
        config: of the model.
        store: the split.
        columns: two numbers of an action.
        statistics: of the training split's actions.
        options: given and predicted frames, seed, starts, and points a side.
        device: where to compute.
        progress: called with (starts done, all).
    """
    grid = Grid(options.grid)
    found = _Surfaces(model, config, store, list(columns), statistics, options, device)
    numbers = _starts(store.recordings, options.starts)
    others = lenders([store.recordings[k] for k in numbers], options.seed)
    own: list[NDArray[np.float64]] = []
    borrowed: list[NDArray[np.float64]] = []
    for done, number in enumerate(numbers):
        told = [number] if others is None else [number, numbers[int(others[done])]]
        surfaces = found.costs(number, told)
        own.append(surfaces[0])
        borrowed += surfaces[1:]
        progress(done + 1, len(numbers))
    mean_action = [found.from_mean(number) for number in numbers]
    return _landscape(grid, found, numbers, own, borrowed, mean_action)


def _starts(recordings: Sequence[str], count: int) -> list[int]:
    """Number of the first sequence of each of the first recordings."""
    first: dict[str, int] = {}
    for number, name in enumerate(recordings):
        first.setdefault(name, number)
    return list(first.values())[:count]


@dataclass(frozen=True)
class _Surfaces:
    """Costs of all points about the actions of a sequence."""

    model: Imagines
    config: ModelConfig
    store: Store
    columns: list[int]
    statistics: Statistics
    options: ProbeOptions
    device: torch.device | str

    @property
    def frames(self) -> int:
        """Frames that are imagined."""
        return min(FRAMES, self.options.n_future)

    @property
    def deviation(self) -> Float64[np.ndarray, "2"]:
        """Of the two columns in the training split."""
        return self.statistics.deviation[self.columns]

    def _rows(self, number: int) -> Float[np.ndarray, "frames action"]:
        """Rows of the recorded actions that lead to the imagined frames."""
        first = self.options.n_past - (self.config.timing == "source")
        actions = self.store.rows(number, first, first + self.frames).actions
        assert actions is not None
        return actions

    def from_mean(self, number: int) -> float:
        """Distance of the training split's mean action from the true ones, in deviations."""
        rows = self._rows(number)[:, self.columns].astype(np.float64)
        apart = rows.mean(0) - self.statistics.mean[self.columns]
        return float(np.linalg.norm(apart / self.deviation))

    @torch.no_grad()
    def costs(self, number: int, told: Sequence[int]) -> list[Float64[np.ndarray, " points"]]:
        """What each point costs from a start, about the actions of each of several sequences.

        Args:
            number: of the sequence whose frames are given, and whose next ones are the goal.
            told: of those whose actions are the middle of the grid.
        """
        points = Grid(self.options.grid).points
        offsets = np.zeros((len(points), self._rows(number).shape[1]), np.float32)
        offsets[:, self.columns] = points * self.deviation
        actions = np.concatenate([self._rows(one)[None] + offsets[:, None] for one in told])
        costs = self._imagined(number, torch.from_numpy(actions))
        return list(costs.reshape(len(told), len(points)))

    def _imagined(
        self, number: int, actions: Float[Tensor, "points frames action"]
    ) -> Float64[np.ndarray, " points"]:
        n_past, frames = self.options.n_past, self.frames
        recorded = self.store.rows(number, 0, n_past + frames)
        x = torch.from_numpy(recorded.frames.copy()).permute(0, 3, 1, 2).float().div_(255)
        x = x.to(self.device)
        assert recorded.actions is not None
        own = torch.from_numpy(recorded.actions[:n_past].copy())[None]
        noise = sequence_noise(
            self.options.seed, number, 1, n_past + frames - 1, self.config.z_dim
        )[None]
        start = self.model.begin(x[None, :n_past], own, noise=noise[:, :, : n_past - 1])
        costs = []
        for part in actions.split(AT_ONCE):
            moment = type(start).join([start] * len(part))
            drawn = noise[:, :, n_past - 1 :].expand(len(part), -1, -1, -1).unbind(2)
            for t in range(frames - 1):
                moment = self.model.step_unseen(moment, part[:, t], noise=drawn[t])
            imagined = self.model.step(moment, part[:, -1], noise=drawn[-1])[0][:, 0]
            costs.append((imagined - x[-1]).square().mean((1, 2, 3)))
        return torch.cat(costs).double().cpu().numpy()


def _landscape(
    grid: Grid,
    found: _Surfaces,
    numbers: Sequence[int],
    own: Sequence[NDArray[np.float64]],
    borrowed: Sequence[NDArray[np.float64]],
    mean_action: Sequence[float],
) -> Landscape:
    """All starts together, each of a recording of its own."""
    away = np.array([grid.distance(costs) for costs in own])
    others = [grid.distance(costs) for costs in borrowed]
    minima = [grid.least(costs) for costs in own]
    chance = grid.chance
    baselines = {RANDOM_POINT: [chance] * len(own), MEAN_ACTION: list(mean_action)}
    if others:
        baselines[BORROWED] = others
    units = np.stack([np.abs(points).mean(0) for points in minima]) * found.deviation
    return Landscape(
        columns=found.columns,
        deviation=found.deviation.tolist(),
        frames=found.frames,
        side=grid.side,
        reach=REACH,
        starts=[found.store.names[k] for k in numbers],
        least=_distance(away),
        at_truth=sum(len(points) == 1 and not points.any() for points in minima),
        at_edge=sum(len(points) == 1 and np.abs(points).max() == REACH for points in minima),
        per_column=[_distance(column) for column in units.T],
        chance=chance,
        mean_action=_distance(mean_action),
        borrowed=_distance(others) if others else None,
        nearer={name: _nearer(values, away) for name, values in baselines.items()},
        minima=[_alone(points) for points in minima],
        surface=np.mean([costs / max(costs.mean(), 1e-30) for costs in own], 0)
        .reshape(grid.side, grid.side)
        .tolist(),
    )


def _alone(points: Float64[np.ndarray, "minima 2"]) -> tuple[float, float] | None:
    """The minimum, if there is one alone."""
    return (float(points[0, 0]), float(points[0, 1])) if len(points) == 1 else None


def _distance(values: Sequence[float] | NDArray[np.float64]) -> Distance:
    return Distance(float(np.mean(values)), bootstrap(values))


def _nearer(baseline: Sequence[float], away: NDArray[np.float64]) -> Nearer:
    """By how much the minimum is nearer than a baseline."""
    gain = paired(baseline, away)
    return Nearer(gain.mean, (gain.low, gain.high), gain.separable and len(away) > 1)
