"""The result of planning: success with intervals, distances, what it was made with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foreframe.config.results import Interval, Result
from foreframe.metrics.intervals import bootstrap, paired, wilson
from foreframe.planning.options import TaskName
from foreframe.planning.rows import Row
from foreframe.planning.tasks import THRESHOLDS
from foreframe.planning.trial import Outcome


@dataclass(frozen=True)
class Rate:
    """How often a task was done.

    Attributes:
        threshold: metres within which it counts.
        successes: episodes.
        rate: of all.
        interval: 95 % of it, Wilson's.
    """

    threshold: float
    successes: int
    rate: float
    interval: Interval


@dataclass(frozen=True)
class PlanRow:
    """A row of the result.

    Attributes:
        name: of the row, as its files are called.
        label: for tables.
        success: for each threshold, the first one first; judged after the last action.
        reduction: mean share of the distance to the goal that was taken away.
        interval: 95 % of it, by the bootstrap over episodes.
        against_nothing: by how much the reduction exceeds that of doing nothing: 95 %, paired.
        centimetres: mean distance to the goal at the end.
        seconds: of one plan; None without plans.
        imagined: frames that were imagined, or simulated, for a plan.
        distances: metres at the end of each episode.
    """

    name: str
    label: str
    success: list[Rate]
    reduction: float
    interval: Interval
    against_nothing: Interval
    centimetres: float
    seconds: float | None
    imagined: float
    distances: list[float]


@dataclass(frozen=True, kw_only=True)
class PlanResult(Result):
    """What plan.json holds.

    Attributes:
        run: the run folder, as it was named.
        command: that was run.
        task: what was tried.
        settings: of the planner and of the episodes.
        hashes: SHA-256 of the weights, of the tasks and of the program.
        foreframe: version.
        episodes: how many.
        rows: see ``rows.py``.
        words: what they say.
    """

    WHAT = "the result of planning"

    run: str
    command: str
    task: str
    settings: dict[str, Any]
    hashes: dict[str, str]
    foreframe: str
    episodes: int
    rows: list[PlanRow]
    words: list[str] = field(default_factory=list)

    def row(self, name: str) -> PlanRow | None:
        """A row by its name."""
        return next((row for row in self.rows if row.name == name), None)


def summarise(
    task: TaskName, rows: Sequence[Row], outcomes: dict[str, list[Outcome]]
) -> list[PlanRow]:
    """The rows of a result, of the outcomes of each by its name, episode by episode."""
    nothing = _reductions(outcomes["nothing"])
    return [_summary(task, row, outcomes[row.name], nothing) for row in rows]


def _reductions(outcomes: Sequence[Outcome]) -> np.ndarray:
    return np.array([1 - one.distances[-1] / one.distances[0] for one in outcomes])


def _summary(task: TaskName, row: Row, outcomes: Sequence[Outcome], nothing: np.ndarray) -> PlanRow:
    ends = np.array([one.distances[-1] for one in outcomes])
    reductions = _reductions(outcomes)
    apart = paired(reductions, nothing)
    plans = sum(one.plans for one in outcomes)
    return PlanRow(
        row.name,
        row.label,
        [_rate(ends, threshold) for threshold in THRESHOLDS[task]],
        float(reductions.mean()),
        bootstrap(reductions),
        (apart.low, apart.high),
        float(100 * ends.mean()),
        sum(one.seconds for one in outcomes) / plans if plans else None,
        sum(one.imagined for one in outcomes) / plans if plans else 0.0,
        ends.tolist(),
    )


def _rate(ends: np.ndarray, threshold: float) -> Rate:
    count = int((ends < threshold).sum())
    return Rate(threshold, count, count / len(ends), wilson(count, len(ends)))


def words(rows: Sequence[PlanRow]) -> list[str]:
    """What the rows say, and nothing that their intervals do not."""
    found = {row.name: row for row in rows}
    said: list[str] = []
    for name, row in found.items():
        kind, _, goal = name.partition("-")
        if kind != "model":
            continue
        ending = f"-{goal}" if goal else ""
        arm = f" (arm {goal})" if goal else ""
        for other, what in (("random", "random actions"), (f"shuffled{ending}", "shuffled ones")):
            said.append(f"The model{arm} {_compared(row, found[other])} {what} at {_cm(row)} cm.")
        physics = found.get(f"physics{ending}")
        if physics is not None and physics.reduction > 0:
            share = row.reduction / physics.reduction
            said.append(
                f"The model{arm} takes away {100 * row.reduction:.0f} % of the distance, the "
                f"simulator's physics with the same cost {100 * physics.reduction:.0f} %: "
                f"{100 * share:.0f} % of it. What is missing is the model's error."
            )
        truth = found.get("truth")
        if truth is not None and physics is not None:
            low, high = (
                paired(np.array(physics.distances), np.array(truth.distances)).low,
                paired(np.array(physics.distances), np.array(truth.distances)).high,
            )
            said.append(
                f"With the true distance as the cost the physics ends {100 * low:.1f} to "
                f"{100 * high:.1f} cm nearer{arm}: the cost's error."
            )
    return said


def _cm(row: PlanRow) -> str:
    return f"{100 * row.success[0].threshold:g}"


def _compared(ours: PlanRow, theirs: PlanRow) -> str:
    a, b = ours.success[0].interval, theirs.success[0].interval
    if a[0] > b[1]:
        return "succeeds more often than"
    if a[1] < b[0]:
        return "succeeds less often than"
    return "cannot be told from"
