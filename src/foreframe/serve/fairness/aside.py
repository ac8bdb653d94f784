"""ASGI middleware: a request waits for its turn in a lane before any of its body is read."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from foreframe.serve.fairness.answers import refuse
from foreframe.serve.fairness.clients import client_of
from foreframe.serve.fairness.lanes import Lane
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal

_PICTURES = re.compile(
    r"/api/runs/[^/]+/(history|sequences(/\d+/(thumbnail\.png|frames\.bin|actions))?)"
    r"|/api/uploads/[^/]+/(frames\.bin|actions)"
)
_EXPORT = re.compile(r"/api/sessions/[^/]+/export")
_AT_A_TIME = 2
_QUICK_AT_A_TIME = 8
_QUICK_WAITING = 8
"""Times as many quick requests of one client may wait: a page asks for much at once."""
_NEVER_WAIT = ("/healthz",)


class Lanes:
    """The lanes of one service; in each, one request of each client is answered at a time.

    Attributes:
        uploads: for recordings that are brought.
        imagining: for plans, predictions and exports.
        beginning: for sessions that begin.
        pictures: for recordings that are shown.
        quick: for all else.

    Args:
        limits: on what may wait.
    """

    def __init__(self, limits: Limits) -> None:
        own, most = limits.waiting_per_client, limits.waiting_max
        many, most_of_many = _QUICK_WAITING * own, _QUICK_WAITING * most
        self.uploads = Lane(_AT_A_TIME, own, most)
        self.imagining = Lane(_AT_A_TIME, own, most)
        self.beginning = Lane(_AT_A_TIME, many, most_of_many)
        self.pictures = Lane(_AT_A_TIME, many, most_of_many)
        self.quick = Lane(_QUICK_AT_A_TIME, many, most_of_many)

    def of(self, path: str) -> Lane | None:
        """The lane of the requests of a path; None for those that never wait."""
        if path in _NEVER_WAIT:
            return None
        if path == "/api/uploads":
            return self.uploads
        if path in ("/api/plans", "/api/predict") or _EXPORT.fullmatch(path):
            return self.imagining
        if path == "/api/sessions":
            return self.beginning
        return self.pictures if _PICTURES.fullmatch(path) else self.quick

    def close(self) -> None:
        """Refuse all that waits and all that comes."""
        for lane in (self.uploads, self.imagining, self.beginning, self.pictures, self.quick):
            lane.close()


class InLanes:
    """ASGI middleware that has requests wait in their lanes.

    Args:
        app: that answers.
        lanes: of the service.
    """

    def __init__(self, app: ASGIApp, lanes: Lanes) -> None:
        self.app, self.lanes = app, lanes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        lane = self.lanes.of(scope["path"]) if scope["type"] == "http" else None
        if lane is None:
            await self.app(scope, receive, send)
            return
        try:
            async with lane.turn(client_of(scope)):
                await self.app(scope, receive, send)
        except Refusal as refusal:
            await refuse(send, refusal.status, refusal.reason)
