"""The rows of a result: who plans, who does not, and what tells the model's error from the cost's.

====================  ==============================================================================
nothing               the gripper stays: no success by construction of the tasks
random                actions as candidates are drawn at first
copy-last             the same planner, imagining that nothing moves
shuffled              the same planner and model, each candidate judged by another one's future
model                 the same planner and the model
physics               the same planner and cost, told the simulator's own future
truth                 the same, and the true distance in metres as the cost
====================  ==============================================================================
"""

from dataclasses import dataclass
from typing import Literal

from foreframe.errors import ForeframeError
from foreframe.planning.options import CostName, Goal, PlanOptions, TaskName

Kind = Literal["nothing", "random", "copy-last", "shuffled", "model", "physics", "truth"]

_WORDS: dict[Kind, str] = {
    "nothing": "doing nothing",
    "random": "random actions",
    "copy-last": "copying the last frame",
    "shuffled": "the model, told shuffled candidates",
    "model": "the model",
    "physics": "the simulator's physics",
    "truth": "the simulator's physics, true distance",
}


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        kind: who plans.
        goal: how the arm stands in the goal picture; None where no picture is looked at.
    """

    kind: Kind
    goal: Goal | None = None

    @property
    def name(self) -> str:
        """Of its files: model, model-parked."""
        return self.kind if self.goal is None else f"{self.kind}-{self.goal}"

    @property
    def label(self) -> str:
        """For tables."""
        return _WORDS[self.kind] + ("" if self.goal is None else f", arm {self.goal}")


def rows_of(task: TaskName, options: PlanOptions) -> list[Row]:
    """The rows of a result, in their order.

    Raises:
        ForeframeError: the cost does not serve the task.
    """
    if task == "reach" and options.cost == "object":
        raise ForeframeError(
            "--cost object: reaching a place moves no object; give --cost pixels or lpips."
        )
    cost = options.of(task).cost
    assert cost is not None
    found = [Row("nothing"), Row("random")]
    for goal in _goals(task, cost):
        found += [Row("copy-last", goal), Row("shuffled", goal), Row("model", goal)]
        found += [Row("physics", goal)] if options.oracle else []
    return found + ([Row("truth")] if options.oracle else [])


def _goals(task: TaskName, cost: CostName) -> list[Goal | None]:
    if cost == "object":
        return [None]
    # A picture of a gripper that is parked is none of where it shall be.
    return ["recorded"] if task == "reach" else ["recorded", "parked"]
