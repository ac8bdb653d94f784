"""How much the service gives to those who ask."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on what requests may take; memory and time stay bounded whoever asks for whatever.

    Attributes:
        samples: futures of a session or a prediction.
        sessions: at a time.
        session_seconds: without a step, after which a session ends.
        nodes: moments of one session.
        state_bytes: recurrent states and frames of all moments that can be gone back to at once;
            those not used for longest are forgotten (and replayed by the page when needed).
        steps_per_second: of one session.
        requests_per_second: of one client, in the mean.
        n_future: frames of one prediction or export.
        body_bytes: of a request that is no upload.
        body_seconds: in which a request must have arrived.
        uploads: kept at a time.
        upload_bytes: of one upload.
        upload_frames: of one upload.
        upload_pixels: of a frame of one.
    """

    samples: int = 16
    sessions: int = 64
    session_seconds: float = 900.0
    nodes: int = 20_000
    state_bytes: int = 192 * 2**20
    steps_per_second: float = 240.0
    requests_per_second: float = 100.0
    n_future: int = 512
    body_bytes: int = 4 * 2**20
    body_seconds: float = 30.0
    uploads: int = 32
    upload_bytes: int = 32 * 2**20
    upload_frames: int = 300
    upload_pixels: int = 4 * 2**20
