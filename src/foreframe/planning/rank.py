"""Policies judged inside a model: does it rank them as the simulator does?"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import stats

import foreframe
from foreframe.config.results import Interval, Result
from foreframe.evaluation.provenance import weights_hash
from foreframe.metrics.intervals import CONFIDENCE, bootstrap, wilson
from foreframe.planning.judging import JudgeJob, Judgement, judge
from foreframe.planning.options import PlanOptions
from foreframe.planning.plan import begin, check_model, tasks_of
from foreframe.planning.policies import NAMES
from foreframe.planning.tasks import THRESHOLDS, tasks_hash
from foreframe.runs.shipped import run_folder
from foreframe.system.files import write_json
from foreframe.system.workers import Execution, side_by_side
from foreframe.visuals.policies import policies_figure

RANK, RANK_FIGURE = "rank.json", "rank.png"
_RESAMPLES = 2000
_ASKED = ("split", "steps", "futures", "seed")


@dataclass(frozen=True)
class Judged:
    """A policy.

    Attributes:
        name: of it.
        happened: share of the episodes that succeed in the simulator, and Wilson's interval.
        imagined: share of the futures that succeed inside the model; the bootstrap's, over tasks.
        shuffled: likewise, where the model is told the actions of another task's episode.
        happened_cm: mean distance at the end, in the simulator.
        imagined_cm: likewise inside the model.
    """

    name: str
    happened: float
    happened_interval: Interval
    imagined: float
    imagined_interval: Interval
    shuffled: float
    shuffled_interval: Interval
    happened_cm: float
    imagined_cm: float


@dataclass(frozen=True)
class Agreement:
    """How far a judge's estimates agree with the simulator.

    Attributes:
        rank: Spearman's correlation over the policies' success; None where all are judged alike.
        interval: 95 %, by the bootstrap over tasks.
        difference: mean absolute difference of the rates.
        difference_interval: likewise.
        episodes: Pearson's correlation of the distances at the end, over all episodes; None where
            all are judged alike.
    """

    rank: float | None
    interval: Interval | None
    difference: float
    difference_interval: Interval
    episodes: float | None


@dataclass(frozen=True, kw_only=True)
class RankResult(Result):
    """What rank.json holds.

    Attributes:
        run: the run folder, as it was named.
        command: that was run.
        settings: of the episodes.
        hashes: SHA-256 of the weights, of the tasks and of the program.
        foreframe: version.
        episodes: tasks.
        threshold: metres within which a task counts as done.
        policies: by growing skill, as they are meant.
        model: agreement of what the model expects.
        shuffled: of what it expects when it is told other actions: nothing can be known then.
        words: what this says.
    """

    WHAT = "a ranking of policies"

    run: str
    command: str
    settings: dict[str, Any]
    hashes: dict[str, str]
    foreframe: str
    episodes: int
    threshold: float
    policies: list[Judged]
    model: Agreement
    shuffled: Agreement
    words: list[str] = field(default_factory=list)


def rank(
    run: Path,
    out: Path,
    options: PlanOptions | None = None,
    *,
    execution: Execution | None = None,
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RankResult:
    """Judge scripted policies inside a model and in the simulator.

    Episodes that are on record in ``out`` are not tried again.

    Args:
        run: folder of the model, or the name of one that comes with the package.
        out: folder of the result.
        options: episodes, split, steps, futures and seed.
        execution: who does the work; the result does not depend on it.
        command: that was run, for the result.
        progress: called with (episodes done, all).

    Raises:
        ForeframeError: the model or the options do not serve, or ``out`` holds something else.
        KeyboardInterrupt: after the workers have ended; finished episodes stay.
    """
    options = (options or PlanOptions()).of("push")
    options.check()
    tasks = tasks_of("push", options)
    folder = run_folder(run).resolve()
    check_model(run, folder)
    hashes = {"weights": weights_hash(folder), "tasks": tasks_hash()}
    settings = {name: value for name, value in asdict(options).items() if name in _ASKED}
    begin(out, {"rank": list(NAMES), **hashes, **settings})
    jobs = [
        JudgeJob(
            task,
            tasks[(k + 1) % len(tasks)],
            name,
            folder,
            out.resolve(),
            options.steps,
            options.futures,
            options.seed,
        )
        for k, task in enumerate(tasks)
        for name in NAMES
    ]
    execution = execution or Execution()
    found: dict[tuple[str, str], Judgement] = {}
    progress(0, len(jobs))
    with side_by_side(judge, jobs, workers=execution.workers, ray=execution.ray) as results:
        for made in results:
            found[made.task, made.policy] = made
            progress(len(found), len(jobs))
    table = [[found[task.name, name] for task in tasks] for name in NAMES]
    hashes["code"] = ", ".join(sorted({one.code for one in found.values()}))
    policies = [_judged(name, row) for name, row in zip(NAMES, table, strict=True)]
    model, shuffled = _agreement(table, "imagined"), _agreement(table, "shuffled")
    result = RankResult(
        run=str(run),
        command=command,
        settings=json.loads(json.dumps(settings)),
        hashes=hashes,
        foreframe=foreframe.__version__,
        episodes=len(tasks),
        threshold=_NEAR,
        policies=policies,
        model=model,
        shuffled=shuffled,
        words=words(policies, model, shuffled),
    )
    write_json(out / RANK, result.to_json())
    policies_figure(
        out / RANK_FIGURE,
        {
            one.name: (
                (one.happened, *one.happened_interval),
                (one.imagined, *one.imagined_interval),
                (one.shuffled, *one.shuffled_interval),
            )
            for one in policies
        },
    )
    return result


_NEAR = THRESHOLDS["push"][0]


def _happened(row: Sequence[Judgement]) -> Float64[np.ndarray, " tasks"]:
    return np.array([float(one.happened < _NEAR) for one in row])


def _expected(row: Sequence[Judgement], by: str) -> Float64[np.ndarray, " tasks"]:
    """Share of the futures of each task that succeed."""
    return np.array([np.mean(np.array(getattr(one, by)) < _NEAR) for one in row])


def _judged(name: str, row: Sequence[Judgement]) -> Judged:
    happened = _happened(row)
    imagined, shuffled = (_expected(row, by) for by in ("imagined", "shuffled"))
    return Judged(
        name,
        float(happened.mean()),
        wilson(int(happened.sum()), len(happened)),
        float(imagined.mean()),
        bootstrap(imagined),
        float(shuffled.mean()),
        bootstrap(shuffled),
        100 * float(np.mean([one.happened for one in row])),
        100 * float(np.mean([np.mean(one.imagined) for one in row])),
    )


def _agreement(table: Sequence[Sequence[Judgement]], by: str) -> Agreement:
    """Of the estimates of one judge, over policies and over episodes."""
    true = np.stack([_happened(row) for row in table])
    said = np.stack([_expected(row, by) for row in table])
    draws = np.random.default_rng(true.shape[1]).integers(
        0, true.shape[1], (_RESAMPLES, true.shape[1])
    )
    ranks = [_spearman(true[:, k].mean(1), said[:, k].mean(1)) for k in draws]
    known = np.array([one for one in ranks if one is not None])
    apart = np.array([np.abs(true[:, k].mean(1) - said[:, k].mean(1)).mean() for k in draws])
    ends = np.array([[one.happened for one in row] for row in table]).ravel()
    expected = np.array([[np.mean(getattr(one, by)) for one in row] for row in table]).ravel()
    return Agreement(
        _spearman(true.mean(1), said.mean(1)),
        _quantiles(known) if len(known) > _RESAMPLES / 2 else None,
        float(np.abs(true.mean(1) - said.mean(1)).mean()),
        _quantiles(apart),
        None
        if expected.std() == 0 or ends.std() == 0
        else float(np.corrcoef(ends, expected)[0, 1]),
    )


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    if a.std() == 0 or b.std() == 0:
        return None
    return float(stats.spearmanr(a, b).statistic)


def _quantiles(values: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def words(policies: Sequence[Judged], model: Agreement, shuffled: Agreement) -> list[str]:
    """What the numbers say, and nothing that their intervals do not."""
    said: list[str] = []
    for what, one in (("the model", model), ("the model, told other actions,", shuffled)):
        if one.rank is None or one.interval is None:
            said.append(f"{what[0].upper()}{what[1:]} judges all policies alike.")
            continue
        low, high = one.interval
        judged = "ranks the policies as the simulator does" if low > 0 else "cannot be said to rank"
        said.append(
            f"{what[0].upper()}{what[1:]} {judged}: Spearman's correlation {one.rank:.2f} "
            f"[{low:.2f}, {high:.2f}], rates {100 * one.difference:.0f} points apart in the mean."
        )
    best = max(policies, key=lambda one: one.imagined)
    truly = max(policies, key=lambda one: one.happened)
    said.append(
        f"The policy that the model expects most of, {best.name}, succeeds in "
        f"{100 * best.happened:.0f} %; the best in the simulator, {truly.name}, in "
        f"{100 * truly.happened:.0f} %."
    )
    return said
