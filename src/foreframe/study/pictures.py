"""The same test sequences as every system predicts them, side by side."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foreframe.report.pictures import gif_of, uri
from foreframe.study.read import Study
from foreframe.visuals import prediction_strip


@dataclass(frozen=True)
class SideBySide:
    """A test sequence: the recording, then each system's prediction.

    Attributes:
        title: of the picture.
        gif: address that holds the GIF.
        strip: address that holds the picture of every time step.
        alt: what both show, for whoever cannot see it.
    """

    title: str
    gif: str
    strip: str
    alt: str


def side_by_side_pictures(study: Study, cells: Sequence[str], sequences: int) -> list[SideBySide]:
    """The first test sequences: the truth, then each system's first seed.

    A system that has a seed which collapsed shows that one, so that it is seen.

    Args:
        study: as read.
        cells: names of the systems.
        sequences: how many are shown, of those that the evaluations kept.
    """
    shown: dict[str, np.ndarray] = {}
    truth, n_past = np.empty(0), 0
    for name in cells:
        path = study.card_path(name, _seed_shown(study, name)).with_suffix(".npz")
        if not path.exists():
            continue
        with np.load(path, allow_pickle=False) as arrays:
            truth, n_past = arrays["truth"], int(arrays["n_past"])
            shown[study.labels[name]] = arrays["prediction"]
    pictures = []
    for k in range(min(sequences, len(truth))):
        predictions = np.stack([prediction[k] for prediction in shown.values()])
        pictures.append(_picture(k, truth[k], predictions, n_past, list(shown)))
    return pictures


def _seed_shown(study: Study, cell: str) -> int:
    summary = study.summaries[cell]
    return int((summary.collapsed or summary.seeds)[0])


def _picture(
    k: int, truth: np.ndarray, predictions: np.ndarray, n_past: int, names: list[str]
) -> SideBySide:
    strip = prediction_strip(truth, predictions, n_past, scale=1, names=names)
    buffer = io.BytesIO()
    strip.quantize(256).save(buffer, "PNG", optimize=True)
    return SideBySide(
        f"Test sequence {k}",
        gif_of(truth, predictions, n_past, scale=2, names=names),
        uri(buffer.getvalue(), "png"),
        f"Test sequence {k}: the recording, then {', '.join(names)}.",
    )
