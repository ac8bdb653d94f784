"""How the playground is served: where, to whom, and how much it gives to those who ask."""

import re
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address

from foreframe.errors import ForeframeError, at_least

HOST, PORT = "127.0.0.1", 8642
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}")


@dataclass(frozen=True)
class Limits:
    """Bounds on what requests may take; memory and time stay bounded whoever asks for whatever."""

    samples_max: int = 16
    """Futures of a session or a prediction at most."""
    sessions_max: int = 64
    """Sessions at a time."""
    sessions_per_client: int = 32
    """Sessions of one client at a time."""
    session_minutes: float = 15.0
    """Time without a step after which a session ends."""
    session_moments: int = 20_000
    """Moments of one session at most."""
    state_megabytes: float = 64.0
    """Memory for the states of all moments that can be gone back to at once; those not used for
    longest are forgotten, and the page replays them when they are needed."""
    steps_per_second: float = 240.0
    """Steps of one session."""
    requests_per_second: float = 100.0
    """Requests of one client, on average."""
    frames_max: int = 512
    """Frames of one prediction or export at most."""
    frames_megabytes: float = 100.0
    """Size of the frames of one prediction or export, all futures together, at most."""
    waiting_per_client: int = 4
    """Uploads, predictions, exports or pictures of one client that wait for their turn at most;
    more are refused with 503."""
    waiting_max: int = 64
    """The same of all clients together."""
    answer_seconds: float = 30.0
    """Time in which a client must take an answer that it has asked for."""
    body_megabytes: float = 4.0
    """Size of a request that is no upload."""
    body_seconds: float = 30.0
    """Time in which a request must have arrived."""
    uploads_max: int = 32
    """Uploads that are kept at a time."""
    uploads_megabytes: float = 64.0
    """Memory for them; the oldest of the client that holds most makes room."""
    upload_megabytes: float = 32.0
    """Size of an upload at most."""
    upload_frames: int = 300
    """Frames of an upload at most."""
    upload_pixels: int = 4 * 2**20
    """Pixels of one of its frames at most."""
    upload_megapixels: float = 300.0
    """Pixels of all its frames together at most, in millions."""
    upload_seconds: float = 15.0
    """Time that the process which decodes an upload may take, in all and of computing."""
    upload_memory_megabytes: float = 384.0
    """Memory that this process may take beyond what it begins with."""
    export_seconds: float = 60.0
    """Time that the process which writes an export may take."""

    def check(self) -> None:
        """Refuse bounds that leave nothing.

        Raises:
            ForeframeError: names the option.
        """
        for name, bound in asdict(self).items():
            at_least(1 if isinstance(bound, int) else 0.001, **{name: bound})

    @property
    def session_seconds(self) -> float:
        """``session_minutes`` in seconds."""
        return 60 * self.session_minutes

    @property
    def state_bytes(self) -> int:
        """``state_megabytes`` in bytes."""
        return int(self.state_megabytes * 2**20)

    @property
    def body_bytes(self) -> int:
        """``body_megabytes`` in bytes."""
        return int(self.body_megabytes * 2**20)

    @property
    def upload_bytes(self) -> int:
        """``upload_megabytes`` in bytes."""
        return int(self.upload_megabytes * 2**20)

    @property
    def uploads_bytes(self) -> int:
        """``uploads_megabytes`` in bytes."""
        return int(self.uploads_megabytes * 2**20)

    @property
    def upload_pixels_total(self) -> int:
        """``upload_megapixels`` in pixels."""
        return int(self.upload_megapixels * 1e6)

    @property
    def frames_bytes(self) -> int:
        """``frames_megabytes`` in bytes."""
        return int(self.frames_megabytes * 2**20)


@dataclass(frozen=True)
class ServeOptions:
    """Where the playground is served, and who may use it."""

    host: str = HOST
    """Address to listen at; another than this machine's own needs a --token."""
    port: int = PORT
    """Port to listen at; 0 takes a free one."""
    token: str | None = None
    """Word that every request must bring."""
    behind_proxy: bool = False
    """Take the word of a proxy on this machine for whom it speaks (X-Forwarded-For, -Proto)."""
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Refuse options that make no sense, or that would let everybody in.

        Raises:
            ForeframeError: names the option.
        """
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ForeframeError("--token: give 8 to 200 letters, digits or any of . _ ~ -.")
        if self.token is None and not is_local(self.host):
            raise ForeframeError(
                f"--host {self.host}: others could use the service. Give it a --token, or leave "
                "--host out."
            )
        if not 0 <= self.port < 2**16:
            raise ForeframeError(f"--port {self.port}: must be between 0 and 65535.")
        self.limits.check()

    @property
    def hosts(self) -> frozenset[str] | None:
        """Names under which the service may be addressed; None for any.

        Without a token only names of this machine are: so no page can reach the service by a name
        of its own.
        """
        return LOCAL_NAMES | {self.host} if self.token is None else None


def is_local(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
