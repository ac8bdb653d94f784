"""From raw scores to what a card says of a row: chosen sample, mean, worst, intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import torch

from foreframe.evaluation.protocols import Protocol
from foreframe.evaluation.score import Values
from foreframe.metrics import Metric
from foreframe.metrics.intervals import bootstrap, normal

_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def summarise(
    values: dict[str, Values], metrics: Sequence[Metric], protocol: Protocol
) -> dict[str, dict[str, Any]]:
    """What the card says of a row, for each metric.

    Args:
        values: [sequences, samples, n_future] of each metric's ``frame``.
        metrics: their definitions.
        protocol: which sample counts.

    Returns:
        for each metric's name: ``value`` and its ``interval``, ``per_sequence`` and ``per_step`` of
        the sample that counts; with several samples also ``mean``, ``worst`` and their curves, and
        ``best_of``: [n, expected value of the best of n].
    """
    scores = {m.name: _Video.of(values[m.name], m, protocol) for m in metrics}
    return {name: _summary(name, scores, protocol) for name in scores}


@dataclass(frozen=True)
class _Video:
    """One metric: the score of each video and of each frame, as they are read."""

    metric: Metric
    video: Values  # [sequences, samples]
    frames: Values  # [sequences, samples, n_future]
    alone: Values  # [sequences, samples], over predicted frames alone

    @classmethod
    def of(cls, values: Values, metric: Metric, protocol: Protocol) -> "_Video":
        def read(numbers: Values) -> Values:
            return metric.read(torch.from_numpy(numbers)).numpy()

        context = protocol.n_past if protocol.counts_context else 0
        total = values.sum(-1) + context * metric.perfect
        return cls(
            metric,
            read(total / (values.shape[-1] + context)),
            read(values),
            read(values.mean(-1)),
        )

    @property
    def goodness(self) -> Values:
        return self.video if self.metric.higher_is_better else -self.video


def _summary(name: str, scores: dict[str, _Video], protocol: Protocol) -> dict[str, Any]:
    own = scores[name]
    n, samples = own.video.shape
    judge = own if protocol.select == "each" else scores.get(protocol.select, own)
    every, first = np.arange(n), np.zeros(n, dtype=int)
    chosen = first if protocol.select == "first" else judge.goodness.argmax(1)
    per_sequence = own.video[every, chosen]
    interval = (normal if protocol.interval == "normal" else bootstrap)(per_sequence)
    found: dict[str, Any] = {
        "value": float(per_sequence.mean()),
        "interval": list(interval),
        "per_step": own.frames[every, chosen].mean(0).tolist(),
        "per_sequence": per_sequence.tolist(),
    }
    if protocol.counts_context:
        found["without_context"] = float(own.alone[every, chosen].mean())
    if samples > 1:
        worst = judge.goodness.argmin(1)
        found |= {
            "mean": float(own.video.mean()),
            "mean_per_step": own.frames.mean((0, 1)).tolist(),
            "worst": float(own.video[every, worst].mean()),
            "worst_per_step": own.frames[every, worst].mean(0).tolist(),
            "best_of": best_of(own.video, judge.goodness),
        }
    return found


def best_of(values: Values, goodness: Values) -> list[list[float]]:
    """The expected value of the best of n samples, for n up to all of them.

    Over all subsets of n of the K samples, exactly: the i-th best in ascending order is the best of
    C(i - 1, n - 1) of the C(K, n) subsets. So the curve needs no further samples and no draw.

    Args:
        values: [sequences, K] that are reported.
        goodness: [sequences, K] by which the best is chosen.

    Returns:
        pairs [n, mean over sequences].
    """
    samples = values.shape[1]
    ordered = np.take_along_axis(values, goodness.argsort(1, kind="stable"), 1).mean(0)
    counts = sorted({n for n in _COUNTS if n < samples} | {samples})
    curve = []
    for n in counts:
        weights = np.array([comb(i, n - 1) / comb(samples, n) for i in range(samples)])
        curve.append([float(n), float(weights @ ordered)])
    return curve
