"""The command that simulates a dataset: a robot that pushes objects, or PushT."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from foreframe.commands.console import counting, say
from foreframe.simulator.simulate import SimulateOptions, simulate
from foreframe.system.workers import Execution


@dataclass(frozen=True)
class Simulate:
    """Simulate a robot that pushes things: a dataset to train on."""

    out: Positional[Path]
    """New folder of the dataset (or one that was begun with the same settings)."""
    dataset: SimulateOptions = field(default_factory=SimulateOptions)
    execution: Execution = field(default_factory=Execution)

    def run(self, words: Sequence[str]) -> None:
        with counting("simulating") as progress:
            simulate(self.out, self.dataset, execution=self.execution, progress=progress)
        say(f"{self.out}: {self.dataset.sequences} sequences")
