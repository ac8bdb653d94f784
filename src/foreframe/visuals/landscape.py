"""The landscape of actions drawn: what actions around the true one cost, and where the least is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foreframe.system.files import whole_file
from foreframe.visuals.charts import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOUR_MAP = "viridis"
_DOT = 26.0  # points squared, of one start
_LEAST_SPAN = (0.95, 1.05)  # of the colours, so that a flat landscape looks flat


def landscape_figure(
    path: Path,
    surface: Sequence[Sequence[float]],
    reach: float,
    minima: Sequence[tuple[float, float] | None],
    columns: Sequence[int],
) -> None:
    """Draw the mean landscape as a heat map, the true action in its middle, as PNG.

    A dot is a start's minimum; where several coincide it is as much larger in area.

    Args:
        path: of the file.
        surface: [side, side] cost by the mean of the grid; rows are offsets of the first number.
        reach: standard deviations from the middle to the outermost points.
        minima: offsets of the minimum, first and second number, in each start; None where there is
            not one alone, which is not drawn.
        columns: the two numbers of an action.

    Raises:
        ForeframeError: the file could not be written.
    """
    figure = new_figure((5.2, 4.3))
    ax = figure.subplots()
    ink = COLOURS["chart-ink"]
    # Points are the middles of the cells.
    edge = reach * len(surface) / (len(surface) - 1)
    values = np.asarray(surface)
    low, high = _LEAST_SPAN
    # The first number to the right, the second upwards.
    picture = ax.imshow(
        values.T,
        vmin=min(values.min(), low),
        vmax=max(values.max(), high),
        origin="lower",
        extent=(-edge, edge, -edge, edge),
        cmap=_COLOUR_MAP,
        interpolation="none",
    )
    ax.axhline(0, color="white", linewidth=0.8, alpha=0.7)
    ax.axvline(0, color="white", linewidth=0.8, alpha=0.7)
    _dots(ax, [offset for offset in minima if offset is not None])
    ax.set_title("Cost of actions around the true one", loc="left", fontsize=10, color=ink)
    ax.set_xlabel(f"number {columns[0]} of the action, deviations from the true", fontsize=9)
    ax.set_ylabel(f"number {columns[1]}, likewise", fontsize=9)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_color(ink)
    ax.tick_params(colors=ink, labelsize=9, length=3)
    for spine in ax.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(picture, ax=ax, pad=0.02)
    bar.set_label("squared error, by the grid's mean", fontsize=8, color=ink)
    bar.ax.tick_params(labelsize=8, colors=ink)
    figure.patch.set(facecolor="white", alpha=1.0)
    with whole_file(path) as aside:
        figure.savefig(aside, format="png", dpi=120)


def _dots(ax: "Axes", minima: Sequence[tuple[float, float]]) -> None:
    if not minima:
        return
    places, counts = np.unique(np.asarray(minima).round(6), axis=0, return_counts=True)
    ax.scatter(
        places[:, 0],
        places[:, 1],
        s=_DOT * counts,
        color=COLOURS["chart-2"],
        edgecolors="white",
        linewidths=1.0,
        label="minimum of a start (larger: of several)",
        zorder=3,
    )
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(0, -0.13),
        frameon=False,
        fontsize=8,
        labelcolor=COLOURS["chart-ink"],
        markerscale=0.7,
    )
