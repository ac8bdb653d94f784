"""Where a training stands; what a file says of it is refused unless it can be true."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from foreframe.config.training import TrainConfig
from foreframe.errors import ForeframeError


@dataclass
class Progress:
    """Where a training stands; with the seed, this is all its state beside the tensors."""

    epoch: int = 0
    """Epoch under way (from 0)."""
    step: int = 0
    """Steps done of that epoch."""
    totals: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Sums of loss, mse and kld over those steps."""
    seconds: float = 0.0
    """Training time spent on those steps."""
    best_psnr: float | None = None
    """Best validation PSNR so far, dB."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row for each epoch done."""

    def next_epoch(self) -> None:
        """Go on to the beginning of the next epoch."""
        self.epoch, self.step = self.epoch + 1, 0
        self.totals, self.seconds = [0.0, 0.0, 0.0], 0.0


_READ_OF_A_ROW = ("mse", "kld", "beta", "validation_psnr")
"""What later epochs read of a row of the history; the other columns came with the versions."""


def read_progress(text: str, train: TrainConfig, where: Path) -> Progress:
    """The progress that a checkpoint has as JSON.

    Args:
        text: the JSON.
        train: of the run.
        where: the checkpoint, for the message.

    Raises:
        ForeframeError: it is no progress, or none that a training of these settings can have.
    """
    try:
        values = json.loads(text)
        values.pop("collapsed_validations", None)  # in version 0.1; the history says as much
        progress = Progress(**values)
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ForeframeError(
            f"{where}: holds no progress to resume from ({error}); "
            "it was not written by a training of this version."
        ) from error
    wrong = _wrong(progress, train)
    if wrong:
        raise ForeframeError(
            f"{where}: its progress cannot be that of this run: {'; '.join(wrong[:3])}. "
            "The file was changed after it was written: restore it from a copy, or copy "
            "last-previous.safetensors or last-good.safetensors of the same folder over it."
        )
    return progress


def _wrong(progress: Progress, train: TrainConfig) -> list[str]:
    """What cannot be true, in words."""
    for one in fields(progress):
        kinds = _KINDS[one.name]
        value = getattr(progress, one.name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            return [f"{one.name} is {_shown(value)}"]
    return [
        *_wrong_place(progress, train),
        *_wrong_totals(progress),
        *_wrong_history(progress.history, progress.epoch),
        *_wrong_best(progress),
    ]


_KINDS: dict[str, Any] = {
    "epoch": int,
    "step": int,
    "totals": list,
    "seconds": int | float,
    "best_psnr": int | float | None,
    "history": list,
}


def _wrong_place(progress: Progress, train: TrainConfig) -> list[str]:
    if not 0 <= progress.epoch <= train.epochs:
        return [f"epoch {_shown(progress.epoch)} of {train.epochs} (counted from 0)"]
    most = train.steps_per_epoch - 1 if progress.epoch < train.epochs else 0
    if not 0 <= progress.step <= most:
        return [f"step {_shown(progress.step)}, where at most {most} can be done"]
    return []


def _wrong_totals(progress: Progress) -> list[str]:
    wrong = []
    if len(progress.totals) != 3 or not all(map(_is_number, progress.totals)):
        wrong.append(f"totals are {_shown(progress.totals)}")
    elif progress.step == 0 and any(progress.totals):
        wrong.append(f"totals are {_shown(progress.totals)} before the first step")
    if not _is_number(progress.seconds) or progress.seconds < 0:
        wrong.append(f"seconds are {_shown(progress.seconds)}")
    return wrong


def _wrong_history(history: Sequence[Any], epoch: int) -> list[str]:
    if len(history) != epoch:
        return [f"{len(history)} rows of history, but {epoch} epochs are done"]
    return [
        f"row {n} of the history is {_shown(row)}"
        for n, row in enumerate(history)
        if not _is_row(row, n)
    ]


def _is_row(row: Any, epoch: int) -> bool:
    """Whether a row can be that of an epoch: what is read of it is there, and all are numbers."""
    if not isinstance(row, Mapping) or not row.keys() >= {"epoch", *_READ_OF_A_ROW}:
        return False
    return row["epoch"] == epoch and all(map(_is_number, row.values()))


def _wrong_best(progress: Progress) -> list[str]:
    scores = [row.get("validation_psnr") for row in progress.history if isinstance(row, Mapping)]
    if progress.best_psnr is None or progress.best_psnr in scores:
        return []
    return [f"the best PSNR, {_shown(progress.best_psnr)}, is that of no epoch"]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
