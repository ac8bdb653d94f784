"""The evaluated sequences as pictures inside the page."""

import base64
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from foreframe.metrics import psnr
from foreframe.report.read import Frames
from foreframe.visuals import StripGrid, prediction_gif, prediction_strip

_SCALE = 2  # of the strips; the players' is twice that


@dataclass(frozen=True)
class Player:
    """A sequence as a GIF of truth and prediction; the page's script makes a player of it.

    The player draws its frames out of the strip, so that no frame is in the page twice.

    Attributes:
        gif: address that holds the GIF.
        grid: where the frames lie in the strip, as JSON.
        alt: what the GIF shows, for whoever cannot see it.
        scores: PSNR of this sequence, beside the copied last frame's.
    """

    gif: str
    grid: str
    alt: str
    scores: str


@dataclass(frozen=True)
class Strip:
    """A sequence with every time step side by side.

    Attributes:
        png: address that holds the picture.
        alt: what it shows, for whoever cannot see it.
        width: in pixels.
        height: in pixels.
    """

    png: str
    alt: str
    width: int
    height: int


def uri(content: bytes, kind: str) -> str:
    """A picture as an address that holds it.

    Args:
        content: of the file.
        kind: "gif" or "png".
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def gif_of(
    truth: np.ndarray, predictions: np.ndarray, n_past: int, *, scale: int, names: list[str] | None
) -> str:
    """``visuals.prediction_gif`` as an address that holds the GIF."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prediction.gif"
        prediction_gif(path, truth, predictions, n_past, scale=scale, names=names or ())
        return uri(path.read_bytes(), "gif")


def players(frames: Frames) -> list[Player]:
    """A player for each sequence."""
    return [_player(frames, k) for k in range(len(frames.truth))]


def strips(frames: Frames) -> list[Strip]:
    """A strip for each sequence."""
    drawn = []
    for k, (truth, prediction) in enumerate(zip(frames.truth, frames.prediction, strict=True)):
        picture = prediction_strip(truth, prediction[None], frames.n_past, scale=_SCALE)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
        alt = (
            f"Sequence {k}: {len(truth)} numbered time steps; above the recording, below the "
            f"prediction; steps 0 to {frames.n_past - 1} were given."
        )
        drawn.append(Strip(uri(buffer.getvalue(), "png"), alt, picture.width, picture.height))
    return drawn


def _player(frames: Frames, k: int) -> Player:
    truth, prediction = frames.truth[k], frames.prediction[k]
    grid = StripGrid.of(truth.shape, 1, _SCALE)
    steps, height, width = truth.shape[:3]
    where = {
        "frame": [width, height],
        "zoom": 2 * grid.zoom,  # of the player: as large as the GIF that it takes the place of
        "drawn": [grid.width, grid.height],
        "corners": [[grid.corner(row, t) for t in range(steps)] for row in (0, 1)],
    }
    alt = (
        f"Animation of sequence {k}: the recording on the left, the prediction on the right, "
        f"{steps} time steps of which the first {frames.n_past} were given."
    )
    gif = gif_of(truth, prediction[None], frames.n_past, scale=2 * _SCALE, names=None)
    return Player(gif, json.dumps(where), alt, _scores(frames, k))


def _scores(frames: Frames, k: int) -> str:
    """PSNR of this sequence, from its frames as shown (8 bits), beside the copied last frame's."""
    truth, prediction = (
        torch.from_numpy(video[k]).permute(0, 3, 1, 2).double() / 255
        for video in (frames.truth, frames.prediction)
    )
    n = frames.n_past
    ours = psnr(prediction[n:], truth[n:]).mean().item()
    copied = psnr(truth[n - 1 : n].expand_as(truth[n:]), truth[n:]).mean().item()
    return f"PSNR {ours:.2f} dB, copying {copied:.2f} dB"
