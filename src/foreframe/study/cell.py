"""One cell of a study with one seed: trained or gone on with, scored, and put on record."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreframe.config.plain import to_dict
from foreframe.config.training import RunConfig
from foreframe.evaluation.card import Card
from foreframe.evaluation.evaluate import card_path, evaluate
from foreframe.evaluation.options import EvaluateOptions
from foreframe.runs.folder import BEST, RUN_CONFIG
from foreframe.study.again import NEW_RUN, commands
from foreframe.study.plan import Cell
from foreframe.system.device import DeviceName
from foreframe.system.files import read_json, write_json
from foreframe.system.places import place
from foreframe.training.listener import Listener
from foreframe.training.loop import Diverged
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


def run_cell(job: Job) -> dict[str, Any]:
    """Train, score and record; what is done already is not done again.

    A training that diverges is finished and counted: its best weights, if any, are scored.

    Raises:
        Interrupted: on Ctrl-C, after saving.
        ForeframeError: the data or the settings do not serve.
    """
    record = job.folder / RECORD
    if record.exists():
        found: dict[str, Any] = read_json(record)
        return found
    begun = time.monotonic()
    data = place(job.root)
    resume = (job.folder / RUN_CONFIG).exists()
    training = start(
        job.config, data, job.folder, resume=resume, device=job.device, listener=Listener()
    )
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
    written = {
        "cell": job.cell.name,
        "label": job.cell.label,
        "seed": job.seed,
        "settings": dict(job.cell.settings),
        "config": to_dict(training.config),
        "commands": again,
        "diverged": diverged,
        "history": history,
        "seconds": sum(row["seconds"] for row in history),
        "wall_seconds": time.monotonic() - begun,
        "card": None if card is None else _short(card),
    }
    write_json(record, written)
    return written


def _short(card: Card) -> dict[str, Any]:
    """Of the card what the study needs; the whole lies beside it."""
    protocol = ("name", "n_past", "n_future", "samples", "sequences")
    return {
        "file": card_path(Path(), card.protocol.name, partial=card.is_partial).name,
        "protocol": {key: getattr(card.protocol, key) for key in protocol},
        "hashes": card.hashes,
        "rows": {
            row.name: {
                "psnr": row.psnr,
                "ssim": row.ssim,
                "interval": row.scores["psnr"].interval if row.scores else None,
            }
            for row in card.rows
        },
    }
