"""What every tool checks its options with."""

import math

import pytest

from foreframe.config.plain import differences, flat
from foreframe.errors import ForeframeError, at_least


def test_an_option_below_its_bound_is_named_as_it_is_typed() -> None:
    at_least(1, n_past=1, n_future=None, samples=100)
    with pytest.raises(ForeframeError, match=r"^--n-past 0: must be at least 1\.$"):
        at_least(1, n_future=2, n_past=0)


@pytest.mark.parametrize("value", [-0.5, math.nan])
def test_a_number_that_cannot_be_compared_is_refused_as_a_small_one_is(value: float) -> None:
    with pytest.raises(ForeframeError, match=f"--session-minutes {value}: must be at least 0"):
        at_least(0, session_minutes=value)


def test_values_have_the_paths_that_lead_to_them() -> None:
    assert flat({"train": {"rate": {"lr": 0.002}, "epochs": 3}, "recipe": "demo"}) == {
        "train.rate.lr": 0.002,
        "train.epochs": 3,
        "recipe": "demo",
    }


def test_what_differs_is_said_with_both_values() -> None:
    theirs = {"train": {"lr": 0.002, "epochs": 3}, "data": "lab", "old": 1}
    ours = {"train": {"lr": 0.001, "epochs": 3}, "data": "lab", "new": "x" * 64}
    assert differences(theirs, theirs) == []
    assert differences(theirs, ours) == [
        "train.lr is 0.002 there and 0.001 here",
        "new is None there and another here",
        "old is 1 there and None here",
    ]
