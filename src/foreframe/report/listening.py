"""Does the model listen to its condition? What card and probe allow to be said, in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from foreframe.evaluation.card import Card
from foreframe.report.numbers import Gain, Kind, gain

_OTHER_SEQUENCES = ("permuted", "shuffled")
"""Names of the condition of another sequence, in cards and probes of all versions."""


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


def listening(card: Card | None, probe: Mapping[str, Any] | None) -> Listening | None:
    """What may be said; None where the card has no row of another sequence's condition.

    That the model listens is claimed only where the paired interval of the gain lies above 0, the
    model predicts better than with any false condition, and the probe, if it was run, agrees.

    Args:
        card: of the evaluation.
        probe: as in ``probe.json``; None if it was not run.
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


def _doubts(own: Gain, card: Card | None, probe: Mapping[str, Any] | None) -> Iterator[str]:
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
    costs = probe["listening"].get("costs") if probe else None
    for name in _OTHER_SEQUENCES:
        cost = (costs or {}).get(name)
        if cost is not None and not (cost["separable"] and cost["mean"] > 0):
            yield "the probe does not tell the two conditions apart"
