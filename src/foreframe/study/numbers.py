"""What the records of a study say: over seeds, with intervals, collapses counted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foreframe.intervals import Difference, over_seeds
from foreframe.validate import COLLAPSE_PATIENCE, looks_collapsed

Record = Mapping[str, Any]


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


def summarise(records: Sequence[Record]) -> Summary:
    """The seeds of one cell, at least one, in their order."""
    rows = [record["card"]["rows"] if record["card"] else {} for record in records]

    def score(name: str, metric: str) -> list[float | None]:
        return [row.get(name, {}).get(metric) for row in rows]

    def less(first: list[float | None], other: list[float | None]) -> list[float | None]:
        return [
            None if a is None or b is None else a - b for a, b in zip(first, other, strict=True)
        ]

    psnr = score("model", "psnr")
    return Summary(
        name=records[0]["cell"],
        label=records[0]["label"],
        seeds=[record["seed"] for record in records],
        psnr=psnr,
        ssim=score("model", "ssim"),
        gain=less(psnr, score("copy-last", "psnr")),
        listening=less(psnr, score("permuted", "psnr")),
        validation=[
            max((row["validation_psnr"] for row in record["history"]), default=None)
            for record in records
        ],
        collapsed=[record["seed"] for record in records if has_collapsed(record)],
        diverged=[record["seed"] for record in records if record["diverged"] is not None],
        unused=[
            record["seed"]
            for record in records
            if record["history"] and record["history"][-1].get("active_units") == 0
        ],
        seconds=[record["seconds"] for record in records],
        spikes=[kl_spikes(record["history"]) for record in records],
    )


def has_collapsed(record: Record) -> bool:
    """Whether a run diverged, or its validations looked collapsed so often in a row as to warn."""
    if record["diverged"] is not None:
        return True
    epochs = record["config"]["train"]["epochs"]
    best: float | None = None
    running = most = 0
    for row in record["history"]:
        value = row["validation_psnr"]
        running = running + 1 if looks_collapsed(value, best, row["epoch"], epochs) else 0
        most = max(most, running)
        best = value if best is None else max(best, value)
    return most >= COLLAPSE_PATIENCE


def cycle_starts(history: Sequence[Record]) -> list[int]:
    """Places in the history where beta returns to 0, the first cycle's start not counted."""
    return [
        k for k in range(1, len(history)) if history[k]["beta"] == 0 and history[k - 1]["beta"] > 0
    ]


def kl_spikes(history: Sequence[Record]) -> list[float]:
    """At each later cycle's start: the highest KL of its first two epochs over that just before."""
    found = []
    for k in cycle_starts(history):
        before = history[k - 1]["kld"]
        after = max(row["kld"] for row in history[k : k + 2])
        found.append(after / before if before > 0 else math.inf)
    return found


def apart(a: Summary, b: Summary, values: str = "psnr") -> Difference | None:
    """The mean of b - a over the seeds that both have, with its interval; None without any."""
    first = dict(zip(a.seeds, getattr(a, values), strict=True))
    other = dict(zip(b.seeds, getattr(b, values), strict=True))
    pairs = [
        (first[seed], other[seed])
        for seed in first
        if seed in other and first[seed] is not None and other[seed] is not None
    ]
    if not pairs:
        return None
    differences = [y - x for x, y in pairs]
    return Difference(sum(differences) / len(differences), *over_seeds(differences))


def mean_of(values: Sequence[float | None]) -> tuple[float, float, float] | None:
    """Mean and interval over the seeds that have a value; None if none has."""
    known = [value for value in values if value is not None]
    return (sum(known) / len(known), *over_seeds(known)) if known else None
