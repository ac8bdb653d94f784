"""A study: its cells trained and scored in turn or side by side, its page written after each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from foreframe.config.training import RunConfig
from foreframe.study.cell import Job, run_cell
from foreframe.study.definition import begin
from foreframe.study.options import StudyOptions
from foreframe.study.page import PAGE, write_page
from foreframe.study.pictures import publish_frames
from foreframe.study.plan import Plan, configured
from foreframe.study.read import published, read_record, run_folder, sequences_of
from foreframe.study.record import Record
from foreframe.system.places import place
from foreframe.system.workers import side_by_side


def run_study(
    plan: Plan,
    base: RunConfig,
    data: str,
    out: Path,
    options: StudyOptions | None = None,
    *,
    command: str = "",
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Run what is missing of a study, or all of it.

    Every run is an ordinary run folder, ``OUT/runs/<cell>/seed-<k>``. What is done is not done
    again; a run that was interrupted goes on. More seeds, and cells of the same base, may be added.
    ``OUT/results`` holds the record of each run that is done, and is enough to go on without the
    run folders.

    Args:
        plan: cells and comparisons.
        base: the configuration that the cells change.
        data: root of the dataset.
        out: folder of the study.
        options: by default those of ``StudyOptions``.
        command: the command that was run, for the page.
        log: told of each run that is done.
        progress: called with (runs done, all).

    Returns:
        the page's path.

    Raises:
        Interrupted: on Ctrl-C, after saving.
        ForeframeError: ``out`` holds another study, or the data or a cell do not serve.
    """
    options = options or StudyOptions()
    options.check()
    shown, out = out, out.resolve()
    begin(out, plan, base, data, options.limit, command)
    jobs = [
        Job(
            cell=cell,
            seed=seed,
            config=configured(base, cell, seed),
            data=data,
            root=_elsewhere(data),
            folder=run_folder(out, cell.name, seed),
            shown=run_folder(shown, cell.name, seed).as_posix(),
            limit=options.limit,
            device=options.device,
        )
        for seed in range(options.seeds)
        for cell in plan.cells
    ]
    records = [read_record(out, job.cell.name, job.seed) for job in jobs]
    left = [job for job, record in zip(jobs, records, strict=True) if record is None]
    done = 0
    for record in records:
        if record is not None:
            done += 1
            _publish(out, record)
            log(_line(record))
    progress(done, len(jobs))
    write_page(out)
    with side_by_side(run_cell, left, workers=1, ray=options.ray) as results:
        for record in results:
            done += 1
            _publish(out, record)
            progress(done, len(jobs))
            log(_line(record))
            write_page(out)
    return shown / PAGE


def _publish(out: Path, record: Record) -> None:
    """Put the record, and the frames that the page shows, where they outlive the run folder."""
    path = published(out, record.cell, record.seed)
    if not path.exists():
        publish_frames(out, record)
        replace(record, per_sequence=sequences_of(out, record)).write(path)


def _elsewhere(data: str) -> str:
    """A dataset's root as a worker in another folder finds it."""
    root = place(data)
    return str(root.resolve()) if isinstance(root, Path) else data


def _line(record: Record) -> str:
    name = f"{record.label}, seed {record.seed}"
    if record.diverged is not None:
        return f"{name}: diverged in epoch {record.diverged}"
    psnr = record.score("model", "psnr") or 0.0
    return f"{name}: test PSNR {psnr:.2f} dB, {record.seconds:.0f} s of training"
