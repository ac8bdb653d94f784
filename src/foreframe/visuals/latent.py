"""The latent drawn: which dimensions speak, at which steps, and how sure the Gaussians are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foreframe.system.files import whole_file
from foreframe.visuals.charts import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def latent_figure(
    path: Path,
    kl_per_dimension: Sequence[float],
    kl_per_step: Sequence[float],
    sigmas: Mapping[str, Sequence[float]],
) -> None:
    """Draw the KL of each dimension (sorted) and each step, and ranges of deviations, as PNG.

    Args:
        path: of the file.
        kl_per_dimension: nats a step.
        kl_per_step: nats; the first is that of frame 1.
        sigmas: quantiles 0, 5, 50, 95 and 100 % of deviations, by the name of their Gaussian.

    Raises:
        ForeframeError: the file could not be written.
    """
    figure = new_figure((12.6, 3.0))
    by_dimension, by_step, ranges = figure.subplots(1, 3)
    ordered = sorted(kl_per_dimension, reverse=True)
    by_dimension.bar(range(1, len(ordered) + 1), ordered, color=COLOURS["chart-1"], width=0.8)
    _dress(by_dimension, "KL of each dimension, sorted (nats a step)", "rank")
    by_dimension.set_ylim(0, max(*ordered, 1e-6) * 1.08)
    steps = range(1, len(kl_per_step) + 1)
    by_step.plot(steps, kl_per_step, color=COLOURS["chart-1"], marker="o", markersize=3)
    _dress(by_step, "KL at each step (nats)", "frame")
    by_step.set_ylim(0, max(*kl_per_step, 1e-6) * 1.08)
    for row, (name, colour) in enumerate(zip(sigmas, ("chart-1", "chart-2"), strict=False)):
        least, low, median, high, most = sigmas[name]
        ranges.plot([least, most], [row, row], color=COLOURS[colour], linewidth=1)
        ranges.plot([low, high], [row, row], color=COLOURS[colour], linewidth=6, alpha=0.6)
        ranges.plot([median], [row], color=COLOURS["chart-ink"], marker="|", markersize=12)
    ranges.set_yticks(range(len(sigmas)), list(sigmas))
    ranges.set_ylim(len(sigmas) - 0.5, -0.5)
    _dress(ranges, "Deviations: all, 5 to 95 %, median", "sigma")
    figure.patch.set(facecolor="white", alpha=1.0)
    with whole_file(path) as aside:
        figure.savefig(aside, format="png", dpi=120)


def _dress(ax: "Axes", title: str, x_label: str) -> None:
    ink, grid = COLOURS["chart-ink"], COLOURS["chart-grid"]
    ax.set_title(title, loc="left", fontsize=10, color=ink)
    ax.set_xlabel(x_label, fontsize=9, color=ink, loc="right")
    ax.tick_params(colors=ink, labelsize=9, length=3)
    ax.grid(axis="both", color=grid, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set(visible=side == "bottom", color=ink)
