"""The result of a probe: a dataclass, and JSON at the edge."""

from dataclasses import dataclass
from typing import Any, Self

from foreframe.config.results import Interval, Result

RANDOM_POINT, MEAN_ACTION, BORROWED = (
    "a random point",
    "the mean action",
    "another recording's actions",
)
"""What the minimum of a landscape of actions is held against."""


@dataclass(frozen=True)
class ConditionScore:
    """PSNR under one condition: mean over the sequences, 95 % of it, and each sequence's."""

    value: float
    interval: Interval
    per_sequence: list[float]


@dataclass(frozen=True)
class Cost:
    """PSNR that a false condition loses, dB.

    Attributes:
        mean: over the sequences.
        interval: 95 % of it.
        separable: whether the interval excludes zero, over at least two sequences.
    """

    mean: float
    interval: Interval
    separable: bool


@dataclass(frozen=True)
class Recovery:
    """How well actions were recovered.

    Attributes:
        overall: R squared of all varying numbers together; None if none of them varies here.
        interval: 95 % of it, by the bootstrap over sequences.
        per_dimension: of each kept column; None where it does not vary in these sequences.
        per_step: overall, of each predicted step.
    """

    overall: float | None
    interval: Interval | None
    per_dimension: list[float | None]
    per_step: list[float | None]


@dataclass(frozen=True)
class Actions:
    """The actions that frames show.

    Attributes:
        width: numbers in an action.
        kept: which of them vary in the training split.
        constant: the others.
        inverse_steps: of the inverse model's training, up to the weights that were kept.
        inverse_validation_mse: of standardised actions.
        recovered: by what they were recovered from; see ``listen.Heard``.
    """

    width: int
    kept: list[int]
    constant: list[int]
    inverse_steps: int
    inverse_validation_mse: float
    recovered: dict[str, Recovery]


@dataclass(frozen=True)
class Listening:
    """Does the model listen to its condition?

    Attributes:
        sequences: how many were predicted.
        condition: what the model is told, in words.
        metric: definition of the PSNR.
        psnr: by the condition that was told: "given", and the false ones that there are.
        costs: of the false ones.
        actions: that the frames show; None if there are none to recover.
        why_no_actions: the reason, then.
    """

    sequences: int
    condition: str
    metric: str
    psnr: dict[str, ConditionScore]
    costs: dict[str, Cost]
    actions: Actions | None
    why_no_actions: str | None


@dataclass(frozen=True)
class Pixels:
    """Deviation of a pixel at each step, root mean square over frame and sequences, in [0, 1].

    Attributes:
        samples: over the samples.
        physics: over the replays; None without a simulator.
    """

    samples: list[float] | None
    physics: list[float] | None


@dataclass(frozen=True)
class Pushed:
    """Objects that are pushed away, beside the truth: mean distances in pixels at the last step.

    A pair is an object and a held-out replay in which it moves by more than ``least`` from where it
    stands in the last given frame to the last predicted one. Only objects that count are among
    them, since the readout knows no others. The distance is to the true place in that replay.

    Attributes:
        least: pixels.
        scenes: in which there are such pairs.
        pairs: how many, in all of them.
        error: of the places read from the samples, mean over the samples.
        error_of_mean: of the mean of the samples' places.
        readout_error: of the place read from that replay's own frame.
        still: of the place in the replay's last given frame, as if the object stood still.
        copied: of the place read from the last given frame, as if a model copied it: differs from
            ``still`` by what the readout makes of an object that stands far from where it was
            fitted.
        physics: of the places read from the other held-out replays, mean over them: what samples
            have that are right, since a replay's own physics is not to be known.
        physics_of_mean: of the mean of the others' places: likewise for ``error_of_mean``.
        ratio: error to still, below 1 if the samples are nearer than standing still.
        ratio_of_mean: error_of_mean to still.
        intervals: 95 % of each of these, by the bootstrap over scenes.
        per_step: [T] each of the distances over the same pairs.
    """

    least: float
    scenes: int
    pairs: int
    error: float
    error_of_mean: float
    readout_error: float
    still: float
    copied: float
    physics: float
    physics_of_mean: float
    ratio: float
    ratio_of_mean: float
    intervals: dict[str, Interval]
    per_step: dict[str, list[float]]


@dataclass(frozen=True)
class Calibration:
    """Samples held against the physics at T steps; deviations are root mean squares in pixels.

    Attributes:
        scenes: how many.
        objects: that count, in all of them.
        true: [T] deviation of the true positions over the replays.
        read_true: [T] of the positions read from the replays' frames.
        read_samples: [T] of the positions read from the samples.
        ratio: [T] of the read samples to the read replays: 1 if they spread alike, 0 for samples
            that are all the same, None at steps at which the physics has hardly moved anything.
        ratio_interval: [T] 95 % of it.
        readout_error: [T] distance between read and true positions.
        readout_r2: [T] share of the variance of true positions that the readout explains.
        offset: [T] distance between the means of samples and replays.
        coverage: [T] share of replays within the samples' central interval.
        coverage_nominal: what it should be.
        rank_histogram: share of the replays' coordinates in each tenth of the samples: a tenth each
            if they are calibrated, more at the ends if they spread too little.
        pushed: objects that are pushed away, beside the truth; None if none is, or in a file that
            was written before they were measured.
    """

    scenes: int
    objects: int
    true: list[float]
    read_true: list[float]
    read_samples: list[float]
    ratio: list[float | None]
    ratio_interval: list[Interval | None]
    readout_error: list[float]
    readout_r2: list[float]
    offset: list[float]
    coverage: list[float]
    coverage_nominal: float
    rank_histogram: list[float]
    pushed: Pushed | None = None


@dataclass(frozen=True)
class Spreading:
    """Do the samples spread as the hidden physics does?

    Attributes:
        sequences: names of those whose spread was measured.
        passed_over: names of scenes whose future was not open.
        samples: of each sequence.
        replays: of each scene; None without a simulator.
        pixels: deviation of a pixel.
        calibration: of the positions of objects; None if it could not be measured.
        why_no_calibration: the reason, then.
    """

    sequences: list[str]
    passed_over: list[str]
    samples: int
    replays: int | None
    pixels: Pixels
    calibration: Calibration | None
    why_no_calibration: str | None


@dataclass(frozen=True)
class Distance:
    """A distance: mean over the starts, and 95 % of it by the bootstrap over them."""

    mean: float
    interval: Interval


@dataclass(frozen=True)
class Nearer:
    """By how much the minimum is nearer to the true action than something else, deviations.

    Attributes:
        mean: over the starts.
        interval: 95 % of it, paired.
        separable: whether the interval excludes zero, over at least two starts.
    """

    mean: float
    interval: Interval
    separable: bool


@dataclass(frozen=True)
class Landscape:
    """What actions around the true ones cost; distances in standard deviations of the actions.

    Attributes:
        columns: the two numbers of an action that were varied.
        deviation: of each in the training split, in the action's own units.
        frames: imagined; the last of them is compared with the recorded one.
        side: points a side of the grid.
        reach: from the middle of the grid to its edge.
        starts: names of the sequences, each of another recording.
        least: from the true action to the point of least cost; the mean over the points where
            several cost as little.
        at_truth: starts in which the true action itself costs least.
        at_edge: starts in which a point at the edge of the grid does: the least may lie beyond.
        per_column: the same distance along each of the two, in the action's own units.
        chance: from the true action to a point of the grid drawn at random.
        mean_action: from the true action to the training split's mean.
        borrowed: from the middle to the minimum where another recording's actions are the middle of
            the grid: what the middle alone is good for; None with one recording.
        nearer: by how much ``least`` is nearer than ``RANDOM_POINT``, ``MEAN_ACTION`` and
            ``BORROWED``, where there is one.
        minima: the offset of the minimum in each start; None where several cost as little.
        surface: [side, side] cost by the mean cost of the start's grid, mean over the starts; rows
            are offsets of the first number, from low to high, columns of the second.
    """

    columns: list[int]
    deviation: list[float]
    frames: int
    side: int
    reach: float
    starts: list[str]
    least: Distance
    at_truth: int
    at_edge: int
    per_column: list[Distance]
    chance: float
    mean_action: Distance
    borrowed: Distance | None
    nearer: dict[str, Nearer]
    minima: list[tuple[float, float] | None]
    surface: list[list[float]]


@dataclass(frozen=True)
class ProbeResult(Result):
    """What a probe measured.

    Attributes:
        run: the run folder, as it was named.
        data: root of the dataset, likewise.
        command: that was run.
        split: whose sequences were predicted.
        n_past: given frames.
        n_future: predicted frames.
        seed: of z and of the inverse model.
        condition: what the model is told, with its timing.
        hashes: SHA-256 of the weights, the data and the program.
        foreframe: version that measured.
        listening: the first question.
        spread: the second.
        words: the answers, a sentence each.
        landscape: what actions around the true ones cost; None if it was not measured, or in a file
            that was written before it was.
        why_no_landscape: the reason, if it could not be measured.
    """

    WHAT = "a probe"

    run: str
    data: str
    command: str
    split: str
    n_past: int
    n_future: int
    seed: int
    condition: str
    hashes: dict[str, str]
    foreframe: str
    listening: Listening
    spread: Spreading
    words: list[str]
    landscape: Landscape | None = None
    why_no_landscape: str | None = None

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """See ``Result``; "shuffled", version 0.1's name of the permuted condition, is read too."""
        return super().from_json(_renamed(values), where)


def _renamed(values: Any) -> Any:
    """The same values with "permuted" for "shuffled" in every key."""
    if isinstance(values, list):
        return [_renamed(value) for value in values]
    if isinstance(values, dict):
        return {key.replace("shuffled", "permuted"): _renamed(v) for key, v in values.items()}
    return values
