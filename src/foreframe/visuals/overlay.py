"""Curves of several systems in one chart: each seed a thin line, their mean a thick one."""

import math
from collections.abc import Mapping, Sequence

from foreframe.visuals.charts import (
    CHART_SIZE,
    COLOURS,
    DASHES,
    SERIES,
    Chart,
    dress_axes,
    finite,
    inline_svg,
    new_figure,
)


def overlaid_chart(
    title: str,
    curves: Mapping[str, Sequence[Sequence[float | None]]],
    *,
    logarithmic: bool = False,
    marks: Sequence[int] = (),
) -> Chart:
    """Draw curves over the epochs, counted from 1.

    Args:
        title: what is drawn, with its unit.
        curves: for each system its seeds, each a value for every epoch; None leaves a gap.
        logarithmic: where no value is below 0.
        marks: epochs at which a vertical line stands.
    """
    figure = new_figure((CHART_SIZE[0] * 1.3, CHART_SIZE[1] * 1.25))
    ax = figure.subplots()
    longest = max((len(seed) for seeds in curves.values() for seed in seeds), default=1)
    epochs = list(range(1, longest + 1))
    said, values = [], []
    for mark in marks:
        ax.axvline(mark, color=COLOURS["chart-ink"], linewidth=0.9, linestyle=(0, (2, 2)))
    for (name, seeds), colour, dashes in zip(curves.items(), SERIES, DASHES, strict=False):
        padded = [[*seed, *[None] * (longest - len(seed))] for seed in seeds]
        if logarithmic:
            padded = [[v if v is None or v > 0 else None for v in seed] for seed in padded]
        for seed in padded:
            known = [math.nan if v is None else v for v in seed]
            ax.plot(epochs, known, color=COLOURS[colour], linewidth=0.8, alpha=0.45)
            values += finite(seed)
        mean = [_mean([seed[k] for seed in padded]) for k in range(longest)]
        shown = [math.nan if v is None else v for v in mean]
        ax.plot(
            epochs, shown, color=COLOURS[colour], linestyle=dashes, linewidth=2.0,
            gid=f"series {name}",
        )  # fmt: skip
        ends = finite(mean)
        if ends:
            said.append(f"{name}: mean from {ends[0]:.4g} to {ends[-1]:.4g}")
    dress_axes(ax, "epoch", epochs, values, logarithmic=logarithmic and bool(values))
    return Chart(title, "; ".join(said) + ".", tuple(curves), inline_svg(figure))


def _mean(values: Sequence[float | None]) -> float | None:
    known = finite(values)
    return sum(known) / len(known) if known else None
