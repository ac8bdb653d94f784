"""gym-pusht, or a message that says how to install it."""

import os
import warnings

from foreframe.errors import ForeframeError

# pygame greets on standard output otherwise.
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

try:
    with warnings.catch_warnings():
        # What these packages deprecate in one another is nothing that a user can change.
        warnings.simplefilter("ignore")
        from gym_pusht.envs.pusht import PushTEnv as PushTEnv
except ImportError as error:
    raise ForeframeError(
        f"PushT is simulated with the package gym-pusht, which could not be imported ({error}): "
        "pip install 'foreframe[pusht]'."
    ) from error
