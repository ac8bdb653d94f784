"""Predict one recorded sequence: a GIF, a strip with every step, and the frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from foreframe.data.recording import Recording
from foreframe.data.store.opened import read_recording, require_rows
from foreframe.errors import ForeframeError
from foreframe.evaluation.options import PredictOptions
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
    run: Path, sequence: Place, out: Path, options: PredictOptions | None = None
) -> Prediction:
    """Imagine futures of a recorded sequence, beside what was recorded.

    Args:
        run: the run folder.
        sequence: folder of 0.png, 1.png, ... with its CSV files, or STORE/<split>/<number>.
        out: a new folder for what is written.
        options: by default those of ``PredictOptions``.

    Raises:
        ForeframeError: the run, the sequence or the numbers do not serve, or ``out`` exists.
    """
    options = options or PredictOptions()
    options.check()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ForeframeError(f"{out}: exists already. Remove it or give another --out.")
    n_past, samples = options.n_past, options.samples
    model = load_model(run, choose_device(options.device))
    recorded = read_recording(sequence, size=model.config.frame_size)
    n_frames = _length(sequence, len(recorded.frames), options)
    require_rows(sequence, recorded.widths, model.config.needs)
    clip = _as_clip(recorded, n_frames)
    noise = sequence_noise(options.seed, 0, samples, n_frames - 1, model.config.z_dim)
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


def _length(sequence: Place, length: int, options: PredictOptions) -> int:
    """Given and predicted frames of a recording of ``length`` frames."""
    n_past, n_future = options.n_past, options.n_future
    n_frames = length if n_future is None else n_past + n_future
    if n_frames > length or n_past >= length:
        raise ForeframeError(
            f"{sequence}: holds {length} frames, and {n_past} given and "
            f"{'some' if n_future is None else n_future} predicted ones were asked for. "
            "Lower --n-past or --n-future."
        )
    return n_frames


def _as_clip(recorded: Recording, n_frames: int) -> Clip:
    def batch(rows: np.ndarray | None) -> torch.Tensor | None:
        return None if rows is None else torch.from_numpy(np.array(rows[:n_frames]))[None]

    frames = torch.from_numpy(np.array(recorded.frames[:n_frames])).permute(0, 3, 1, 2)[None]
    return Clip(frames, batch(recorded.actions), batch(recorded.positions))
