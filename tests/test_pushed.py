"""Pushed objects beside the truth: places whose distances are known, and files without them."""

import json
from pathlib import Path

import numpy as np
import pytest

from foreframe.config.results import result_from_json, result_to_json
from foreframe.probe.calibrate import calibration, scene_spread
from foreframe.probe.pushed import pushed_objects, scene_pushed
from foreframe.probe.result import Calibration, ProbeResult
from foreframe.probe.words import _pushed as words_of_pushed

START = np.array([[10.0, 10.0], [30.0, 30.0]])


def places(ends, steps=4):
    """[n, steps, 2, 2]: the first object goes to the right by so many pixels, the other is still.

    It goes at an even pace, so that the last step is where it ends.
    """
    paths = np.tile(START, (len(ends), steps, 1, 1))
    paths[:, :, 0, 0] += np.outer(ends, np.arange(1, steps + 1) / steps)
    return paths


def scene(true=(8.0, 16.0), samples=(10.0, 14.0), readout=0.5):
    truth = places(true)
    return scene_pushed(
        np.tile(START, (len(true), 1, 1)),
        truth,
        truth + np.array([0.0, readout]),
        places(samples),
        np.tile(START, (1, 4, 1, 1)) + np.array([0.0, 2.0]),
    )


def test_the_distances_are_those_that_were_put_in():
    found = pushed_objects([scene()])
    assert (found.least, found.scenes, found.pairs) == (6.0, 1, 2)
    # |10 - 8|, |14 - 8|, |10 - 16|, |14 - 16|; the samples' mean is at 12, and the truth 4 away.
    assert found.error == pytest.approx(4.0)
    assert found.error_of_mean == pytest.approx(4.0)
    assert found.still == pytest.approx(12.0)
    assert found.ratio == found.ratio_of_mean == pytest.approx(1 / 3)
    assert found.readout_error == pytest.approx(0.5)
    assert found.physics == found.physics_of_mean == pytest.approx(np.hypot(8, 0.5))
    assert found.copied == pytest.approx((np.hypot(8, 2) + np.hypot(16, 2)) / 2)
    assert found.per_step["still"] == pytest.approx([3, 6, 9, 12])
    assert found.per_step["error"] == pytest.approx([1, 2, 3, 4])
    assert set(found.intervals) == {*found.per_step, "ratio", "ratio_of_mean"}


def test_samples_on_both_sides_are_far_and_their_mean_is_not():
    found = pushed_objects([scene(true=(10.0, 10.0), samples=(5.0, 15.0))])
    assert found.error == pytest.approx(5.0)
    assert found.error_of_mean == pytest.approx(0.0)
    assert (found.ratio, found.ratio_of_mean) == pytest.approx((0.5, 0.0))


def test_other_replays_are_all_but_the_own_one():
    found = pushed_objects([scene(true=(10.0, 20.0, 60.0), readout=0.0)])
    assert found.readout_error == 0
    assert found.physics == pytest.approx(np.mean([(10 + 50) / 2, (10 + 40) / 2, (50 + 40) / 2]))
    assert found.physics_of_mean == pytest.approx(np.mean([40 - 10, 35 - 20, 60 - 15]))


def test_a_case_moves_by_more_than_six_pixels_whatever_the_samples_do():
    assert pushed_objects([]) is None
    assert pushed_objects([scene(true=(6.0, -6.0), samples=(50.0, 50.0))]) is None
    found = pushed_objects([scene(true=(6.0, 6.1)), scene(true=(0.0, 0.0))])
    assert (found.scenes, found.pairs) == (1, 1)
    # There and back again is not pushed away.
    truth = places((20.0, 20.0))[:, [0, 2, 3, 0]]
    back = scene_pushed(np.tile(START, (2, 1, 1)), truth, truth, truth, truth[:1])
    assert back.pairs == 0


def test_a_scene_without_objects_has_no_case():
    empty = np.zeros((4, 3, 0, 2))
    assert pushed_objects([scene_pushed(empty[:, 0], empty, empty, empty, empty[:1])]) is None


def test_scenes_are_resampled_and_weigh_by_their_cases():
    good, bad = scene(samples=(12.0, 12.0)), scene(samples=(0.0, 0.0))
    found = pushed_objects([good] * 3 + [bad])
    assert found.ratio == pytest.approx((3 * 8 + 24) / (4 * 24))
    low, high = found.intervals["ratio"]
    assert low == pytest.approx(1 / 3)
    assert found.ratio < high <= 1
    same = pushed_objects([good] * 5)
    assert same.intervals["error"] == pytest.approx((4.0, 4.0))


def test_the_words_say_what_the_interval_shows():
    def said(*scenes):
        true = np.random.default_rng(0).normal(size=(4, 4, 1, 2))
        found = calibration([scene_spread(true, true, true, 0)], pushed_objects(list(scenes)))
        return " ".join(words_of_pushed(found))

    near = said(*[scene()] * 3)
    assert "moved by more than 6 pixels up to step 4: 6 cases in 3 scenes" in near
    assert "are read from the samples 4.0 pixels from the truth" in near
    assert "standing still they would be 12.0 pixels from it" in near
    assert (
        "0.33 times (0.33 to 0.33) the error of standing still, so the samples are nearer" in near
    )
    assert "error on true frames is 0.5 pixels" in near
    assert "farther away" in said(*[scene(samples=(-9.0, -9.0))] * 3)
    assert "not separable from it with 2 scenes" in said(scene(), scene(samples=(-9.0, -9.0)))
    assert "one scene shows nothing more" in said(scene())
    assert "No object that the readout knows moves by more than 6 pixels" in said()


def test_it_is_kept_and_a_file_without_it_is_read():
    true = np.random.default_rng(0).normal(size=(4, 4, 1, 2))
    found = calibration([scene_spread(true, true, true, 0)], pushed_objects([scene()] * 2))
    values = json.loads(json.dumps(result_to_json(found)))
    assert result_from_json(Calibration, values, "here", "a calibration") == found
    del values["pushed"]
    assert result_from_json(Calibration, values, "here", "a calibration").pushed is None
    before = Path(__file__).parent.parent / "docs" / "results" / "svg-small" / "probe.json"
    calibrated = ProbeResult.read(before).spread.calibration
    assert calibrated.objects > 0
