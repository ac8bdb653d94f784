"""The options of evaluation and prediction, and those that probe and diagnosis share.

Free of PyTorch, so that the command line starts at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foreframe.config.model import ModelConfig
from foreframe.errors import ForeframeError, at_least
from foreframe.system.device import DeviceName

ProtocolName = Literal["lab", "svg", "srvp", "ivideogpt", "mcvd"]
SplitName = Literal["test", "validate", "train"]


@dataclass(frozen=True)
class EvaluateOptions:
    """How runs are scored."""

    protocol: ProtocolName = "lab"
    """How to score; docs/evaluation.md describes each protocol."""
    split: SplitName = "test"
    """Split to score."""
    n_past: int | None = None
    """Given frames, if not the protocol's number; the card says so."""
    n_future: int | None = None
    """Predicted frames, if not the protocol's number."""
    samples: int | None = None
    """Futures of each sequence, if not the protocol's number."""
    limit: int | None = None
    """Score only the first sequences: a quick look, kept as evaluation-partial.json."""
    seed: int = 0
    """Seed of z and of the permutation."""
    moving: bool = False
    """Measure PSNR over the pixels that truly change, too."""
    lpips: tuple[Literal["alex", "vgg"], ...] = ()
    """Measure LPIPS too, with AlexNet or VGG16; may be given twice."""
    lpips_weights: Path | None = None
    """File of that net's weights as torchvision publishes them, if torchvision does not have it."""
    fvd_extractor: Path | None = None
    """Measure FVD too, with this TorchScript file: videos [n, 3, T, H, W] in [-1, 1] to [n, D]."""
    batch_size: int = 16
    """Sequences at once; changes no number beyond rounding."""
    keep: int = 4
    """Sequences, the first ones, whose frames are kept for the report."""
    device: DeviceName = "auto"
    """Where to compute."""

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            ForeframeError: names the option.
        """
        at_least(
            1,
            n_past=self.n_past,
            n_future=self.n_future,
            samples=self.samples,
            limit=self.limit,
            batch_size=self.batch_size,
            keep=self.keep,
        )
        at_least(0, seed=self.seed)
        if self.lpips_weights is not None and len(self.lpips) != 1:
            raise ForeframeError("--lpips-weights: belongs to one net; give one --lpips with it.")


@dataclass(frozen=True)
class SequenceOptions:
    """Which sequences of a dataset are predicted, and from how many frames."""

    split: SplitName = "test"
    """Split whose sequences are predicted."""
    n_past: int = 2
    """Given frames."""
    n_future: int = 10
    """Predicted frames."""
    limit: int | None = None
    """Take the first sequences only."""
    seed: int = 0
    """Seed of all that is drawn at random."""
    device: DeviceName = "auto"
    """Where to compute."""

    @property
    def n_frames(self) -> int:
        """Given and predicted frames."""
        return self.n_past + self.n_future

    def count(self, sequences: int) -> int:
        """How many of a split's sequences are taken."""
        return min(self.limit or sequences, sequences)

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            ForeframeError: names the option.
        """
        at_least(1, n_past=self.n_past, n_future=self.n_future, limit=self.limit)
        at_least(0, seed=self.seed)


@dataclass(frozen=True)
class PredictOptions:
    """How many futures of one recording are imagined, and from how many frames."""

    samples: int = 4
    """Futures."""
    n_past: int = 2
    """Given frames."""
    n_future: int | None = None
    """Frames to predict; by default to the end of the recording."""
    seed: int = 0
    """Seed of z."""
    device: DeviceName = "auto"
    """Where to compute."""

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            ForeframeError: names the option.
        """
        at_least(1, samples=self.samples, n_past=self.n_past, n_future=self.n_future)
        at_least(0, seed=self.seed)


def require_given(n_past: int, config: ModelConfig, run: Path) -> None:
    """Refuse fewer given frames than the model's skips need.

    Args:
        n_past: given frames.
        config: of the model.
        run: its folder, for the message.

    Raises:
        ForeframeError: the skips are those of the last given frame but one, and there is only one.
    """
    if n_past < 2 and config.skips_from == "svg":
        raise ForeframeError(
            f"--n-past {n_past}: the skips of {run} are those of the last given frame but one; "
            "give --n-past 2."
        )
