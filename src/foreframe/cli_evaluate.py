"""The command that scores runs, and compares them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from foreframe.device import DeviceName
from foreframe.errors import ForeframeError
from foreframe.places import place
from foreframe.terminal import counting, say, show_card, show_comparison

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
        from foreframe.files import write_json, write_text

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
