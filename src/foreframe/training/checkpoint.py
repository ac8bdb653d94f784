"""The best weights of a run, and all that an exact resume needs.

Tensors are safetensors, everything else is JSON: loading runs no code. Each file is written aside
and renamed, so a kill at any moment leaves the one before; each has a checksum, and is compared
with it before anything of it is used.
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from foreframe.config.plain import to_dict
from foreframe.config.training import TrainConfig
from foreframe.errors import ForeframeError
from foreframe.runs.folder import (
    BEST,
    LAST,
    LAST_GOOD,
    LAST_PREVIOUS,
    MODEL_CONFIG,
    saved_config,
)
from foreframe.runs.hub import VideoCVAE
from foreframe.runs.sealed import Unsound, read_sealed
from foreframe.runs.weights import load_into, read_tensors, write_tensors
from foreframe.system.files import whole_file, write_json
from foreframe.training.average import averages
from foreframe.training.progress import Progress, read_progress

_MODEL, _OPTIMIZER, _AVERAGE = "model.", "optimizer.", "average."
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save_best(run: Path, model: VideoCVAE) -> None:
    """Write the weights that ``VideoCVAE.from_pretrained(run)`` will load."""
    write_tensors(run / BEST, model.state_dict())
    write_json(run / MODEL_CONFIG, to_dict(model.config))


def best_is_lost(run: Path, progress: Progress) -> bool:
    """Whether the best weights were written, and are damaged or gone."""
    if progress.best_psnr is None:  # none were written yet
        return False
    with suppress(Unsound):
        read_sealed(run / BEST)
        return False
    return True


def save_last(
    run: Path,
    model: VideoCVAE,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    average: AveragedModel | None = None,
    settings: str | None = None,
) -> None:
    """Write everything a resume needs, in one file; the one before stays as the previous one.

    Args:
        run: the run folder.
        model: its weights.
        optimizer: its moments.
        progress: where the training stands.
        average: the moving average of the weights, if there is one.
        settings: what run.json says, so that a resume notices if it was changed.
    """
    tensors: dict[str, Tensor] = {_MODEL + name: t for name, t in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment, value in optimizer.state[parameter].items():
            tensors[f"{_OPTIMIZER}{moment}.{name}"] = value
    if average is not None:
        tensors |= {_AVERAGE + name: t for name, t in averages(average).items()}
    metadata = {"progress": json.dumps(to_dict(progress))}
    if settings is not None:
        metadata["run"] = settings
    # First, since a kill between the two must leave a last checkpoint.
    _keep_previous(run)
    write_tensors(run / LAST, tensors, metadata)


def _keep_previous(run: Path) -> None:
    """Give the last checkpoint a second name, which the next one does not take from it.

    A disk that loses what it said it had written loses the newest file: this one is older.
    """
    if not (run / LAST).is_file():
        return
    with suppress(FileNotFoundError):
        if (run / LAST_PREVIOUS).samefile(run / LAST):  # after a kill between the two names
            return
    with whole_file(run / LAST_PREVIOUS) as aside:
        try:
            os.link(run / LAST, aside)
        except OSError:
            shutil.copyfile(run / LAST, aside)


def keep_last_as_good(run: Path) -> None:
    """Keep a copy of the last checkpoint as ``last-good.safetensors``.

    No second name: damage to the one file is none to the other.
    """
    with whole_file(run / LAST_GOOD) as aside:
        shutil.copyfile(run / LAST, aside)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read, and is what was written.

    Attributes:
        path: its file.
        tensors: weights, moments and averages.
        progress: where the training stood, as JSON; None if the file does not say.
        settings: what run.json said then; None in checkpoints of version 0.1.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    progress: str | None
    settings: str | None

    @classmethod
    def read(cls, run: Path, tell: Callable[[str], None] | None = None) -> "Checkpoint":
        """The last checkpoint of a run.

        Args:
            run: the run folder.
            tell: called with a line if the file has no checksum; by default it is logged.

        Raises:
            ForeframeError: no such file, or a damaged one; names the one to go on from instead.
        """
        path = run / LAST
        tensors, metadata = read_tensors(path) if tell is None else read_tensors(path, tell)
        return cls(path, tensors, metadata.get("progress"), metadata.get("run"))

    def restore(
        self,
        model: VideoCVAE,
        optimizer: torch.optim.Optimizer,
        average: AveragedModel | None,
        train: TrainConfig,
    ) -> Progress:
        """Restore ``model``, ``optimizer`` and ``average`` in place.

        Args:
            model: of the run.
            optimizer: Adam over its parameters, in their order.
            average: the moving average of its weights, if the run has one.
            train: how it is trained.

        Returns:
            where the training stood.

        Raises:
            ForeframeError: the file is of another configuration, or what it says cannot be true.
        """
        if self.progress is None:
            raise ForeframeError(
                f"{self.path}: holds no progress to resume from; "
                "it was not written by a training of this version."
            )
        progress = read_progress(self.progress, train, self.path)
        load_into(model, self._part(_MODEL), self.path)
        averaged = {} if average is None else averages(average)
        self._check_averages(averaged)
        steps = progress.epoch * train.steps_per_epoch + progress.step
        moments = self._moments(model, steps)
        for name, tensor in averaged.items():
            tensor.copy_(self.tensors[_AVERAGE + name])
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

    def _part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names begin with ``prefix``, without it."""
        return {
            name.removeprefix(prefix): t
            for name, t in self.tensors.items()
            if name.startswith(prefix)
        }

    def _check_averages(self, averaged: Mapping[str, Tensor]) -> None:
        for name, tensor in averaged.items():
            kept = self.tensors.get(_AVERAGE + name)
            if kept is None:
                raise ForeframeError(
                    f"{self.path}: holds no moving average of the weights; it was written "
                    "without --ema."
                )
            if kept.shape != tensor.shape:
                raise self._another(f"the average of {name} is {list(kept.shape)}")

    def _moments(self, model: nn.Module, steps: int) -> dict[str, dict[str, Tensor]]:
        """Adam's moments by the names of the parameters, which may have none yet."""
        parameters = dict(model.named_parameters())
        moments: dict[str, dict[str, Tensor]] = {}
        for key, value in self._part(_OPTIMIZER).items():
            moment, _, name = key.partition(".")
            shape = () if moment == "step" else getattr(parameters.get(name), "shape", None)
            if moment not in _MOMENTS or name not in parameters or value.shape != shape:
                raise self._another(f"{_OPTIMIZER}{key} is {list(value.shape)}")
            moments.setdefault(name, {})[moment] = value
        for name, own in moments.items():
            # While a part of the model is taught alone, the rest takes no steps.
            if len(own) < len(_MOMENTS) or not 0 < _count(own["step"]) <= steps:
                raise self._another(f"the optimiser's moments of {name} are not whole")
        return moments

    def _another(self, what: str) -> ForeframeError:
        return ForeframeError(
            f"{self.path}: belongs to another configuration, or was changed: {what}. Use it with "
            "the config it was saved with, or restore it from a copy."
        )


def _count(value: Tensor) -> float:
    count = float(value)
    return count if math.isfinite(count) else 0.0


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
    return Checkpoint.read(run).restore(model, optimizer, average, saved_config(run).train)
