"""Kinds of answers that several routes give, and how the OpenAPI description has them."""

from typing import Annotated, Any

import numpy as np
from fastapi import Path, Response

from foreframe.data.recording import Recording
from foreframe.serve import schemas

Name = Annotated[str, Path(max_length=200)]
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]

_DESCRIPTIONS = {
    400: "The request cannot be understood.",
    404: "There is no such thing.",
    409: "The run has no model yet.",
    413: "Larger than may be asked for.",
    422: "A value makes no sense.",
    429: "Too much at a time.",
}


def refusals(*status: int) -> dict[int | str, dict[str, Any]]:
    """The description of refusals with some statuses."""
    return {
        number: {"model": schemas.Reason, "description": _DESCRIPTIONS[number]} for number in status
    }


def binary(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """The description of an answer in bytes."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(media_types, schema)}}


def frames_of(recording: Recording) -> Response:
    """All frames, uint8 [T, H, W, 3], with their shape in a header."""
    frames = np.ascontiguousarray(recording.frames)
    return Response(
        frames.tobytes(),
        media_type="application/octet-stream",
        headers={"x-shape": ",".join(str(n) for n in frames.shape)},
    )


def rows_of(recording: Recording) -> schemas.RowsOut:
    """All actions and positions."""
    return schemas.RowsOut(
        actions=None if recording.actions is None else recording.actions.tolist(),
        positions=None if recording.positions is None else recording.positions.tolist(),
    )
