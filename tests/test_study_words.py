"""What a study may say: constructed numbers in, sentences and verdicts out."""

import math
from dataclasses import replace

import pytest

from foreframe.study.numbers import Summary, apart, collapse_p, kl_jumps, kl_spikes
from foreframe.study.words import claims, difference_words


def cell(name, psnr, *, collapsed=(), spikes=None, jumps=None):
    n = len(psnr)
    return Summary(
        name=name,
        label=name,
        seeds=list(range(n)),
        psnr=list(psnr),
        ssim=[0.5] * n,
        gain=[1.0] * n,
        listening=[1.0] * n,
        validation=list(psnr),
        collapsed=list(collapsed),
        diverged=[],
        unused=[],
        seconds=[1.0] * n,
        spikes=spikes or [[] for _ in psnr],
        jumps=jumps or spikes or [[] for _ in psnr],
    )


def claim(cells, words):
    (found,) = [one for one in claims({c.name: c for c in cells}) if words in one.claim]
    return found


def test_seeds_without_a_score_are_not_counted_and_are_named():
    a = cell("a", [20.0, 20.1, 20.2])
    words = difference_words(a, cell("b", [22.0, 22.15, None]))
    assert "2 seeds)" in words
    assert "3 seeds)" not in words
    assert "1 of 3 seeds left out" in words
    lone = difference_words(a, cell("b", [22.0, None, None]))
    assert "1 seed, which can show nothing" in lone
    assert "better" not in lone
    assert "2 of 3 seeds left out" in lone


def test_seeds_are_paired_by_their_number_not_by_their_place():
    a = cell("a", [20.0, 25.0])
    b = replace(cell("b", [26.0, 21.0]), seeds=[1, 0])
    assert apart(a, b).mean == pytest.approx(1.0)
    assert apart(a, b).separable


def test_collapses_are_compared_by_an_exact_test():
    # Of 2 x 3 runs, all of one system and none of the other: 2 p^3 (1 - p)^3 is at most 2 / 64.
    none, all_three = cell("a", [20.0] * 3), cell("b", [20.0] * 3, collapsed=[0, 1, 2])
    assert collapse_p(none, all_three) == pytest.approx(2 / 64, rel=1e-3)
    assert collapse_p(none, cell("b", [20.0] * 3, collapsed=[0])) > 0.2
    assert collapse_p(none, none) == 1.0
    assert collapse_p(all_three, all_three) == 1.0
    assert collapse_p(cell("a", [20.0]), cell("b", [20.0], collapsed=[0])) > 0.2


@pytest.mark.parametrize(
    ("monotonic", "cyclical", "expected"),
    [
        ([0, 1, 2], [], "agrees"),
        ([], [0, 1, 2], "does not agree"),
        ([1], [], "cannot say"),
        ([0, 1], [], "cannot say"),
        ([], [], "cannot say"),
        ([0, 1, 2], [0, 1, 2], "cannot say"),
    ],
)
def test_less_stable_is_claimed_only_where_the_counts_show_it(monotonic, cyclical, expected):
    cells = [
        cell("fp-monotonic", [20.0] * 3, collapsed=monotonic),
        cell("fp-cyclical", [20.0] * 3, collapsed=cyclical),
    ]
    found = claim(cells, "less stable")
    assert found.agreement == expected
    assert f"{len(monotonic)} of 3 seeds of fp-monotonic" in found.evidence
    if not monotonic and not cyclical:
        assert "neither was unstable" in found.evidence
    elif expected == "cannot say":
        assert "not separable" in found.evidence


def row(beta, kld):
    return {"epoch": 0, "beta": beta, "kld": kld}


def test_a_kl_that_only_fluctuates_does_not_spike():
    betas = [0.0, 0.5, 1.0, 1.0] * 3
    alternating = [row(beta, 2.0 + (-1) ** k) for k, beta in enumerate(betas)]
    assert kl_spikes(alternating) == [1.0, 1.0]
    risen = [row(beta, 8.0 if beta < 1 else 2.0) for beta in betas]
    assert kl_spikes(risen) == [4.0, 4.0]
    assert kl_spikes(risen[:5]) == [4.0]  # ended in the first epoch of a cycle
    assert kl_spikes([row(beta, 0.0) for beta in betas]) == [math.inf, math.inf]


def test_the_epochs_before_a_spike_are_those_at_the_highest_beta():
    history = [row(0.0, 50.0), row(1.0, 2.0), row(0.0, 6.0), row(1.0, 2.0)]
    assert kl_spikes(history) == [2.0]


def test_a_seed_that_diverged_early_hides_no_spike_of_the_others():
    spikes = [[3.0, 3.0], [3.1, 3.1], [2.9, 2.9], []]
    cells = [cell("fp-cyclical", [20.0] * 4, collapsed=[3], spikes=spikes)]
    found = claim(cells, "cycle 3")
    assert found.agreement == "agrees"
    assert "3 seeds" in found.evidence
    falling = [cell("fp-cyclical", [20.0] * 3, spikes=[[0.5], [0.52], [0.48]])]
    assert claim(falling, "cycle 2").agreement == "does not agree"
    assert claim([cell("fp-cyclical", [20.0], spikes=[[9.0]])], "cycle 2").agreement == "cannot say"


def test_a_spike_that_only_one_measure_sees_is_left_open():
    up, down = [[1.5], [1.45], [1.55]], [[0.6], [0.62], [0.64]]
    found = claim([cell("fp-cyclical", [20.0] * 3, spikes=down, jumps=up)], "cycle 2")
    assert found.agreement == "cannot say"
    assert "0.62" in found.evidence
    assert "1.5 " in found.evidence
    betas = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    decaying = [row(beta, kld) for beta, kld in zip(betas, (64, 32, 8, 12, 2, 1), strict=True)]
    assert kl_jumps(decaying) == [1.5]
    assert kl_spikes(decaying) == [7 / 20]


def test_about_equal_is_an_interval_within_half_a_decibel():
    a = cell("fp-cyclical", [20.0, 21.0, 22.0])
    for other, expected in (
        ([20.1, 21.1, 22.2], "agrees"),
        ([21.0, 22.0, 23.1], "does not agree"),
        ([20.5, 21.5, 22.45], "cannot say"),  # separable from 0, not from 0.5
        ([20.0], "cannot say"),
    ):
        assert claim([a, cell("lp-cyclical", other)], "about as good").agreement == expected


def test_a_rate_that_scores_better_but_collapses_is_left_open():
    a = cell("fp-cyclical", [20.0, 20.1, 20.2])
    better = [22.0, 22.1, 22.15]
    rate = "learning rate of 0.02"
    assert claim([a, cell("lr-2e-2", better)], rate).agreement == "does not agree"
    both = cell("lr-2e-2", better, collapsed=[0, 1, 2])
    assert claim([a, both], rate).agreement == "cannot say"
    gone = cell("lr-2e-2", [None] * 3, collapsed=[0, 1, 2])
    assert claim([a, gone], rate).agreement == "agrees"
    some = cell("lr-2e-2", [20.0, None, None], collapsed=[1, 2])
    assert claim([a, some], rate).agreement == "cannot say"


def test_the_rate_is_held_against_the_cell_that_was_trained_at_0_002():
    cells = {c.name: c for c in (cell("fp-cyclical", [30.0, 30.1]), cell("lr-2e-2", [20.0, 20.1]))}
    assert [one for one in claims(cells, "lr-2e-3") if "rate" in one.claim] == []
