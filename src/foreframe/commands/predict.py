"""The commands that show a run: futures of one recording, and its report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from foreframe.commands.console import say
from foreframe.evaluation.options import PredictOptions
from foreframe.system.places import place


@dataclass(frozen=True)
class Predict:
    """Imagine futures of one recorded sequence, as GIF and PNG."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="The run folder.")]
    sequence: str
    """The sequence: a folder with 0.png, 1.png, ... and its CSV files, or STORE/test/NUMBER."""
    out: Path | None = None
    """New folder for what is written; by default RUN/predictions/<the sequence's name>."""
    futures: PredictOptions = field(default_factory=PredictOptions)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.evaluation.predict import predict

        sequence = place(self.sequence)
        parts = sequence.resolve().parts if isinstance(sequence, Path) else sequence.parts
        name = "-".join(parts[-3:])
        done = predict(
            self.run_folder,
            sequence,
            self.out or self.run_folder / "predictions" / name,
            self.futures,
        )
        listed = ", ".join(f"{value:.2f}" for value in done.psnr)
        say(f"{done.folder}: prediction.gif, strip.png, sample-<k>/; PSNR of each: {listed} dB")


@dataclass(frozen=True)
class Report:
    """Write RUN/report.html, one self-contained page."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="The run folder.")]

    def run(self, words: Sequence[str]) -> None:
        from foreframe.report import write_report

        say(str(write_report(self.run_folder)))
