"""Several runs on the same sequences: which difference is real."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from foreframe.config.results import Interval, Result
from foreframe.errors import ForeframeError
from foreframe.evaluation.card import Card, CardProtocol
from foreframe.metrics.intervals import paired

_SAME = ("n_past", "n_future", "samples", "select", "counts_context", "split", "seed", "sequences")


@dataclass(frozen=True)
class ComparedScore:
    """Mean over the sequences, and 95 % of it."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class ComparedRun:
    """A run in a comparison: its name, the hashes of its card, its condition and its scores."""

    run: str
    hashes: dict[str, str]
    condition: str
    scores: dict[str, ComparedScore]


@dataclass(frozen=True)
class PairedDifference:
    """The mean of b - a by one metric.

    Attributes:
        metric: its name.
        a: a run.
        b: another one.
        difference: the mean over the sequences.
        interval: 95 % of it.
        separable: whether the interval excludes zero.
    """

    metric: str
    a: str
    b: str
    difference: float
    interval: Interval
    separable: bool


@dataclass(frozen=True)
class Comparison(Result):
    """Runs on the same sequences.

    Attributes:
        protocol: that all were scored by.
        data: root of the dataset.
        runs: in the order that they were given.
        differences: of each metric and each pair.
    """

    WHAT = "a comparison of runs"

    protocol: CardProtocol
    data: str
    runs: list[ComparedRun]
    differences: list[PairedDifference]

    def table(self) -> Iterator[list[str]]:
        """A row of text for each difference: metric, runs, mean, interval and verdict."""
        for one in self.differences:
            metric = self.protocol.metrics[one.metric]
            low, high = one.interval
            yield [
                metric.label,
                f"{one.b} - {one.a}",
                f"{one.difference:+.{metric.digits}f}",
                f"{low:+.{metric.digits}f} to {high:+.{metric.digits}f}",
                "real" if one.separable else "not separable",
            ]


def compare(cards: Sequence[Card]) -> Comparison:
    """Paired differences between the models of several runs, for each metric.

    Two runs are told apart where the 95 % interval of the mean difference over the same sequences
    (bootstrap) excludes zero. It speaks of these weights on such sequences; whether another seed of
    the training would show the same, `foreframe study` says. Cards of version 2 and 3 compare: what
    differs between them is another row, the opposed condition.

    Args:
        cards: of at least two runs.

    Raises:
        ForeframeError: the cards are not of the same protocol and sequences, or of version 1, which
            has no scores of single sequences.
    """
    first = cards[0]
    for card in cards:
        _check_same(first, card)
    metrics = first.protocol.metrics
    differences = []
    for name in metrics:
        for a, b in combinations(cards, 2):
            theirs, ours = (card.rows[0].scores[name].per_sequence for card in (a, b))
            lost = paired(ours, theirs, first.recordings)
            differences.append(
                PairedDifference(
                    name, a.run, b.run, lost.mean, (lost.low, lost.high), lost.separable
                )
            )
    return Comparison(
        first.protocol,
        first.data,
        [
            ComparedRun(
                card.run,
                card.hashes,
                card.protocol.condition,
                {
                    name: ComparedScore(score.value, score.interval)
                    for name, score in card.rows[0].scores.items()
                },
            )
            for card in cards
        ],
        differences,
    )


def _check_same(first: Card, other: Card) -> None:
    ours, theirs = first.protocol, other.protocol
    differ = [key for key in _SAME if getattr(ours, key) != getattr(theirs, key)]
    if list(ours.metrics) != list(theirs.metrics):
        differ.append("metrics")
    if differ:
        raise ForeframeError(
            f"{other.run}: its card differs from that of {first.run} in "
            f"{', '.join(differ)}. Evaluate both with the same protocol."
        )
    if not other.rows or not other.rows[0].scores:
        raise ForeframeError(
            f"{other.run}: its card has no scores of single sequences. Evaluate it again."
        )
