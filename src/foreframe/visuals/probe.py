"""A probe drawn: what false conditions cost, which actions are seen, and how far samples spread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from foreframe.system.files import whole_file
from foreframe.visuals.charts import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_LOWEST_R2 = -0.5
#: Colour and dashes by what a line is over, its last word.
_LINES = {
    "positions": ("chart-3", "--"),
    "frames": ("chart-1", "-"),
    "physics": ("chart-1", "-"),
    "samples": ("chart-2", "-"),
}
_DIMMED = 0.45
_COLOUR_MAP = "inferno"
_MAPS_SCALE = 1.35  # inches of a frame's edge


@dataclass(frozen=True)
class SpreadMap:
    """A sequence with the deviation of each pixel, values in [0, 1], mean over the channels.

    Attributes:
        name: of the sequence.
        frames: the recorded future.
        samples: over the samples.
        physics: over the replays; None where there are none.
    """

    name: str
    frames: UInt8[np.ndarray, "steps height width 3"]
    samples: Float32[np.ndarray, "steps height width"]
    physics: Float32[np.ndarray, "steps height width"] | None = None


def probe_figure(
    path: Path,
    costs: Mapping[str, tuple[float, float, float]],
    recovered: Mapping[str, tuple[float, float, float]],
    pixels: Mapping[str, Sequence[float]],
    positions: Mapping[str, Sequence[float]],
    ranks: Sequence[float],
) -> None:
    """Draw the numbers of a probe as PNG; what there is none of is left out.

    Args:
        path: of the file.
        costs: mean, low and high, in dB, of what each false condition loses.
        recovered: R squared, low and high, by what the actions were recovered from.
        pixels: deviation of a pixel at each step, values in [0, 1], by what it is over.
        positions: deviation of an object's place at each step, in pixels, by what it is over.
        ranks: share of the replays' coordinates in equal parts of the samples.

    Raises:
        ForeframeError: the file could not be written.
    """
    panels = 1 + bool(costs) + bool(recovered) + 2 * bool(positions)
    columns = min(panels, _COLUMNS)
    rows = -(-panels // columns)
    figure = new_figure((4.2 * columns, 3.0 * rows))
    axes = iter([figure.add_subplot(rows, columns, k + 1) for k in range(panels)])
    if costs:
        ax = next(axes)
        _bars(ax, costs, lowest=None)
        _dress(ax, "PSNR lost under false conditions", "dB")
    if recovered:
        ax = next(axes)
        _bars(ax, recovered, lowest=_LOWEST_R2)
        ax.set_xlim(_LOWEST_R2, 1)
        ax.set_xticks([_LOWEST_R2, 0, 0.5, 1])
        _dress(ax, "Actions recovered from frames", "R²")
    if positions:
        ax = next(axes)
        _lines(ax, positions)
        _dress(ax, "Deviation of an object's place (pixels)", "predicted frame")
        _ranks(next(axes), ranks)
    ax = next(axes)
    _lines(ax, {name: [255 * v for v in values] for name, values in pixels.items()})
    _dress(ax, "Deviation of a pixel (of 255)", "predicted frame")
    figure.patch.set(facecolor="white", alpha=1.0)
    with whole_file(path) as aside:
        figure.savefig(aside, format="png", dpi=120)


def _bars(
    ax: "Axes", values: Mapping[str, tuple[float, float, float]], *, lowest: float | None
) -> None:
    for row, (mean, low, high) in enumerate(values.values()):
        shown = mean if lowest is None else max(mean, lowest)
        ax.barh([row], [shown], color=COLOURS["chart-1"], height=0.6, alpha=0.85)
        ends = (low, high) if lowest is None else (max(low, lowest), max(high, lowest))
        ax.plot(ends, [row, row], color=COLOURS["chart-ink"], linewidth=1.4)
        if lowest is not None and mean < lowest:
            # Far below the axis there is nothing more to see; the number says how far.
            ax.text(
                lowest + 0.03,
                row,
                f"{mean:.1f}",
                color="white",
                fontsize=9,
                va="center",
            )
    ax.axvline(0, color=COLOURS["chart-ink"], linewidth=0.8)
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.5, -0.5)


def _lines(ax: "Axes", series: Mapping[str, Sequence[float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, values in series.items():
        colour, dash = _LINES[name.split()[-1]]
        ax.plot(
            range(1, len(values) + 1),
            values,
            color=COLOURS[colour],
            linestyle=dash,
            marker="o",
            markersize=3,
            label=name,
        )
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.legend(frameon=False, fontsize=8, labelcolor=COLOURS["chart-ink"])


def _ranks(ax: "Axes", histogram: Sequence[float]) -> None:
    count = len(histogram)
    ax.bar(np.arange(count) + 0.5, histogram, width=0.9, color=COLOURS["chart-1"], alpha=0.85)
    ax.axhline(1 / count, color=COLOURS["chart-2"], linestyle="--", linewidth=1.4)
    ax.set_xticks([0, count / 2, count], ["below all", "middle", "above all"])
    _dress(ax, "Share of true places by rank in the samples", "")


def _dress(ax: "Axes", title: str, x_label: str) -> None:
    ink, grid = COLOURS["chart-ink"], COLOURS["chart-grid"]
    ax.set_title(title, loc="left", fontsize=10, color=ink)
    ax.set_xlabel(x_label, fontsize=9, color=ink, loc="right")
    ax.tick_params(colors=ink, labelsize=9, length=3)
    ax.grid(axis="both", color=grid, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set(visible=side == "bottom", color=ink)


def spread_maps(path: Path, maps: Sequence[SpreadMap], steps: Sequence[int]) -> None:
    """Draw the deviation of each pixel as heat over the dimmed recorded frame, as PNG.

    Both rows of a sequence, over the samples and over the physics, share one scale.

    Args:
        path: of the file.
        maps: of at least one sequence.
        steps: predicted frames that are shown, from 0 on.

    Raises:
        ForeframeError: the file could not be written.
    """
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    rows = [
        (one, label, values)
        for one in maps
        for label, values in (("samples", one.samples), ("physics", one.physics))
        if values is not None
    ]
    ink = COLOURS["chart-ink"]
    figure = new_figure((_MAPS_SCALE * len(steps) + 1.9, _MAPS_SCALE * (len(rows) + 0.25)))
    grid = figure.subplots(len(rows), len(steps), squeeze=False)
    colours = matplotlib.colormaps[_COLOUR_MAP]
    tops = {id(one): _top(one, steps) for one in maps}
    for (one, label, values), axes in zip(rows, grid, strict=True):
        top = tops[id(one)]
        for step, ax in zip(steps, axes, strict=True):
            ax.imshow(overlaid(one.frames[step], values[step] / top, colours), interpolation="none")
            ax.set_xticks([])
            ax.set_yticks([])
            for spine in ax.spines.values():
                spine.set_visible(False)
            if ax is grid[0][steps.index(step)]:
                ax.set_title(f"predicted frame {step + 1}", fontsize=9, color=ink)
        axes[0].set_ylabel(f"over the {label}", fontsize=9, color=ink)
        bar = figure.colorbar(
            ScalarMappable(Normalize(0, 255 * top), colours), ax=list(axes), pad=0.01, aspect=12
        )
        bar.set_label("deviation of 255", fontsize=8, color=ink)
        bar.ax.tick_params(labelsize=8, colors=ink)
    figure.patch.set(facecolor="white", alpha=1.0)
    with whole_file(path) as aside:
        figure.savefig(aside, format="png", dpi=120)


def _top(one: SpreadMap, steps: Sequence[int]) -> float:
    """The end of a sequence's scale; a few pixels may be beyond it."""
    shown = [one.samples[list(steps)]]
    if one.physics is not None:
        shown.append(one.physics[list(steps)])
    return max(float(np.quantile(np.stack(shown), 0.998)), 1 / 255)


def overlaid(
    frame: UInt8[np.ndarray, "height width 3"],
    heat: Float32[np.ndarray, "height width"],
    colours: Any,
) -> np.ndarray:
    """A dimmed grey frame under the colours of ``heat``, the denser the hotter: [H, W, 3].

    Args:
        frame: RGB.
        heat: 0 shows the frame alone, 1 and more the hottest colour alone.
        colours: a colour map of matplotlib.
    """
    heat = heat.clip(0, 1)
    grey = frame.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255 * _DIMMED
    dense = np.sqrt(heat)[..., None]
    return np.asarray((1 - dense) * grey[..., None] + dense * colours(heat)[..., :3])
