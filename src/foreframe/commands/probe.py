"""The command that asks a run whether it listens and whether it spreads."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from rich import box
from rich.table import Table
from tyro.conf import Positional, arg

from foreframe.commands.console import CORES, console, counting, say
from foreframe.system.device import DeviceName
from foreframe.system.places import place


@dataclass(frozen=True)
class Probe:
    """Ask a run whether it listens to its actions and whether its samples spread as they should."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="The run folder.")]
    data: str
    """Root of the dataset; simulated data are replayed under other physics."""
    split: Literal["test", "validate", "train"] = "test"
    """Split whose sequences are predicted."""
    n_past: int = 2
    """Given frames."""
    n_future: int = 10
    """Predicted frames."""
    limit: int | None = None
    """Listen on the first sequences only."""
    samples: int = 32
    """Futures of each scene whose spread is measured."""
    scenes: int = 8
    """Sequences whose spread is measured."""
    replays: int = 64
    """Replays of each scene under other physics: half to fit the readout, half to compare with."""
    seed: int = 0
    """Seed of z and of the inverse model."""
    inverse_steps: int = 1500
    """Training steps of the inverse model, at most; it ends where the validation error does."""
    workers: int = CORES
    """Processes that simulate side by side; they do not change what is made."""
    device: DeviceName = "auto"
    """Where to compute."""
    out: Path | None = None
    """Folder of what is written, by default the run's."""

    def run(self, words: Sequence[str]) -> None:
        from foreframe.probe import FIGURE, MAPS, PROBE, probe

        found = probe(
            self.run_folder,
            place(self.data),
            split=self.split,
            n_past=self.n_past,
            n_future=self.n_future,
            limit=self.limit,
            samples=self.samples,
            scenes=self.scenes,
            replays=self.replays,
            seed=self.seed,
            inverse_steps=self.inverse_steps,
            workers=self.workers,
            device=self.device,
            command=shlex.join(["foreframe", *words]),
            out=self.out,
            log=say,
            stage=counting,
        )
        _show(found)
        folder = self.out or self.run_folder
        say(f"{folder / PROBE}, {folder / FIGURE}, {folder / MAPS}")


def _show(found: dict[str, Any]) -> None:
    """Print the numbers and what they mean."""
    listening, spread = found["listening"], found["spread"]
    head = (
        f"{found['run']}: {found['n_past']} given, {found['n_future']} predicted frames, "
        f"{found['split']} sequences: {listening['sequences']}, {found['condition']}"
    )
    table = Table(box=box.SIMPLE, title=head)
    for name in ("PSNR", "dB", "lost", "95 %"):
        table.add_column(name, justify="left" if name == "PSNR" else "right")
    for name, value in listening["psnr"].items():
        cost = listening["costs"].get(name)
        table.add_row(
            f"{name} {listening['condition']}" if listening["costs"] else "no condition",
            f"{value['value']:.2f}",
            "" if cost is None else f"{cost['mean']:+.2f}",
            "" if cost is None else _interval(cost["interval"]),
        )
    console.print(table)
    if listening["actions"] is not None:
        _show_actions(listening["actions"])
    if spread["calibration"] is not None:
        _show_calibration(spread)
    for sentence in found["words"]:
        say(sentence)


def _show_actions(actions: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE, title="Actions recovered from frames, R²")
    table.add_column("from")
    for name in ("all", "95 %", *(f"[{k}]" for k in actions["kept"])):
        # A literal bracket, not markup.
        table.add_column(name.replace("[", "\\["), justify="right")
    for name, found in actions["recovered"].items():
        if found["overall"] is not None:
            table.add_row(
                name,
                f"{found['overall']:.2f}",
                _interval(found["interval"]),
                *("" if v is None else f"{v:.2f}" for v in found["per_dimension"]),
            )
    console.print(table)


def _show_calibration(spread: dict[str, Any]) -> None:
    found = spread["calibration"]
    table = Table(
        box=box.SIMPLE,
        title=f"Deviation of objects' places in pixels: {found['scenes']} scenes, "
        f"{found['objects']} objects, {spread['replays']} replays, {spread['samples']} samples",
    )
    columns = (
        "step",
        "true",
        "read: true",
        "read: samples",
        "ratio",
        "95 %",
        "read amiss",
        "inside",
    )
    for name in columns:
        table.add_column(name, justify="right")
    for t, ratio in enumerate(found["ratio"]):
        numbers = (found[k][t] for k in ("true", "read_true", "read_samples"))
        table.add_row(
            str(t + 1),
            *(f"{value:.2f}" for value in numbers),
            "" if ratio is None else f"{ratio:.2f}",
            "" if ratio is None else _interval(found["ratio_interval"][t]),
            f"{found['readout_error'][t]:.2f}",
            f"{100 * found['coverage'][t]:.0f} %",
        )
    console.print(table)


def _interval(ends: Sequence[float]) -> str:
    return f"{ends[0]:.2f} to {ends[1]:.2f}"
