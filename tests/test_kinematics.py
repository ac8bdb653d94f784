"""Positions rolled forward from actions."""

import numpy as np
import pytest

from foreframe.data.recording import Recording
from foreframe.errors import ForeframeError
from foreframe.runs.kinematics import Kinematics, fit_kinematics


def recordings(noise: float = 0.0, n: int = 20):
    """An arm that drifts a little and goes where it is told, in two of three directions."""
    draw = np.random.default_rng(0)
    gain = np.array([[0.9, 0.1, 0.0], [0.0, 0.8, 0.0]])
    for _ in range(n):
        actions = draw.normal(size=(15, 2)).astype(np.float32)
        positions = [draw.normal(size=3)]
        for action in actions[:-1]:
            step = action @ gain + [0.01, 0.0, 0.0] + noise * draw.normal(size=3)
            positions.append(positions[-1] + step)
        yield Recording(np.zeros((15, 8, 8, 3), np.uint8), actions, np.array(positions, np.float32))


def test_an_exact_map_is_found():
    found = fit_kinematics(recordings())
    assert found.rows == 20 * 14
    np.testing.assert_allclose(found.r2[:2], 1, atol=1e-6)
    one = next(recordings(n=1))
    for t in range(14):
        expected = one.positions[t + 1]
        np.testing.assert_allclose(
            found.next(one.positions[t], one.actions[t]), expected, atol=1e-4
        )


def test_what_it_cannot_explain_is_said():
    found = fit_kinematics(recordings(noise=0.5))
    np.testing.assert_allclose(found.residual, 0.5, rtol=0.15)
    assert 0.6 < found.r2[0] < 0.9  # 0.81 + 0.01 of action against 0.25 of noise
    assert abs(found.r2[2]) < 0.1  # nothing but noise


def test_it_is_kept(tmp_path):
    found = fit_kinematics(recordings(noise=0.1))
    found.write(tmp_path)
    from foreframe.system.files import read_json

    path = tmp_path / "kinematics.json"
    again = Kinematics.from_json(read_json(path), path)
    np.testing.assert_array_equal(again.matrix, found.matrix)
    with pytest.raises(ForeframeError, match=r"kinematics\.json: cannot be read"):
        Kinematics.from_json({"matrix": [[1.0], [float("nan")]]}, path)


def test_there_is_none_without_positions():
    frames = np.zeros((5, 8, 8, 3), np.uint8)
    assert fit_kinematics([Recording(frames, np.zeros((5, 2), np.float32))]) is None
    assert fit_kinematics([]) is None
