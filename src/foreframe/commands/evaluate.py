"""The command that scores runs, and compares them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from rich import box
from rich.table import Table
from tyro.conf import Positional, UseAppendAction, arg

from foreframe.commands.console import console, counting, say
from foreframe.errors import ForeframeError
from foreframe.system.device import DeviceName
from foreframe.system.places import place

_RUNS_HELP = "The run folder; of several, the paired differences are printed too."


@dataclass(frozen=True)
class Evaluate:
    """Score runs on held-out sequences beside their baselines; writes a result card into each."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN [RUN ...]", help=_RUNS_HELP)]
    data: str
    """Root of the dataset."""
    protocol: str = "lab"
    """How to score: lab, svg, srvp, ivideogpt or mcvd (docs/evaluation.md)."""
    split: Literal["test", "validate", "train"] = "test"
    """Split to score."""
    n_past: int | None = None
    """Given frames, if others than the protocol's; the card says so."""
    n_future: int | None = None
    """Predicted frames, if others than the protocol's."""
    samples: int | None = None
    """Futures of each sequence, if others than the protocol's."""
    limit: int | None = None
    """Score only the first sequences."""
    seed: int = 0
    """Seed of z."""
    lpips: UseAppendAction[tuple[Literal["alex", "vgg"], ...]] = ()
    """Measure LPIPS too, with AlexNet or VGG16; may be given twice."""
    lpips_weights: Path | None = None
    """File of that net's weights as torchvision publishes them, if torchvision has not got it."""
    fvd_extractor: Path | None = None
    """Measure FVD too, with this TorchScript file: videos [n, 3, T, H, W] in [-1, 1] to [n, D]."""
    device: DeviceName = "auto"
    """Where to compute."""
    out: Path | None = None
    """Folder of the card, by default the run's; of several runs, of the comparison."""

    def run(self, words: Sequence[str]) -> None:
        from foreframe.evaluation import (
            compare,
            comparison_markdown,
            evaluate,
            protocol_named,
        )
        from foreframe.system.files import write_json, write_text

        if not self.runs:
            raise ForeframeError("evaluate: give at least one run folder.")
        protocol = protocol_named(
            self.protocol,
            n_past=self.n_past,
            n_future=self.n_future,
            samples=self.samples,
            split=self.split,
            seed=self.seed,
        )
        several = len(self.runs) > 1
        cards = []
        for folder in self.runs:
            with counting(f"evaluating {folder}" if several else "evaluating") as progress:
                card = evaluate(
                    folder,
                    place(self.data),
                    protocol,
                    limit=self.limit,
                    lpips=self.lpips,
                    lpips_weights=self.lpips_weights,
                    fvd_extractor=self.fvd_extractor,
                    device=self.device,
                    command=shlex.join(["foreframe", *words]),
                    out=None if several else self.out,
                    log=say,
                    progress=progress,
                )
            show_card(card)
            cards.append(card)
        if several:
            comparison = compare(cards)
            show_comparison(comparison)
            if self.out is not None:
                write_json(self.out / "comparison.json", comparison)
                write_text(self.out / "comparison.md", comparison_markdown(comparison))


def show_card(card: dict[str, Any]) -> None:
    """Print an evaluation as a table, each number with its condition and protocol."""
    from foreframe.evaluation import protocol_words

    protocol = card["protocol"]
    metrics = protocol["metrics"]
    table = Table(box=box.SIMPLE, title=f"{card['run']}: {protocol_words(protocol)}")
    table.add_column("prediction")
    table.add_column("condition")
    for metric in metrics.values():
        table.add_column(f"{metric['label']} {metric['unit']}".strip(), justify="right")
    fvd = any("fvd" in row for row in card["rows"])
    if fvd:
        table.add_column("FVD", justify="right")
    for row in card["rows"]:
        cells = [
            f"{row['scores'][name]['value']:.{metric['digits']}f}" if "scores" in row else "n/a"
            for name, metric in metrics.items()
        ]
        if fvd:
            cells.append(f"{row['fvd']:.1f}" if "fvd" in row else "n/a")
        table.add_row(row["label"], row["condition"], *cells)
    console.print(table)
    for metric in metrics.values():
        say(f"{metric['label']}: {metric['definition']}.")
    for change in protocol["changed"]:
        say(f"Not the protocol {protocol['name']} as it is named: {change}.")
    for doubt in protocol["doubts"]:
        say(f"Mind: {doubt}")


def show_comparison(comparison: dict[str, Any]) -> None:
    """Print the paired differences of several runs."""
    metrics = comparison["protocol"]["metrics"]
    table = Table(box=box.SIMPLE, title="Paired over the same sequences, 95 % bootstrap interval")
    for name in ("metric", "difference"):
        table.add_column(name)
    for name in ("mean", "interval"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in comparison["differences"]:
        metric = metrics[one["metric"]]
        digits = metric["digits"]
        low, high = one["interval"]
        table.add_row(
            metric["label"],
            f"{one['b']} - {one['a']}",
            f"{one['difference']:+.{digits}f}",
            f"{low:+.{digits}f} to {high:+.{digits}f}",
            "real" if one["separable"] else "not separable",
        )
    console.print(table)
