"""The command that simulates a dataset of a robot pushing objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from foreframe.commands.console import CORES, counting, say


@dataclass(frozen=True)
class Simulate:
    """Simulate a robot pushing objects: a dataset in the lab's layout, with its splits."""

    out: Positional[Path]
    """New folder of the dataset (or one that was begun with the same settings)."""
    sequences: int = 600
    """Sequences in all, of 30 frames each."""
    workers: int = CORES
    """Processes that simulate side by side; they do not change what is made."""
    seed: int = 0
    """The same seed makes the same files."""
    size: int = 64
    """Height and width of the frames; vgg128 and dcgan128 take 128."""
    ray: str | None = None
    """Address of a Ray cluster that does the work instead; local starts one on this machine."""

    def run(self, words: Sequence[str]) -> None:
        from foreframe.simulator.simulate import simulate

        with counting("simulating") as progress:
            simulate(
                self.out,
                sequences=self.sequences,
                workers=self.workers,
                seed=self.seed,
                size=self.size,
                ray=self.ray,
                progress=progress,
            )
        say(f"{self.out}: {self.sequences} sequences")
