"""Spread of the samples compared with the spread of what could have happened, step by step."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from foreframe.config.results import Interval
from foreframe.metrics.intervals import bootstrap_of_sums
from foreframe.probe.result import Calibration, Pushed

MOVES = 0.5
"""Standard deviation in pixels over the fitted replays, at some step, from which on an object
counts: the hidden physics must have something to say about it."""

LEAST = 0.05
"""Root mean square deviation in pixels of the read replays below which a ratio says nothing."""

BINS = 10
CENTRAL = 0.9


@dataclass(frozen=True)
class SceneSpread:
    """One scene with M objects that count, at T steps. Sums over the objects, in square pixels.

    Attributes:
        objects: M.
        true: variance of the true positions over the held-out replays, columns and rows together.
        read_true: variance of the positions read from the held-out replays' frames.
        read_samples: variance of the positions read from the samples.
        error: mean squared distance of what is read from a held-out replay to the true position.
        offset: squared distance between the means of read samples and of read held-out replays.
        ranks: how often a held-out replay's coordinate came after r of the K samples', by step.
    """

    objects: int
    true: Float64[np.ndarray, " steps"]
    read_true: Float64[np.ndarray, " steps"]
    read_samples: Float64[np.ndarray, " steps"]
    error: Float64[np.ndarray, " steps"]
    offset: Float64[np.ndarray, " steps"]
    ranks: Int[np.ndarray, "steps ranks"]


def counting_objects(
    pixels: Float64[np.ndarray, "replays steps objects 2"],
) -> Bool[np.ndarray, " objects"]:
    """Which objects the physics moves, by the replays that the readout is fitted on."""
    deviation = np.sqrt(pixels.var(0, ddof=1).sum(-1))
    return np.asarray(deviation.max(0) >= MOVES)


def scene_spread(
    true: Float64[np.ndarray, "replays steps objects 2"],
    read_true: Float64[np.ndarray, "replays steps objects 2"],
    read_samples: Float64[np.ndarray, "samples steps objects 2"],
    seed: int,
) -> SceneSpread:
    """Compare the held-out replays of a scene with the samples.

    Args:
        true: positions in the held-out replays, in pixels, of the objects that count.
        read_true: the same, as read from the frames.
        read_samples: as read from the samples' frames.
        seed: of the order in which equal values are ranked.
    """

    def variance(places: np.ndarray) -> np.ndarray:
        return np.asarray(places.var(0, ddof=1).sum((-2, -1)))

    samples, steps = read_samples.shape[:2]
    apart = read_samples.mean(0) - read_true.mean(0)
    below = (read_samples[None] < read_true[:, None]).sum(1)
    equal = (read_samples[None] == read_true[:, None]).sum(1)
    # Where samples equal the truth its rank is any among theirs (Hamill 2001, section 2).
    below = below + np.random.default_rng((seed, 5)).integers(equal + 1)
    ranks = np.stack(
        [np.bincount(below[:, t].ravel(), minlength=samples + 1) for t in range(steps)]
    )
    return SceneSpread(
        objects=true.shape[2],
        true=variance(true),
        read_true=variance(read_true),
        read_samples=variance(read_samples),
        error=np.square(read_true - true).sum(-1).mean(0).sum(-1),
        offset=np.square(apart).sum((-2, -1)),
        ranks=ranks,
    )


def nominal_coverage(samples: int) -> tuple[int, float]:
    """How many samples at either end lie outside, and how often the truth should lie inside.

    The interval between the k-th smallest and the k-th largest of K samples holds one more draw of
    the same distribution with probability (K + 1 - 2 k) / (K + 1); k is the one for which this is
    nearest to ``CENTRAL``.
    """
    k = max(1, round((samples + 1) * (1 - CENTRAL) / 2))
    return k, (samples + 1 - 2 * k) / (samples + 1)


def calibration(scenes: list[SceneSpread], pushed: Pushed | None = None) -> Calibration | None:
    """All scenes together, and what is known of pushed objects; None if no object counts."""
    scenes = [scene for scene in scenes if scene.objects]
    objects = sum(scene.objects for scene in scenes)
    if not objects:
        return None

    def total(name: str) -> np.ndarray:
        return np.asarray(np.stack([getattr(scene, name) for scene in scenes]).sum(0))

    def deviation(name: str) -> list[float]:
        return [float(v) for v in np.sqrt(total(name) / objects)]

    true, read_true, read_samples = total("true"), total("read_true"), total("read_samples")
    spreads = read_true >= objects * LEAST**2
    ratio: list[float | None] = [None] * len(true)
    intervals: list[Interval | None] = [None] * len(true)
    for t in spreads.nonzero()[0]:
        ratio[t] = float(np.sqrt(read_samples[t] / read_true[t]))
        low, high = bootstrap_of_sums(
            [scene.read_samples[t] for scene in scenes], [scene.read_true[t] for scene in scenes]
        )
        intervals[t] = (low**0.5, high**0.5)
    ranks = total("ranks")
    outside, nominal = nominal_coverage(ranks.shape[1] - 1)
    inside = ranks[:, outside : ranks.shape[1] - outside].sum(1) / ranks.sum(1)
    explained = 1 - total("error") / np.maximum(true, 1e-12)
    return Calibration(
        scenes=len(scenes),
        objects=objects,
        true=deviation("true"),
        read_true=deviation("read_true"),
        read_samples=deviation("read_samples"),
        ratio=ratio,
        ratio_interval=intervals,
        readout_error=deviation("error"),
        readout_r2=explained.tolist(),
        offset=deviation("offset"),
        coverage=inside.tolist(),
        coverage_nominal=nominal,
        rank_histogram=_tenths(ranks.sum(0)).tolist(),
        pushed=pushed,
    )


def _tenths(ranks: Int[np.ndarray, " ranks"]) -> Float64[np.ndarray, " bins"]:
    """Ranks 0 .. K into ``BINS`` equal parts, a rank on a border shared between both.

    So that a calibrated forecast fills each part alike whatever K + 1 is divisible by.
    """
    edges = np.linspace(0, 1, len(ranks) + 1)
    below = np.concatenate([[0.0], ranks.cumsum()]) / ranks.sum()
    return np.diff(np.interp(np.linspace(0, 1, BINS + 1), edges, below))
