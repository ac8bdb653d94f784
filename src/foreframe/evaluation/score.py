"""The model, its ceiling and its baselines scored on the same sequences, with the same noise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foreframe.config.model import ModelConfig
from foreframe.data.statistics import Statistics
from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.store import Store
from foreframe.evaluation.conditions import FALSE, FalseConditions
from foreframe.evaluation.protocols import Protocol
from foreframe.evaluation.sampling import Imagines, noise_of_batch, score_futures
from foreframe.metrics import Metric
from foreframe.metrics.frechet import Extractor, FeatureMoments, frechet_distance
from foreframe.model.clip import Clip

ROWS = ("model", "copy-last", "posterior", *FALSE)
"""What is scored: the model; the last given frame copied; the model with z from the posterior,
which sees the future; and the model under each false condition."""

Values = NDArray[np.float64]


@dataclass
class Scored:
    """Raw scores of a row.

    Attributes:
        values: what each metric's ``frame`` gave, [sequences, samples, n_future], by its name.
        fvd: of all its samples; None unless there is an extractor.
    """

    values: dict[str, Values]
    fvd: float | None = None


@dataclass
class Collected:
    """Scores of every row, and the frames of the first sequences.

    Attributes:
        rows: by name; a row that makes no sense for the model is left out.
        truth: uint8 [n, T, H, W, 3] of the first sequences.
        prediction: uint8, the same shape: the given frames, then the model's first sample.
    """

    rows: dict[str, Scored]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]


def score_rows(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    protocol: Protocol,
    metrics: Sequence[Metric],
    *,
    means: Mapping[str, Statistics | None] | None = None,
    sequences: int,
    batch_size: int,
    keep: int,
    device: torch.device,
    extractor: Extractor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Collected:
    """Score the model and its baselines on the first ``sequences`` of a split.

    No frame is kept beyond its scoring, but those of the first ``keep`` sequences.

    Args:
        model: a ``VideoCVAE`` or anything that yields futures as it does.
        config: what the model is conditioned on, and the width of z.
        store: the split.
        protocol: how to score.
        metrics: by which.
        means: statistics of the training split, for the opposed condition; by default those of the
            split itself.
        sequences: how many, at most ``len(store)``.
        batch_size: sequences at once; changes no number beyond rounding.
        keep: sequences whose frames are kept.
        device: where to compute.
        extractor: of the features for FVD.
        progress: called with (sequences done, all).
    """
    n_frames = protocol.n_past + protocol.n_future
    false = FalseConditions(
        config,
        store,
        store.statistics() if means is None else means,
        n_frames=n_frames,
        sequences=sequences,
        seed=protocol.seed,
    )
    names = [name for name in ROWS if name not in FALSE or name in false.names]
    rows = {name: _Row() for name in names}
    features = FeatureMoments()
    kept: list[tuple[Tensor, Tensor]] = []
    done = 0
    for clip in evaluation_batches(
        store, n_frames=n_frames, batch_size=batch_size, limit=sequences
    ):
        indices = range(done, done + len(clip))
        noise = noise_of_batch(protocol.seed, indices, protocol.samples, n_frames, config.z_dim)
        batch = _Batch(model, protocol, metrics, extractor, clip.to(device).as_float(), noise)
        if extractor is not None:
            features.add(extractor(batch.with_context(batch.truth)))
        for name, row in rows.items():
            if name == "copy-last":
                batch.score_copy(row)
                continue
            told = false.of(name, indices, clip) if name in FALSE else clip
            first = batch.score_model(
                row, told, name == "posterior", name == "model" and done < keep
            )
            if first is not None:
                shown = torch.cat([clip.frames[:, : protocol.n_past], first.cpu()], 1)
                kept.append((clip.frames[: keep - done], shown[: keep - done]))
        done += len(clip)
        progress(done, sequences)
    truth, prediction = (
        torch.cat(parts).permute(0, 1, 3, 4, 2).numpy() for parts in zip(*kept, strict=True)
    )
    scored = {
        name: Scored(
            {metric: torch.cat(parts).numpy() for metric, parts in row.parts.items()},
            frechet_distance(features, row.features) if extractor is not None else None,
        )
        for name, row in rows.items()
    }
    return Collected(scored, truth, prediction)


@dataclass
class _Row:
    """What is gathered of a row, batch by batch."""

    parts: dict[str, list[Tensor]] = field(default_factory=dict)
    features: FeatureMoments = field(default_factory=FeatureMoments)

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.parts.setdefault(name, []).append(value.double().cpu())


@dataclass(frozen=True)
class _Batch:
    """Sequences that are scored at once, with what every row shares.

    Attributes:
        clip: on the device, frames in [0, 1].
        noise: [B, samples, n_frames - 1, z_dim].
    """

    model: Imagines
    protocol: Protocol
    metrics: Sequence[Metric]
    extractor: Extractor | None
    clip: Clip
    noise: Tensor

    @property
    def past(self) -> Tensor:
        return self.clip.frames[:, : self.protocol.n_past]

    @property
    def truth(self) -> Tensor:
        return self.clip.frames[:, self.protocol.n_past :]

    def with_context(self, videos: Tensor) -> Tensor:
        """Videos [batch * samples, T, ...], with the given frames before them if they count."""
        if not self.protocol.counts_context:
            return videos
        samples = len(videos) // len(self.past)
        return torch.cat([self.past.repeat_interleave(samples, 0), videos], 1)

    def _features_into(self, row: _Row) -> Callable[[Tensor], None] | None:
        extractor = self.extractor
        if extractor is None:
            return None
        return lambda videos: row.features.add(extractor(self.with_context(videos)))

    def score_copy(self, row: _Row) -> None:
        """The last given frame as the prediction of every step."""
        copied = self.past[:, -1:].expand_as(self.truth)
        last = self.past[:, -1:]
        row.add({m.name: m.of(copied, self.truth, last)[:, None] for m in self.metrics})
        add_features = self._features_into(row)
        if add_features is not None:
            add_features(copied)

    def score_model(
        self, row: _Row, told: Clip, from_posterior: bool, keep_first: bool
    ) -> Tensor | None:
        """The model's futures under the condition ``told``; the first of each if it is kept."""
        scored = score_futures(
            self.model,
            self.past,
            self.truth,
            told.actions,
            told.positions,
            self.noise[:, :1] if from_posterior else self.noise,
            metrics=self.metrics,
            from_posterior=from_posterior,
            keep_first=keep_first,
            videos=self._features_into(row),
        )
        row.add(scored.values)
        return scored.first
