"""Planning measured: episodes of every row, side by side, and one result."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import foreframe
from foreframe.config.plain import differences
from foreframe.errors import ForeframeError
from foreframe.evaluation.provenance import weights_hash
from foreframe.planning.options import OwnTask, PlannerOptions, PlanOptions, TaskName
from foreframe.planning.result import PlanResult, summarise, words
from foreframe.planning.rows import rows_of
from foreframe.planning.tasks import THRESHOLDS, Task, frozen, own_task, said, tasks_hash
from foreframe.planning.trial import Outcome, Trial, read_outcome, try_once
from foreframe.runs.folder import PLAN
from foreframe.runs.hub import load_model
from foreframe.runs.shipped import run_folder
from foreframe.system.files import read_json, write_json
from foreframe.system.workers import Execution, side_by_side

_ASKED = "asked.json"
_MAY_GROW = ("episodes", "oracle")
"""What a second call may ask for otherwise: more episodes, and rows that were left out."""


def plan(
    run: Path,
    task: TaskName,
    out: Path,
    options: PlanOptions | None = None,
    planner: PlannerOptions | None = None,
    *,
    own: OwnTask | None = None,
    execution: Execution | None = None,
    command: str = "",
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PlanResult:
    """Try a task with a model and with everything that its success is to be held against.

    Episodes that are on record in ``out`` are not tried again: an interrupted call goes on, and
    more episodes may be asked for.

    Args:
        run: folder of the model, or the name of one that comes with the package.
        task: what is tried.
        out: folder of the result.
        options: how episodes are tried and judged.
        planner: how actions are searched for.
        own: a task of one's own, in the place of the frozen ones.
        execution: who does the work; the result does not depend on it.
        command: that was run, for the result.
        log: told how it goes.
        progress: called with (episodes done, all).

    Raises:
        ForeframeError: the model or the options do not serve, or ``out`` holds something else.
        KeyboardInterrupt: after the workers have ended; finished episodes stay.
    """
    options, planner = (options or PlanOptions()).of(task), planner or PlannerOptions()
    options.check()
    planner.check()
    rows = rows_of(task, options)
    asks = own is not None and own != OwnTask()
    tasks = [_own(task, own, options)] if own is not None and asks else tasks_of(task, options)
    folder = run_folder(run).resolve()
    check_model(run, folder, task)
    hashes = {"weights": weights_hash(folder), "tasks": _hash(task)}
    settings: dict[str, Any] = {**asdict(planner), **asdict(options)}
    mine = {"own": asdict(own)} if own is not None and asks else {}
    begin(out, {"task": task, **hashes, **settings, **mine})
    trials = [
        Trial(one, row, folder, out.resolve(), planner, options) for one in tasks for row in rows
    ]
    there = {trial: read_outcome(trial.path) for trial in trials}
    left = [trial for trial, outcome in there.items() if outcome is None]
    found = {(one.task, one.row): one for one in there.values() if one is not None}
    execution = execution or Execution()
    progress(len(found), len(trials))
    with side_by_side(try_once, left, workers=execution.workers, ray=execution.ray) as results:
        for outcome in results:
            found[outcome.task, outcome.row] = outcome
            progress(len(found), len(trials))
            if outcome.row.startswith("model"):
                _tell(task, outcome.row, found.values(), log)
    outcomes = {row.name: [found[one.name, row.name] for one in tasks] for row in rows}
    # Of each program that carried out some of the episodes.
    codes = {one.code for own in outcomes.values() for one in own}
    hashes["code"] = ", ".join(sorted(codes))
    summed = summarise(task, rows, outcomes)
    result = PlanResult(
        run=str(run),
        command=command,
        task=task,
        settings=settings,
        hashes=hashes,
        foreframe=foreframe.__version__,
        episodes=len(tasks),
        rows=summed,
        words=words(summed, task),
    )
    write_json(out / PLAN, result.to_json())
    return result


def _tell(
    task: TaskName, row: str, outcomes: Iterable[Outcome], log: Callable[[str], None]
) -> None:
    """How it goes, every ten episodes of the model."""
    near = THRESHOLDS[task][0]
    ends = [one.distances[-1] < near for one in outcomes if one.row == row]
    if len(ends) % 10 == 0:
        log(f"{row}: {sum(ends)} of {len(ends)} {said(task, near)}")


def tasks_of(task: TaskName, options: PlanOptions) -> list[Task]:
    """The frozen tasks that are asked for.

    Raises:
        ForeframeError: there are not so many.
    """
    listed = frozen()
    if task == "pusht":
        from foreframe.planning import pusht

        listed = pusht.frozen()
    there = listed.get(f"{task} {options.split}", [])
    if options.episodes > len(there):
        raise ForeframeError(
            f"--episodes {options.episodes}: there are {len(there)} tasks of this kind in "
            f"{options.split}."
        )
    return there[: options.episodes]


def _own(task: TaskName, own: OwnTask, options: PlanOptions) -> Task:
    if task != "push":
        raise ForeframeError(f"--task {task}: --goal and --thing are of an object to be pushed.")
    return own_task(own, options.split)


def _hash(task: TaskName) -> str:
    if task != "pusht":
        return tasks_hash()
    from foreframe.planning import pusht

    return hashlib.sha256(pusht.file_of_tasks()).hexdigest()


_WIDTHS = {"push": 4, "reach": 4, "pusht": 2}


def check_model(run: Path, folder: Path, task: TaskName = "push") -> None:
    """Refuse a model that cannot be told the simulator's actions, or sees other frames.

    Args:
        run: as it was named.
        folder: where it lies.
        task: that it shall do.

    Raises:
        ForeframeError: says why.
    """
    config = load_model(folder).config
    width = _WIDTHS[task]
    if config.condition != "actions" or config.action_dim != width:
        told = {"none": "nothing", "both": "actions and positions"}.get(
            config.condition, config.condition
        )
        raise ForeframeError(
            f"{run}: is told {told} ({config.condition_dim} numbers a step); a plan is made of the "
            f"simulator's {width} actions alone. Train a model with --condition actions on data of "
            f"foreframe simulate{' --world pusht' if task == 'pusht' else ''}."
        )
    if config.frame_size[0] != config.frame_size[1]:
        raise ForeframeError(f"{run}: takes frames that are not square; the simulator's are.")


def begin(out: Path, asked: dict[str, Any]) -> None:
    """Note what is asked for in the folder of the result.

    Raises:
        ForeframeError: it holds something else.
    """
    path = out / _ASKED
    asked = json.loads(json.dumps({k: v for k, v in asked.items() if k not in _MAY_GROW}))
    if path.is_file():
        other = differences(read_json(path), asked)
        if other:
            raise ForeframeError(
                f"{out}: holds episodes of other settings ({'; '.join(other)}). Give another "
                "--out, or the same settings."
            )
    elif out.is_file():
        raise ForeframeError(f"{out}: is a file. Give the name of a folder as --out.")
    elif out.is_dir() and any(out.iterdir()):
        raise ForeframeError(f"{out}: holds other files and no plans. Give another --out.")
    write_json(path, asked)
