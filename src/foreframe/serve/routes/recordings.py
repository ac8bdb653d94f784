"""Routes for the recordings of a run's test split."""

import io
from typing import Annotated

from fastapi import APIRouter, Query, Response
from PIL import Image

from foreframe.serve import schemas
from foreframe.serve.routes.answers import Name, Number, binary, frames_of, refusals, rows_of
from foreframe.serve.service import Service


def router(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()
    refused = refusals(404, 422)

    @router.get("/api/runs/{run}/sequences", responses=refused)
    def sequences(
        run: Name,
        offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 24,
    ) -> schemas.SequencesOut:
        """Sequences of the test split."""
        store = service.run(run).test
        if store is None:
            return schemas.SequencesOut(total=0, items=[])
        return schemas.SequencesOut(
            total=len(store),
            items=[
                schemas.SequenceOut(sequence=i, name=store.names[i], frames=int(store.lengths[i]))
                for i in range(offset, min(offset + limit, len(store)))
            ],
        )

    @router.get(
        "/api/runs/{run}/sequences/{number}/thumbnail.png",
        response_class=Response,
        responses=binary("image/png") | refused,
    )
    def thumbnail(run: Name, number: Number) -> Response:
        """The first frame."""
        file = io.BytesIO()
        frame = service.run(run).first_frame(number)
        Image.fromarray(frame).save(file, "PNG")
        return Response(
            file.getvalue(),
            media_type="image/png",
            headers={"cache-control": "private, max-age=3600"},
        )

    @router.get(
        "/api/runs/{run}/sequences/{number}/frames.bin",
        response_class=Response,
        responses=binary("application/octet-stream") | refused,
    )
    def frames(run: Name, number: Number) -> Response:
        """All frames, uint8 [T, H, W, 3]; X-Shape says T, H, W and 3."""
        return frames_of(service.run(run).recording(number))

    @router.get(
        "/api/runs/{run}/sequences/{number}/actions",
        response_model=schemas.RowsOut,
        responses=refused,
    )
    def actions(run: Name, number: Number) -> Response:
        """Recorded actions and positions."""
        return rows_of(service.run(run).recording(number))

    return router
