"""The result of a check: facts of each split, the alignment, errors and warnings."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from foreframe.check.alignment import Alignment
from foreframe.check.behaviour import ColumnGroup
from foreframe.check.suggestion import Suggestion
from foreframe.system.files import write_json

CHECK = "check.json"


@dataclass(frozen=True)
class Finding:
    """Something that a person should know before training.

    Attributes:
        level: an "error" keeps training from starting, or its numbers from meaning anything.
        split: the split that it concerns; empty for the whole dataset.
        text: what, and what to do about it.
        sequences: names of all sequences that it concerns, if it concerns single ones.
    """

    level: Literal["error", "warning"]
    split: str
    text: str
    sequences: tuple[str, ...] = ()


@dataclass(frozen=True)
class ColumnSummary:
    """One number of the actions or positions, over all rows of a split.

    Attributes:
        mean: mean of the rows.
        std: standard deviation of the rows.
        low: smallest value.
        high: largest value.
    """

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class SplitSummary:
    """The facts of a split.

    Attributes:
        name: train, validate or test.
        folder: where it is read from.
        sequences: number of sequences.
        frames: number of frames in all sequences together.
        shortest: frames of the shortest sequence.
        median: median of the sequences' lengths.
        longest: frames of the longest sequence.
        size: height and width of the frames.
        frame_rate: frame rate in Hz, or None if the dataset does not say it.
        pixel_low: darkest value of any pixel and channel.
        pixel_high: brightest one.
        pixel_mean: mean of all pixels and channels, in 0..255.
        copy_last_psnr: PSNR in dB if the last given frame is repeated; None if every sequence is
            too short.
        copy_last_sequences: how many were long enough for it.
        repeated: part of the frames that are exactly the frame before.
        rows_a_frame: rows in which the camera makes a frame; None if it makes one in each.
        actions: each column, or None without actions.
        positions: each column, or None without positions.
    """

    name: str
    folder: str
    sequences: int
    frames: int
    shortest: int
    median: float
    longest: int
    size: tuple[int, int]
    frame_rate: float | None
    pixel_low: int
    pixel_high: int
    pixel_mean: float
    copy_last_psnr: float | None
    copy_last_sequences: int
    repeated: float
    rows_a_frame: float | None
    actions: tuple[ColumnSummary, ...] | None
    positions: tuple[ColumnSummary, ...] | None


@dataclass(frozen=True)
class Findings:
    """The result of a check; ``foreframe.check.text`` puts it into lines.

    Attributes:
        root: folder of the dataset.
        n_past: given frames that were assumed.
        n_future: predicted frames that were assumed.
        n_future_max: the most that every training and validation sequence has room for.
        nets: those that take the frames of every split. Folders of pictures are brought to the size
            of any net, stores are not.
        splits: those that could be opened.
        alignment: alignment of the actions with the motion; None without actions or with too few
            sequences.
        findings: errors first.
        groups: columns of the actions, by what they look like.
        suggestion: options of an import that suit a model better.
        flags: options that a training needs, because its own settings do not fit the data.
    """

    root: str
    n_past: int
    n_future: int
    n_future_max: int
    nets: tuple[str, ...]
    splits: tuple[SplitSummary, ...]
    alignment: Alignment | None
    findings: tuple[Finding, ...]
    groups: tuple[ColumnGroup, ...] = ()
    suggestion: Suggestion = field(default_factory=Suggestion)
    flags: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What keeps training from starting."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What a person should look into."""
        return tuple(finding for finding in self.findings if finding.level == "warning")

    @property
    def ok(self) -> bool:
        """Whether training can start."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """As plain numbers, lists and texts."""
        from foreframe.metrics import PSNR_PROTOCOL

        return {"ok": self.ok, "psnr": PSNR_PROTOCOL, **asdict(self)}

    def write(self, folder: Path) -> None:
        """Write ``check.json`` into a folder.

        Raises:
            ForeframeError: the file could not be written.
        """
        write_json(folder / CHECK, self.to_json())


def some(names: tuple[str, ...] | list[str], most: int = 3) -> str:
    """A few of the names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
