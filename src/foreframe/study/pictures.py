"""The same test sequences as every system predicts them, side by side."""

import base64
import io
import tempfile
from html import escape
from pathlib import Path

import numpy as np

from foreframe.report.pictures import gif_uri
from foreframe.study.read import Study
from foreframe.visuals import prediction_gif, prediction_strip


def side_by_side_pictures(study: Study, cells: list[str], sequences: int) -> str:
    """A GIF and a strip of the first test sequences: the truth, then each system's first seed.

    A system that has a seed which collapsed shows that one, so that it is seen.

    Args:
        study: as read.
        cells: names of the systems.
        sequences: how many are shown, of those that the evaluations kept.
    """
    shown: list[tuple[str, np.ndarray]] = []
    truth, n_past = None, 0
    for name in cells:
        seed = _seed_shown(study, name)
        path = study.card_path(name, seed).with_suffix(".npz")
        if not path.exists():
            continue
        with np.load(path, allow_pickle=False) as arrays:
            truth, n_past = arrays["truth"], int(arrays["n_past"])
            shown.append((f"{study.labels[name]}", arrays["prediction"]))
    if truth is None:
        return ""
    names = [name for name, _ in shown]
    parts = []
    for k in range(min(sequences, len(truth))):
        predictions = np.stack([prediction[k] for _, prediction in shown])
        alt = f"Test sequence {k}: the recording, then {', '.join(names)}."
        parts.append(
            f"<figure><h3>Test sequence {k}</h3>"
            f'<img src="{_gif(truth[k], predictions, n_past, names)}" alt="{escape(alt)}">'
            f'<img src="{_strip(truth[k], predictions, n_past, names)}" '
            f'alt="{escape(alt)} Every time step.">'
            "</figure>"
        )
    return f'<div class="pictures">{"".join(parts)}</div>'


def _seed_shown(study: Study, cell: str) -> int:
    summary = study.summaries[cell]
    return int((summary.collapsed or summary.seeds)[0])


def _gif(truth: np.ndarray, predictions: np.ndarray, n_past: int, names: list[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "systems.gif"
        prediction_gif(path, truth, predictions, n_past, scale=2, names=names)
        return gif_uri(path.read_bytes())


def _strip(truth: np.ndarray, predictions: np.ndarray, n_past: int, names: list[str]) -> str:
    picture = prediction_strip(truth, predictions, n_past, scale=1, names=names)
    buffer = io.BytesIO()
    picture.quantize(256).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
