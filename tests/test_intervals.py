"""Intervals: what they cover, and what they refuse to claim."""

import math

import numpy as np
import pytest

from foreframe.metrics.intervals import bootstrap, normal, over_seeds, paired


@pytest.mark.parametrize("interval", [bootstrap, normal, over_seeds])
def test_19_of_20_intervals_hold_the_mean(interval):
    random = np.random.default_rng(0)
    n = 4 if interval is over_seeds else 40
    trials = 60 if interval is bootstrap else 400
    held = 0
    for _ in range(trials):
        low, high = interval(random.normal(5.0, 2.0, n))
        held += low <= 5.0 <= high
    assert 0.87 <= held / trials <= 0.99


def test_a_single_seed_shows_nothing():
    assert over_seeds([1.0]) == (-math.inf, math.inf)


def test_a_difference_that_is_the_same_everywhere_is_real_however_noisy_the_values():
    noise = np.random.default_rng(0).normal(0, 10, 50)
    found = paired(noise + 0.5 + 1e-3 * noise, noise)
    assert found.separable
    assert found.mean == pytest.approx(0.5, abs=0.01)
    assert not paired(noise, np.random.default_rng(1).permutation(noise)).separable


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(0).normal(size=30)
    assert bootstrap(values) == bootstrap(values)


def test_clips_of_one_recording_are_drawn_together():
    """Ten recordings of ten clips that are all alike say as much as ten numbers, not a hundred."""
    random = np.random.default_rng(0)
    each = random.normal(size=10)
    values, groups = np.repeat(each, 10), np.repeat(np.arange(10), 10)
    low, high = bootstrap(values)
    together = bootstrap(values, groups.tolist())
    alone = bootstrap(each)
    assert together[1] - together[0] > 2.5 * (high - low)
    assert np.allclose(together, alone, atol=0.1 * (alone[1] - alone[0]))
    assert bootstrap(values, [7] * 100) == pytest.approx((each.mean(),) * 2)
    gap = paired(values + 1, values, groups.tolist())
    assert (gap.low, gap.mean, gap.high) == pytest.approx((1, 1, 1))
