"""What was imagined as files, in the process aside: GIF, MP4, or a dataset in the lab's layout."""

import io
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from foreframe.data.lab import ACTIONS, POSITIONS, SHARD, sequence_files
from foreframe.data.video_file import import_av
from foreframe.errors import ForeframeError
from foreframe.serve.refusal import Refusal
from foreframe.visuals.frames import futures_gif

Format = Literal["gif", "mp4", "lab"]
_SCALE = 4
_GAP = 2


@dataclass(frozen=True)
class Seen:
    """What was seen of futures, with all that a file of them needs.

    Attributes:
        frames: uint8 [K, T, H, W, 3], the given ones first.
        actions: [T, A] or None; row t acts between frame t and t + 1.
        positions: [T, P] or None.
        n_past: given frames.
        rate: frames a second.
    """

    frames: UInt8[np.ndarray, "k time height width 3"]
    actions: Float32[np.ndarray, "time action"] | None
    positions: Float32[np.ndarray, "time position"] | None
    n_past: int
    rate: float


def as_file(kind: Format, seen: Seen) -> bytes:
    """The file's content; no file is opened for it.

    Args:
        kind: of file.
        seen: that is written.

    Raises:
        Refusal: a package for it is not installed.
    """
    if kind == "gif":
        file = io.BytesIO()
        futures_gif(file, seen.frames, seen.n_past, fps=seen.rate, scale=_SCALE)
        return file.getvalue()
    if kind == "mp4":
        return _mp4(seen.frames, seen.rate)
    return _lab(seen)


def load_everything(kind: Format) -> None:
    """Have in memory all that a file of one kind needs: later nothing can be opened."""
    rows = np.zeros((2, 1), np.float32)
    as_file(kind, Seen(np.zeros((1, 2, 64, 64, 3), np.uint8), rows, rows, 1, 10.0))


def _mp4(frames: np.ndarray, rate: float) -> bytes:
    try:
        av = import_av()
    except ForeframeError as error:
        raise Refusal(501, str(error)) from error
    height, width = _side_by_side(frames[:, 0]).shape[:2]
    codec = next((c for c in ("libx264", "libopenh264") if c in av.codecs_available), "mpeg4")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        for step in frames.swapaxes(0, 1):
            picture = _side_by_side(step)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


def _side_by_side(step: UInt8[np.ndarray, "k height width 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Enlarged, in rows of four, with even edges as codecs want them."""
    count, height, width = step.shape[:3]
    columns = min(4, count)
    rows = -(-count // columns)
    pitch_y, pitch_x = height * _SCALE + _GAP, width * _SCALE + _GAP
    picture = np.full((rows * pitch_y - _GAP, columns * pitch_x - _GAP, 3), 255, np.uint8)
    for k, frame in enumerate(step):
        large = frame.repeat(_SCALE, 0).repeat(_SCALE, 1)
        y, x = k // columns * pitch_y, k % columns * pitch_x
        picture[y : y + len(large), x : x + large.shape[1]] = large
    return np.pad(
        picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge"
    )


def _lab(seen: Seen) -> bytes:
    """A zip of a dataset: each future is a sequence of its test split."""
    shard = f"imagined/test/traj_0_to_{SHARD - 1}.tfrecords"
    tables = {ACTIONS: seen.actions, POSITIONS: seen.positions}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNGs are packed already
        for k, future in enumerate(seen.frames):
            for name, content in sequence_files(future, tables):
                archive.writestr(f"{shard}/{k}/{name}", content)
    return file.getvalue()
