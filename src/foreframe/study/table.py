"""The table of a comparison: each system with its means and intervals, as text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foreframe.config.training import TrainConfig
from foreframe.metrics.intervals import bootstrap
from foreframe.report.numbers import plural
from foreframe.study.numbers import Summary, mean_of
from foreframe.study.plan import Comparison
from foreframe.study.read import Study

HEADS = (
    "System",
    "Test PSNR, dB",
    "SSIM",
    "over copying, dB",
    "own condition worth, dB",
    "collapsed",
    "latent unused",
    "seconds a run",
)

TABLE_WORDS = (
    "Mean over the seeds, in brackets its 95 % interval (Student's t); beneath, the 95 % interval "
    "of the same mean over the test sequences (bootstrap). Lab protocol, test split, the best "
    "weights of each run by validation, so a run that collapsed is scored from before it did. Each "
    "interval stands for itself: of twenty comparisons of equals, one is expected to be claimed."
)


@dataclass(frozen=True)
class Entry:
    """A number and its intervals: "[20.11, 20.35]", "[sequences 19.80, 20.60]"."""

    value: str = ""
    intervals: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableRow:
    """A system: its label with the number of seeds, and an entry under each further head."""

    label: str
    cells: tuple[Entry, ...]


def table(study: Study, summaries: dict[str, Summary], comparison: Comparison) -> list[TableRow]:
    """A row for each cell of the comparison; cells that were not run have empty entries."""
    return [
        _row(study, name, summaries[name])
        if name in summaries
        else TableRow(f"{study.labels[name]} (not run)", (Entry(),) * (len(HEADS) - 1))
        for name in comparison.cells
    ]


def _row(study: Study, name: str, cell: Summary) -> TableRow:
    n, groups = len(cell.seeds), study.groups(name)
    return TableRow(
        f"{study.labels[name]} ({plural(n, 'seed')})",
        (
            _mean(cell.psnr, 2, study.sequences(name, "psnr"), groups),
            _mean(cell.ssim, 3, study.sequences(name, "ssim"), groups),
            _mean(cell.gain, 2),
            _mean(cell.listening, 2),
            Entry(f"{len(cell.collapsed)} of {n}"),
            Entry(f"{len(cell.unused)} of {n}"),
            Entry(f"{sum(cell.seconds) / n:.0f}"),
        ),
    )


def _mean(
    values: Sequence[float | None],
    digits: int,
    sequences: Sequence[float] | None = None,
    groups: Sequence[int] | None = None,
) -> Entry:
    """The mean over seeds with its interval, and that over the test sequences."""
    summary = mean_of(values)
    if summary is None:
        return Entry("none")
    mean, low, high = (_plain(value, digits) for value in summary)
    intervals = [f"[{low}, {high}]"] if math.isfinite(summary[1]) else []
    if sequences is not None:
        low, high = (_plain(value, digits) for value in bootstrap(sequences, groups))
        intervals.append(f"[sequences {low}, {high}]")
    return Entry(mean, tuple(intervals))


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def setting_words(study: Study) -> str:
    """What all cells have in common, in a line."""
    model, train = study.definition.base.model, study.definition.base.train
    width = "" if model.width == 1 else f" of width {model.width:g}"
    return (
        f"{model.net}{width}, {plural(train.epochs, 'epoch')} of "
        f"{plural(train.steps_per_epoch, 'step')}, batches of {train.batch_size}, "
        f"{train.n_past} given and {train.n_future} predicted frames, condition "
        f"{model.condition} in {model.timing}-time, data {study.definition.data}; "
        f"{_schedule_words(train)}"
    )


def _schedule_words(train: TrainConfig) -> str:
    """Where the schedules stand in a run that is not as long as the report's."""
    words = f"schedules are drawn over the {train.epochs} epochs"
    if train.forcing.teacher_forcing == "linear":
        last = train.forcing.teacher_forcing_start + 1  # counted from 1
        words += f", teacher forcing falls after epoch {last} (in the report after 12 of 150)"
    return words
