"""The discussion of a study: sentences that follow from the numbers, and nothing else."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from foreframe.metrics.intervals import over_seeds
from foreframe.report.numbers import signed
from foreframe.study.numbers import Summary, apart, collapse_p, differences
from foreframe.study.plan import Comparison

ABOUT_EQUAL_DB = 0.5
"""Two systems are about equal if the whole interval of their difference lies within this."""

SPIKE = 1.0
"""The KL spikes at a cycle's start if its rise (a ratio) is above this with confidence, by both
measures of it."""

SIGNIFICANT = 0.05
"""One system collapses more often than another if the exact test's p is below this."""

Agreement = Literal["agrees", "does not agree", "cannot say"]


@dataclass(frozen=True)
class Claim:
    """A claim of the report held against this study.

    Attributes:
        claim: what the report says.
        agreement: whether these runs say so too.
        evidence: the numbers behind it, in a sentence.
    """

    claim: str
    agreement: Agreement
    evidence: str


def difference_words(a: Summary, b: Summary) -> str:
    """What may be said of the test PSNR of ``b`` against ``a``."""
    gap = apart(a, b)
    shared, scored = len(set(a.seeds) & set(b.seeds)), len(differences(a, b))
    if gap is None:
        return f"{b.label} and {a.label} have no seed in common that was scored."
    if scored < 2:
        words = (
            f"{b.label} is at {signed(gap.mean)} dB from {a.label} with 1 seed, which can show "
            "nothing."
        )
    elif gap.separable:
        better = "better" if gap.mean > 0 else "worse"
        words = (
            f"{b.label} is {better} than {a.label} by {abs(gap.mean):.2f} dB "
            f"({_interval(gap.low, gap.high)}, {scored} seeds)."
        )
    else:
        words = (
            f"{b.label} and {a.label} are not separable with {scored} seeds "
            f"({signed(gap.mean)} dB, {_interval(gap.low, gap.high)})."
        )
    if scored < shared:
        words += (
            f" {shared - scored} of {shared} seeds left out: a training that ended before its "
            "first validation has nothing to score."
        )
    return words


def _interval(low: float, high: float) -> str:
    return f"{signed(low)} to {signed(high)} dB"


def discussion(comparison: Comparison, cells: Mapping[str, Summary]) -> list[str]:
    """Sentences on one comparison; cells that were not run are not spoken of."""
    run = [cells[name] for name in comparison.cells if name in cells]
    sentences = []
    if run:
        first, *others = run
        sentences = [difference_words(first, other) for other in others]
        for cell in run:
            sentences += list(_troubles(cell))
        if not any(cell.collapsed for cell in run):
            runs = sum(len(cell.seeds) for cell in run)
            sentences.append(
                f"None of these {runs} runs collapsed."
                if runs > 1
                else "This run did not collapse."
            )
    missing = len(comparison.cells) - len(run)
    if missing:
        sentences.append(f"{missing} of {len(comparison.cells)} cells were not run.")
    return sentences


def _troubles(cell: Summary) -> Iterator[str]:
    n = len(cell.seeds)
    if cell.collapsed:
        diverged = f", {len(cell.diverged)} of them to numbers that are not finite"
        yield (
            f"{len(cell.collapsed)} of {n} seeds of {cell.label} collapsed"
            f"{diverged if cell.diverged else ''}."
        )
    if cell.unused:
        yield (
            f"In {len(cell.unused)} of {n} seeds of {cell.label} the latent ends unused: none of "
            "its dimensions is active."
        )


def claims(cells: Mapping[str, Summary], rate_reference: str = "fp-cyclical") -> list[Claim]:
    """The report's claims, as far as the cells that they speak of were run.

    Args:
        cells: by their names.
        rate_reference: the cell that was trained at a learning rate of 0.002.
    """
    held = [
        _less_stable(cells),
        *_spikes(cells),
        _about_equal(cells),
        _worse_rate(cells, rate_reference),
    ]
    return [claim for claim in held if claim is not None]


def _collapses(a: Summary, b: Summary) -> str:
    """How many seeds of ``b`` and of ``a`` collapsed, and whether that is a difference."""
    counts = (
        f"{len(b.collapsed)} of {len(b.seeds)} seeds of {b.label} and {len(a.collapsed)} of "
        f"{len(a.seeds)} of {a.label} collapsed"
    )
    if not a.collapsed and not b.collapsed:
        return f"{counts}: neither was unstable here."
    p = collapse_p(a, b)
    verdict = "" if p < SIGNIFICANT else ": not separable with so few seeds"
    return f"{counts}{verdict} (p = {p:.2g}, Barnard's exact test)."


def _collapses_more(a: Summary, b: Summary) -> int:
    """1 if ``b`` collapses more often than ``a``, -1 if less often, 0 if that cannot be said."""
    if collapse_p(a, b) >= SIGNIFICANT:
        return 0
    return 1 if len(b.collapsed) * len(a.seeds) > len(a.collapsed) * len(b.seeds) else -1


def _less_stable(cells: Mapping[str, Summary]) -> Claim | None:
    if not {"fp-cyclical", "fp-monotonic"} <= cells.keys():
        return None
    cyclical, monotonic = cells["fp-cyclical"], cells["fp-monotonic"]
    agreement: dict[int, Agreement] = {1: "agrees", -1: "does not agree", 0: "cannot say"}
    return Claim(
        "monotonic annealing is less stable than cyclical",
        agreement[_collapses_more(cyclical, monotonic)],
        _collapses(cyclical, monotonic),
    )


def _spikes(cells: Mapping[str, Summary]) -> Iterator[Claim]:
    for name in ("fp-cyclical", "lp-cyclical"):
        if name not in cells:
            continue
        cell = cells[name]
        for k in range(max((len(spikes) for spikes in cell.spikes), default=0)):
            measured = [
                (how, change)
                for how, values in (
                    ("the mean of two epochs on either side", cell.spikes),
                    ("the first epoch against the one before", cell.jumps),
                )
                if (change := _change(values, k)) is not None
            ]
            verdicts = {change.agreement for _, change in measured}
            if verdicts:
                said = "; ".join(f"{change.words} by {how}" for how, change in measured)
                yield Claim(
                    f"the KL spikes at the start of cycle {k + 2} ({cell.label})",
                    # Each measure can mislead where the other does not.
                    verdicts.pop() if len(verdicts) == 1 else "cannot say",
                    f"{cell.label}: the KL changes by a factor of {said}.",
                )


@dataclass(frozen=True)
class _Change:
    agreement: Agreement
    words: str


def _change(values: Sequence[Sequence[float]], k: int) -> _Change | None:
    """The rise at the start of later cycle ``k``, over the seeds that have come so far."""
    rises = [of_seed[k] for of_seed in values if len(of_seed) > k]
    logs = [math.log(max(rise, 1e-9)) for rise in rises if math.isfinite(rise)]
    if not logs:
        return None
    low, high = over_seeds(logs)
    agreement: Agreement = "cannot say"
    if low > math.log(SPIKE):
        agreement = "agrees"
    elif high < math.log(SPIKE):
        agreement = "does not agree"
    words = f"{math.exp(sum(logs) / len(logs)):.3g}"
    if math.isfinite(low):
        words += f" ({math.exp(low):.3g} to {math.exp(high):.3g})"
    return _Change(agreement, f"{words} over {len(logs)} seed{'s' if len(logs) > 1 else ''}")


def _about_equal(cells: Mapping[str, Summary]) -> Claim | None:
    if not {"fp-cyclical", "lp-cyclical"} <= cells.keys():
        return None
    a, b = cells["fp-cyclical"], cells["lp-cyclical"]
    gap = apart(a, b)
    agreement: Agreement = "cannot say"
    if gap is not None:
        if gap.low >= -ABOUT_EQUAL_DB and gap.high <= ABOUT_EQUAL_DB:
            agreement = "agrees"
        elif gap.low > ABOUT_EQUAL_DB or gap.high < -ABOUT_EQUAL_DB:
            agreement = "does not agree"
    words = difference_words(a, b)
    words += f" About equal means: the whole interval within {ABOUT_EQUAL_DB} dB."
    return Claim("a learned prior is about as good as a fixed one", agreement, words)


def _worse_rate(cells: Mapping[str, Summary], reference: str) -> Claim | None:
    if not {reference, "lr-2e-2"} <= cells.keys():
        return None
    a, b = cells[reference], cells["lr-2e-2"]
    gap = apart(a, b)
    words = difference_words(a, b)
    if a.collapsed or b.collapsed:
        words += f" {_collapses(a, b)}"
    # By the score of its best weights, and by how often it collapses: they may disagree.
    worse = [-1 if gap.mean > 0 else 1] if gap is not None and gap.separable else []
    if (more := _collapses_more(a, b)) != 0:
        worse.append(more)
    agreement: Agreement = "cannot say"
    if worse and min(worse) == max(worse):
        agreement = "agrees" if worse[0] > 0 else "does not agree"
    return Claim("a learning rate of 0.02 is worse than 0.002", agreement, words)
