"""What becomes of the recordings of an import, whatever their source."""

import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from foreframe.data.imports.thinning import ActionRules, Thinning
from foreframe.data.lab import SPLITS
from foreframe.data.recording import Fit
from foreframe.data.sources.source import Source
from foreframe.errors import ForeframeError, at_least


@dataclass(frozen=True)
class ImportOptions:
    """What becomes of the recordings, whatever the source."""

    size: int = 64
    """Height of the frames in the store, and their width if no other is given; the nets take 64."""
    width: int | None = None
    """Width of the frames, where they are not as wide as high: 128 for a net of 64x128."""
    crop: str = "middle"
    """What is cut out of each frame first: middle (the largest square, or part of the frames'
    shape), whole (all of it, squeezed into the frames), or LEFT,TOP,WIDTH,HEIGHT in pixels."""
    frame_rate: float | None = None
    """Frames a second of the dataset: of each recording the frames nearest to regular times are
    taken. By default all are, and all recordings must have one rate."""
    every: int = 1
    """Take each so-manyth frame only, whatever the rate."""
    recorded_rate: float | None = None
    """Frames a second of the recordings, where they do not say it themselves."""
    drop_repeats: bool = False
    """Pass over frames that show the one before again, as a camera slower than the log gives."""
    resample_actions: str | None = None
    """What the actions from one taken frame to the next become: sum for displacements, mean for
    velocities, last for absolute targets, first for the action at the frame itself, stack for all
    of them side by side. Other rules for single columns stand behind it: sum,6:last."""
    lengths: Literal["equal", "shortest"] = "equal"
    """What to do where frames and rows of numbers are not equally many: skip the recording, or
    cut what is longer at its end."""
    min_frames: int = 1
    """Recordings of which fewer frames are taken are skipped."""
    clip_frames: int | None = None
    """Cut recordings into clips of so many frames; what is left over at their ends is dropped."""
    shift_actions: int = 0
    """Rows by which the actions are late: row t + SHIFT becomes row t. Negative if early. Frames
    that are left without a row are dropped. `foreframe check` measures it."""
    validate: float = 0.1
    """Share of the recordings for validation, if the source has no such split."""
    test: float = 0.1
    """Share of the recordings for testing, if the source has no such split."""
    group: str | None = None
    """Recordings that stay together when they are divided: those in whose names this regular
    expression matches the same text (its first group, if it has one), as in '^[^/]+' for the
    videos of one folder. By default what the source knows to belong together."""
    split_file: Path | None = None
    """Where each recording goes: a file with a line NAME,SPLIT for each, as in lift/3,test. Those
    that it does not name are left out."""
    split: str | None = None
    """Put everything into this split: train, validate or test."""
    split_seed: int = 0
    """Seed of the choice of recordings for validation and testing."""

    def check(self) -> None:
        """Refuse options that make no sense.

        Raises:
            ForeframeError: names the option.
        """
        self.fit.check()
        if self.clip_frames is not None and self.clip_frames < 2:
            raise ForeframeError(f"--clip-frames {self.clip_frames}: a clip has 2 frames or more.")
        for name in ("validate", "test"):
            if not 0 <= getattr(self, name) < 1:
                raise ForeframeError(f"--{name} {getattr(self, name)}: is a share from 0 to 1.")
        if self.split is not None and self.split not in SPLITS:
            raise ForeframeError(f"--split {self.split}: is one of {', '.join(SPLITS)}.")
        at_least(0, split_seed=self.split_seed)
        if self.group is not None:
            try:
                re.compile(self.group)
            except re.error as error:
                raise ForeframeError(
                    f"--group {self.group}: no regular expression ({error})."
                ) from error
        if self.split is not None and self.split_file is not None:
            raise ForeframeError("--split and --split-file: give one of them.")
        at_least(1, min_frames=self.min_frames)
        if self.recorded_rate is not None and not 0 < self.recorded_rate < math.inf:
            raise ForeframeError(f"--recorded-rate {self.recorded_rate:g}: must be above 0.")
        self.thinning.check()
        rules = self.rules
        uneven = self.drop_repeats or self.frame_rate is not None
        if rules is not None and rules.rule == "stack" and uneven:
            raise ForeframeError(
                "--resample-actions stack: needs equally many actions for each frame; give "
                "--every in place of --frame-rate and --drop-repeats."
            )

    @property
    def fit(self) -> Fit:
        """What becomes of each frame."""
        return Fit(self.size, self.crop, self.width)

    @cached_property
    def thinning(self) -> Thinning:
        """Which frames are taken."""
        return Thinning(self.every, self.frame_rate, self.drop_repeats)

    @cached_property
    def rules(self) -> ActionRules | None:
        """What actions become; None if that was not said.

        Raises:
            ForeframeError: the rules cannot be read.
        """
        return None if self.resample_actions is None else ActionRules.parse(self.resample_actions)


def with_usual_rule(options: ImportOptions, source: Source) -> ImportOptions:
    """``options`` with the rule for actions that the form of the data implies, if none is given."""
    if options.resample_actions is not None:
        return options
    return replace(options, resample_actions=source.usual_rule())
