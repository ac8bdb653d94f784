"""The model, its ceiling and its baselines scored on the same sequences, with the same noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foreframe.config.model import ModelConfig
from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.store import Store
from foreframe.evaluation.protocols import Protocol
from foreframe.evaluation.sampling import Imagines, score_futures, sequence_noise
from foreframe.metrics import Metric
from foreframe.metrics.frechet import Extractor, Moments, frechet_distance
from foreframe.model.clip import Clip

ROWS = ("model", "copy-last", "posterior", "permuted", "zeroed", "opposed")
"""What is scored: the model; the last given frame copied; the model with z from the posterior; and
the model that is told another sequence's condition, zeros, or its own condition mirrored about the
mean of the split."""

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


@dataclass
class _Gathering:
    parts: dict[str, list[Tensor]] = field(default_factory=dict)
    features: Moments = field(default_factory=Moments)

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.parts.setdefault(name, []).append(value.double().cpu())


def score_rows(
    model: Imagines,
    config: ModelConfig,
    store: Store,
    protocol: Protocol,
    metrics: Sequence[Metric],
    *,
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
        sequences: how many, at most ``len(store)``.
        batch_size: sequences at once; changes no number beyond rounding.
        keep: sequences whose frames are kept.
        device: where to compute.
        extractor: of the features for FVD.
        progress: called with (sequences done, all).
    """
    n_past, n_frames = protocol.n_past, protocol.n_past + protocol.n_future
    told = _Conditions(config, store, protocol, sequences)
    names = [name for name in ROWS if name in told.rows or name in ("copy-last", "posterior")]
    gathered = {name: _Gathering() for name in names}
    true_features = Moments()
    kept: list[tuple[Tensor, Tensor]] = []
    done = 0

    def features_of(row: _Gathering, past: Tensor) -> Callable[[Tensor], None] | None:
        if extractor is None:
            return None
        return lambda videos: row.features.add(
            extractor(_with_context(videos, past, protocol.counts_context))
        )

    for clip in evaluation_batches(
        store, n_frames=n_frames, batch_size=batch_size, limit=sequences
    ):
        indices = list(range(done, done + len(clip)))
        noise = torch.stack(
            [
                sequence_noise(protocol.seed, k, protocol.samples, n_frames - 1, config.z_dim)
                for k in indices
            ]
        )
        x = clip.to(device).as_float().frames
        past, truth = x[:, :n_past], x[:, n_past:]
        if extractor is not None:
            true_features.add(extractor(_with_context(truth, past, protocol.counts_context)))
        for name, row in gathered.items():
            videos = features_of(row, past)
            if name == "copy-last":
                copied = past[:, -1:].expand_as(truth)
                row.add({m.name: m.frame(copied, truth)[:, None] for m in metrics})
                if videos is not None:
                    videos(copied)
                continue
            condition = told.of("model" if name == "posterior" else name, indices, clip)
            scored = score_futures(
                model,
                past,
                truth,
                condition.actions,
                condition.positions,
                noise[:, :1] if name == "posterior" else noise,
                metrics=metrics,
                from_posterior=name == "posterior",
                keep_first=name == "model" and done < keep,
                videos=videos,
            )
            row.add(scored.values)
            if scored.first is not None:
                shown = torch.cat([clip.frames[:, :n_past], scored.first.cpu()], 1)
                kept.append((clip.frames[: keep - done], shown[: keep - done]))
        done += len(clip)
        progress(done, sequences)
    truth_shown, prediction = (
        torch.cat(parts).permute(0, 1, 3, 4, 2).numpy() for parts in zip(*kept, strict=True)
    )
    rows = {
        name: Scored(
            {metric: torch.cat(parts).numpy() for metric, parts in row.parts.items()},
            frechet_distance(true_features, row.features) if extractor is not None else None,
        )
        for name, row in gathered.items()
    }
    return Collected(rows, truth_shown, prediction)


def _with_context(videos: Tensor, past: Tensor, counted: bool) -> Tensor:
    """Videos [batch * samples, T, ...], with the given frames before them if they count."""
    if not counted:
        return videos
    samples = len(videos) // len(past)
    return torch.cat([past.repeat_interleave(samples, 0), videos], 1)


class _Conditions:
    """What each row is told.

    Attributes:
        rows: names of the rows that there are.
    """

    def __init__(
        self, config: ModelConfig, store: Store, protocol: Protocol, sequences: int
    ) -> None:
        self._store = store
        self._n_frames = protocol.n_past + protocol.n_future
        self._order = (
            permutation_without_fixed_points(sequences, protocol.seed) if sequences > 1 else None
        )
        self.rows = ["model"]
        if config.condition != "none":
            self.rows += (["permuted"] if self._order is not None else []) + ["zeroed", "opposed"]
        statistics = store.statistics()
        self._means = [
            None if found is None else torch.from_numpy(found.mean).float()
            for found in (statistics["actions"], statistics["positions"])
        ]

    def of(self, row: str, indices: list[int], clip: Clip) -> Clip:
        """``clip`` with the condition that ``row`` is told, on the CPU."""
        if row == "permuted":
            assert self._order is not None
            return self._another(row, [int(self._order[k]) for k in indices], clip)
        parts = []
        for own, mean in zip((clip.actions, clip.positions), self._means, strict=True):
            if own is None or row == "model":
                parts.append(own)
            elif row == "zeroed":
                parts.append(torch.zeros_like(own))
            else:
                parts.append(own if mean is None else 2 * mean - own)
        return Clip(clip.frames, *parts)

    def _another(self, row: str, indices: list[int], clip: Clip) -> Clip:
        others = [self._store[k] for k in indices]

        def stack(parts: list[NDArray[np.float32] | None]) -> Tensor | None:
            rows = [part[: self._n_frames] for part in parts if part is not None]
            return torch.from_numpy(np.stack(rows)) if len(rows) == len(parts) else None

        return Clip(
            clip.frames,
            stack([other.actions for other in others]),
            stack([other.positions for other in others]),
        )


def permutation_without_fixed_points(n: int, seed: int) -> NDArray[np.int_]:
    """A random cyclic permutation of n >= 2 things: none keeps its place (Sattolo 1986)."""
    order = np.arange(n)
    random = np.random.default_rng((seed, 3))
    for i in range(n - 1, 0, -1):
        j = int(random.integers(i))
        order[i], order[j] = order[j], order[i]
    return order
