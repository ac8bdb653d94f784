"""The options of a probe. Free of PyTorch, so that the command line starts at once."""

from dataclasses import dataclass

from foreframe.errors import ForeframeError, at_least
from foreframe.evaluation.options import SequenceOptions


@dataclass(frozen=True)
class ProbeOptions(SequenceOptions):
    """How much a probe measures; ``limit`` is for listening alone."""

    samples: int = 32
    """Futures of each scene whose spread is measured."""
    scenes: int = 8
    """Sequences whose spread is measured."""
    replays: int = 64
    """Replays of each scene under other physics: half to fit the readout, half to compare with."""
    inverse_steps: int = 1500
    """Training steps of the inverse model, at most; it ends where the validation error does."""
    starts: int = 12
    """Recordings from whose start the landscape of actions is measured; 0 leaves it out."""
    grid: int = 7
    """Points a side of that landscape, an odd number."""
    columns: tuple[int, int] | None = None
    """Two numbers of an action that it varies, counted from 0; by default those that true frames
    show best."""
    workers: int | None = None
    """Processes that simulate side by side, by default one a core; the result is the same."""

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            ForeframeError: names the option.
        """
        super().check()
        at_least(1, scenes=self.scenes, inverse_steps=self.inverse_steps, workers=self.workers)
        at_least(2, samples=self.samples)
        at_least(4, replays=self.replays)
        at_least(0, starts=self.starts)
        at_least(3, grid=self.grid)
        if self.grid % 2 == 0:
            raise ForeframeError(
                f"--grid {self.grid}: must be odd, so that one point is the true action."
            )
        if self.columns is not None and self.columns[0] == self.columns[1]:
            raise ForeframeError(f"--columns {self.columns[0]} {self.columns[1]}: are the same.")
