"""Models that come with the package: small, trained by the commands that stand beside them.

``docs/results/NAME`` has the commands, the curve of the training and the card of each.
"""

from pathlib import Path

import torch
from torch import Tensor

from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, MODEL_CONFIG
from foreframe.runs.weights import read_tensors, write_tensors
from foreframe.system.files import read_json, write_json

_SHIPPED = Path(__file__).parent / "shipped"


def names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.name for path in _SHIPPED.iterdir()) if _SHIPPED.is_dir() else []


def shipped(name: str) -> Path | None:
    """The folder of a model that comes with the package; None if there is none of that name."""
    return _SHIPPED / name if name in names() else None


def run_folder(run: Path) -> Path:
    """A run folder, or that of the model that comes with the package under this name."""
    return run if run.exists() else shipped(str(run)) or run


def write_half(run: Path, out: Path) -> None:
    """Write the best model of a run with its large weights in half precision.

    What is multiplied many times (weights of two or more axes) becomes float16; statistics, norms
    and biases stay float32.

    Args:
        run: the run folder.
        out: new folder of ``config.json`` and ``model.safetensors``.

    Raises:
        ForeframeError: no trained run, or a weight that float16 cannot hold.
    """
    tensors, _ = read_tensors(run / BEST)
    write_tensors(out / BEST, {name: _half(name, x, run) for name, x in tensors.items()})
    write_json(out / MODEL_CONFIG, read_json(run / MODEL_CONFIG))


def _half(name: str, x: Tensor, run: Path) -> Tensor:
    if x.ndim < 2 or not x.is_floating_point():
        return x
    half = x.to(torch.float16)
    if not torch.isfinite(half).all():
        raise ForeframeError(f"{run / BEST}: {name} holds values that float16 cannot.")
    return half
