"""The options of a study. Free of PyTorch, so that the command line starts at once."""

from dataclasses import dataclass

from foreframe.errors import at_least
from foreframe.system.device import DeviceName


@dataclass(frozen=True)
class StudyOptions:
    """How often each cell is trained, how it is scored, and who does the work."""

    seeds: int = 3
    """Runs of each setting, with the seeds 0, 1, 2 ..."""
    limit: int | None = None
    """Score only the first test sequences."""
    ray: str | None = None
    """Address of a Ray cluster that runs settings side by side; local starts one here."""
    device: DeviceName = "auto"
    """Where to compute."""

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            ForeframeError: names the option.
        """
        at_least(1, seeds=self.seeds, limit=self.limit)
