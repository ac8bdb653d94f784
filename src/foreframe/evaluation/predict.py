"""Predict one recorded sequence: a GIF, a strip with every step, and the frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from foreframe.data.store.opened import read_recording, require_rows
from foreframe.errors import ForeframeError
from foreframe.evaluation.sampling import sequence_noise
from foreframe.metrics import psnr
from foreframe.model.clip import Clip
from foreframe.runs.hub import load_model
from foreframe.system.device import choose_device
from foreframe.system.files import whole_folder
from foreframe.system.places import Place
from foreframe.visuals import frames_to_png, prediction_gif, save_strip


@dataclass(frozen=True)
class Prediction:
    """Where a prediction was written and how near it came to the recording.

    Attributes:
        folder: holds prediction.gif, strip.png and sample-<k>/<t>.png.
        psnr: dB of each sample over the predicted frames.
    """

    folder: Path
    psnr: list[float]


def predict(
    run: Path,
    sequence: Place,
    out: Path,
    *,
    samples: int = 4,
    n_past: int = 2,
    n_future: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Prediction:
    """Imagine ``samples`` futures of a recorded sequence, beside what was recorded.

    Args:
        run: the run folder.
        sequence: folder of 0.png, 1.png, ... with its CSV files, or STORE/<split>/<number>.
        out: a new folder for what is written.
        samples: futures.
        n_past: given frames.
        n_future: frames to predict; by default to the end of the recording.
        seed: of z.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        ForeframeError: the run, the sequence or the numbers do not serve, or ``out`` exists.
    """
    if samples < 1:
        raise ForeframeError(f"--samples {samples}: must be at least 1.")
    if n_past < 1 or (n_future is not None and n_future < 1):
        raise ForeframeError(f"--n-past {n_past} --n-future {n_future}: must be at least 1.")
    if seed < 0:
        raise ForeframeError(f"--seed {seed}: must be at least 0.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ForeframeError(f"{out}: exists already. Remove it or give another --out.")
    model = load_model(run, choose_device(device))
    recorded = read_recording(sequence, size=model.config.image_size)
    length = len(recorded.frames)
    n_frames = length if n_future is None else n_past + n_future
    if n_frames > length or n_past >= length:
        raise ForeframeError(
            f"{sequence}: holds {length} frames, and {n_past} given and "
            f"{'some' if n_future is None else n_future} predicted ones were asked for. "
            "Lower --n-past or --n-future."
        )
    require_rows(sequence, recorded.widths, model.config.needs)
    clip = _as_clip(recorded.frames, recorded.actions, recorded.positions, n_frames)
    noise = sequence_noise(seed, 0, samples, n_frames - 1, model.config.z_dim)
    futures = model.generate(
        clip.frames[:, :n_past],
        clip.actions,
        clip.positions,
        n_samples=samples,
        n_future=n_frames - n_past,
        noise=noise[None],
    )[0].cpu()
    truth = recorded.frames[:n_frames]
    predicted = futures.mul(255).round().byte().permute(0, 1, 3, 4, 2).numpy()
    given = np.broadcast_to(truth[:n_past], (samples, *truth[:n_past].shape))
    shown = np.concatenate([given, predicted], 1)
    with whole_folder(out) as aside:
        prediction_gif(aside / "prediction.gif", truth, shown, n_past)
        save_strip(aside / "strip.png", truth, shown, n_past)
        for k, frames in enumerate(shown):
            frames_to_png(aside / f"sample-{k}", frames)
    target = clip.as_float().frames[0, n_past:]
    return Prediction(out, [psnr(future, target).mean().item() for future in futures])


def _as_clip(
    frames: np.ndarray, actions: np.ndarray | None, positions: np.ndarray | None, n_frames: int
) -> Clip:
    def batch(rows: np.ndarray | None) -> torch.Tensor | None:
        return None if rows is None else torch.from_numpy(np.array(rows[:n_frames]))[None]

    pictures = torch.from_numpy(np.array(frames[:n_frames])).permute(0, 3, 1, 2)[None]
    return Clip(pictures, batch(actions), batch(positions))
