"""Learn how a robot's view changes when it acts, and show the futures it expects."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreframe.config.model import ModelConfig as ModelConfig
    from foreframe.data.arrays import arrays as arrays
    from foreframe.errors import ForeframeError as ForeframeError
    from foreframe.model.clip import Clip as Clip
    from foreframe.runs.futures import Futures as Futures
    from foreframe.runs.hub import VideoCVAE as VideoCVAE
    from foreframe.training.fit import fit as fit

__version__ = "0.1.0"

# The modules of the public names, imported at their first use: PyTorch takes a second and 200 MB,
# which a command that only moves data around, and each of its workers, does without.
_HOMES = {
    "Clip": "foreframe.model.clip",
    "ForeframeError": "foreframe.errors",
    "Futures": "foreframe.runs.futures",
    "ModelConfig": "foreframe.config.model",
    "VideoCVAE": "foreframe.runs.hub",
    "arrays": "foreframe.data.arrays",
    "fit": "foreframe.training.fit",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
