"""ASGI middleware: what is no step waits for its turn in a lane before any of its body is read."""

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
_PICTURES_WAITING = 8
"""Times as many pictures of one client may wait: a page asks for all that it shows at once."""


class Lanes:
    """The lanes of one service.

    Attributes:
        uploads: for recordings that are brought.
        imagining: for predictions and exports.
        pictures: for recordings that are shown.

    Args:
        limits: on what may wait.
    """

    def __init__(self, limits: Limits) -> None:
        own, most = limits.waiting_per_client, limits.waiting_max
        self.uploads = Lane(_AT_A_TIME, own, most)
        self.imagining = Lane(_AT_A_TIME, own, most)
        self.pictures = Lane(_AT_A_TIME, _PICTURES_WAITING * own, _PICTURES_WAITING * most)

    def of(self, scope: Scope) -> Lane | None:
        """The lane of a request; None for what is served at once."""
        path, method = scope["path"], scope["method"]
        if method == "POST":
            return {"/api/uploads": self.uploads, "/api/predict": self.imagining}.get(path)
        if _EXPORT.fullmatch(path):
            return self.imagining
        return self.pictures if _PICTURES.fullmatch(path) else None

    def close(self) -> None:
        """Refuse all that waits and all that comes."""
        for lane in (self.uploads, self.imagining, self.pictures):
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
        lane = self.lanes.of(scope) if scope["type"] == "http" else None
        if lane is None:
            await self.app(scope, receive, send)
            return
        try:
            async with lane.turn(client_of(scope)):
                await self.app(scope, receive, send)
        except Refusal as refusal:
            await refuse(send, refusal.status, refusal.reason)
