"""The command that looks into the latent of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from foreframe.device import DeviceName
from foreframe.places import place
from foreframe.terminal import counting, say, show_diagnosis


@dataclass(frozen=True)
class Diagnose:
    """Look into the latent of a run: what it carries, what it is worth, what would help."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="The run folder.")]
    data: str
    """Root of the dataset."""
    split: Literal["test", "validate", "train"] = "validate"
    """Split whose sequences are looked at."""
    n_past: int = 2
    """Given frames."""
    n_future: int = 10
    """Predicted frames."""
    limit: int | None = None
    """Look at the first sequences only."""
    seed: int = 0
    """Seed of z."""
    device: DeviceName = "auto"
    """Where to compute."""
    out: Path | None = None
    """Folder of what is written, by default the run's."""

    def run(self, words: Sequence[str]) -> None:
        from foreframe.diagnosis import DIAGNOSIS, FIGURE, diagnose

        with counting("diagnosing") as progress:
            found = diagnose(
                self.run_folder,
                place(self.data),
                split=self.split,
                n_past=self.n_past,
                n_future=self.n_future,
                limit=self.limit,
                seed=self.seed,
                device=self.device,
                out=self.out,
                log=say,
                progress=progress,
            )
        show_diagnosis(found)
        folder = self.out or self.run_folder
        say(f"{folder / DIAGNOSIS}, {folder / FIGURE}")
