"""Metrics against values worked out by hand."""

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from foreframe.metrics import psnr, ssim


def test_psnr_is_the_mean_over_channels_not_of_the_pooled_error():
    truth = torch.zeros(3, 8, 8)
    prediction = torch.zeros(3, 8, 8)
    prediction[0] += 0.1  # MSE 0.01: 20 dB
    prediction[1] += 0.01  # 40 dB
    prediction[2] += 0.001  # 60 dB
    assert psnr(prediction, truth) == pytest.approx(40.0, abs=1e-3)


def test_psnr_of_a_perfect_frame_is_capped():
    frame = torch.rand(2, 3, 8, 8)
    assert psnr(frame, frame).tolist() == [100.0, 100.0]


def test_psnr_keeps_the_leading_axes():
    assert psnr(torch.rand(2, 5, 3, 8, 8), torch.rand(2, 5, 3, 8, 8)).shape == (2, 5)


def test_ssim_of_constant_frames_is_the_luminance_term():
    # (2 a b + c1) / (a^2 + b^2 + c1), with c1 = 0.01^2 for a data range of 1.
    a, b = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(a, b).item() == pytest.approx(expected, abs=1e-4)


def test_ssim_falls_with_noise_and_is_1_for_equal_frames():
    torch.manual_seed(0)
    truth = torch.rand(2, 4, 3, 32, 32)
    noisy = (truth + 0.1 * torch.randn_like(truth)).clamp(0, 1)
    worse = (truth + 0.4 * torch.randn_like(truth)).clamp(0, 1)
    assert ssim(truth, truth).min() == pytest.approx(1.0, abs=1e-5)
    assert (ssim(worse, truth) < ssim(noisy, truth)).all()
    assert (ssim(noisy, truth) < 0.999).all()


@pytest.mark.parametrize("shape", [(4, 3, 64, 64), (2, 2, 3, 64, 48)])
def test_ssim_is_that_of_torchmetrics(shape):
    """An independent program, with the window as one convolution."""
    torch.manual_seed(0)
    truth = torch.nn.functional.interpolate(torch.rand(4, 3, 8, 8), shape[-2:], mode="bilinear")
    truth = truth.reshape(shape)
    for spread in (0.0, 0.02, 0.3):
        other = (truth + spread * torch.randn(shape)).clamp(0, 1)
        expected = structural_similarity_index_measure(
            other.flatten(0, -4), truth.flatten(0, -4), data_range=1.0, reduction="none"
        )
        found = ssim(other, truth)
        assert found.shape == shape[:-3]
        torch.testing.assert_close(found.flatten(), expected, rtol=1e-4, atol=1e-5)
