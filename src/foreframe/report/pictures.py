"""The evaluated sequences as pictures inside the page."""

import base64
import io
import json
import tempfile
from html import escape
from pathlib import Path

import torch

from foreframe.metrics import psnr
from foreframe.report.read import Frames
from foreframe.visuals import StripGrid, prediction_gif, prediction_strip

_SCALE = 2  # of the strips; the players' is twice that


def gif_uri(content: bytes) -> str:
    """A GIF as an address that holds it."""
    return _uri(content, "gif")


def players(frames: Frames) -> str:
    """Each sequence as a GIF, truth and prediction; the page's script makes a player of it.

    The player draws its frames out of the strips, so that no frame is in the page twice.
    """
    return "".join(_player(frames, k) for k in range(len(frames.truth)))


def strips(frames: Frames) -> str:
    """Each sequence with every time step side by side."""
    parts = []
    for k, (truth, prediction) in enumerate(zip(frames.truth, frames.prediction, strict=True)):
        picture = prediction_strip(truth, prediction[None], frames.n_past, scale=_SCALE)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
        steps = len(truth)
        alt = (
            f"Sequence {k}: {steps} numbered time steps; above the recording, below the "
            f"prediction; steps 0 to {frames.n_past - 1} were given."
        )
        parts.append(
            f'<figure class="strip"><h3>Sequence {k}</h3>'
            f'<div class="scroll" tabindex="0" role="group" aria-label="Strip of sequence {k}">'
            f'<img id="strip-{k}" src="{_uri(buffer.getvalue(), "png")}" alt="{escape(alt)}" '
            f'width="{picture.width}" height="{picture.height}"></div></figure>'
        )
    return "".join(parts)


def _player(frames: Frames, k: int) -> str:
    truth, prediction = frames.truth[k], frames.prediction[k]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prediction.gif"
        prediction_gif(path, truth, prediction[None], frames.n_past, scale=2 * _SCALE)
        gif = path.read_bytes()
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
    return (
        f'<figure class="player" data-strip="strip-{k}" data-grid="{escape(json.dumps(where))}">'
        '<div class="names live" hidden aria-hidden="true">'
        "<span>truth</span><span>prediction</span></div>"
        f'<img src="{gif_uri(gif)}" alt="{escape(alt)}">'
        '<canvas class="live" role="img" hidden></canvas>'
        f"<figcaption><b>Sequence {k}</b> · {escape(_scores(frames, k))}"
        f'<span class="live" hidden> · <a download="sequence-{k}.gif">save GIF</a></span>'
        "</figcaption></figure>"
    )


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


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
