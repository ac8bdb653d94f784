"""The options of a diagnosis. Free of PyTorch, so that the command line starts at once."""

from dataclasses import dataclass

from foreframe.evaluation.options import SequenceOptions, SplitName


@dataclass(frozen=True)
class DiagnoseOptions(SequenceOptions):
    """Which sequences are looked at, and from how many frames they are predicted."""

    split: SplitName = "validate"
    """Split whose sequences are looked at."""
