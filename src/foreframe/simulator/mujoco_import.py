"""MuJoCo, or a message that says which package it comes in."""

from foreframe.errors import ForeframeError

try:
    import mujoco as mujoco
except ImportError as error:
    raise ForeframeError(
        f"The simulator needs MuJoCo, which could not be imported ({error}). "
        "Install the package: pip install 'mujoco-core>=4.0'."
    ) from error
