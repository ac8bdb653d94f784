"""What was imagined as files: GIF, MP4, or a dataset in the lab's layout."""

import asyncio
import io
import tempfile
import zipfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from foreframe.data.exports.lab import SHARD
from foreframe.data.lab import write_sequence
from foreframe.data.video_file import import_av
from foreframe.errors import ForeframeError
from foreframe.serve.moments import Moment, Session
from foreframe.serve.refusal import Refusal
from foreframe.serve.stepping import Player
from foreframe.visuals.frames import futures_gif

Format = Literal["gif", "mp4", "lab"]
TYPES: dict[Format, str] = {"gif": "image/gif", "mp4": "video/mp4", "lab": "application/zip"}
NAMES: dict[Format, str] = {"gif": "imagined.gif", "mp4": "imagined.mp4", "lab": "imagined.zip"}
_SCALE = 4
_GAP = 2


async def replay(
    player: Player, session: Session, number: int
) -> tuple[UInt8[np.ndarray, "k time height width 3"], list[Moment]]:
    """The frames from the first given one to a moment, imagined again, and the moments between.

    Frames are not kept: the same seed and actions make the same.

    Raises:
        Refusal: no such moment, or the way there is too long.
    """
    path = session.path(number)
    most = player.sessions.limits.frames_max
    if len(path) - 1 > most:
        raise Refusal(413, f"{len(path) - 1} steps; {most} are the most that are saved.")
    now = path[0]
    if now.state is None:
        state = await asyncio.wrap_future(player.engine.call(session.begun))
        now = replace(now, state=state)
    given = np.broadcast_to(session.given, (session.samples, *session.given.shape))
    frames = [given[:, t] for t in range(given.shape[1])]
    for moment in path[1:]:
        now, pictures = await player.advance(
            session, now, moment.action, moment.position, moment.latent
        )
        frames.append(pictures)
    return np.stack(frames, 1), path[1:]


def as_file(
    kind: Format,
    session: Session,
    frames: UInt8[np.ndarray, "k time height width 3"],
    steps: list[Moment],
) -> bytes:
    """The file's content; blocks while it is made.

    Raises:
        Refusal: a package for it is not installed.
    """
    rate = session.served.frame_rate
    with tempfile.TemporaryDirectory(prefix="foreframe-") as name:
        folder = Path(name)
        if kind == "gif":
            futures_gif(folder / "x.gif", frames, len(session.given), fps=rate, scale=_SCALE)
            return (folder / "x.gif").read_bytes()
        if kind == "mp4":
            return _mp4(frames, rate)
        return _lab(folder, session, frames, steps)


def _mp4(frames: np.ndarray, rate: float) -> bytes:
    try:
        av = import_av()
    except ForeframeError as error:
        raise Refusal(501, str(error)) from error
    pictures = [_side_by_side(step) for step in frames.swapaxes(0, 1)]
    height, width = pictures[0].shape[:2]
    codec = next((c for c in ("libx264", "libopenh264") if c in av.codecs_available), "mpeg4")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        for picture in pictures:
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


def _lab(folder: Path, session: Session, frames: np.ndarray, steps: list[Moment]) -> bytes:
    """A zip of a dataset: each future is a sequence of its test split."""
    rows = {part: _rows(session, steps, part) for part in ("actions", "positions")}
    shard = f"imagined/test/traj_0_to_{SHARD - 1}.tfrecords"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNGs are packed already
        for k, future in enumerate(frames):
            write_sequence(folder / str(k), future, rows["actions"], rows["positions"])
            for path in sorted((folder / str(k)).iterdir()):
                archive.write(path, f"{shard}/{k}/{path.name}")
    return file.getvalue()


def _rows(session: Session, steps: list[Moment], part: str) -> np.ndarray | None:
    """A row for each frame, as recordings have them: row t acts between frame t and t + 1."""
    given = session.given_rows[part]
    if given is None:
        return None
    led = [step.action if part == "actions" else step.position for step in steps]
    made = [row for row in led if row is not None]
    source = session.weights.model.config.timing == "source"
    # In source-time the row of the last given frame led to the first imagined one.
    before = given[: len(given) - 1] if source and made else given
    rows = np.concatenate([before, np.stack(made)]) if made else before
    missing = len(session.given) + len(steps) - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, 0)]) if missing else rows
