"""Metrics against values worked out by hand and against independent programs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from foreframe.metrics import METRICS, PSNR_MOVING, psnr, ssim
from foreframe.metrics.images import psnr_of_frame, ssim_as_svg, ssim_grey

BAIR = Path(__file__).parents[2] / "shared" / "data" / "bair" / "bair_sample.npz"


def random_pair(spread=0.1, shape=(5, 3, 64, 64)):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(shape[0], 3, 8, 8, generator=generator)
    truth = torch.nn.functional.interpolate(coarse, shape[-2:], mode="bilinear")
    noise = torch.randn(truth.shape, generator=generator)
    return (truth + spread * noise).clamp(0, 1), truth


def real_pair():
    if not BAIR.exists():
        pytest.skip("no BAIR sample beside the checkout")
    with np.load(BAIR) as arrays:
        frames = next(arrays[k] for k in arrays.files if arrays[k].ndim >= 4)
    frames = torch.from_numpy(frames.reshape(-1, *frames.shape[-3:])[:6])
    frames = frames.permute(0, 3, 1, 2).float() / 255
    return frames[:-1], frames[1:]


PAIRS = {"random": random_pair, "random, far": lambda: random_pair(0.4), "BAIR": real_pair}
with_pairs = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())


def as_images(frames):
    return frames.permute(0, 2, 3, 1).double().numpy()


# -- PSNR ---------------------------------------------------------------------------------------


def test_psnr_is_the_mean_over_channels_not_of_the_pooled_error():
    truth = torch.zeros(3, 8, 8)
    prediction = torch.zeros(3, 8, 8)
    prediction[0] += 0.1  # MSE 0.01: 20 dB
    prediction[1] += 0.01  # 40 dB
    prediction[2] += 0.001  # 60 dB
    assert psnr(prediction, truth) == pytest.approx(40.0, abs=1e-3)
    assert psnr_of_frame(prediction, truth) == pytest.approx(
        -10 * np.log10((1e-2 + 1e-4 + 1e-6) / 3), abs=1e-3
    )


def test_psnr_of_a_perfect_frame_is_capped():
    frame = torch.rand(2, 3, 8, 8)
    assert psnr(frame, frame).tolist() == [100.0, 100.0]
    assert psnr_of_frame(frame, frame).tolist() == [100.0, 100.0]


def test_psnr_keeps_the_leading_axes():
    assert psnr(torch.rand(2, 5, 3, 8, 8), torch.rand(2, 5, 3, 8, 8)).shape == (2, 5)


@with_pairs
def test_psnr_is_that_of_scikit_image(pair):
    prediction, truth = pair()
    for k, (a, b) in enumerate(zip(as_images(prediction), as_images(truth), strict=True)):
        channels = [peak_signal_noise_ratio(b[..., c], a[..., c], data_range=1.0) for c in range(3)]
        assert psnr(prediction, truth)[k].item() == pytest.approx(np.mean(channels), abs=1e-4)
        pooled = peak_signal_noise_ratio(b, a, data_range=1.0)
        assert psnr_of_frame(prediction, truth)[k].item() == pytest.approx(pooled, abs=1e-4)


def test_the_psnr_of_a_video_pools_its_frames():
    metric = METRICS["psnr-video"]
    prediction, truth = random_pair()
    expected = -10 * np.log10(((prediction - truth).double() ** 2).mean().item())
    found = metric.read(metric.frame(prediction, truth).double().mean())
    assert found.item() == pytest.approx(expected, abs=1e-4)


# -- SSIM ---------------------------------------------------------------------------------------


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
    for metric in (ssim, ssim_as_svg, ssim_grey):
        assert metric(truth, truth).min() == pytest.approx(1.0, abs=1e-5)
        assert (metric(worse, truth) < metric(noisy, truth)).all()
        assert (metric(noisy, truth) < 0.999).all()


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


@with_pairs
def test_ssim_is_that_of_scikit_image(pair):
    prediction, truth = pair()
    for k, (a, b) in enumerate(zip(as_images(prediction), as_images(truth), strict=True)):
        gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        # scikit-image leaves the border out, and so does this window.
        expected = structural_similarity(a, b, channel_axis=-1, data_range=1.0, **gaussian)
        found = ssim(prediction, truth, window="gaussian inside")[k].item()
        assert found == pytest.approx(expected, abs=1e-4)
        weights = np.array([0.299, 0.587, 0.114])
        expected = structural_similarity(a @ weights, b @ weights, data_range=1.0, **gaussian)
        assert ssim_grey(prediction, truth)[k].item() == pytest.approx(expected, abs=1e-4)
        channels = [structural_similarity(a[..., c], b[..., c], data_range=2.0) for c in range(3)]
        assert ssim_as_svg(prediction, truth)[k].item() == pytest.approx(
            np.mean(channels), abs=1e-4
        )


@with_pairs
def test_a_data_range_of_2_inflates_ssim(pair):
    prediction, truth = pair()
    honest = ssim(prediction, truth, window="uniform inside")
    inflated = ssim_as_svg(prediction, truth)
    assert (inflated > honest).all()
    assert (inflated - honest).max() > 0.005


@with_pairs
def test_the_variants_differ_on_the_same_frames(pair):
    """A number without its definition means nothing."""
    prediction, truth = pair()
    values = {}
    for name, metric in METRICS.items():
        values[name] = metric.read(metric.frame(prediction, truth).double().mean()).item()
    of_psnr = [v for k, v in values.items() if k.startswith("psnr")]
    of_ssim = [v for k, v in values.items() if k.startswith("ssim")]
    assert values["psnr"] > values["psnr-frame"]  # the mean of logarithms
    assert values["psnr-frame"] >= values["psnr-video"] - 1e-6
    assert len({round(v, 4) for v in of_psnr}) >= 2
    assert len({round(v, 3) for v in of_ssim}) == 3


def test_what_the_truth_scores_is_what_each_metric_says_is_perfect():
    _, truth = random_pair()
    for metric in METRICS.values():
        assert metric.frame(truth, truth).mean().item() == pytest.approx(metric.perfect, abs=1e-4)


def test_moving_psnr_sees_only_what_truly_changes():
    last = torch.full((1, 3, 8, 8), 0.5)
    truth = last.clone()
    truth[..., :2, :2] = 0.9  # four pixels move
    still = PSNR_MOVING.of(last, truth, last)
    assert still.item() == pytest.approx(-10 * np.log10(0.4**2), abs=1e-4)
    noisy = last + 0.1  # wrong everywhere: only the four pixels count
    assert PSNR_MOVING.of(noisy, truth, last).item() == pytest.approx(
        -10 * np.log10(0.3**2), abs=1e-4
    )
    assert PSNR_MOVING.of(truth, truth, last).item() == PSNR_MOVING.perfect
    nothing = PSNR_MOVING.of(noisy, last + 0.01, last)
    assert nothing.item() == pytest.approx(-10 * np.log10(0.09**2), abs=1e-3)
