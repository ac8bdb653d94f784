"""The command that scores runs, and compares them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import box
from rich.table import Table
from tyro.conf import Positional, UseAppendAction, arg

from foreframe.commands.console import console, counting, say
from foreframe.errors import ForeframeError
from foreframe.evaluation.options import EvaluateOptions
from foreframe.system.places import place

if TYPE_CHECKING:  # PyTorch takes a second to import, which --help is spared
    from foreframe.evaluation.card import Card
    from foreframe.evaluation.compare import Comparison

_RUNS_HELP = "The run folder; of several, the paired differences are printed too."


@dataclass(frozen=True)
class Evaluate:
    """Score runs on held-out sequences, beside their baselines."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN [RUN ...]", help=_RUNS_HELP)]
    data: str
    """Root of the dataset."""
    out: Path | None = None
    """Folder of the card, by default the run's; of several runs, of the comparison."""
    scoring: UseAppendAction[EvaluateOptions] = field(default_factory=EvaluateOptions)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.evaluation.compare import compare
        from foreframe.evaluation.evaluate import evaluate
        from foreframe.evaluation.words import comparison_markdown
        from foreframe.system.files import write_json, write_text

        if not self.runs:
            raise ForeframeError("evaluate: give at least one run folder.")
        several = len(self.runs) > 1
        cards = []
        for folder in self.runs:
            with counting(f"evaluating {folder}" if several else "evaluating") as progress:
                card = evaluate(
                    folder,
                    place(self.data),
                    self.scoring,
                    out=None if several else self.out,
                    command=shlex.join(["foreframe", *words]),
                    log=say,
                    progress=progress,
                )
            show_card(card)
            cards.append(card)
        if several:
            comparison = compare(cards)
            show_comparison(comparison)
            if self.out is not None:
                write_json(self.out / "comparison.json", comparison.to_json())
                write_text(self.out / "comparison.md", comparison_markdown(comparison))


def show_card(card: "Card") -> None:
    """Print an evaluation as a table, each number with its condition and protocol."""
    from foreframe.evaluation.words import protocol_words

    protocol, metrics = card.protocol, card.protocol.metrics
    table = Table(box=box.SIMPLE, title=f"{card.run}: {protocol_words(protocol)}")
    table.add_column("prediction")
    table.add_column("condition")
    for metric in metrics.values():
        table.add_column(f"{metric.label} {metric.unit}".strip(), justify="right")
    fvd = any(row.fvd is not None for row in card.rows)
    if fvd:
        table.add_column("FVD", justify="right")
    for row in card.rows:
        cells = [
            f"{row.scores[name].value:.{metric.digits}f}" if row.scores else "n/a"
            for name, metric in metrics.items()
        ]
        if fvd:
            cells.append("n/a" if row.fvd is None else f"{row.fvd:.1f}")
        table.add_row(row.label, row.condition, *cells)
    console.print(table)
    for metric in metrics.values():
        say(f"{metric.label}: {metric.definition}.")
    for change in protocol.changed:
        say(f"Not the protocol {protocol.name} as it is named: {change}.")
    if card.is_partial:
        say("A part of the split only: the card is kept as partial and not as the run's score.")
    for doubt in protocol.doubts:
        say(f"Mind: {doubt}")


def show_comparison(comparison: "Comparison") -> None:
    """Print the paired differences of several runs."""
    table = Table(box=box.SIMPLE, title="Paired over the same sequences, 95 % bootstrap interval")
    for name in ("metric", "difference"):
        table.add_column(name)
    for name in ("mean", "interval"):
        table.add_column(name, justify="right")
    table.add_column("")
    for cells in comparison.table():
        table.add_row(*cells)
    console.print(table)
