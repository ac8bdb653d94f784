"""A dataset looked through before training: facts, faults, alignment, pictures."""

from foreframe.check.alignment import Alignment, Link
from foreframe.check.dataset import CheckOptions, check_dataset
from foreframe.check.findings import CHECK, ColumnSummary, Finding, Findings, SplitSummary
from foreframe.check.text import lines

__all__ = [
    "CHECK",
    "Alignment",
    "CheckOptions",
    "ColumnSummary",
    "Finding",
    "Findings",
    "Link",
    "SplitSummary",
    "check_dataset",
    "lines",
]
