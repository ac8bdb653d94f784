"""A study: its cells trained and scored in turn or side by side, its page written after each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreframe
from foreframe.config.plain import flat, from_dict, to_dict
from foreframe.config.training import RunConfig
from foreframe.errors import ForeframeError
from foreframe.study.cell import RECORD, Job, run_cell
from foreframe.study.page import PAGE, write_page
from foreframe.study.plan import Cell, Plan, configured
from foreframe.system.device import DeviceName
from foreframe.system.files import read_json, write_json
from foreframe.system.places import place
from foreframe.system.workers import side_by_side

STUDY = "study.json"
RUNS = "runs"


def run_study(
    plan: Plan,
    base: RunConfig,
    data: str,
    out: Path,
    *,
    seeds: int,
    limit: int | None = None,
    ray: str | None = None,
    device: DeviceName = "auto",
    command: str = "",
    say: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Run what is missing of a study, or all of it.

    Every run is an ordinary run folder, ``OUT/runs/<cell>/seed-<k>``. What is done is not done
    again; a run that was interrupted goes on. More seeds, and cells of the same base, may be added.

    Args:
        plan: cells and comparisons.
        base: the configuration that the cells change.
        data: root of the dataset.
        out: folder of the study.
        seeds: of each cell, from 0.
        limit: test sequences that are scored; None: all.
        ray: address of a Ray cluster that runs cells side by side; None: one after another here.
        device: "auto", "cpu", "cuda" or "mps".
        command: the command that was run, for the page.
        say: told of each run that is done.
        progress: called with (runs done, all).

    Returns:
        the page's path.

    Raises:
        Interrupted: on Ctrl-C, after saving.
        ForeframeError: ``out`` holds another study, or the data or a cell do not serve.
    """
    for name, value, least in (("seeds", seeds, 1), ("limit", limit, 1)):
        if value is not None and value < least:
            raise ForeframeError(f"--{name} {value}: must be at least {least}.")
    shown, out = out, out.resolve()
    _begin(out, plan, base, data, limit, command)
    jobs = [
        Job(
            cell=cell,
            seed=seed,
            config=configured(base, cell, seed),
            data=data,
            root=_elsewhere(data),
            folder=out / RUNS / cell.name / f"seed-{seed}",
            shown=(shown / RUNS / cell.name / f"seed-{seed}").as_posix(),
            limit=limit,
            device=device,
        )
        for seed in range(seeds)
        for cell in plan.cells
    ]
    before = {(job.cell.name, job.seed) for job in jobs if (job.folder / RECORD).exists()}
    write_page(out)
    done = 0
    with side_by_side(run_cell, jobs, workers=1, ray=ray) as results:
        for record in results:
            done += 1
            progress(done, len(jobs))
            say(_line(record))
            if (record["cell"], record["seed"]) not in before:
                write_page(out)
    return shown / PAGE


def _check_same(
    out: Path, found: dict[str, Any], plan: Plan, base: RunConfig, wanted: dict[str, Any]
) -> None:
    """Refuse to mix: what is there and what is asked for must be of one base.

    Configurations are compared, not what was written of them: a study from before a field was added
    goes on, as that field's default is what it was trained with.
    """
    where = str(out / STUDY)
    there = from_dict(RunConfig, found["base"], where)
    ours, theirs = flat(to_dict(base)), flat(to_dict(there))
    differ = [
        f"{key} is {theirs[key]} there and {ours[key]} here"
        for key in ours
        if ours[key] != theirs[key]
    ]
    differ += [
        f"--{key} is {found.get(key)} there and {wanted[key]} here"
        for key in ("data", "limit")
        if found.get(key) != wanted[key]
    ]
    if differ:
        what = "another base" if there != base else "other settings"
        raise ForeframeError(
            f"{out}: holds a study with {what}; its runs would not compare: {'; '.join(differ)}. "
            "Give another --out, or the same settings."
        )
    settings = {cell["name"]: cell["settings"] for cell in found["cells"]}
    for cell in plan.cells:
        if cell.name not in settings:
            continue
        before = Cell(cell.name, cell.label, tuple((k, v) for k, v in settings[cell.name]))
        if configured(base, before, 0) != configured(base, cell, 0):
            raise ForeframeError(
                f"{out}: its cell {cell.name} has other settings. Give another --out."
            )


def _elsewhere(data: str) -> str:
    """A dataset's root as a worker in another folder finds it."""
    root = place(data)
    return str(root.resolve()) if isinstance(root, Path) else data


def _line(record: dict[str, Any]) -> str:
    name = f"{record['label']}, seed {record['seed']}"
    if record["diverged"] is not None:
        return f"{name}: diverged in epoch {record['diverged']}"
    psnr = record["card"]["rows"]["model"]["psnr"]
    return f"{name}: test PSNR {psnr:.2f} dB, {record['seconds']:.0f} s of training"


def _begin(
    out: Path, plan: Plan, base: RunConfig, data: str, limit: int | None, command: str
) -> None:
    """Write study.json, or add this call's cells and comparisons to the one that is there."""
    path = out / STUDY
    wanted = {"base": to_dict(base), "data": data, "limit": limit}
    found: dict[str, Any] = {"commands": [], "cells": [], "comparisons": []}
    if path.exists():
        found = read_json(path)
        _check_same(out, found, plan, base, wanted)
        wanted["base"] = found["base"]
    elif out.is_dir() and any(out.iterdir()):
        raise ForeframeError(
            f"{out}: the folder is not empty and holds no study. Give another --out."
        )
    elif out.exists() and not out.is_dir():
        raise ForeframeError(f"{out}: is a file. Give the name of a folder as --out.")
    cells = {cell["name"]: cell for cell in found["cells"]}
    for cell in plan.cells:
        cells.setdefault(
            cell.name,
            {"name": cell.name, "label": cell.label, "settings": [list(p) for p in cell.settings]},
        )
    comparisons = {one["name"]: one for one in found["comparisons"]}
    for comparison in plan.comparisons:
        comparisons[comparison.name] = {
            "name": comparison.name,
            "title": comparison.title,
            "cells": list(comparison.cells),
        }
    write_json(
        path,
        {
            **wanted,
            "foreframe": foreframe.__version__,
            "commands": list(dict.fromkeys([*found["commands"], *([command] if command else [])])),
            "cells": list(cells.values()),
            "comparisons": list(comparisons.values()),
        },
    )
