"""The command that plans with a model and says how often that succeeds."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import box
from rich.table import Table
from tyro.conf import Positional, arg

from foreframe.commands.console import console, counting, resumable, say
from foreframe.errors import ForeframeError
from foreframe.planning.options import OwnTask, PlannerOptions, PlanOptions, TaskName
from foreframe.runs.folder import PLAN
from foreframe.system.workers import Execution

if TYPE_CHECKING:
    from foreframe.planning.rank import RankResult
    from foreframe.planning.result import PlanResult

_RUN_HELP = "The run folder, or push, the model that comes with the package."


@dataclass(frozen=True)
class Plan:
    """Act by imagining in the simulator; how often that succeeds."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help=_RUN_HELP)]
    out: Path
    """Folder of the result, of each episode's record and GIF; a second call goes on with it."""
    task: TaskName = "push"
    """What is tried: push an object to a place, reach a place with the gripper, or bring the T of
    PushT to a pose."""
    rank: bool = False
    """Judge scripted policies of different skill instead: how often each succeeds inside the model,
    and how often in the simulator."""
    episodes: PlanOptions = field(default_factory=PlanOptions)
    own: OwnTask = field(default_factory=OwnTask)
    search: PlannerOptions = field(default_factory=PlannerOptions)
    execution: Execution = field(default_factory=Execution)

    def run(self, words: Sequence[str]) -> None:
        if self.rank:
            self._rank(words)
            return
        from foreframe.planning.plan import plan

        with resumable(words), counting("episodes") as progress:
            result = plan(
                self.run_folder,
                self.task,
                self.out,
                self.episodes,
                self.search,
                own=self.own,
                execution=self.execution,
                command=shlex.join(["foreframe", *words]),
                log=say,
                progress=progress,
            )
        show_plan(result)
        say(f"{self.out / PLAN}; a GIF of each episode of the model in {self.out / 'episodes'}")

    def _rank(self, words: Sequence[str]) -> None:
        if self.task != "push":
            raise ForeframeError(
                f"--task {self.task}: the policies that --rank judges push objects."
            )
        from foreframe.planning.rank import RANK, RANK_FIGURE, rank

        with resumable(words), counting("episodes") as progress:
            result = rank(
                self.run_folder,
                self.out,
                self.episodes,
                execution=self.execution,
                command=shlex.join(["foreframe", *words]),
                progress=progress,
            )
        show_rank(result)
        say(f"{self.out / RANK}, {self.out / RANK_FIGURE}")


def show_rank(result: "RankResult") -> None:
    """Print the policies and what they say."""
    title = (
        f"{result.run}: policies judged on {result.episodes} tasks, "
        f"within {100 * result.threshold:g} cm"
    )
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("policy")
    for head in ("in the simulator", "inside the model", "told other actions"):
        table.add_column(head, justify="right")
    for one in result.policies:
        table.add_row(
            one.name,
            _percent(one.happened, one.happened_interval),
            _percent(one.imagined, one.imagined_interval),
            _percent(one.shuffled, one.shuffled_interval),
        )
    console.print(table)
    for sentence in result.words:
        say(sentence)


def show_plan(result: "PlanResult") -> None:
    """Print the rows and what they say."""
    from foreframe.planning.tasks import said

    settings = result.settings
    end = "not covered at the end, %" if result.task == "pusht" else "at the end, cm"
    title = (
        f"{result.run}: {result.task}, {result.episodes} episodes of {settings['steps']} actions, "
        f"cost {settings['cost']}, {settings['planner']} {settings['samples']} x "
        f"{settings['horizon']}"
    )
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("who plans")
    for rate in result.rows[0].success:
        table.add_column(said(result.task, rate.threshold), justify="right")
    taken = "taken away" if result.task == "pusht" else "distance taken away"
    for head in (taken, end, "s a plan"):
        table.add_column(head, justify="right")
    for row in result.rows:
        table.add_row(
            row.label,
            *(_percent(rate.rate, rate.interval) for rate in row.success),
            _percent(row.reduction, row.interval),
            f"{row.centimetres:.1f}",
            "" if row.seconds is None else f"{row.seconds:.2f}",
        )
    console.print(table)
    for sentence in result.words:
        say(sentence)


def _percent(value: float, interval: tuple[float, float]) -> str:
    low, high = (100 * end for end in interval)
    return f"{100 * value:.0f} % \\[{low:.0f}, {high:.0f}]"
