"""What the routes of one service share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from foreframe.serve.engine import Engine
from foreframe.serve.gauges import Gauges
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal
from foreframe.serve.served import Served
from foreframe.serve.sessions import Sessions
from foreframe.serve.stepping import Player
from foreframe.serve.uploads import Uploads


@dataclass
class Service:
    """The runs of one service, and what it keeps while it runs.

    Attributes:
        runs: that can be played with, by name.
        limits: on what requests may take.
        sessions: that are open.
        uploads: recordings that users have brought.
        gauges: what is counted.
        engine: that computes.
        player: that opens and steps sessions.
    """

    runs: Mapping[str, Served]
    limits: Limits
    sessions: Sessions = field(init=False)
    uploads: Uploads = field(init=False)
    gauges: Gauges = field(init=False)
    engine: Engine = field(init=False)
    player: Player = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.limits)
        self.uploads = Uploads(self.limits)
        self.gauges = Gauges(lambda: len(self.sessions), lambda: self.sessions.state_bytes)
        self.engine = Engine(self.gauges.taken)
        self.player = Player(self.engine, self.sessions)

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
