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
from foreframe.planning.tasks import said as said_of
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
        centimetres: mean distance to the goal at the end; of PushT the mean percentage that is not
            covered.
        seconds: of one plan; None without plans.
        imagined: frames that were imagined, or simulated, for a plan.
        distances: metres at the end of each episode.
    """

    name: str
    label: str
    success: list[Rate]
    reduction: float
    interval: Interval
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
    task: TaskName
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
    return [_summary(task, row, outcomes[row.name]) for row in rows]


def _summary(task: TaskName, row: Row, outcomes: Sequence[Outcome]) -> PlanRow:
    ends = np.array([one.distances[-1] for one in outcomes])
    reductions = np.array([1 - one.distances[-1] / one.distances[0] for one in outcomes])
    plans = sum(one.plans for one in outcomes)
    return PlanRow(
        row.name,
        row.label,
        [_rate(ends, threshold) for threshold in THRESHOLDS[task]],
        float(reductions.mean()),
        bootstrap(reductions),
        float(100 * ends.mean()),
        sum(one.seconds for one in outcomes) / plans if plans else None,
        sum(one.imagined for one in outcomes) / plans if plans else 0.0,
        ends.tolist(),
    )


def _rate(ends: np.ndarray, threshold: float) -> Rate:
    count = int((ends < threshold).sum())
    return Rate(threshold, count, count / len(ends), wilson(count, len(ends)))


def words(rows: Sequence[PlanRow], task: TaskName = "push") -> list[str]:
    """What the rows say, and nothing that their intervals do not."""
    found = {row.name: row for row in rows}
    unit = "cm" if task != "pusht" else "% not covered"
    said: list[str] = []
    for name, row in found.items():
        kind, _, goal = name.partition("-")
        if kind != "model":
            continue
        ending = f"-{goal}" if goal else ""
        arm = f" (arm {goal})" if goal else ""
        for other, what in (("random", "random actions"), (f"shuffled{ending}", "shuffled ones")):
            said.append(
                f"The model{arm} {_compared(row, found[other])} {what} at {_near(row, task)}."
            )
        physics, truth = found.get(f"physics{ending}"), found.get("truth")
        if physics is None or truth is None:
            continue
        if physics.reduction > 0:
            said.append(
                f"The model{arm} takes away {100 * row.reduction:.0f} % of the distance, the "
                f"simulator's physics with the same cost {100 * physics.reduction:.0f} %: "
                f"{100 * row.reduction / physics.reduction:.0f} % of it."
            )
        for whose, worse, better in (("model", row, physics), ("cost", physics, truth)):
            lost = paired(worse.distances, better.distances)
            low, high = 100 * lost.low, 100 * lost.high
            said.append(
                f"The {whose}'s error{arm} is worth {low:.1f} to {high:.1f} {unit} at the end."
                if lost.low > 0
                else f"An error of the {whose}{arm} is not seen ({low:.1f} to {high:.1f} {unit})."
            )
    return said


def _near(row: PlanRow, task: TaskName) -> str:
    threshold = row.success[0].threshold
    return f"{100 * threshold:g} cm" if task != "pusht" else said_of(task, threshold)


def _compared(ours: PlanRow, theirs: PlanRow) -> str:
    a, b = ours.success[0].interval, theirs.success[0].interval
    if a[0] > b[1]:
        return "succeeds more often than"
    if a[1] < b[0]:
        return "succeeds less often than"
    return "cannot be told from"
