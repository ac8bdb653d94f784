"""Schedules against the report's figures (epoch by epoch) and their refusals."""

from dataclasses import replace
from itertools import pairwise

import pytest

from foreframe.config.recipes import RECIPES, recipe
from foreframe.config.schedules import (
    KLSchedule,
    LearningRate,
    TeacherForcing,
    check_schedules,
    kl_weight,
    learning_rate,
    teacher_forcing_ratio,
)
from foreframe.config.training import RunConfig, check_config, latent_weight, scaled, scaled_words
from foreframe.errors import ForeframeError


def weights(epochs: int, **settings) -> list[float]:
    kl = KLSchedule(**{"beta_max": 1.0, **settings})
    return [kl_weight(epoch, kl, epochs) for epoch in range(epochs)]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (12, [0, 0.5, 1, 1] * 3),
        (10, [0, 0.6, 1, 0, 0.6, 1, 0, 0.6, 1, 1]),
    ],
)
def test_cyclical_weights_are_the_reports(epochs, expected):
    assert weights(epochs, kl_schedule="cyclical") == pytest.approx(expected, abs=1e-9)


def test_monotonic_rises_over_half_of_150_epochs_and_stays():
    rising = weights(150, kl_schedule="monotonic")
    assert rising[:75] == pytest.approx([epoch / 75 for epoch in range(75)], abs=1e-9)
    assert rising[75:] == pytest.approx([1.0] * 75, abs=1e-9)


def test_monotonic_is_one_cycle_whatever_the_number_of_cycles_says():
    assert weights(20, kl_schedule="monotonic", kl_cycles=4) == weights(
        20, kl_schedule="cyclical", kl_cycles=1
    )


def test_beta_max_scales_the_shape_and_constant_is_beta_max():
    assert weights(12, kl_schedule="cyclical", beta_max=0.01) == pytest.approx(
        [0.01 * value for value in [0, 0.5, 1, 1] * 3], abs=1e-9
    )
    assert weights(5, beta_max=1e-4) == [1e-4] * 5


def test_past_the_end_both_keep_their_last_value():
    kl = KLSchedule(kl_schedule="cyclical", beta_max=1.0)
    forcing = TeacherForcing(teacher_forcing="linear", teacher_forcing_start=3)
    assert kl_weight(99, kl, 12) == kl_weight(11, kl, 12)
    assert teacher_forcing_ratio(99, forcing, 12) == 0.0


def test_teacher_forcing_is_1_up_to_the_start_and_0_at_the_last_epoch():
    forcing = TeacherForcing(teacher_forcing="linear", teacher_forcing_start=11)
    ratios = [teacher_forcing_ratio(epoch, forcing, 150) for epoch in range(150)]
    assert ratios[:12] == [1.0] * 12
    assert ratios[12] == pytest.approx(1 - 1 / 138, abs=1e-9)
    assert ratios[149] == pytest.approx(0.0, abs=1e-9)
    steps = [a - b for a, b in pairwise(ratios[11:])]
    assert steps == pytest.approx([1 / 138] * 138, abs=1e-9)


def test_teacher_forcing_never_falls_below_its_floor():
    forcing = TeacherForcing(
        teacher_forcing="linear", teacher_forcing_start=0, teacher_forcing_floor=0.3
    )
    ratios = [teacher_forcing_ratio(epoch, forcing, 11) for epoch in range(11)]
    assert min(ratios) == 0.3
    assert ratios[5] == pytest.approx(0.5)


def test_always_and_never():
    assert teacher_forcing_ratio(7, TeacherForcing("always"), 10) == 1.0
    assert teacher_forcing_ratio(7, TeacherForcing("never"), 10) == 0.0


@pytest.mark.parametrize(
    ("kl", "forcing", "epochs", "flag"),
    [
        (KLSchedule("cyclical", kl_ratio=0.0), TeacherForcing(), 12, "--kl-ratio 0"),
        (KLSchedule("cyclical", kl_ratio=1.5), TeacherForcing(), 12, "--kl-ratio 1.5"),
        (KLSchedule("cyclical", kl_cycles=3), TeacherForcing(), 5, "--kl-cycles 3"),
        (KLSchedule("cyclical", kl_cycles=0), TeacherForcing(), 5, "--kl-cycles 0"),
        (KLSchedule(beta_max=-1.0), TeacherForcing(), 5, "--beta-max -1"),
        (KLSchedule(), TeacherForcing("linear", 11), 12, "--teacher-forcing-start 11"),
        (KLSchedule(), TeacherForcing("linear", 1, 1.5), 12, "--teacher-forcing-floor 1.5"),
        (KLSchedule(), TeacherForcing(), 0, "--epochs 0"),
    ],
)
def test_settings_without_a_meaning_are_refused_by_name(kl, forcing, epochs, flag):
    with pytest.raises(ForeframeError, match=flag):
        check_schedules(kl, forcing, epochs)


def test_the_least_settings_that_have_a_meaning_are_taken():
    check_schedules(KLSchedule("cyclical", kl_cycles=3, kl_ratio=1.0), TeacherForcing(), 6)
    check_schedules(KLSchedule(), TeacherForcing("linear", 10), 12)


def test_cosine_warms_up_then_falls_to_almost_nothing():
    schedule = LearningRate(lr=0.002, lr_schedule="cosine", lr_warmup=0.1)
    rates = [learning_rate(step, schedule, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.0002)
    assert max(rates) == pytest.approx(0.002)
    assert rates.index(max(rates)) in (9, 10)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[-1] < 1e-5
    assert learning_rate(42, LearningRate(lr=0.002), 100) == 0.002


# -- another number of epochs than the recipe's -------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 6, 20, 400])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_can_be_trained_for_any_number_of_epochs(name, epochs):
    config = recipe(name)
    train = scaled(replace(config.train, epochs=epochs), config.train)
    check_config(RunConfig(name, config.model, train))


def test_a_recipe_of_six_epochs_has_its_schedules_at_the_same_shares():
    small = recipe("svg-small").train
    asked = replace(small, epochs=6)
    result = scaled(asked, small)
    assert (result.kl.kl_cycles, result.forcing.teacher_forcing_start) == (3, 4)
    (line,) = scaled_words(asked, result, small)
    assert "10 epochs are brought to 6: --teacher-forcing-start 4" in line
    assert scaled(small, small) == small
    assert scaled_words(small, small, small) == []


def test_the_demo_of_half_its_epochs_teaches_motion_alone_for_the_same_share():
    demo = recipe("demo").train
    asked = replace(demo, epochs=demo.epochs // 2)
    result = scaled(asked, demo)
    arm = round(demo.arm_epochs / 2)
    assert result.arm_epochs == arm > 0
    (line,) = scaled_words(asked, result, demo)
    assert f"brought to {demo.epochs // 2}: --arm-epochs {arm}." in line
    weights = [latent_weight(result, epoch) for epoch in range(result.epochs)]
    assert weights == [0.0] * arm + [demo.kl.beta_max] * (result.epochs - arm)


def test_a_single_epoch_has_no_room_for_a_schedule():
    small = recipe("svg-small").train
    result = scaled(replace(small, epochs=1), small)
    assert (result.kl.kl_schedule, result.forcing.teacher_forcing) == ("constant", "always")


@pytest.mark.parametrize(
    ("typed", "flag"),
    [("kl_cycles", "--kl-cycles 3"), ("teacher_forcing_start", "--teacher-forcing-start 6")],
)
def test_what_the_user_typed_is_refused_not_scaled(typed, flag):
    small = recipe("svg-small").train
    result = scaled(replace(small, epochs=4), small, {typed, "epochs"})
    with pytest.raises(ForeframeError, match=flag):
        check_config(RunConfig("svg-small", train=result))
