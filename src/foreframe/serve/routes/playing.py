"""Routes that imagine: sessions, what was seen in them as files, and whole predictions."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response, WebSocket

from foreframe.data.recording import Fit, Recording, fit_recording
from foreframe.serve import exports, schemas
from foreframe.serve.aside.exporting import Format
from foreframe.serve.fairness.clients import client_of
from foreframe.serve.plans import plan
from foreframe.serve.predict import predict
from foreframe.serve.refusal import Refusal
from foreframe.serve.routes.answers import Name, Pieces, binary, refusals
from foreframe.serve.routes.bodies import body_of, described
from foreframe.serve.served import SceneKey, Served
from foreframe.serve.service import Service
from foreframe.serve.socket import converse

_PIECE = 48 * 1024  # whole groups of three bytes
_TAIL = b'"}'


def router(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()
    everything = refusals(400, 404, 409, 413, 422, 429, 503)

    @router.post(
        "/api/sessions",
        status_code=201,
        responses=everything,
        openapi_extra=described(schemas.SessionIn),
    )
    async def begin(
        request: Request, wanted: Annotated[schemas.SessionIn, body_of(schemas.SessionIn)]
    ) -> schemas.SessionOut:
        """Begin after the given frames of a sequence; step over the session's socket."""
        served = service.run(wanted.run)
        service.check_samples(wanted.samples)
        session = await service.player.begin(
            served,
            _recording(service, served, wanted),
            start=wanted.start,
            samples=wanted.samples,
            seed=wanted.seed,
            client=client_of(request.scope),
            scene=_scene(served, wanted),
        )
        height, width = session.given.shape[1:3]
        return schemas.SessionOut(
            session=session.id,
            node=0,
            samples=session.samples,
            n_past=len(session.given),
            first_row=served.first_row(wanted.start),
            size=(height, width),
            both=session.beside is not None,
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
        responses=binary(*exports.TYPES.values()) | refusals(404, 413, 422, 429, 503),
    )
    async def export(
        session: Name,
        node: Annotated[int, Query(ge=0, le=2**31 - 1)],
        format: Format = "gif",
    ) -> Response:
        """What led to a moment, as a file."""
        played = service.sessions.get(session)
        frames, moments = await exports.replay(service.player, played, node)
        content = await asyncio.to_thread(
            exports.write, service.aside, service.limits, format, played, frames, moments
        )
        return Response(
            content,
            media_type=exports.TYPES[format],
            headers={"content-disposition": f'attachment; filename="{exports.NAMES[format]}"'},
        )

    @router.post(
        "/api/plans",
        responses=refusals(404, 410, 422, 429, 503),
        openapi_extra=described(schemas.PlanIn),
    )
    async def planned(
        request: Request, wanted: Annotated[schemas.PlanIn, body_of(schemas.PlanIn)]
    ) -> schemas.PlanOut:
        """Actions from a moment of a session to a goal."""
        session = service.sessions.get(wanted.session)
        client = client_of(request.scope)
        return await asyncio.to_thread(plan, service.engine, session, wanted, client)

    @router.post(
        "/api/predict",
        response_model=schemas.PredictOut,
        responses=everything,
        openapi_extra=described(schemas.PredictIn),
    )
    async def predicted(
        request: Request, wanted: Annotated[schemas.PredictIn, body_of(schemas.PredictIn)]
    ) -> Response:
        """K futures after given frames under given actions."""
        service.check_samples(wanted.samples)
        frames = await predict(
            service.player, service.run(wanted.run), wanted, client_of(request.scope)
        )
        head = f'{{"shape":{list(frames.shape)},"frames":"'.encode()
        length = len(head) + 4 * -(-frames.nbytes // 3) + len(_TAIL)
        return Pieces(_in_base64(head, frames), length, "application/json")

    return router


def _recording(service: Service, served: Served, wanted: schemas.SessionIn) -> Recording:
    if (wanted.sequence is None) == (wanted.upload is None):
        raise Refusal(422, "give either sequence or upload.")
    if wanted.sequence is not None:
        return served.recording(wanted.sequence)
    assert wanted.upload is not None
    # Decoded for another run perhaps, of another size.
    return fit_recording(service.uploads.get(wanted.upload), Fit.to(served.config.model.frame_size))


def _scene(served: Served, wanted: schemas.SessionIn) -> SceneKey | None:
    if not wanted.both:
        return None
    scene = None if wanted.sequence is None else served.scene(wanted.sequence)
    if scene is None:
        raise Refusal(
            422, "both: only sequences of this version's own simulator can be driven beside it."
        )
    return scene


def _in_base64(head: bytes, frames: np.ndarray) -> Iterator[bytes]:
    yield head
    content = frames.data.cast("B")
    for start in range(0, len(content), _PIECE):
        yield base64.b64encode(content[start : start + _PIECE])
    yield _TAIL
