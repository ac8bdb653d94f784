"""Routes that imagine: sessions, what was seen in them as files, and whole predictions."""

import asyncio
import base64
from typing import Annotated

from fastapi import APIRouter, Query, Response, WebSocket

from foreframe.data.recording import Fit, Recording, fit_recording
from foreframe.serve import exports, schemas
from foreframe.serve.predict import predict
from foreframe.serve.refusal import Refusal
from foreframe.serve.routes.answers import Name, binary, refusals
from foreframe.serve.served import Served
from foreframe.serve.service import Service
from foreframe.serve.socket import converse


def router(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()
    everything = refusals(400, 404, 409, 413, 422, 429)

    @router.post("/api/sessions", status_code=201, responses=everything)
    async def begin(wanted: schemas.SessionIn) -> schemas.SessionOut:
        """Begin after the given frames of a sequence; step over the session's socket."""
        served = service.run(wanted.run)
        service.check_samples(wanted.samples)
        session = await service.player.begin(
            served,
            _recording(service, served, wanted),
            start=wanted.start,
            samples=wanted.samples,
            seed=wanted.seed,
        )
        height, width = session.given.shape[1:3]
        return schemas.SessionOut(
            session=session.id,
            node=0,
            samples=session.samples,
            n_past=len(session.given),
            first_row=served.first_row(wanted.start),
            size=(height, width),
            expires_seconds=service.limits.session_seconds,
        )

    @router.delete("/api/sessions/{session}", status_code=204)
    def end(session: Name) -> None:
        """End a session."""
        service.sessions.end(session)

    @router.websocket("/api/sessions/{session}/steps")
    async def steps(socket: WebSocket, session: str) -> None:
        await converse(socket, service, session)

    @router.get(
        "/api/sessions/{session}/export",
        response_class=Response,
        responses=binary(*exports.TYPES.values()) | refusals(404, 413, 422),
    )
    async def export(
        session: Name,
        node: Annotated[int, Query(ge=0, le=2**31 - 1)],
        format: exports.Format = "gif",
    ) -> Response:
        """What led to a moment, as a file."""
        played = service.sessions.get(session)
        frames, moments = await exports.replay(service.player, played, node)
        content = await asyncio.to_thread(exports.as_file, format, played, frames, moments)
        return Response(
            content,
            media_type=exports.TYPES[format],
            headers={"content-disposition": f'attachment; filename="{exports.NAMES[format]}"'},
        )

    @router.post("/api/predict", responses=everything)
    async def predicted(wanted: schemas.PredictIn) -> schemas.PredictOut:
        """K futures after given frames under given actions."""
        service.check_samples(wanted.samples)
        frames = await predict(service.player, service.run(wanted.run), wanted)
        count, steps, height, width = frames.shape[:4]
        return schemas.PredictOut(
            shape=(count, steps, height, width, 3),
            frames=base64.b64encode(frames.tobytes()).decode(),
        )

    return router


def _recording(service: Service, served: Served, wanted: schemas.SessionIn) -> Recording:
    if (wanted.sequence is None) == (wanted.upload is None):
        raise Refusal(422, "give either sequence or upload.")
    if wanted.sequence is not None:
        return served.recording(wanted.sequence)
    assert wanted.upload is not None
    # Decoded for another run perhaps, of another size.
    return fit_recording(service.uploads.get(wanted.upload), Fit(served.config.model.image_size))
