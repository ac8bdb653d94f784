"""The same test sequences as every system predicts them, side by side."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foreframe.report.pictures import gif_of, uri
from foreframe.report.read import Frames, read_frames
from foreframe.study.read import Study, card_path, published
from foreframe.study.record import Record
from foreframe.visuals import prediction_strip
from foreframe.visuals.pair import read_pair, write_pair


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
    kept = {study.labels[name]: _frames(study.folder, _shown(study, name)) for name in cells}
    shown = {label: frames for label, frames in kept.items() if frames is not None}
    if not shown:
        return []
    first = next(iter(shown.values()))
    count = min(sequences, *(len(frames.truth) for frames in shown.values()))
    return [
        _picture(
            k,
            first.truth[k],
            np.stack([frames.prediction[k] for frames in shown.values()]),
            first.n_past,
            list(shown),
        )
        for k in range(count)
    ]


def _shown(study: Study, cell: str) -> Record:
    """The seed of a cell that is shown."""
    summary = study.summaries[cell]
    seed = (summary.collapsed or summary.seeds)[0]
    return next(record for record in study.records[cell] if record.seed == seed)


def _frames(out: Path, record: Record) -> Frames | None:
    """The frames that the evaluation of a run kept, or the first sequence as it was published."""
    if record.card is None:
        return None
    kept = card_path(out, record).with_suffix(".npz")
    if kept.exists():
        return read_frames(kept)
    gif = published(out, record.cell, record.seed).with_suffix(".gif")
    if gif.exists():
        truth, prediction = read_pair(gif)
        return Frames(truth[None], prediction[None], int(record.card.protocol["n_past"]))
    return None


def publish_frames(out: Path, record: Record) -> None:
    """Write the first test sequence and its prediction as a GIF beside the published record."""
    frames = _frames(out, record)
    if frames is not None:
        gif = published(out, record.cell, record.seed).with_suffix(".gif")
        write_pair(gif, frames.truth[0], frames.prediction[0])


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
