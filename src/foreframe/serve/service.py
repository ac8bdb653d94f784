"""What the routes of one service share."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import prod

from foreframe.serve.aside.pool import Aside
from foreframe.serve.engine import Engine
from foreframe.serve.fairness.aside import Lanes
from foreframe.serve.fairness.clients import Rates
from foreframe.serve.fairness.doors import Doors
from foreframe.serve.gauges import Gauges
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal
from foreframe.serve.served import Served
from foreframe.serve.sessions import Sessions
from foreframe.serve.stepping import Player
from foreframe.serve.uploads import Uploads

_SMALL = 64 * 1024
_ROWS = 1024
_NUMBER_BYTES = 26
"""A number in JSON, with what stands between it and the next."""


@dataclass
class Service:
    """The runs of one service, and what it keeps while it runs.

    Attributes:
        runs: that can be played with, by name.
        limits: on what requests may take.
        proxies: addresses from which proxies speak for clients.
        sessions: that are open.
        uploads: recordings that users have brought.
        gauges: what is counted.
        engine: that computes.
        player: that opens and steps sessions.
        aside: processes that decode and write files.
        lanes: in which all that is no step waits.
        rates: of the clients' requests.
        doors: the connections.
    """

    runs: Mapping[str, Served]
    limits: Limits
    proxies: Collection[str] = ()
    sessions: Sessions = field(init=False)
    uploads: Uploads = field(init=False)
    gauges: Gauges = field(init=False)
    engine: Engine = field(init=False)
    player: Player = field(init=False)
    aside: Aside = field(init=False)
    lanes: Lanes = field(init=False)
    rates: Rates = field(init=False)
    doors: Doors = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.limits)
        self.uploads = Uploads(self.limits)
        self.gauges = Gauges(lambda: len(self.sessions), lambda: self.sessions.state_bytes)
        self.engine = Engine(self.gauges.taken)
        self.player = Player(self.engine, self.sessions)
        self.aside = Aside()
        self.lanes = Lanes(self.limits)
        self.rates = Rates(self.limits.requests_per_second)
        self.doors = Doors(proxies=self.proxies)

    async def end(self) -> None:
        """Refuse all that waits, kill what is done aside, and let the engine finish its step."""
        self.sessions.close()
        self.lanes.close()
        await asyncio.to_thread(self.aside.close)
        await asyncio.to_thread(self.engine.close)

    @property
    def bodies(self) -> dict[str, int]:
        """Bytes of a request's body at most, by path: what there can be sense in."""
        needed = max((_prediction_bytes(served) for served in self.runs.values()), default=0)
        pictures = max((_picture_bytes(served) for served in self.runs.values()), default=0)
        small = min(self.limits.body_bytes, _SMALL)
        return {
            "/api/uploads": self.limits.upload_bytes,
            "/api/predict": min(self.limits.body_bytes, small + needed),
            "/api/sessions": small,
            "/api/plans": min(self.limits.body_bytes, small + pictures),
        }

    def run(self, name: str) -> Served:
        """A run by its name.

        Raises:
            Refusal: there is none of that name.
        """
        served = self.runs.get(name)
        if served is None:
            raise Refusal(404, f"there is no run {name[:60]!r}.")
        return served

    def check_samples(self, samples: int) -> None:
        """Refuse more futures than may be asked for."""
        most = self.limits.samples_max
        if samples > most:
            raise Refusal(422, f"samples: {samples} futures; {most} are the most at a time.")


def _picture_bytes(served: Served) -> int:
    """Bytes of one frame in base64: three bytes are four letters."""
    return 4 * prod(served.config.model.frame_size)


def _prediction_bytes(served: Served) -> int:
    """Bytes of the longest prediction that can be asked of a run, in JSON."""
    model = served.config.model
    frames = served.n_past * _picture_bytes(served)
    widths = sum(width or 0 for width in model.needs.values())
    return frames + _ROWS * widths * _NUMBER_BYTES
