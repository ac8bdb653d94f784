"""Pictures: what is drawn where, and what a chart holds."""

import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageSequence

from foreframe.errors import ForeframeError
from foreframe.visuals import (
    StripGrid,
    frames_to_png,
    prediction_gif,
    prediction_strip,
    samples_gif,
    save_strip,
    schedule_plot,
    step_charts,
    training_charts,
)
from foreframe.visuals.frames import GIVEN, PREDICTED, RECORDED
from foreframe.visuals.pair import read_pair, write_pair

T, N_PAST = 6, 2


def moving_square(offset: int = 0, steps: int = T) -> np.ndarray:
    """A square that moves to the right over a gradient with some noise."""
    random = np.random.default_rng(offset)
    ramp = np.linspace(90, 160, 64).astype(np.uint8)
    frames = np.repeat(np.broadcast_to(ramp[:, None, None], (64, 64, 3))[None], steps, 0)
    frames = frames + random.integers(0, 4, frames.shape, dtype=np.uint8)
    for t in range(steps):
        left = 4 + offset + 5 * t
        frames[t, 20:36, left : left + 12] = (220, 60, 40)
    return frames


@pytest.fixture
def truth():
    return moving_square()


def gif_frames(path):
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0  # without end
        return [np.array(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(gif)]


def enlarged(frame, scale):
    return frame.repeat(scale, 0).repeat(scale, 1).astype(int)


def found_at(picture, frame, scale):
    """Left upper corner (x, y) where the enlarged frame lies in the picture, within the palette."""
    large = enlarged(frame, scale)
    height, width = large.shape[:2]
    for y in range(picture.shape[0] - height + 1):
        for x in range(picture.shape[1] - width + 1):
            corner = np.abs(picture[y : y + 8, x : x + 8] - large[:8, :8]).max()
            if corner < 24:
                error = np.abs(picture[y : y + height, x : x + width] - large)
                if error.mean() < 4 and error.max() < 40:
                    return x, y
    raise AssertionError("the frame is not in the picture")


def test_gif_shows_every_step_with_the_truth_left_and_the_prediction_right(tmp_path, truth):
    prediction = moving_square(offset=10)
    prediction[:N_PAST] = truth[:N_PAST]
    prediction_gif(tmp_path / "a.gif", truth, prediction[None], N_PAST, scale=2)
    frames = gif_frames(tmp_path / "a.gif")
    assert len(frames) == T
    for t, picture in enumerate(frames):
        x_truth, y_truth = found_at(picture[:, : picture.shape[1] // 2], truth[t], 2)
        right = picture[:, picture.shape[1] // 2 :]
        _, y_prediction = found_at(right, prediction[t], 2)
        assert y_truth == y_prediction
        assert tuple(picture[y_truth - 2, x_truth]) == (GIVEN if t < N_PAST else RECORDED)
    assert all((a != b).any() for a, b in pairwise(frames))


def test_gif_enlarges_without_smoothing(tmp_path, truth):
    prediction_gif(tmp_path / "a.gif", truth, truth[None], N_PAST, scale=3)
    picture = gif_frames(tmp_path / "a.gif")[3]
    x, y = found_at(picture[:, : picture.shape[1] // 2], truth[3], 3)
    panel = picture[y : y + 192, x : x + 192].reshape(64, 3, 64, 3, 3)
    assert (panel == panel[:, :1, :, :1]).all()


def test_gif_of_a_still_video_keeps_its_steps(tmp_path, truth):
    still = np.repeat(truth[:1], T, 0)
    prediction_gif(tmp_path / "a.gif", still, still[None], N_PAST)
    assert len(gif_frames(tmp_path / "a.gif")) == T


@pytest.mark.parametrize("samples", [1, 4, 5, 100])
def test_gif_stays_on_a_screen_whatever_the_number_of_samples(tmp_path, truth, samples):
    short = truth[:3]
    prediction_gif(tmp_path / "a.gif", short, np.repeat(short[None], samples, 0), 1)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.width <= 1500
        # Every sample has its place, the truth its column.
        assert gif.width * gif.height > (samples + 1) * 64 * 64


def test_samples_gif_pairs_truth_and_prediction(tmp_path):
    truths = np.stack([moving_square(k) for k in range(4)])
    predictions = truths[..., ::-1].copy()
    samples_gif(tmp_path / "deep" / "a.gif", truths, predictions, n_past=N_PAST, scale=1)
    picture = gif_frames(tmp_path / "deep" / "a.gif")[T - 1]
    places = [found_at(picture, v[k, T - 1], 1) for k in range(4) for v in (truths, predictions)]
    xs, ys = zip(*places, strict=True)
    assert xs[:4] == xs[4:]
    assert list(xs[:4]) == sorted(set(xs[:4]))
    assert len(set(ys[:4])) == len(set(ys[4:])) == 1
    assert ys[4] > ys[0]


def test_a_failed_write_leaves_nothing(tmp_path, truth):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ForeframeError, match="file"):
        prediction_gif(tmp_path / "file" / "a.gif", truth, truth[None], N_PAST)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("steps", "columns"), [(6, 6), (12, 12), (30, 15)])
def test_strip_holds_every_step_exactly_where_the_grid_says(steps, columns):
    truth, prediction = moving_square(steps=steps), moving_square(3, steps)
    strip = np.array(prediction_strip(truth, np.stack([prediction] * 2), N_PAST, scale=2))
    grid = StripGrid.of(truth.shape, 2, 2)
    assert (grid.columns, grid.rows) == (columns, 3)
    assert strip.shape[:2] == grid.size[::-1]
    for t in range(steps):
        for row, video in enumerate([truth, prediction, prediction]):
            x, y = grid.corner(row, t)
            assert (strip[y : y + 128, x : x + 128] == enlarged(video[t], 2)).all()
            border = GIVEN if t < N_PAST else RECORDED if row == 0 else PREDICTED
            assert tuple(strip[y - 1, x - 1]) == border


def test_strip_is_saved_as_it_is_drawn(tmp_path, truth):
    save_strip(tmp_path / "strip.png", truth, truth[None], N_PAST)
    with Image.open(tmp_path / "strip.png") as saved:
        drawn = prediction_strip(truth, truth[None], N_PAST)
        assert (np.array(saved) == np.array(drawn)).all()


def test_frames_are_written_as_png_named_by_their_step(tmp_path, truth):
    frames_to_png(tmp_path / "sample-0", truth)
    assert sorted(path.name for path in (tmp_path / "sample-0").iterdir()) == [
        f"{t}.png" for t in range(T)
    ]
    with Image.open(tmp_path / "sample-0" / "4.png") as png:
        assert (np.array(png) == truth[4]).all()


def history(epochs):
    return [
        {
            "epoch": e,
            "loss": 0.02 / (e + 1) + 1e-3,
            "mse": 0.02 / (e + 1),
            "kld": 5.0,
            "beta": 1e-4,
            "teacher_forcing_ratio": 1.0 - e / epochs,
            "psnr": 20.0 + e / epochs,
            "validation_psnr": 19.0 + e / epochs,
        }
        for e in range(epochs)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 12, 300])
def test_training_charts_hold_every_series(epochs):
    charts = training_charts(history(epochs))
    assert [chart.series for chart in charts] == [
        ("loss",),
        ("MSE",),
        ("validation", "training"),
        ("KL",),
        ("beta",),
        ("ratio",),
    ]
    for chart in charts:
        for name in chart.series:
            assert f'data-series="{name}"' in chart.svg
            assert name in chart.summary
    assert "dB" in charts[2].title
    assert f"at epoch {epochs}" in charts[2].summary


def test_training_charts_leave_gaps_for_what_is_missing():
    rows = history(20)
    rows[7]["validation_psnr"] = None
    rows[8]["psnr"] = float("nan")
    for row in rows:
        del row["kld"]
    charts = {chart.title.split()[0]: chart for chart in training_charts(rows)}
    assert not any(title.startswith("KL d") for title in charts)
    line = re.search(r'data-series="validation".*?<path d="([^"]*)"', charts["PSNR"].svg, re.S)
    assert line[1].count("M") == 2  # the line is taken up again behind the gap


def test_training_charts_of_nothing_are_none():
    assert training_charts([]) == []
    assert training_charts([{"epoch": 0}]) == []


def test_step_charts_compare_the_model_with_its_baselines():
    rows = [
        {"label": "model", "psnr_per_step": [25.0, 24.0], "ssim_per_step": [0.9, 0.8]},
        {"label": "$copy <b>", "psnr_per_step": [20.0, 19.0], "ssim_per_step": [0.7, 0.6]},
        {"label": "permuted", "psnr_per_step": None, "ssim_per_step": None},
    ]
    psnr, ssim = step_charts(rows, n_past=2)
    assert psnr.series == ssim.series == ("model", "$copy <b>")
    assert "model: from 25 at time step 2 to 24 at time step 3" in psnr.summary
    assert "<b>" not in psnr.svg


def test_charts_take_their_colours_from_the_page_and_nothing_from_elsewhere():
    charts = training_charts(history(3))
    assert charts == training_charts(history(3))  # the same file from the same run
    for chart in charts:
        assert "var(--chart-ink" in chart.svg
        assert "var(--chart-1" in chart.svg
        assert "://" not in chart.svg


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_schedule_plot_is_drawn_into_a_file(tmp_path, suffix):
    path = tmp_path / f"schedules{suffix}"
    schedule_plot(path, [0.0, 0.5, 1.0, 1.0] * 3, [1.0] * 12)
    if suffix == ".png":
        with Image.open(path) as picture:
            assert picture.width > 600
    else:
        assert "<svg" in path.read_text()


def test_schedule_plot_refuses_a_format_it_cannot_draw(tmp_path):
    with pytest.raises(ForeframeError, match=r"\.xyz"):
        schedule_plot(tmp_path / "a.xyz", [1.0], [1.0])
    assert not list(tmp_path.iterdir())


def test_a_pair_is_read_back_frame_by_frame_even_where_nothing_moves(tmp_path, truth):
    still = truth.copy()
    still[2:5], still[-1] = still[2], still[-2]  # runs of equal frames, one of them at the end
    write_pair(tmp_path / "pair.gif", still, still)
    for video in read_pair(tmp_path / "pair.gif"):
        assert video.shape == still.shape
        assert np.abs(video.astype(int) - still).mean() < 3
    (tmp_path / "pair.gif").write_bytes(b"GIF89a")
    with pytest.raises(ForeframeError, match=r"pair\.gif"):
        read_pair(tmp_path / "pair.gif")
