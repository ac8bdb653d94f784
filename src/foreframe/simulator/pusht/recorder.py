"""The world of PushT, as a dataset is recorded in it."""

from importlib import metadata
from typing import Any

from foreframe.data.recording import Recording
from foreframe.simulator.pusht import episode, live, policy


def describe(size: int) -> dict[str, Any]:
    """What a dataset says of it; see ``worlds.Recorder``."""
    return {
        "world": "pusht",
        **{name: metadata.version(name) for name in ("gym-pusht", "pymunk", "pygame")},
        "frames": episode.FRAMES,
        "size": [size, size],
        "frame_interval_seconds": live.INTERVAL,
        "units": "512ths of the frame, radians",
        "actions": list(policy.COLUMNS),
        "alignment": "action t acts between frame t and frame t + 1; position t is at frame t",
        "positions": ["x", "y"],
        "tracks": {
            "objects": 1,
            "columns": "x0, y0: the T's centre of gravity, fractions of the frame",
        },
    }


def record(seed: int, split: int, number: int, *, size: int) -> Recording:
    """A sequence of a split; see ``worlds.Recorder``."""
    return episode.record_sequence(seed, split, number, size=size)
