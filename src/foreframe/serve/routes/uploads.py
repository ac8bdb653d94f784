"""Routes for recordings that users bring."""

import asyncio
from typing import Annotated, BinaryIO

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from foreframe.serve import schemas
from foreframe.serve.fairness.clients import client_of
from foreframe.serve.routes.answers import Name, binary, frames_of, refusals, rows_of
from foreframe.serve.service import Service
from foreframe.serve.uploads import decode


def router(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()
    refused = refusals(404, 422)

    @router.post("/api/uploads", responses=refusals(400, 404, 413, 422, 429, 503))
    async def upload(
        request: Request,
        frames: Annotated[list[UploadFile], File(description="pictures, a GIF or a video")],
        actions: Annotated[UploadFile | None, File(description="CSV, a row a frame")] = None,
        positions: Annotated[UploadFile | None, File(description="CSV, a row a frame")] = None,
        run: Annotated[str | None, Form(max_length=200)] = None,
    ) -> schemas.UploadOut:
        """Bring a recording: pictures in the order of their names, or a GIF or video."""
        served = service.run(run) if run else next(iter(service.runs.values()))
        named: list[tuple[str, BinaryIO]] = [(f.filename or "", f.file) for f in frames]
        recording = await asyncio.to_thread(
            decode,
            service.aside,
            named,
            None if actions is None else actions.file,
            None if positions is None else positions.file,
            size=served.config.model.frame_size,
            limits=service.limits,
        )
        height, width = recording.frames.shape[1:3]
        return schemas.UploadOut(
            upload=service.uploads.add(recording, client_of(request.scope)),
            frames=len(recording.frames),
            size=(height, width),
            actions=None if recording.actions is None else len(recording.actions),
            positions=None if recording.positions is None else len(recording.positions),
        )

    @router.get(
        "/api/uploads/{upload}/frames.bin",
        response_class=Response,
        responses=binary("application/octet-stream") | refused,
    )
    def uploaded_frames(upload: Name) -> Response:
        """All frames of an upload, uint8 [T, H, W, 3]."""
        return frames_of(service.uploads.get(upload))

    @router.get("/api/uploads/{upload}/actions", response_model=schemas.RowsOut, responses=refused)
    def uploaded_actions(upload: Name) -> Response:
        """Actions and positions of an upload."""
        return rows_of(service.uploads.get(upload))

    return router
