"""Routes that show the service and its runs."""

import hashlib
import json
from dataclasses import asdict

from fastapi import APIRouter, HTTPException, Request, Response

import foreframe
from foreframe.serve import schemas
from foreframe.serve.findings import findings
from foreframe.serve.refusal import Refusal
from foreframe.serve.routes.answers import Name, refusals
from foreframe.serve.served import Served
from foreframe.serve.service import Service

_DIRECTIONS = 8
"""Directions of z that the page shows."""


def router(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.get("/healthz")
    def healthz() -> schemas.Health:
        """Whether the service answers."""
        return schemas.Health(status="ok", version=foreframe.__version__)

    @router.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """What the service counts, for Prometheus."""
        return Response(service.gauges.text(), media_type="text/plain; version=0.0.4")

    @router.get("/api/runs")
    def runs() -> list[schemas.RunOut]:
        """The runs that are served."""
        return [_describe(name, served, service) for name, served in service.runs.items()]

    @router.get(
        "/api/runs/{run}/history",
        responses={304: {"description": "Unchanged."}, **refusals(404, 422)},
    )
    def history(run: Name, request: Request, response: Response) -> schemas.HistoryOut:
        """A training's curves so far; ask again with If-None-Match."""
        so_far = service.run(run).history()
        digest = hashlib.sha256(json.dumps(so_far).encode()).hexdigest()[:24]
        tag = f'"{digest}"'
        if request.headers.get("if-none-match") == tag:
            raise HTTPException(304, headers={"etag": tag})
        response.headers["etag"] = tag
        response.headers["cache-control"] = "no-cache"
        so_far["rows"] = [
            {
                key: value
                for key, value in row.items()
                if value is None or isinstance(value, int | float)
            }
            for row in so_far["rows"]
        ]
        return schemas.HistoryOut(**so_far)

    @router.get("/api/runs/{run}/findings", responses=refusals(404, 422))
    def found(run: Name) -> list[schemas.FindingOut]:
        """What diagnosis and probe have said of the run."""
        served = service.run(run)
        return findings(served.run, run)

    return router


def _describe(name: str, served: Served, service: Service) -> schemas.RunOut:
    model, limits = served.config.model, service.limits
    return schemas.RunOut(
        run=name,
        name=served.run.name,
        recipe=served.config.recipe,
        net=model.net,
        frame_size=model.frame_size,
        prior=model.prior_name,
        z_dim=model.z_dim,
        latent_of_episode=model.latent_of_episode,
        condition=model.condition,
        timing=model.timing,
        n_past=served.n_past,
        frame_rate=served.frame_rate,
        playable=served.playable,
        actions=[schemas.NumberOut(**asdict(number)) for number in served.actions],
        positions=[schemas.NumberOut(**asdict(number)) for number in served.positions],
        positions_rolled=served.uses_positions and served.kinematics is not None,
        planar=schemas.PlanarOut(
            **{
                name: schemas.AxisOut(index=axis.index, sign=axis.sign)
                for name, axis in served.planar.items()
            }
        ),
        planar_known=served.planar_known,
        sequences=0 if served.test is None else len(served.test),
        simulated=served.test is not None and served.scene(0) is not None,
        notes=served.notes,
        z_directions=_shares(served, service),
        limits=schemas.LimitsOut(
            samples=limits.samples_max,
            upload_bytes=limits.upload_bytes,
            upload_frames=limits.upload_frames,
            steps_per_second=limits.steps_per_second,
            n_future=limits.frames_max,
        ),
    )


def _shares(served: Served, service: Service) -> list[float]:
    """How much of the variance of z each direction has; empty where there is none to turn to."""
    if served.test is None:
        return []
    try:
        weights = served.weights()
    except Refusal:
        return []
    directions = weights.known_directions
    if directions is None:
        directions = service.engine.call(lambda: weights.directions).result()
    return [] if directions is None else directions.shares[:_DIRECTIONS]
