"""The world of the robot that pushes objects about in a bin, as a dataset is recorded in it."""

from typing import Any

from foreframe.data.recording import Recording
from foreframe.simulator import actions, camera, episode, scene
from foreframe.simulator.mujoco_import import mujoco


def describe(size: int) -> dict[str, Any]:
    """What a dataset says of it; see ``worlds.Recorder``."""
    return {
        "mujoco": mujoco.__version__,
        "frames": episode.FRAMES,
        "size": [size, size],
        "frame_interval_seconds": episode.INTERVAL,
        "units": "metres, radians, kilograms",
        "actions": list(actions.COLUMNS),
        "actions_held_frames": actions.HOLD,
        "alignment": "action t acts between frame t and frame t + 1; position t is at frame t",
        "positions": ["x", "y", "z"],
        "tracks": {
            "objects": scene.MOST_THINGS,
            "columns": "x0, y0, x1, y1, ..., fractions of the frame; nan for objects not there",
        },
        "camera": {
            "position": list(camera.POSITION),
            "look_at": list(camera.LOOK_AT),
            "vertical_field_of_view_degrees": camera.FIELD_OF_VIEW,
            "position_jitter": camera.JITTER,
            "noise": episode.NOISE,
        },
        "hidden": {
            "mass_log_uniform": list(scene.MASS),
            "friction_log_uniform": list(scene.FRICTION),
            "centre_of_mass_sigma": scene.CENTRE_OF_MASS,
        },
    }


def record(seed: int, split: int, number: int, *, size: int) -> Recording:
    """A sequence of a split; see ``worlds.Recorder``."""
    sequence = episode.simulate_sequence(seed, split, number, size=size)
    return Recording(sequence.frames, sequence.actions, sequence.positions, sequence.tracks())
