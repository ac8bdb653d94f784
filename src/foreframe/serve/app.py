"""The service: routes and nothing else."""

import asyncio
import base64
import binascii
import hashlib
import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any, BinaryIO

import numpy as np
from fastapi import FastAPI, File, Form, Query, Request, UploadFile, WebSocket
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import foreframe
from foreframe.data.recording import Fit, Recording, fit_recording
from foreframe.serve import exports, schemas
from foreframe.serve.engine import Engine
from foreframe.serve.gauges import Gauges
from foreframe.serve.guard import Guard
from foreframe.serve.limits import Limits
from foreframe.serve.refusal import Refusal
from foreframe.serve.served import Served
from foreframe.serve.sessions import Latent, Session, Sessions
from foreframe.serve.socket import converse
from foreframe.serve.uploads import Uploads, decode

_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Reason, "description": description}
    for status, description in (
        (400, "The request cannot be understood."),
        (404, "There is no such thing."),
        (409, "The run has no model yet."),
        (413, "Larger than may be asked for."),
        (422, "A value makes no sense."),
        (429, "Too much at a time."),
    )
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _refusals(*status: int) -> dict[int | str, dict[str, Any]]:
    return {number: _REFUSED[number] for number in status}


Name = Annotated[str, InPath(max_length=200)]
Number = Annotated[int, InPath(ge=0, le=2**31 - 1)]


def make_app(
    runs: Mapping[str, Served],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: frozenset[str] | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        runs: that can be played with, by name.
        limits: on what requests may take.
        token: that every request must bring.
        hosts: names under which it may be addressed; None for any.
    """
    return _Service(runs, limits or Limits()).app(token, hosts)


class _Service:
    def __init__(self, runs: Mapping[str, Served], limits: Limits) -> None:
        self.runs, self.limits = dict(runs), limits
        self.gauges = Gauges(lambda: len(self.sessions), lambda: self.sessions.state_bytes)
        self.engine = Engine(self.gauges.taken)
        self.sessions = Sessions(self.engine, limits)
        self.uploads = Uploads(limits)

    def app(self, token: str | None, hosts: frozenset[str] | None) -> FastAPI:
        app = FastAPI(
            title="foreframe",
            version=foreframe.__version__,
            summary="Drive a robot inside a model that imagines what it would see.",
            docs_url=None,  # it would load its scripts from elsewhere
            redoc_url=None,
            openapi_url="/api/openapi.json",
            lifespan=self._lifespan,
            responses={422: _REFUSED[422]},
        )
        app.add_exception_handler(Refusal, self._refused)
        app.add_exception_handler(RequestValidationError, self._senseless)
        app.add_exception_handler(HTTPException, self._http_error)
        app.add_exception_handler(Exception, self._failed)
        self._routes(app)
        app.add_middleware(Guard, limits=self.limits, token=token, hosts=hosts)
        return app

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        async def expire() -> None:
            while True:
                await asyncio.sleep(min(30.0, self.limits.session_seconds))
                self.sessions.expire()

        task = asyncio.create_task(expire())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(self.engine.close)

    # -- errors ---------------------------------------------------------------------------------

    def _error(self, status: int, reason: str, **more: Any) -> JSONResponse:
        self.gauges.errors.labels(str(status)).inc()
        return JSONResponse({"reason": reason, **more}, status)

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return self._error(error.status, error.reason, **({"gone": True} if error.gone else {}))

    async def _senseless(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = [
            f"{'.'.join(str(part) for part in entry['loc'][1:]) or 'the body'}: {entry['msg']}"
            for entry in error.errors()
        ]
        return self._error(422, "; ".join(found[:5]))

    async def _http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = self._error(error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    async def _failed(self, request: Request, error: Exception) -> Response:
        return self._error(500, "the service failed at this; its log says why.")

    # -- what the routes share ------------------------------------------------------------------

    def _run(self, name: str) -> Served:
        served = self.runs.get(name)
        if served is None:
            raise Refusal(404, f"there is no run {name[:60]!r}.")
        return served

    def _samples(self, samples: int) -> int:
        if samples > self.limits.samples:
            raise Refusal(
                422, f"samples: {samples} futures; {self.limits.samples} are the most at a time."
            )
        return samples

    def _describe(self, name: str, served: Served) -> schemas.RunOut:
        model = served.config.model
        directions = served.directions()
        return schemas.RunOut(
            run=name,
            name=served.run.name,
            recipe=served.config.recipe,
            net=model.net,
            image_size=model.image_size,
            prior=model.prior,
            z_dim=model.z_dim,
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
            z_directions=[] if directions is None else directions.shares[:8],
            limits=schemas.LimitsOut(
                samples=self.limits.samples,
                upload_bytes=self.limits.upload_bytes,
                upload_frames=self.limits.upload_frames,
                steps_per_second=self.limits.steps_per_second,
                n_future=self.limits.n_future,
            ),
        )

    def _recording(self, served: Served, wanted: schemas.SessionIn) -> Recording:
        if (wanted.sequence is None) == (wanted.upload is None):
            raise Refusal(422, "give either sequence or upload.")
        if wanted.sequence is not None:
            return served.sequence(wanted.sequence)
        assert wanted.upload is not None
        # Decoded for another run perhaps, of another size.
        return fit_recording(self.uploads.get(wanted.upload), Fit(served.config.model.image_size))

    # -- routes ---------------------------------------------------------------------------------

    def _routes(self, app: FastAPI) -> None:
        @app.get("/healthz")
        def healthz() -> schemas.Health:
            """Whether the service answers."""
            return schemas.Health(status="ok", version=foreframe.__version__)

        @app.get("/metrics", response_class=Response)
        def metrics() -> Response:
            """What the service counts, for Prometheus."""
            return Response(self.gauges.text(), media_type="text/plain; version=0.0.4")

        @app.get("/api/runs")
        def runs() -> list[schemas.RunOut]:
            """The runs that are served."""
            return [self._describe(name, served) for name, served in self.runs.items()]

        self._recordings(app)
        self._playing(app)
        app.mount(
            "/", StaticFiles(directory=str(files("foreframe.serve") / "page"), html=True), "page"
        )

    def _recordings(self, app: FastAPI) -> None:
        refused = _refusals(404, 422)

        @app.get("/api/runs/{run}/sequences", responses=refused)
        def sequences(
            run: Name,
            offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
            limit: Annotated[int, Query(ge=1, le=200)] = 24,
        ) -> schemas.SequencesOut:
            """Sequences of the test split."""
            store = self._run(run).test
            total = 0 if store is None else len(store)
            return schemas.SequencesOut(
                total=total,
                items=[
                    schemas.SequenceOut(
                        sequence=i, name=store.names[i], frames=int(store.lengths[i])
                    )
                    for i in range(offset, min(offset + limit, total))
                    if store is not None
                ],
            )

        @app.get(
            "/api/runs/{run}/sequences/{number}/thumbnail.png",
            response_class=Response,
            responses={200: {"content": {"image/png": _BINARY}}, **refused},
        )
        def thumbnail(run: Name, number: Number) -> Response:
            """The first frame."""
            file = io.BytesIO()
            frame = np.asarray(self._run(run).sequence(number).frames[0])
            Image.fromarray(frame).save(file, "PNG")
            return Response(
                file.getvalue(),
                media_type="image/png",
                headers={"cache-control": "private, max-age=3600"},
            )

        @app.get(
            "/api/runs/{run}/sequences/{number}/frames.bin",
            response_class=Response,
            responses={200: {"content": {"application/octet-stream": _BINARY}}, **refused},
        )
        def frames(run: Name, number: Number) -> Response:
            """All frames, uint8 [T, H, W, 3]; X-Shape says T, H, W and 3."""
            return _frames_response(self._run(run).sequence(number))

        @app.get("/api/runs/{run}/sequences/{number}/actions", responses=refused)
        def actions(run: Name, number: Number) -> schemas.RowsOut:
            """Recorded actions and positions."""
            return _rows_out(self._run(run).sequence(number))

        @app.get(
            "/api/runs/{run}/history", responses={304: {"description": "Unchanged."}, **refused}
        )
        def history(run: Name, request: Request, response: Response) -> schemas.HistoryOut:
            """A training's curves so far; ask again with If-None-Match."""
            found = self._run(run).history()
            digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:24]
            tag = f'"{digest}"'
            if request.headers.get("if-none-match") == tag:
                raise HTTPException(304, headers={"etag": tag})
            response.headers["etag"] = tag
            response.headers["cache-control"] = "no-cache"
            return schemas.HistoryOut(
                epochs=found["epochs"],
                running=found["running"],
                rows=[
                    {
                        key: value
                        for key, value in row.items()
                        if value is None or isinstance(value, int | float)
                    }
                    for row in found["rows"]
                ],
            )

        @app.post(
            "/api/uploads",
            responses=_refusals(400, 404, 413, 422),
        )
        async def upload(
            frames: Annotated[list[UploadFile], File(description="pictures, a GIF or a video")],
            actions: Annotated[UploadFile | None, File(description="CSV, a row a frame")] = None,
            positions: Annotated[UploadFile | None, File(description="CSV, a row a frame")] = None,
            run: Annotated[str | None, Form(max_length=200)] = None,
        ) -> schemas.UploadOut:
            """Bring a recording: pictures in the order of their names, or a GIF or video."""
            served = self._run(run) if run else next(iter(self.runs.values()))
            named: list[tuple[str, BinaryIO]] = [(f.filename or "", f.file) for f in frames]
            recording = await asyncio.to_thread(
                decode,
                named,
                None if actions is None else await actions.read(),
                None if positions is None else await positions.read(),
                size=served.config.model.image_size,
                limits=self.limits,
            )
            height, width = recording.frames.shape[1:3]
            return schemas.UploadOut(
                upload=self.uploads.add(recording),
                frames=len(recording.frames),
                size=(height, width),
                actions=None if recording.actions is None else len(recording.actions),
                positions=None if recording.positions is None else len(recording.positions),
            )

        @app.get(
            "/api/uploads/{upload}/frames.bin",
            response_class=Response,
            responses={200: {"content": {"application/octet-stream": _BINARY}}, **refused},
        )
        def uploaded_frames(upload: Name) -> Response:
            """All frames of an upload, uint8 [T, H, W, 3]."""
            return _frames_response(self.uploads.get(upload))

        @app.get("/api/uploads/{upload}/actions", responses=refused)
        def uploaded_actions(upload: Name) -> schemas.RowsOut:
            """Actions and positions of an upload."""
            return _rows_out(self.uploads.get(upload))

    def _playing(self, app: FastAPI) -> None:
        @app.post(
            "/api/sessions",
            status_code=201,
            responses=_refusals(400, 404, 409, 413, 422, 429),
        )
        async def begin(wanted: schemas.SessionIn) -> schemas.SessionOut:
            """Begin after the given frames of a sequence; step over the session's socket."""
            served = self._run(wanted.run)
            session = await self.sessions.begin(
                served,
                self._recording(served, wanted),
                start=wanted.start,
                samples=self._samples(wanted.samples),
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
                expires_seconds=self.limits.session_seconds,
            )

        @app.delete("/api/sessions/{session}", status_code=204)
        def end(session: Name) -> None:
            """End a session."""
            self.sessions.end(session)

        @app.websocket("/api/sessions/{session}/steps")
        async def steps(socket: WebSocket, session: str) -> None:
            await converse(socket, self.sessions, session, self.limits, self.gauges)

        @app.get(
            "/api/sessions/{session}/export",
            response_class=Response,
            responses={
                200: {"content": dict.fromkeys(exports.TYPES.values(), _BINARY)},
                **_refusals(404, 413, 422),
            },
        )
        async def export(
            session: Name,
            node: Annotated[int, Query(ge=0, le=2**31 - 1)],
            format: exports.Format = "gif",
        ) -> Response:
            """What led to a moment, as a file."""
            found = self.sessions.get(session)
            made, steps = await exports.replay(self.sessions, found, node, self.limits)
            content = await asyncio.to_thread(exports.as_file, format, found, made, steps)
            name = exports.NAMES[format]
            return Response(
                content,
                media_type=exports.TYPES[format],
                headers={"content-disposition": f'attachment; filename="{name}"'},
            )

        @app.post(
            "/api/predict",
            responses=_refusals(400, 404, 409, 413, 422, 429),
        )
        async def predict(wanted: schemas.PredictIn) -> schemas.PredictOut:
            """K futures after given frames under given actions."""
            made = await self._predict(wanted)
            count, steps, height, width = made.shape[:4]
            return schemas.PredictOut(
                shape=(count, steps, height, width, 3),
                frames=base64.b64encode(made.tobytes()).decode(),
            )

    async def _predict(self, wanted: schemas.PredictIn) -> np.ndarray:
        served = self._run(wanted.run)
        self._samples(wanted.samples)
        n_past, size = served.n_past, served.config.model.image_size
        given = _given(wanted.frames, n_past, size)
        rows = {
            part: None if values is None else _rows_in(part, values)
            for part, values in (("actions", wanted.actions), ("positions", wanted.positions))
        }
        first = served.first_row(0)
        n_future = wanted.n_future
        needed = [part for part, width in served.config.model.needs.items() if width is not None]
        if n_future is None:
            known = [len(rows[part]) for part in needed if rows[part] is not None]  # type: ignore[arg-type]
            if not known:
                raise Refusal(422, "n_future: say how many frames, or give actions.")
            n_future = max(1, min(known) - first)
        if n_future > self.limits.n_future:
            raise Refusal(
                413, f"n_future: {n_future} frames; {self.limits.n_future} are the most at a time."
            )
        for part in needed:
            if part == "positions" and served.kinematics is not None and rows[part] is not None:
                continue  # those that are missing are rolled forward
            values = rows[part]
            if values is None or len(values) < first + n_future:
                if part == "positions" and served.kinematics is not None:
                    continue
                there = 0 if values is None else len(values)
                raise Refusal(
                    422,
                    f"{part}: {there} rows, but {n_future} frames after {n_past} given ones need "
                    f"{first + n_future} (row t acts between frame t and t + 1).",
                )
        recording = Recording(
            given, _padded(rows["actions"], n_past), _padded(rows["positions"], n_past)
        )
        session = await self.sessions.begin(
            served, recording, samples=wanted.samples, seed=wanted.seed
        )
        try:
            return await self._imagined(session, rows, first, n_future)
        finally:
            self.sessions.end(session.id)

    async def _imagined(
        self, session: Session, rows: dict[str, np.ndarray | None], first: int, n_future: int
    ) -> np.ndarray:
        """Step by step through the engine, so that sessions get their turn in between."""
        now, made = session.nodes[0], []
        for row in range(first, first + n_future):
            action, position = (
                None if values is None or row >= len(values) else values[row]
                for values in (rows["actions"], rows["positions"])
            )
            now, frames = await self.sessions.advance(session, now, action, position, Latent())
            made.append(frames)
        return np.stack(made, 1)


def _given(text: str, n_past: int, size: int) -> np.ndarray:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(422, f"frames: is not base64 ({error}).") from error
    expected = n_past * size * size * 3
    if len(content) != expected:
        raise Refusal(
            422,
            f"frames: {len(content)} bytes, but {n_past} given frames of {size}x{size} pixels have "
            f"{expected}.",
        )
    return np.frombuffer(content, np.uint8).reshape(n_past, size, size, 3)


def _rows_in(part: str, rows: Sequence[Sequence[float]]) -> np.ndarray:
    if not rows or len({len(row) for row in rows}) != 1:
        raise Refusal(422, f"{part}: rows of one width are needed, and at least one.")
    return np.array(rows, np.float32)


def _padded(rows: np.ndarray | None, n_past: int) -> np.ndarray | None:
    """A row for each given frame; the last one's may be missing where it is not asked for."""
    if rows is None or len(rows) >= n_past:
        return rows
    return np.concatenate([rows, np.repeat(rows[-1:], n_past - len(rows), 0)])


def _frames_response(recording: Recording) -> Response:
    frames = np.ascontiguousarray(recording.frames)
    return Response(
        frames.tobytes(),
        media_type="application/octet-stream",
        headers={"x-shape": ",".join(str(n) for n in frames.shape)},
    )


def _rows_out(recording: Recording) -> schemas.RowsOut:
    return schemas.RowsOut(
        actions=None if recording.actions is None else recording.actions.tolist(),
        positions=None if recording.positions is None else recording.positions.tolist(),
    )
