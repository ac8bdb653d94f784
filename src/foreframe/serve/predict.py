"""Predictions in one request: given frames and rows in, all frames of K futures out."""

import base64
import binascii
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from foreframe.data.recording import Recording
from foreframe.serve import schemas
from foreframe.serve.exports import room
from foreframe.serve.moments import Latent, Session
from foreframe.serve.refusal import Refusal
from foreframe.serve.served import Served
from foreframe.serve.stepping import Player

Rows = Mapping[str, Float32[np.ndarray, "rows width"] | None]


async def predict(
    player: Player, served: Served, wanted: schemas.PredictIn, client: str = ""
) -> UInt8[np.ndarray, "k n_future height width 3"]:
    """The frames of K futures.

    Args:
        player: that steps.
        served: the run.
        wanted: the request.
        client: that asks.

    Raises:
        Refusal: frames or rows do not fit the model, or are too few or too many.
    """
    given = _given(wanted.frames, served)
    rows = {
        "actions": _array("actions", wanted.actions),
        "positions": _array("positions", wanted.positions),
    }
    first = served.first_row(0)
    n_future = wanted.n_future or _as_far_as(rows, served) - first
    n_future = max(1, n_future)
    room(player.sessions.limits, wanted.samples, n_future, given[0].nbytes)
    _require_rows(rows, served, n_future)
    recording = Recording(
        given, _padded(rows["actions"], len(given)), _padded(rows["positions"], len(given))
    )
    session = await player.begin(
        served, recording, samples=wanted.samples, seed=wanted.seed, client=client
    )
    try:
        return await _imagined(player, session, rows, range(first, first + n_future))
    finally:
        player.sessions.end(session.id)


async def _imagined(
    player: Player, session: Session, rows: Rows, numbers: range
) -> UInt8[np.ndarray, "k n_future height width 3"]:
    """Step by step through the engine, so that sessions get their turn in between."""
    now = session.moment(0)
    imagined = np.empty((session.samples, len(numbers), *session.given.shape[1:]), np.uint8)
    for t, number in enumerate(numbers):
        action, position = (
            None if values is None or number >= len(values) else values[number]
            for values in (rows["actions"], rows["positions"])
        )
        now, imagined[:, t] = await player.advance(
            session, now, action, position, Latent(), aside=True
        )
    return imagined


def _given(text: str, served: Served) -> UInt8[np.ndarray, "n_past height width 3"]:
    n_past, (height, width) = served.n_past, served.config.model.frame_size
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(422, f"frames: is not base64 ({error}).") from error
    expected = n_past * height * width * 3
    if len(content) != expected:
        raise Refusal(
            422,
            f"frames: {len(content)} bytes, but {n_past} given frames of {width}x{height} pixels "
            f"have {expected}.",
        )
    return np.frombuffer(content, np.uint8).reshape(n_past, height, width, 3)


def _array(
    part: str, rows: Sequence[Sequence[float]] | None
) -> Float32[np.ndarray, "rows width"] | None:
    if rows is None:
        return None
    if not rows or len({len(row) for row in rows}) != 1:
        raise Refusal(422, f"{part}: rows of one width are needed, and at least one.")
    return np.array(rows, np.float32)


def _as_far_as(rows: Rows, served: Served) -> int:
    """How many rows of the condition there are."""
    taken = (values for part, values in rows.items() if served.config.model.needs[part] is not None)
    lengths = [len(values) for values in taken if values is not None]
    if not lengths:
        raise Refusal(422, "n_future: say how many frames, or give actions.")
    return min(lengths)


def _require_rows(rows: Rows, served: Served, n_future: int) -> None:
    needed = served.first_row(0) + n_future
    for part, width in served.config.model.needs.items():
        rolled = part == "positions" and served.kinematics is not None
        if width is None or rolled:
            continue
        values = rows[part]
        there = 0 if values is None else len(values)
        if there < needed:
            raise Refusal(
                422,
                f"{part}: {there} rows, but {n_future} frames after {served.n_past} given ones "
                f"need {needed} (row t acts between frame t and t + 1).",
            )


def _padded(rows: np.ndarray | None, n_past: int) -> np.ndarray | None:
    """A row for each given frame; the last one's may be missing where it is not asked for."""
    if rows is None or len(rows) >= n_past:
        return rows
    return np.concatenate([rows, np.repeat(rows[-1:], n_past - len(rows), 0)])
