"""The command that asks a run whether it listens and whether it spreads."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import box
from rich.table import Table
from tyro.conf import Positional, arg

from foreframe.commands.console import console, counting, say
from foreframe.probe.options import ProbeOptions
from foreframe.runs.folder import PROBE, PROBE_FIGURE, PROBE_LANDSCAPE, PROBE_MAPS
from foreframe.system.places import place

if TYPE_CHECKING:
    from foreframe.probe.result import (
        Actions,
        Calibration,
        Landscape,
        Listening,
        ProbeResult,
        Pushed,
        Spreading,
    )


@dataclass(frozen=True)
class Probe:
    """Measure whether a run listens to actions, and how it spreads."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="The run folder.")]
    data: str
    """Root of the dataset; simulated data are replayed under other physics."""
    out: Path | None = None
    """Folder of what is written, by default the run's."""
    questions: ProbeOptions = field(default_factory=ProbeOptions)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.probe.probe import probe

        result = probe(
            self.run_folder,
            place(self.data),
            self.questions,
            out=self.out,
            command=shlex.join(["foreframe", *words]),
            log=say,
            stage=counting,
        )
        show_probe(result)
        folder = self.out or self.run_folder
        pictures = [PROBE_FIGURE, PROBE_MAPS]
        if result.landscape is not None:
            pictures.append(PROBE_LANDSCAPE)
        say(", ".join(str(folder / name) for name in (PROBE, *pictures)))


def show_probe(result: "ProbeResult") -> None:
    """Print the numbers and what they mean."""
    listening, spread = result.listening, result.spread
    head = (
        f"{result.run}: {result.n_past} given, {result.n_future} predicted frames, "
        f"{result.split} sequences: {listening.sequences}, {result.condition}"
    )
    _show_costs(listening, head)
    if listening.actions is not None:
        _show_actions(listening.actions)
    if result.landscape is not None:
        _show_landscape(result.landscape)
    if spread.calibration is not None:
        _show_calibration(spread, spread.calibration)
        if spread.calibration.pushed is not None:
            _show_pushed(spread.calibration.pushed)
    for sentence in result.words:
        say(sentence)


def _show_costs(listening: "Listening", title: str) -> None:
    table = _table(title, "PSNR", "dB", "lost", "95 %")
    for name, score in listening.psnr.items():
        cost = listening.costs.get(name)
        table.add_row(
            f"{name} {listening.condition}" if listening.costs else "no condition",
            f"{score.value:.2f}",
            "" if cost is None else f"{cost.mean:+.2f}",
            _interval(None if cost is None else cost.interval),
        )
    console.print(table)


def _show_actions(actions: "Actions") -> None:
    # A literal bracket, not markup.
    columns = [f"\\[{k}]" for k in actions.kept]
    table = _table("Actions recovered from frames, R²", "from", "all", "95 %", *columns)
    for name, recovery in actions.recovered.items():
        if recovery.overall is not None:
            table.add_row(
                name,
                f"{recovery.overall:.2f}",
                _interval(recovery.interval),
                *("" if v is None else f"{v:.2f}" for v in recovery.per_dimension),
            )
    console.print(table)


def _show_landscape(landscape: "Landscape") -> None:
    from foreframe.probe.result import BORROWED, MEAN_ACTION, RANDOM_POINT

    numbers = " and ".join(f"\\[{k}]" for k in landscape.columns)
    title = (
        f"Where actions cost least, over {numbers}: {landscape.side} by {landscape.side} points, "
        f"{landscape.frames} frames, starts: {len(landscape.starts)}"
    )
    names = ("deviations", "95 %", "minimum nearer by", "95 %")
    table = _table(title, "distance from the middle", *names)
    distances: dict[str, tuple[float, tuple[float, float] | None]] = {
        "minimum": (landscape.least.mean, landscape.least.interval),
        RANDOM_POINT: (landscape.chance, None),
        MEAN_ACTION: (landscape.mean_action.mean, landscape.mean_action.interval),
    }
    if landscape.borrowed is not None:
        distances[f"minimum about {BORROWED}"] = (
            landscape.borrowed.mean,
            landscape.borrowed.interval,
        )
    gains = [None, *(landscape.nearer[k] for k in landscape.nearer)]
    for (name, (distance, interval)), gain in zip(distances.items(), gains, strict=True):
        table.add_row(
            name,
            f"{distance:.2f}",
            _interval(interval),
            "" if gain is None else f"{gain.mean:+.2f}",
            _interval(None if gain is None else gain.interval),
        )
    console.print(table)
    steps = [2 * landscape.reach * one / (landscape.side - 1) for one in landscape.deviation]
    for column, found, step in zip(landscape.columns, landscape.per_column, steps, strict=True):
        low, high = found.interval
        say(
            f"Along number {column} of the action the minimum is {found.mean:.3g} off in its own "
            f"units ({low:.3g} to {high:.3g}), where points are {step:.3g} apart."
        )


def _show_calibration(spread: "Spreading", calibration: "Calibration") -> None:
    title = (
        f"Deviation of objects' places in pixels: {calibration.scenes} scenes, "
        f"{calibration.objects} objects, {spread.replays} replays, {spread.samples} samples"
    )
    names = ("true", "read: true", "read: samples", "ratio", "95 %", "readout error", "inside")
    table = _table(title, "step", *names)
    for t, ratio in enumerate(calibration.ratio):
        curves = (calibration.true, calibration.read_true, calibration.read_samples)
        table.add_row(
            str(t + 1),
            *(f"{curve[t]:.2f}" for curve in curves),
            "" if ratio is None else f"{ratio:.2f}",
            _interval(calibration.ratio_interval[t]),
            f"{calibration.readout_error[t]:.2f}",
            f"{100 * calibration.coverage[t]:.0f} %",
        )
    console.print(table)


_PUSHED = {
    "still": "standing still",
    "error": "samples",
    "error_of_mean": "mean of samples",
    "physics": "other replays",
    "physics_of_mean": "mean of others",
    "readout_error": "readout error",
}


def _show_pushed(pushed: "Pushed") -> None:
    title = (
        f"Pushed objects' distance from the truth in pixels: {pushed.pairs} that move by more than "
        f"{pushed.least:.0f}, scenes: {pushed.scenes}"
    )
    table = _table(title, "step", *_PUSHED.values())
    for t, distances in enumerate(zip(*(pushed.per_step[name] for name in _PUSHED), strict=True)):
        table.add_row(str(t + 1), *(f"{distance:.2f}" for distance in distances))
    table.add_row("95 %", *(_interval(pushed.intervals[name]) for name in _PUSHED))
    console.print(table)


def _table(title: str, first: str, *names: str) -> Table:
    table = Table(box=box.SIMPLE, title=title)
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="right")
    return table


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"
