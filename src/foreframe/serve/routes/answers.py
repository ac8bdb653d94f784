"""Kinds of answers that several routes give, and how the OpenAPI description has them."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
from fastapi import Path, Response
from starlette.types import Receive, Scope, Send

from foreframe.data.recording import Recording
from foreframe.serve import schemas

Name = Annotated[str, Path(max_length=200)]
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]

_DESCRIPTIONS = {
    400: "The request cannot be understood.",
    404: "There is no such thing.",
    409: "The run has no model yet.",
    410: "The moment was forgotten; replay it.",
    413: "Larger than may be asked for.",
    422: "A value makes no sense.",
    429: "Too much at a time.",
    503: "Too much is waiting; try again soon.",
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


def rows_of(recording: Recording) -> Response:
    """All actions and positions, as ``schemas.RowsOut``."""
    parts = (f'"{part}":{_table(getattr(recording, part))}' for part in ("actions", "positions"))
    return Response(f"{{{','.join(parts)}}}", media_type="application/json")


def _table(rows: np.ndarray | None) -> str:
    # Row by row: one call for all numbers would keep every other thread waiting.
    return "null" if rows is None else f"[{','.join(json.dumps(row.tolist()) for row in rows)}]"


class Pieces(Response):
    """An answer that is made while it is sent, of a length that is known before.

    Args:
        pieces: of the body.
        length: bytes of all.
        media_type: of the body.
    """

    def __init__(self, pieces: Iterable[bytes], length: int, media_type: str) -> None:
        super().__init__(media_type=media_type, headers={"content-length": str(length)})
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
