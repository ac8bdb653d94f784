"""From raw scores to the card: the sample that counts, means, worst samples, intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import comb

import numpy as np
import torch

import foreframe
from foreframe.config.model import ModelConfig
from foreframe.evaluation.card import CARD, Card, CardProtocol, MetricNote, Row, Score
from foreframe.evaluation.protocols import Protocol
from foreframe.evaluation.score import ROWS, Scored, Values
from foreframe.metrics import Metric
from foreframe.metrics.intervals import bootstrap, normal, numbered

_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def make_card(
    scored: dict[str, Scored],
    metrics: Sequence[Metric],
    protocol: Protocol,
    config: ModelConfig,
    *,
    sequences: int,
    partial: bool = False,
    mirrored_about: str = "train",
    hashes: dict[str, str],
    run: str,
    data: str,
    command: str,
    recordings: Sequence[str] = (),
) -> Card:
    """The card with every row of ``ROWS``, absent ones with the reason.

    Args:
        scored: raw scores by the row's name.
        metrics: by which.
        protocol: how it was scored.
        config: of the model.
        sequences: how many were scored.
        partial: whether the split has more.
        mirrored_about: split whose mean the opposed condition is mirrored about.
        hashes: of the weights, the data and the program.
        run: the run folder, as it was named.
        data: root of the dataset, likewise.
        command: that was run.
        recordings: the recording that each sequence is of, where the data say.
    """
    groups = numbered(recordings[:sequences])
    psnr, ssim = (next(m for m in metrics if m.name.startswith(k)) for k in ("psnr", "ssim"))
    labels = _labels(config, mirrored_about)
    rows = []
    for name in ROWS:
        label, condition = labels[name]
        if name not in scored:
            why = (
                "the model has no condition"
                if config.condition == "none"
                else "a single sequence has no other condition to be given"
            )
            rows.append(Row(name=name, label=label, condition=condition, why_none=why))
            continue
        scores = summarise(scored[name].values, metrics, protocol, groups)
        rows.append(
            Row(
                name=name,
                label=label,
                condition=condition,
                psnr=scores[psnr.name].value,
                psnr_per_step=scores[psnr.name].per_step,
                ssim=scores[ssim.name].value,
                ssim_per_step=scores[ssim.name].per_step,
                scores=scores,
                fvd=scored[name].fvd,
            )
        )
    notes = {
        m.name: MetricNote(m.label, m.unit, m.definition, m.digits, m.higher_is_better)
        for m in metrics
    }
    own = {item.name: getattr(protocol, item.name) for item in fields(Protocol)}
    own |= {"metrics": notes, "condition": config.condition, "needs_condition": protocol.condition}
    return Card(
        card=CARD,
        protocol=CardProtocol(
            **own,
            sequences=sequences,
            timing=config.timing,
            mirrored_about=None if config.condition == "none" else mirrored_about,
            psnr=psnr.definition,
            ssim=ssim.definition,
        ),
        partial=partial,
        run=run,
        data=data,
        command=command,
        hashes=hashes,
        foreframe=foreframe.__version__,
        torch=torch.__version__,
        rows=rows,
        recordings=groups,
    )


def _labels(config: ModelConfig, mirrored_about: str) -> dict[str, tuple[str, str]]:
    told = config.condition_name
    mirrored = f"mirrored about the mean of the {mirrored_about} split"
    return {
        "model": ("foreframe", told),
        "copy-last": ("copy the last given frame", "no condition"),
        "posterior": ("foreframe, z from the posterior", f"{told}; z has seen the future"),
        "permuted": ("foreframe, permuted condition", f"{told}, another sequence's"),
        "zeroed": ("foreframe, zeroed condition", f"{told}, all zero"),
        "opposed": ("foreframe, opposed condition", f"{told}, {mirrored}"),
    }


def summarise(
    values: dict[str, Values],
    metrics: Sequence[Metric],
    protocol: Protocol,
    groups: list[int] | None = None,
) -> dict[str, Score]:
    """The scores of a row by the metrics' names.

    Args:
        values: [sequences, samples, n_future] of each metric's ``frame``.
        metrics: their definitions.
        protocol: which sample counts.
        groups: the recording of each sequence, see ``bootstrap``.
    """
    scores = {m.name: _Video.of(values[m.name], m, protocol) for m in metrics}
    return {name: _summary(name, scores, protocol, groups) for name in scores}


@dataclass(frozen=True)
class _Video:
    """One metric: the score of each video and of each of its frames."""

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


def _summary(
    name: str, scores: dict[str, _Video], protocol: Protocol, groups: list[int] | None
) -> Score:
    own = scores[name]
    n, samples = own.video.shape
    judge = own if protocol.select == "each" else scores.get(protocol.select, own)
    every, first = np.arange(n), np.zeros(n, dtype=int)
    chosen = first if protocol.select == "first" else judge.goodness.argmax(1)
    per_sequence = own.video[every, chosen]
    score = Score(
        value=float(per_sequence.mean()),
        # The normal approximation is SVG's, which knows of sequences alone.
        interval=normal(per_sequence)
        if protocol.interval == "normal"
        else bootstrap(per_sequence, groups),
        per_step=own.frames[every, chosen].mean(0).tolist(),
        per_sequence=per_sequence.tolist(),
        without_context=float(own.alone[every, chosen].mean()) if protocol.counts_context else None,
    )
    if samples == 1:
        return score
    worst = judge.goodness.argmin(1)
    return replace(
        score,
        mean=float(own.video.mean()),
        mean_per_step=own.frames.mean((0, 1)).tolist(),
        worst=float(own.video[every, worst].mean()),
        worst_per_step=own.frames[every, worst].mean(0).tolist(),
        best_of=best_of(own.video, judge.goodness),
    )


def best_of(values: Values, goodness: Values) -> list[tuple[float, float]]:
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
        curve.append((float(n), float(weights @ ordered)))
    return curve
