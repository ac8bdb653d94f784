"""The discussion of a study: sentences that follow from the numbers, and nothing else."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from foreframe.study.numbers import Summary, apart
from foreframe.study.plan import Comparison

ABOUT_EQUAL_DB = 0.5
"""Two systems are about equal if the whole interval of their difference lies within this."""

SPIKE = 1.0
"""The KL spikes at a cycle's start if its rise (a ratio) is above this with confidence."""

Agreement = Literal["agrees", "does not agree", "cannot say"]


@dataclass(frozen=True)
class Claim:
    """A claim of the report held against this study.

    Attributes:
        claim: what the report says.
        agreement: whether these runs say so too.
        found: what was found.
    """

    claim: str
    agreement: Agreement
    found: str


def signed(value: float) -> str:
    """dB with a sign, a true minus among them."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def difference_words(a: Summary, b: Summary) -> str:
    """What may be said of the test PSNR of ``b`` against ``a``."""
    found = apart(a, b)
    shared = len(set(a.seeds) & set(b.seeds))
    if found is None:
        return f"{b.label} and {a.label} have no seed in common that was scored."
    if not math.isfinite(found.low):
        return (
            f"{b.label} is at {signed(found.mean)} dB from {a.label} with 1 seed, which can show "
            "nothing."
        )
    interval = f"{signed(found.low)} to {signed(found.high)} dB"
    if found.separable:
        better = "better" if found.mean > 0 else "worse"
        return (
            f"{b.label} is {better} than {a.label} by {abs(found.mean):.2f} dB "
            f"({interval}, {shared} seeds)."
        )
    return (
        f"{b.label} and {a.label} are not separable with {shared} seeds "
        f"({signed(found.mean)} dB, {interval})."
    )


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
            sentences.append(f"None of these {runs} runs collapsed.")
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


def claims(cells: Mapping[str, Summary]) -> list[Claim]:
    """The report's claims, as far as the cells that they speak of were run."""
    found = [
        _less_stable(cells),
        *_spikes(cells),
        _about_equal(cells),
        _worse_rate(cells),
    ]
    return [claim for claim in found if claim is not None]


def _less_stable(cells: Mapping[str, Summary]) -> Claim | None:
    if not {"fp-cyclical", "fp-monotonic"} <= cells.keys():
        return None
    cyclical, monotonic = cells["fp-cyclical"], cells["fp-monotonic"]
    counts = (
        f"{len(monotonic.collapsed)} of {len(monotonic.seeds)} monotonic and "
        f"{len(cyclical.collapsed)} of {len(cyclical.seeds)} cyclical seeds collapsed"
    )
    shares = [len(one.collapsed) / len(one.seeds) for one in (monotonic, cyclical)]
    agreement: Agreement = "agrees" if shares[0] > shares[1] else "does not agree"
    if len(monotonic.seeds) < 2 or len(cyclical.seeds) < 2:
        agreement = "cannot say"
    if shares == [0.0, 0.0]:
        counts += ": neither was unstable here"
    return Claim("monotonic annealing is less stable than cyclical", agreement, counts + ".")


def _spikes(cells: Mapping[str, Summary]) -> Iterator[Claim]:
    from foreframe.intervals import over_seeds

    for name in ("fp-cyclical", "lp-cyclical"):
        if name not in cells:
            continue
        cell = cells[name]
        starts = min((len(spikes) for spikes in cell.spikes), default=0)
        for k in range(starts):
            logs = [math.log(max(spikes[k], 1e-9)) for spikes in cell.spikes]
            finite = all(map(math.isfinite, logs))
            mean = math.exp(sum(logs) / len(logs)) if finite else math.inf
            low, high = over_seeds(logs) if finite else (-math.inf, math.inf)
            agreement: Agreement = "cannot say"
            if low > math.log(SPIKE):
                agreement = "agrees"
            elif high < math.log(SPIKE):
                agreement = "does not agree"
            words = f"{cell.label}: the KL rises {mean:.3g} times"
            if math.isfinite(low):
                words += f" ({math.exp(low):.3g} to {math.exp(high):.3g})"
            words += f" over {len(logs)} seed{'s' if len(logs) > 1 else ''}."
            yield Claim(
                f"the KL spikes at the start of cycle {k + 2} ({cell.label})", agreement, words
            )


def _about_equal(cells: Mapping[str, Summary]) -> Claim | None:
    if not {"fp-cyclical", "lp-cyclical"} <= cells.keys():
        return None
    a, b = cells["fp-cyclical"], cells["lp-cyclical"]
    found = apart(a, b)
    agreement: Agreement = "cannot say"
    if found is not None:
        if found.low >= -ABOUT_EQUAL_DB and found.high <= ABOUT_EQUAL_DB:
            agreement = "agrees"
        elif found.low > ABOUT_EQUAL_DB or found.high < -ABOUT_EQUAL_DB:
            agreement = "does not agree"
    words = difference_words(a, b)
    words += f" About equal means: the whole interval within {ABOUT_EQUAL_DB} dB."
    return Claim("a learned prior is about as good as a fixed one", agreement, words)


def _worse_rate(cells: Mapping[str, Summary]) -> Claim | None:
    if not {"fp-cyclical", "lr-2e-2"} <= cells.keys():
        return None
    a, b = cells["fp-cyclical"], cells["lr-2e-2"]
    found = apart(a, b)
    agreement: Agreement = "cannot say"
    words = difference_words(a, b)
    if len(b.collapsed) > len(a.collapsed):
        words += f" {len(b.collapsed)} of {len(b.seeds)} of its seeds collapsed."
    if found is not None and found.separable:
        agreement = "agrees" if found.mean < 0 else "does not agree"
    elif len(b.diverged) == len(b.seeds) > 1 > len(a.collapsed):
        agreement = "agrees"
    return Claim("a learning rate of 0.02 is worse than 0.002", agreement, words)
