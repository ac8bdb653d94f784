"""Policies as they were judged inside a model against how they fare in the simulator."""

from collections.abc import Mapping
from pathlib import Path

from foreframe.system.files import whole_file
from foreframe.visuals.charts import COLOURS, new_figure

Estimate = tuple[float, float, float]
"""A rate and the ends of its interval."""


def policies_figure(
    path: Path, policies: Mapping[str, tuple[Estimate, Estimate, Estimate]]
) -> None:
    """Draw success inside the model over success in the simulator, with intervals.

    Args:
        path: of the PNG file.
        policies: by name: in the simulator, inside the model, inside the model told other actions.
    """
    figure = new_figure((5.4, 4.9))
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1], color=COLOURS["chart-ink"], linewidth=1, linestyle="--", zorder=1)
    for which, colour, label in ((1, "chart-1", "the model"), (2, "chart-2", "told other actions")):
        for k, (name, estimates) in enumerate(policies.items()):
            (x, *x_ends), (y, *y_ends) = estimates[0], estimates[which]
            ax.errorbar(
                [x],
                [y],
                xerr=[[x - x_ends[0]], [x_ends[1] - x]],
                yerr=[[y - y_ends[0]], [y_ends[1] - y]],
                fmt="o" if which == 1 else "s",
                markersize=6 if which == 1 else 4,
                color=COLOURS[colour],
                elinewidth=1.0,
                alpha=1.0 if which == 1 else 0.6,
                label=label if k == 0 else None,
                zorder=3 if which == 1 else 2,
            )
            if which == 1:
                ax.annotate(name, (x, y), textcoords="offset points", xytext=(8, -12), fontsize=9)
    ax.set_xlim(-0.04, 1.04)
    ax.set_ylim(-0.04, 1.04)
    ax.set_aspect("equal")
    ax.set_xlabel("success in the simulator")
    ax.set_ylabel("success inside the model")
    ax.legend(loc="upper left", frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    with whole_file(path) as part:
        figure.savefig(part, dpi=130, format="png")
