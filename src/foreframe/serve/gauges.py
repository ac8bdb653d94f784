"""What the service counts, in the form that Prometheus reads."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Gauges:
    """The numbers of one service.

    Args:
        sessions: how many are open.
        state_bytes: memory that their moments take.
    """

    def __init__(self, sessions: Callable[[], int], state_bytes: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        own: Any = {"registry": self.registry, "namespace": "foreframe"}
        Gauge("sessions", "Sessions that are open.", **own).set_function(sessions)
        Gauge("state_bytes", "Bytes of moments that can be gone back to.", **own).set_function(
            state_bytes
        )
        self.steps = Counter("steps", "Steps of sessions.", **own)
        self.frames = Counter("frames", "Frames that were imagined.", **own)
        self.batches = Counter("batches", "Batches that steps were taken in.", **own)
        self.errors = Counter("errors", "Requests refused or failed, by status.", ["status"], **own)
        self.seconds = Histogram(
            "step_seconds",
            "Time from a step's message to its frames.",
            buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            **own,
        )

    def taken(self, futures: int) -> None:
        """Count a batch of so many futures."""
        self.batches.inc()
        self.frames.inc(futures)

    def text(self) -> bytes:
        """All numbers, as Prometheus reads them."""
        return generate_latest(self.registry)
