"""Line charts of a training, of an evaluation's steps and of the schedules.

Drawn with matplotlib's objects, never pyplot, so that no window, no display and no state is
involved. For a page the charts are SVG whose colours are CSS variables: legible on dark and light.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreframe.errors import ForeframeError
from foreframe.system.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What a chart is drawn with: the name of a CSS variable and its colour where none is set.
COLOURS = {
    "chart-ink": "#3c434d",
    "chart-grid": "#d8dce1",
    "chart-1": "#0072b2",
    "chart-2": "#c8500a",
    "chart-3": "#7a8390",
    "chart-4": "#00795c",
    "chart-5": "#b04a8f",
    "chart-6": "#8a6d00",
}
SERIES = ("chart-1", "chart-2", "chart-3", "chart-4", "chart-5", "chart-6")
DASHES = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.4)),
    (0, (7, 1.6, 1.2, 1.6)),
    (0, (3, 1)),
    (0, (8, 3)),
)
CHART_SIZE = (4.2, 2.5)  # inches, of one chart


@dataclass(frozen=True)
class Chart:
    """A chart for a page."""

    title: str
    """What is drawn, with its unit."""
    summary: str
    """In a sentence, for whoever cannot see it."""
    series: tuple[str, ...]
    """Names of the lines, drawn in the colours --chart-1, --chart-2, ..., each with its dashes."""
    svg: str
    """Inline SVG without anything from elsewhere, and without a legend (the page's text is)."""


@dataclass(frozen=True)
class _Series:
    name: str
    values: Sequence[float | None]


#: Title and series (key of the history, name) of each training chart.
_TRAINING: tuple[tuple[str, dict[str, str]], ...] = (
    ("Loss = MSE + beta KL (per frame)", {"loss": "loss"}),
    ("MSE (per frame, pixels in [0, 1])", {"mse": "MSE"}),
    ("PSNR (dB)", {"validation_psnr": "validation", "psnr": "training"}),
    ("KL divergence (nats per frame)", {"kld": "KL"}),
    ("KL weight beta", {"beta": "beta"}),
    ("Teacher-forcing ratio", {"teacher_forcing_ratio": "ratio"}),
)
#: Span more than a factor of ten as a rule, and never reach 0.
_LOGARITHMIC = frozenset({"loss", "mse"})


def training_charts(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Loss, MSE, PSNR, KL, beta and teacher-forcing ratio over the epochs (counted from 1).

    A value that is missing or None leaves a gap; a series without any value is left out.

    Args:
        history: one row for each epoch, as in a run's ``history.json``.
    """
    epochs = [int(row.get("epoch", i)) + 1 for i, row in enumerate(history)]
    charts = []
    for title, keys in _TRAINING:
        series = [_Series(name, [row.get(key) for row in history]) for key, name in keys.items()]
        series = [one for one in series if finite(one.values)]
        if series:
            logarithmic = bool(_LOGARITHMIC & keys.keys()) and _spans_decades(series)
            charts.append(_chart(title, "epoch", epochs, series, logarithmic=logarithmic))
    return charts


def step_charts(rows: Sequence[Mapping[str, Any]], n_past: int) -> list[Chart]:
    """PSNR and SSIM of each predicted step, the model against its baselines.

    Args:
        rows: of an evaluation's card.
        n_past: number of given frames; the first predicted step bears this number.
    """
    charts = []
    for key, title in (("psnr", "PSNR at each step (dB)"), ("ssim", "SSIM at each step")):
        series = [
            _Series(str(row["label"]), list(row[f"{key}_per_step"]))
            for row in rows
            if row.get(f"{key}_per_step")
        ]
        if series:
            steps = [n_past + k for k in range(max(len(one.values) for one in series))]
            charts.append(_chart(title, "time step", steps, series, tall=True))
    return charts


def schedule_plot(path: Path, kl_weights: Sequence[float], ratios: Sequence[float]) -> None:
    """Draw the KL weight and the teacher-forcing ratio of each epoch into a PNG, SVG or PDF.

    Args:
        path: of the file; its suffix says which (PNG where it has none).
        kl_weights: beta of each epoch.
        ratios: teacher-forcing ratio of each epoch.

    Raises:
        ForeframeError: the suffix is another one, or the file could not be written.
    """
    kind = path.suffix.lower().removeprefix(".") or "png"
    if kind not in ("png", "svg", "pdf"):
        raise ForeframeError(f"--plot {path}: cannot draw a .{kind}; name it .png, .svg or .pdf.")
    figure = new_figure((CHART_SIZE[0] * 2, CHART_SIZE[1]))
    epochs = list(range(1, len(kl_weights) + 1))
    for ax, title, values in zip(
        figure.subplots(1, 2),
        ("KL weight beta", "Teacher-forcing ratio"),
        (kl_weights, ratios),
        strict=True,
    ):
        ax.set_title(title, loc="left", fontsize=10)
        _draw(ax, "epoch", epochs, [_Series(title, values)])
    figure.patch.set(facecolor="white", alpha=1.0)
    with whole_file(path) as aside:
        figure.savefig(aside, format=kind, dpi=160)


def _chart(
    title: str,
    x_label: str,
    x: Sequence[int],
    series: Sequence[_Series],
    *,
    logarithmic: bool = False,
    tall: bool = False,
) -> Chart:
    figure = new_figure((CHART_SIZE[0] * 1.3, CHART_SIZE[1] * 1.25) if tall else CHART_SIZE)
    _draw(figure.subplots(), x_label, x, series, logarithmic=logarithmic)
    names = tuple(one.name for one in series)
    return Chart(title, _summary(x_label, x, series), names, inline_svg(figure))


def new_figure(size: tuple[float, float]) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    return figure


def _draw(
    ax: "Axes",
    x_label: str,
    x: Sequence[int],
    series: Sequence[_Series],
    *,
    logarithmic: bool = False,
) -> None:
    for one, colour, dashes in zip(series, SERIES, DASHES, strict=False):
        values = [_number(value) for value in one.values]
        lonely = len(finite(one.values)) <= 15
        ax.plot(
            x[: len(values)],
            values,
            color=COLOURS[colour],
            linestyle=dashes,
            linewidth=1.8,
            marker="o" if lonely else "",
            markersize=3.2,
            clip_on=False,
            label=one.name,
            gid=f"series {one.name}",
        )
    values = [v for one in series for v in finite(one.values)]
    dress_axes(ax, x_label, x, values, logarithmic=logarithmic)


def dress_axes(
    ax: "Axes", x_label: str, x: Sequence[int], values: Sequence[float], *, logarithmic: bool
) -> None:
    """Grid, ticks and limits of a chart whose lines are drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    ink, grid = COLOURS["chart-ink"], COLOURS["chart-grid"]
    ax.patch.set_alpha(0.0)
    ax.grid(axis="y", color=grid, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set(visible=side == "bottom", color=ink, linewidth=0.8)
    ax.tick_params(colors=ink, labelsize=9, length=3, width=0.8)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(x_label, color=ink, fontsize=9, loc="right")
    ticks = MaxNLocator(6, integer=True, min_n_ticks=1).tick_values(x[0], x[-1])
    ax.set_xticks([tick for tick in ticks if x[0] <= tick <= x[-1]])
    room = 0.03 * (x[-1] - x[0]) or 0.5
    ax.set_xlim(x[0] - room, x[-1] + room)
    if logarithmic:
        ax.set_yscale("log")
        known = [value for value in values if value > 0]
        decades = math.log10(max(known) / min(known)) if known else 0.0
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        _set_linear_limits(ax, values)


def _set_linear_limits(ax: "Axes", values: Sequence[float]) -> None:
    from matplotlib.ticker import ScalarFormatter

    low, high = min(values), max(values)
    if low >= 0 and low < 0.3 * high:
        low = 0.0  # show the distance to nothing where that is nearly all of it anyway
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    ax.set_ylim(low - (0 if low == 0 else room), high + room)
    formatter = ScalarFormatter(useOffset=False, useMathText=False)
    formatter.set_powerlimits((-3, 4))
    ax.yaxis.set_major_formatter(formatter)
    ax.yaxis.get_offset_text().set(color=COLOURS["chart-ink"], fontsize=9)


def inline_svg(figure: "Figure") -> str:
    import matplotlib

    buffer = io.StringIO()
    # Text stays text (small, searchable, in the page's font); ids do not change from run to run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "foreframe"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    # Several charts share a page: only ids that are referred to may stay, and they name content.
    svg = re.sub(r'<g id="series ([^"]*)">', r'<g data-series="\1">', svg)
    svg = re.sub(r'<(g|text) id="[^"]*"', r"<\1", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r'(<svg) height="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 aria-hidden="true" focusable="false"', svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    return svg.strip()


def _summary(x_label: str, x: Sequence[int], series: Sequence[_Series]) -> str:
    parts = []
    for one in series:
        points = [(at, v) for at, v in zip(x, one.values, strict=False) if finite([v])]
        (first_at, first), (last_at, last) = points[0], points[-1]
        if len(points) == 1:
            parts.append(f"{one.name}: {first:.4g} at {x_label} {first_at}")
        else:
            parts.append(
                f"{one.name}: from {first:.4g} at {x_label} {first_at} "
                f"to {last:.4g} at {x_label} {last_at}"
            )
    return "; ".join(parts) + "."


def _number(value: float | None) -> float:
    return float(value) if finite([value]) else math.nan  # type: ignore[arg-type]


def finite(values: Sequence[float | None]) -> list[float]:
    return [
        float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)
    ]


def _spans_decades(series: Sequence[_Series]) -> bool:
    values = [value for one in series for value in finite(one.values)]
    return min(values) > 0 and max(values) > 10 * min(values)
