"""How a training is started: what does not change the run itself."""

from dataclasses import dataclass
from pathlib import Path

from foreframe.errors import ForeframeError, at_least
from foreframe.system.device import DeviceName


@dataclass(frozen=True)
class Compute:
    """Where and with what a training computes."""

    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA, then Apple's MPS, then the CPU."""
    threads: int | None = None
    """Threads that compute on the CPU; by default one for each core. Give fewer where other
    processes are busy: PyTorch waits for the slowest of its threads at every turn."""


@dataclass(frozen=True)
class TrainOptions(Compute):
    """How a training is started; the settings of the run are those of ``RunConfig``."""

    resume: bool = False
    """Go on with the run in --out, exactly as if it had never stopped; its saved settings count."""
    data_changed: bool = False
    """With --resume: go on although the data are no longer those that the run was trained on. The
    change is noted in run.json; otherwise other data are refused."""
    init_from: Path | None = None
    """A run whose weights this one starts from (fine-tuning). Layers that are wider or narrower
    here, because the data have more or fewer numbers in actions or positions, begin anew."""
    stop_on_collapse: bool = False
    """End the training when the model collapses, instead of warning only."""

    def check(self) -> None:
        """Refuse options that make no sense.

        Raises:
            ForeframeError: names the option.
        """
        at_least(1, threads=self.threads)
        if self.data_changed and not self.resume:
            raise ForeframeError(
                "--data-changed: a new run takes the data that it is given. Give it with --resume, "
                "or leave it out."
            )
        if self.resume and self.init_from is not None:
            raise ForeframeError(
                "--init-from: a resumed run goes on from its own weights. Leave out --resume or "
                "--init-from."
            )
