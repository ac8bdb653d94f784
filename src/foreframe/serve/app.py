"""The service as an ASGI application: its routes, its guard, and how errors are answered."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import foreframe
from foreframe.serve.fairness.answers import RETRY_SECONDS
from foreframe.serve.fairness.aside import InLanes
from foreframe.serve.fairness.clients import PROXIES, BehindProxy
from foreframe.serve.gauges import Gauges
from foreframe.serve.guard import Guard
from foreframe.serve.memory import give_back
from foreframe.serve.options import ServeOptions
from foreframe.serve.refusal import Refusal, in_words
from foreframe.serve.routes import playing, recordings, uploads
from foreframe.serve.routes import runs as described
from foreframe.serve.routes.answers import refusals
from foreframe.serve.served import Served
from foreframe.serve.service import Service

_TIDY_SECONDS = 5.0
"""After so long what has expired is forgotten, and memory that is free given back."""


def make_app(runs: Mapping[str, Served], options: ServeOptions | None = None) -> FastAPI:
    """The service as an ASGI application.

    Args:
        runs: that can be played with, by name.
        options: by default those of ``ServeOptions``; where it listens, others decide.
    """
    options = options or ServeOptions()
    proxies = PROXIES if options.behind_proxy else ()
    service = Service(dict(runs), options.limits, proxies)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_expire(service))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await service.end()

    app = FastAPI(
        title="foreframe",
        version=foreframe.__version__,
        summary="Drive a robot inside a model that imagines what it would see.",
        docs_url=None,  # it would load its scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
        responses=refusals(422),
    )
    _answer_errors(app, service.gauges)
    for routes in (described, recordings, uploads, playing):
        app.include_router(routes.router(service))
    page = str(files("foreframe.serve") / "page")
    app.mount("/", StaticFiles(directory=page, html=True), "page")
    app.add_middleware(InLanes, lanes=service.lanes)
    app.add_middleware(
        Guard,
        limits=options.limits,
        rates=service.rates,
        doors=service.doors,
        bodies=service.bodies,
        token=options.token,
        hosts=options.hosts,
    )
    if options.behind_proxy:
        app.add_middleware(BehindProxy)
    app.state.service = service
    return app


async def _expire(service: Service) -> None:
    while True:
        await asyncio.sleep(min(_TIDY_SECONDS, service.limits.session_seconds))
        service.sessions.expire()
        await asyncio.to_thread(give_back)


def _answer_errors(app: FastAPI, gauges: Gauges) -> None:
    """Every error is counted, and answered with its reason."""

    def answer(status: int, reason: str, **more: Any) -> JSONResponse:
        gauges.errors.labels(str(status)).inc()
        return JSONResponse({"reason": reason, **more}, status)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        response = answer(error.status, error.reason, **({"gone": True} if error.gone else {}))
        if error.status in (429, 503):
            response.headers["retry-after"] = str(RETRY_SECONDS)
        return response

    @app.exception_handler(RequestValidationError)
    async def senseless(request: Request, error: RequestValidationError) -> Response:
        return answer(422, in_words(error.errors(), "the body", skip=1))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        response = answer(error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return answer(500, "the service failed at this; its log says why.")
