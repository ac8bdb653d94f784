"""The best weights of a run, and all that an exact resume needs.

Tensors are safetensors, everything else is JSON: loading runs no code. Each file is written aside
and renamed, so a kill at any moment leaves the one before.
"""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from foreframe.config.plain import to_dict
from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, LAST, LAST_GOOD, MODEL_CONFIG
from foreframe.runs.hub import VideoCVAE
from foreframe.runs.weights import load_into, read_tensors, write_tensors
from foreframe.system.files import write_json
from foreframe.training.average import averages

_MODEL, _OPTIMIZER, _AVERAGE = "model.", "optimizer.", "average."


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


def save_best(run: Path, model: VideoCVAE) -> None:
    """Write the weights that ``VideoCVAE.from_pretrained(run)`` will load."""
    write_tensors(run / BEST, model.state_dict())
    write_json(run / MODEL_CONFIG, to_dict(model.config))


def save_last(
    run: Path,
    model: VideoCVAE,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    average: AveragedModel | None = None,
) -> None:
    """Write everything a resume needs, in one file."""
    tensors: dict[str, Tensor] = {_MODEL + name: t for name, t in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment, value in optimizer.state[parameter].items():
            tensors[f"{_OPTIMIZER}{moment}.{name}"] = value
    if average is not None:
        tensors |= {_AVERAGE + name: t for name, t in averages(average).items()}
    write_tensors(run / LAST, tensors, {"progress": json.dumps(to_dict(progress))})


def load_last(
    run: Path,
    model: VideoCVAE,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None = None,
) -> Progress:
    """Restore ``model``, ``optimizer`` and ``average`` in place from the run's last checkpoint.

    Raises:
        ForeframeError: no such file, a damaged one, or one of another configuration.
    """
    path = run / LAST
    tensors, metadata = read_tensors(path)
    try:
        values = json.loads(metadata["progress"])
        values.pop("collapsed_validations", None)  # in version 0.1; the history says as much
        progress = Progress(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ForeframeError(
            f"{path}: holds no progress to resume from ({error}); "
            "it was not written by a training of this version."
        ) from error
    weights = {
        name.removeprefix(_MODEL): t for name, t in tensors.items() if name.startswith(_MODEL)
    }
    load_into(model, weights, path)
    for name, tensor in ({} if average is None else averages(average)).items():
        if _AVERAGE + name not in tensors:
            raise ForeframeError(
                f"{path}: holds no moving average of the weights; it was written without --ema."
            )
        tensor.copy_(tensors[_AVERAGE + name])
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(_OPTIMIZER):
            moment, name = key.removeprefix(_OPTIMIZER).split(".", 1)
            moments.setdefault(name, {})[moment] = value
    state = optimizer.state_dict()
    for index, (name, parameter) in enumerate(model.named_parameters()):
        state["state"][index] = {
            # Same memory order as the weights: a fused Adam walks all of them side by side.
            moment: torch.empty_like(parameter, device="cpu").copy_(value)
            if value.shape == parameter.shape
            else value
            for moment, value in moments.get(name, {}).items()
        }
    optimizer.load_state_dict(state)
    return progress


def keep_last_as_good(run: Path) -> None:
    """Keep the last checkpoint as ``last-good.safetensors`` too; no copy where links work."""
    good, aside = run / LAST_GOOD, run / f".{LAST_GOOD}.part"
    aside.unlink(missing_ok=True)
    try:
        os.link(run / LAST, aside)
    except OSError:
        shutil.copyfile(run / LAST, aside)
    os.replace(aside, good)
