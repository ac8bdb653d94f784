"""Validation during training: a number and a picture of the same sequences every time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from foreframe.config.training import TrainConfig
from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.store import Store
from foreframe.metrics import psnr
from foreframe.model.clip import Clip
from foreframe.model.latent import LatentNumbers, latent_numbers
from foreframe.model.spans import time_first
from foreframe.runs.hub import VideoCVAE
from foreframe.system.device import autocast
from foreframe.visuals import samples_gif

SAMPLE_ROWS = 4

LATENT_SEQUENCES = 32
"""Validation sequences whose latent is looked at after each epoch."""


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

    def latent(self, model: VideoCVAE) -> LatentNumbers:
        """The latent of the first validation sequences, free-running, z from the posterior."""
        clip = next(self._batches(LATENT_SEQUENCES)).to(self.device)
        n_past, n_frames = self.config.n_past, clip.n_frames
        generator = torch.Generator().manual_seed(self.config.seed)
        noise = torch.randn(n_frames - 1, len(clip), model.config.z_dim, generator=generator)
        was_training = model.training
        model.eval()
        with torch.no_grad(), autocast(self.device, self.config.precision):
            condition = model.condition(clip.actions, clip.positions, n_frames)
            rolled = model.rollout(
                time_first(clip.frames), condition, noise.to(self.device), n_past=n_past
            )
        model.train(was_training)
        assert rolled.q is not None
        return latent_numbers(rolled.q, rolled.p)

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
