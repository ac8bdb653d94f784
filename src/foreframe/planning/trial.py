"""One episode of one row, on record: a job that any worker does, with the same result."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from foreframe.config.results import Result
from foreframe.evaluation.provenance import code_hash
from foreframe.model.imagines import Imagines
from foreframe.planning.costs import Cost, LpipsCost, ObjectCost, PixelCost, picture
from foreframe.planning.dynamics import CopiedLast, Dynamics, Imagined, Physics
from foreframe.planning.episode import Tried, tried_with_plans, tried_without
from foreframe.planning.options import PlannerOptions, PlanOptions
from foreframe.planning.registration import Template
from foreframe.planning.rows import Row
from foreframe.planning.tasks import Setting, Task, prepare
from foreframe.runs.hub import load_model
from foreframe.system.files import write_json
from foreframe.visuals.frames import prediction_gif

_CROSS = (255, 60, 60)


@dataclass(frozen=True)
class Trial:
    """What a worker is told.

    Attributes:
        task: what is to be done.
        row: who plans.
        run: folder of the model.
        out: folder of the results.
        planner: how actions are searched for.
        options: how episodes are tried and judged.
    """

    task: Task
    row: Row
    run: Path
    out: Path
    planner: PlannerOptions
    options: PlanOptions

    @property
    def path(self) -> Path:
        """The file of the record."""
        return self.out / "episodes" / self.task.name / f"{self.row.name}.json"


@dataclass(frozen=True, kw_only=True)
class Outcome(Result):
    """What is on record of an episode.

    Attributes:
        task: its name.
        row: its name.
        distances: metres to the goal, at the start and after each action.
        actions: that were carried out.
        plans: number of plans.
        seconds: of planning.
        imagined: frames that were imagined, or simulated, for the plans.
        code: SHA-256 of the program that carried it out.
    """

    WHAT = "the record of an episode"

    task: str
    row: str
    distances: list[float]
    actions: list[list[float]] = field(default_factory=list)
    plans: int = 0
    seconds: float = 0.0
    imagined: int = 0
    code: str = ""


def read_outcome(path: Path) -> Outcome | None:
    """The record in a file; None if there is none yet.

    Raises:
        ForeframeError: it is damaged.
    """
    return Outcome.read(path) if path.is_file() else None


def try_once(trial: Trial) -> Outcome:
    """Carry out an episode and write its record, and for the model's rows a GIF."""
    done = read_outcome(trial.path)
    if done is not None:
        return done
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, whoever does the work
    try:
        setting, tried = _tried(trial)
    finally:
        torch.set_num_threads(threads)
    outcome = Outcome(
        task=trial.task.name,
        row=trial.row.name,
        distances=[round(float(x), 6) for x in tried.distances],
        actions=tried.actions.round(6).tolist(),
        plans=tried.plans,
        seconds=round(tried.seconds, 3),
        imagined=tried.imagined,
        code=_code(),
    )
    if trial.row.kind == "model":
        _film(trial, setting, tried)
    write_json(trial.path, outcome.to_json())
    return outcome


def _tried(trial: Trial) -> tuple[Setting, Tried]:
    model = _model(trial.run)
    height = model.config.frame_size[0]
    setting = _prepared(trial.task, height)
    kind = trial.row.kind
    if kind in ("nothing", "random"):
        random = trial.planner if kind == "random" else None
        return setting, tried_without(trial.task, setting, trial.options, random=random)
    dynamics = _dynamics(trial, model, setting)
    cost = cost_of(trial.options, setting, trial.row)
    return setting, tried_with_plans(
        trial.task,
        setting,
        dynamics,
        cost,
        trial.planner,
        trial.options,
        film=kind == "model",
    )


def _prepared(task: Task, size: int) -> Setting:
    if task.kind == "pusht":
        from foreframe.planning import pusht  # only where its packages are needed

        return pusht.prepare(task, size=size)
    return prepare(task, size=size)


@lru_cache(maxsize=1)
def _code() -> str:
    return code_hash()


@lru_cache(maxsize=1)
def _model(run: Path) -> Imagines:
    model: Imagines = load_model(run)
    return model.eval()


def _dynamics(trial: Trial, model: Imagines, setting: Setting) -> Dynamics:
    kind, options = trial.row.kind, trial.options
    if kind == "copy-last":
        return CopiedLast()
    if kind in ("truth", "physics") and trial.task.kind == "pusht":
        from foreframe.planning import pusht

        return pusht.PushTPhysics(setting, options, truth=kind == "truth")
    if kind == "truth":
        return Physics(setting.live, options, trial.task, setting.goal)
    if kind == "physics":
        return Physics(setting.live, options, trial.task)
    return Imagined(model, options, shuffled=kind == "shuffled")


def cost_of(options: PlanOptions, setting: Setting, row: Row) -> Cost:
    """What candidates of a row cost."""
    last = picture(setting.frames[-1])
    if options.cost == "object" or row.goal is None:
        return ObjectCost(setting.pixels, Template.of(last, setting.thing))
    goal = picture(setting.pictures[row.goal])
    return LpipsCost(goal) if options.cost == "lpips" else PixelCost(goal)


def _film(trial: Trial, setting: Setting, tried: Tried) -> None:
    """What happened, the goal, and what was imagined, side by side."""
    goal = setting.pictures[trial.row.goal or "recorded"].copy()
    if trial.row.goal is None:
        _mark(goal, setting.pixels)
    assert tried.foreseen is not None
    shown = np.stack([np.repeat(goal[None], len(tried.frames), 0), tried.foreseen])
    path = trial.path.with_suffix(".gif")
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["goal", "imagined when planned"]
    prediction_gif(path, tried.frames, shown, 2, names=names, happened="what happened")


def _mark(frame: np.ndarray, place: np.ndarray) -> None:
    """Draw a cross at a column and row."""
    height, width = frame.shape[:2]
    column, row = int(place[0]), int(place[1])
    for k in range(-2, 3):
        for x, y in ((column + k, row), (column, row + k)):
            if 0 <= x < width and 0 <= y < height:
                frame[y, x] = _CROSS
