"""What the records of a study say: over seeds, with intervals, collapses counted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy import stats

from foreframe.metrics.intervals import Difference, over_seeds
from foreframe.study.record import Record
from foreframe.training.health import collapsed, latent_unused

Epoch = Mapping[str, Any]
"""A row of a run's history."""

_AROUND = 2
"""Epochs on either side of a cycle's start by which a spike is measured."""


@dataclass(frozen=True)
class Summary:
    """A cell over its seeds; None where there is nothing to say.

    Attributes:
        name: of the cell.
        label: for the page.
        seeds: that have been run.
        psnr: test PSNR of each seed, dB; None of one that has no weights.
        ssim: likewise.
        gain: of each seed over copying the last given frame, dB.
        listening: of each seed, dB lost under another sequence's condition.
        validation: best validation PSNR of each seed.
        collapsed: seeds that collapsed or diverged.
        diverged: those of them whose loss was no longer finite.
        unused: seeds whose latent has no active dimension at the end.
        seconds: of training, of each seed.
        spikes: of each seed, how many times the KL rises when beta returns to 0, for each start of
            a later cycle; empty for schedules without one.
        jumps: likewise, the KL of that first epoch alone over that of the one before.
    """

    name: str
    label: str
    seeds: list[int]
    psnr: list[float | None]
    ssim: list[float | None]
    gain: list[float | None]
    listening: list[float | None]
    validation: list[float | None]
    collapsed: list[int]
    diverged: list[int]
    unused: list[int]
    seconds: list[float]
    spikes: list[list[float]]
    jumps: list[list[float]] = field(default_factory=list)


def summarise(records: Sequence[Record]) -> Summary:
    """The seeds of one cell, at least one, in their order."""

    def score(row: str, metric: str) -> list[float | None]:
        return [record.score(row, metric) for record in records]

    def less(first: list[float | None], other: list[float | None]) -> list[float | None]:
        return [
            None if a is None or b is None else a - b for a, b in zip(first, other, strict=True)
        ]

    psnr = score("model", "psnr")
    return Summary(
        name=records[0].cell,
        label=records[0].label,
        seeds=[record.seed for record in records],
        psnr=psnr,
        ssim=score("model", "ssim"),
        gain=less(psnr, score("copy-last", "psnr")),
        listening=less(psnr, score("permuted", "psnr")),
        validation=[
            max((row["validation_psnr"] for row in record.history), default=None)
            for record in records
        ],
        collapsed=[record.seed for record in records if has_collapsed(record)],
        diverged=[record.seed for record in records if record.diverged is not None],
        unused=[record.seed for record in records if latent_unused(record.history)],
        seconds=[record.seconds for record in records],
        spikes=[kl_spikes(record.history) for record in records],
        jumps=[kl_jumps(record.history) for record in records],
    )


def has_collapsed(record: Record) -> bool:
    """Whether a run diverged, or its validations looked collapsed so often in a row as to warn."""
    epochs = record.config.train.epochs
    return record.diverged is not None or collapsed(record.history, epochs)


def cycle_starts(history: Sequence[Epoch]) -> list[int]:
    """Places in the history where beta returns to 0, the first cycle's start not counted."""
    return [
        k for k in range(1, len(history)) if history[k]["beta"] == 0 and history[k - 1]["beta"] > 0
    ]


def kl_spikes(history: Sequence[Epoch]) -> list[float]:
    """At each later cycle's start: mean KL of its first two epochs over the mean just before.

    Before are the last epochs, two at most, of those in which beta was at its cycle's highest.
    Means on either side, so that a KL that only fluctuates gives about 1.
    """
    rises, begun = [], 0
    for k in cycle_starts(history):
        cycle, begun = history[begun:k], k
        highest = max(row["beta"] for row in cycle)
        before = [row["kld"] for row in cycle if row["beta"] >= highest - 1e-9][-_AROUND:]
        after = [row["kld"] for row in history[k : k + _AROUND]]
        level = sum(before) / len(before)
        rises.append(sum(after) / len(after) / level if level > 0 else math.inf)
    return rises


def kl_jumps(history: Sequence[Epoch]) -> list[float]:
    """At each later cycle's start: KL of its first epoch over that of the epoch just before.

    A KL that falls throughout the training hides a spike from means over several epochs, not so
    easily from this; the means in turn are not moved by one odd epoch.
    """
    return [
        history[k]["kld"] / history[k - 1]["kld"] if history[k - 1]["kld"] > 0 else math.inf
        for k in cycle_starts(history)
    ]


def differences(a: Summary, b: Summary, values: str = "psnr") -> list[float]:
    """b - a of each seed that both have and that was scored in both."""
    first = dict(zip(a.seeds, getattr(a, values), strict=True))
    other = dict(zip(b.seeds, getattr(b, values), strict=True))
    return [
        other[seed] - first[seed]
        for seed in first
        if seed in other and first[seed] is not None and other[seed] is not None
    ]


def apart(a: Summary, b: Summary, values: str = "psnr") -> Difference | None:
    """The mean of b - a over the seeds that both have, with its interval; None without any."""
    gaps = differences(a, b, values)
    return Difference(sum(gaps) / len(gaps), *over_seeds(gaps)) if gaps else None


def collapse_p(a: Summary, b: Summary) -> float:
    """How probable shares of collapsed seeds this far apart are if both collapse equally often.

    Barnard's exact test, two-sided (Barnard 1945), made for two small counts. Not a t interval:
    its width is 0 where all seeds of one system collapse and none of the other, however few.
    """
    counts = [[len(one.collapsed), len(one.seeds) - len(one.collapsed)] for one in (a, b)]
    (a_bad, a_good), (b_bad, b_good) = counts
    if a_bad * b_good == b_bad * a_good:  # equal shares, of which the test has no statistic
        return 1.0
    return float(stats.barnard_exact(counts).pvalue)


def mean_of(values: Sequence[float | None]) -> tuple[float, float, float] | None:
    """Mean and interval over the seeds that have a value; None if none has."""
    known = [value for value in values if value is not None]
    return (sum(known) / len(known), *over_seeds(known)) if known else None
