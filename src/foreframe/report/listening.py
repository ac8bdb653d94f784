"""Does the model listen to its condition? What card and probe allow to be said, in words."""

from collections.abc import Iterator
from dataclasses import dataclass

from foreframe.evaluation.card import Card
from foreframe.probe.result import ProbeResult
from foreframe.report.numbers import Gain, Kind, gain


@dataclass(frozen=True)
class Listening:
    """How much better the model predicts with its own condition than with another sequence's.

    Attributes:
        mean: in dB.
        kind: good only where it is shown that the model listens.
        words: what the number is, with its interval.
        doubts: why it is open whether the model listens; empty where it is not.
    """

    mean: float
    kind: Kind
    words: str
    doubts: tuple[str, ...] = ()


def listening(card: Card | None, probe: ProbeResult | None) -> Listening | None:
    """What may be said; None where the card has no row of another sequence's condition.

    That the model listens is claimed only where the paired interval of the gain lies above 0, the
    model predicts better than with any false condition, and the probe, if it was run, agrees.

    Args:
        card: of the evaluation.
        probe: its result; None if it was not run.
    """
    own = gain(card, "permuted")
    if own is None:
        return None
    words = "gained by the sequence's own condition over another's"
    if own.apart is not None:
        words += f"; 95 % interval {own.interval()}, {own.sequences} sequences"
    if own.kind == "bad":
        return Listening(own.mean, "bad", f"{words}: another's predicts better")
    doubts = tuple(_doubts(own, card, probe))
    kind: Kind = "open" if doubts else "good"
    return Listening(own.mean, kind, f"{words}{'' if doubts else ': the model listens'}", doubts)


def _doubts(own: Gain, card: Card | None, probe: ProbeResult | None) -> Iterator[str]:
    if own.apart is None:
        yield "the card holds no interval of the gain over another sequence's"
    elif own.kind == "open":
        yield "the gain over another sequence's is not separable from 0"
    as_good = [
        name
        for name in ("zeroed", "opposed")
        if (other := gain(card, name)) is not None and other.mean <= 0
    ]
    if as_good:
        yield f"{' and '.join(as_good)} conditions predict as well or better"
    cost = probe.listening.costs.get("permuted") if probe else None
    if cost is not None and not (cost.separable and cost.mean > 0):
        yield "the probe does not tell the two conditions apart"
