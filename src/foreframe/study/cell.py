"""One cell of a study with one seed: trained or gone on with, scored, and put on record."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from foreframe.config.training import RunConfig
from foreframe.evaluation.evaluate import evaluate
from foreframe.evaluation.options import EvaluateOptions
from foreframe.runs.folder import BEST, RUN_CONFIG
from foreframe.study.again import NEW_RUN, commands
from foreframe.study.plan import Cell
from foreframe.study.record import Record, Scores, per_sequence
from foreframe.system.device import DeviceName
from foreframe.system.places import place
from foreframe.training.health import Diverged
from foreframe.training.options import TrainOptions
from foreframe.training.start import start

RECORD = "cell.json"


@dataclass(frozen=True)
class Job:
    """What a worker is told.

    Attributes:
        cell: name, label and settings.
        seed: of the training.
        config: complete.
        data: root of the dataset, as the user named it.
        root: the same, for whoever works elsewhere.
        folder: of the run.
        shown: the same, as the user named it.
        limit: test sequences that are scored; None: all.
        device: where to compute.
    """

    cell: Cell
    seed: int
    config: RunConfig
    data: str
    root: str
    folder: Path
    shown: str
    limit: int | None = None
    device: DeviceName = "auto"


def run_cell(job: Job) -> Record:
    """Train, score and record; what is done already is not done again.

    A training that diverges is finished and counted: its best weights, if any, are scored.

    Raises:
        Interrupted: on Ctrl-C, after saving.
        ForeframeError: the data or the settings do not serve.
    """
    path = job.folder / RECORD
    if path.exists():
        return Record.read(path)
    begun = time.monotonic()
    data = place(job.root)
    resume = (job.folder / RUN_CONFIG).exists()
    training = start(job.config, data, job.folder, TrainOptions(device=job.device, resume=resume))
    diverged: int | None = None
    try:
        training.fit()
    except Diverged:
        diverged = training.progress.epoch + 1
    history = training.progress.history
    again = commands(training.config, job.data, job.limit)
    card = None
    if (job.folder / BEST).exists():
        card = evaluate(
            job.folder,
            data,
            EvaluateOptions(limit=job.limit, device=job.device),
            command=again[1].replace(NEW_RUN, shlex.quote(job.shown)),
            log=lambda text: None,
        )
    record = Record(
        cell=job.cell.name,
        label=job.cell.label,
        seed=job.seed,
        settings=dict(job.cell.settings),
        config=training.config,
        commands=again,
        diverged=diverged,
        history=history,
        seconds=sum(row["seconds"] for row in history),
        wall_seconds=time.monotonic() - begun,
        card=None if card is None else Scores.of(card),
        per_sequence={} if card is None else per_sequence(card),
        recordings=None if card is None else card.recordings,
    )
    record.write(path)
    return record
