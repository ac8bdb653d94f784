"""What ``generate`` takes where the meaning is clear, and what it refuses in one line."""

import numpy as np
import pytest
import torch

from foreframe import ForeframeError, ModelConfig, VideoCVAE


@pytest.fixture(scope="module")
def model() -> VideoCVAE:
    torch.manual_seed(0)
    config = ModelConfig("dcgan64", width=0.03125, g_dim=8, z_dim=2, rnn_size=8)
    return VideoCVAE(config).eval()


PAST = torch.randint(0, 256, (2, 2, 3, 64, 64), generator=torch.Generator().manual_seed(1)).byte()
ACTIONS = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(2))
NOISE = torch.randn(2, 3, 5, 2, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def expected(model):
    return model.generate(PAST, ACTIONS, n_samples=3, noise=NOISE)


@pytest.mark.parametrize(
    ("past", "actions"),
    [
        (PAST.numpy(), ACTIONS.numpy()),
        (PAST.numpy(), ACTIONS.double().numpy()),
        (PAST.float() / 255, ACTIONS.tolist()),
        (PAST.numpy() / 255, ACTIONS),
        (PAST.movedim(2, -1), ACTIONS),
        (np.ascontiguousarray(PAST.movedim(2, -1).numpy()), ACTIONS),
    ],
)
def test_arrays_of_every_clear_kind_give_the_same_futures(model, expected, past, actions):
    futures = model.generate(past, actions, n_samples=3, noise=NOISE)
    torch.testing.assert_close(futures, expected, atol=1e-6, rtol=0)


def test_one_sequence_needs_no_batch_axis(model, expected):
    futures = model.generate(PAST[1], ACTIONS[1], n_samples=3, noise=NOISE[1:])
    assert futures.shape == (3, 4, 3, 64, 64)
    torch.testing.assert_close(futures, expected[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("past", "actions", "message"),
    [
        (PAST.float(), ACTIONS, r"past: its floats lie in \[0, 255\]; give uint8, or floats in"),
        (PAST.float() / 255 - 0.5, ACTIONS, r"past: its floats lie in \[-0.5, 0.5\]"),
        (PAST.int(), ACTIONS, "past: is of torch.int32; give uint8"),
        (PAST.float() * float("nan"), ACTIONS, r"past: its floats lie in \[nan"),
        (torch.rand(2, 2, 3, 128, 128), ACTIONS, r"takes 3 channels of 64x64 pixels"),
        (torch.rand(2, 2, 1, 64, 64), ACTIONS, r"takes 3 channels of 64x64 pixels"),
        (PAST[0, 0], ACTIONS, r"past: has shape \[3, 64, 64\]; give frames \[B, n_past"),
        (PAST[:0], ACTIONS[:0], "holds no frames"),
        (PAST, ACTIONS[:1], r"actions: has shape \[1, 6, 4\]; .* each of the 2 sequences"),
        (PAST, ACTIONS[:, :, :2], "actions: 2 numbers a step, but the model was built for 4"),
        (PAST, ACTIONS[:, :2], "2 given and 0 future frames: too few"),
        (PAST, None, "actions: the model is conditioned on actions"),
        ("frames", ACTIONS, "past: not an array of numbers"),
    ],
)
def test_what_is_unclear_is_refused_in_one_line(model, past, actions, message):
    with pytest.raises(ForeframeError, match=message) as caught:
        model.generate(past, actions, n_future=None if actions is not None else 4)
    assert "\n" not in str(caught.value)
