"""Several runs on the same sequences: which difference is real."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from foreframe.errors import ForeframeError
from foreframe.evaluation.card import protocol_words
from foreframe.metrics.intervals import paired

_SAME = ("n_past", "n_future", "samples", "select", "counts_context", "split", "seed", "sequences")


def compare(cards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Paired differences between runs, for each metric.

    Two runs are told apart where the 95 % interval of the mean difference over the same sequences
    (bootstrap) excludes zero. It speaks of these weights on such sequences; whether another seed of
    the training would show the same, `foreframe study` says.

    Args:
        cards: of at least two runs, as ``evaluate`` gives them.

    Returns:
        ``protocol``, ``runs`` (name and scores of each) and ``differences``: for each metric and
        each pair ``a`` and ``b`` the mean of b - a, its ``interval`` and whether it is
        ``separable``.

    Raises:
        ForeframeError: the cards are not of the same protocol and sequences.
    """
    first = cards[0]
    for other in cards[1:]:
        _check_same(first, other)
    metrics = first["protocol"]["metrics"]
    differences = []
    for name in metrics:
        for a, b in combinations(cards, 2):
            found = paired(_values(b, name), _values(a, name))
            differences.append(
                {
                    "metric": name,
                    "a": a["run"],
                    "b": b["run"],
                    "difference": found.mean,
                    "interval": [found.low, found.high],
                    "separable": found.separable,
                }
            )
    return {
        "protocol": first["protocol"],
        "data": first["data"],
        "runs": [
            {
                "run": card["run"],
                "hashes": card["hashes"],
                "condition": card["protocol"]["condition"],
                "scores": {
                    name: {k: card["rows"][0]["scores"][name][k] for k in ("value", "interval")}
                    for name in metrics
                },
            }
            for card in cards
        ],
        "differences": differences,
    }


def _check_same(first: dict[str, Any], other: dict[str, Any]) -> None:
    ours, theirs = first["protocol"], other["protocol"]
    apart = [key for key in _SAME if ours[key] != theirs[key]]
    if list(ours["metrics"]) != list(theirs["metrics"]):
        apart.append("metrics")
    if apart:
        raise ForeframeError(
            f"{other['run']}: its card differs from that of {first['run']} in "
            f"{', '.join(apart)}. Evaluate both with the same protocol."
        )


def _values(card: dict[str, Any], metric: str) -> list[float]:
    return list(card["rows"][0]["scores"][metric]["per_sequence"])


def comparison_markdown(comparison: dict[str, Any]) -> str:
    """The comparison for a reader."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: dict[str, Any]) -> Iterator[str]:
    protocol = comparison["protocol"]
    metrics = protocol["metrics"]
    yield f"# {len(comparison['runs'])} runs, protocol {protocol['name']}"
    yield ""
    words = protocol_words(protocol)
    yield f"{words[0].upper()}{words[1:]}; data `{comparison['data']}`."
    yield ""
    yield f"| run | condition | {' | '.join(m['label'] for m in metrics.values())} |"
    yield f"| --- | --- |{' ---: |' * len(metrics)}"
    for run in comparison["runs"]:
        cells = [_number(run["scores"][name], metrics[name]["digits"]) for name in metrics]
        yield f"| {run['run']} | {run['condition']} | {' | '.join(cells)} |"
    yield ""
    yield "| metric | difference | mean | 95 % interval | |"
    yield "| --- | --- | ---: | ---: | --- |"
    for one in comparison["differences"]:
        digits = metrics[one["metric"]]["digits"]
        low, high = one["interval"]
        verdict = "real" if one["separable"] else "not separable"
        yield (
            f"| {metrics[one['metric']]['label']} | {one['b']} - {one['a']} | "
            f"{one['difference']:+.{digits}f} | {low:+.{digits}f} to {high:+.{digits}f} | "
            f"{verdict} |"
        )
    yield ""
    yield (
        "Paired over the same sequences (bootstrap). Real: the interval excludes zero, for these "
        "weights; another seed of a training may differ more."
    )


def _number(score: dict[str, Any], digits: int) -> str:
    low, high = score["interval"]
    return f"{score['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
