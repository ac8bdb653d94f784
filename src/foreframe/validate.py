"""Validation during training: a number and a picture of the same sequences every time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from foreframe.clip import Clip
from foreframe.data.batches import evaluation_batches
from foreframe.data.store import Store
from foreframe.device import autocast
from foreframe.metrics import psnr
from foreframe.model import VideoCVAE
from foreframe.train_config import TrainConfig
from foreframe.visuals import samples_gif

SAMPLE_ROWS = 4

# A collapse, as the report saw it: far under the best, or no picture after a tenth of the run.
COLLAPSE_DROP_DB = 6.0
COLLAPSE_FLOOR_DB = 10.0
COLLAPSE_PATIENCE = 3


@dataclass(frozen=True)
class Validation:
    """Predicts the validation split: evaluation mode, no gradient, the same noise every time.

    Attributes:
        store: the validation split.
        config: of the training.
        device: of the model.
    """

    store: Store
    config: TrainConfig
    device: torch.device

    def psnr(self, model: VideoCVAE) -> float:
        """Mean PSNR in dB, n_past -> n_future, one sample from the prior for each sequence."""
        n_past = self.config.n_past
        generator = torch.Generator().manual_seed(self.config.seed)
        values: list[Tensor] = []
        for clip in self._batches(self.config.validation_sequences):
            futures = self._predict(model, clip, generator)
            truth = clip.frames[:, n_past:].to(self.device).float().div_(255)
            values.append(psnr(futures, truth).mean(1))
        return float(torch.cat(values).mean())

    def gif(self, model: VideoCVAE, path: Path) -> None:
        """Write a GIF of the first few sequences, truth beside prediction."""
        n_past = self.config.n_past
        clip = next(self._batches(SAMPLE_ROWS))
        generator = torch.Generator().manual_seed(self.config.seed)
        future = self._predict(model, clip, generator).mul(255).round_().byte().cpu()
        prediction = torch.cat([clip.frames[:, :n_past], future], 1)
        truth, shown = (x.permute(0, 1, 3, 4, 2).numpy() for x in (clip.frames, prediction))
        samples_gif(path, truth, shown, n_past)

    def _batches(self, limit: int) -> Iterator[Clip]:
        return evaluation_batches(
            self.store,
            n_frames=self.config.n_past + self.config.n_future,
            batch_size=min(self.config.batch_size, limit),
            limit=limit,
        )

    def _predict(self, model: VideoCVAE, clip: Clip, generator: torch.Generator) -> Tensor:
        with autocast(self.device, self.config.precision):
            futures = model.generate(
                clip.frames[:, : self.config.n_past],
                clip.actions,
                clip.positions,
                n_future=self.config.n_future,
                generator=generator,
            )
        return futures[:, 0]


def looks_collapsed(value: float, best: float | None, epoch: int, epochs: int) -> bool:
    """Whether a validation PSNR (dB) at ``epoch`` (from 0) looks like a collapse."""
    fallen = best is not None and value < best - COLLAPSE_DROP_DB
    blank = value < COLLAPSE_FLOOR_DB and epoch >= epochs / 10
    return fallen or blank
