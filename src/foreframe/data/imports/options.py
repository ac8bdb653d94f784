"""What becomes of the recordings of an import, whatever their source."""

from dataclasses import dataclass

from foreframe.data.lab import SPLITS
from foreframe.data.recording import Fit
from foreframe.errors import ForeframeError, at_least


@dataclass(frozen=True)
class ImportOptions:
    """What becomes of the recordings, whatever the source."""

    size: int = 64
    """Height and width of the frames in the store; the nets take 64."""
    crop: str = "middle"
    """What is cut out of each frame first: middle (the largest square), whole (all of it, squeezed
    into the square), or LEFT,TOP,WIDTH,HEIGHT in pixels."""
    clip_frames: int | None = None
    """Cut recordings into clips of so many frames; what is left over at their ends is dropped."""
    shift_actions: int = 0
    """Rows by which the actions are late: row t + SHIFT becomes row t. Negative if early. Frames
    that are left without a row are dropped. `foreframe check` measures it."""
    validate: float = 0.1
    """Share of the recordings for validation, if the source has no such split."""
    test: float = 0.1
    """Share of the recordings for testing, if the source has no such split."""
    split: str | None = None
    """Put everything into this split: train, validate or test."""
    split_seed: int = 0
    """Seed of the choice of recordings for validation and testing."""

    def check(self) -> None:
        """Refuse options that make no sense.

        Raises:
            ForeframeError: names the option.
        """
        Fit(self.size, self.crop).check()
        if self.clip_frames is not None and self.clip_frames < 2:
            raise ForeframeError(f"--clip-frames {self.clip_frames}: a clip has 2 frames or more.")
        for name in ("validate", "test"):
            if not 0 <= getattr(self, name) < 1:
                raise ForeframeError(f"--{name} {getattr(self, name)}: is a share from 0 to 1.")
        if self.split is not None and self.split not in SPLITS:
            raise ForeframeError(f"--split {self.split}: is one of {', '.join(SPLITS)}.")
        at_least(0, split_seed=self.split_seed)
