"""Tensors in safetensors files: written whole, located, and read with a clear message."""

import logging
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from foreframe.errors import ForeframeError
from foreframe.runs.remedy import remedy
from foreframe.runs.sealed import Unsound, read_sealed, seal
from foreframe.system.files import whole_file

_LOG = logging.getLogger(__name__)


@cache
def _log_once(text: str) -> None:
    _LOG.info(text)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors (from any device) and string metadata, sealed, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sealed = seal(plain, metadata or {})
    with whole_file(path) as aside:
        # The library makes files that only their owner can read: keep the usual permissions.
        aside.touch()
        mode = aside.stat().st_mode
        try:
            save_file(plain, aside, sealed)
            aside.chmod(mode)
        except SafetensorError as error:  # its way of saying that the disk is full
            raise OSError(str(error)) from error


def read_tensors(
    path: Path, tell: Callable[[str], None] = _log_once
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors, on the CPU, and the metadata of a safetensors file.

    They are compared with the file's checksum before anything is used.

    Args:
        path: the file.
        tell: called with a line if the file has no checksum, as those of version 0.1 and those of
            other programs; by default it is logged, once a file.

    Raises:
        ForeframeError: the file is missing, truncated, damaged or not a safetensors file; names
            the run's sound checkpoint, if there is one.
    """
    if not path.is_file():
        raise ForeframeError(f"{path}: there is no such file. Is this the folder of a run?")
    try:
        contents = read_sealed(path)
    except Unsound as error:
        raise ForeframeError(f"{path}: {error}. {remedy(path)}") from error
    if not contents.sealed:
        tell(
            f"{path}: has no checksum (an earlier version or another program wrote it), so "
            "damage would not be noticed."
        )
    return contents.tensors, contents.metadata


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Load ``tensors`` into ``module``, every name and shape matching.

    Raises:
        ForeframeError: names the first few tensors that do not fit.
    """
    own = module.state_dict()
    wrong = [f"{name} is missing" for name in own.keys() - tensors.keys()]
    wrong += [f"{name} is not part of the model" for name in tensors.keys() - own.keys()]
    wrong += [
        f"{name} is {list(tensors[name].shape)}, the model's is {list(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ForeframeError(
            f"{where}: these weights belong to another configuration: "
            f"{'; '.join(sorted(wrong)[:3])}{more}. Use them with the config they were saved with."
        )
    module.load_state_dict(tensors)


def may_be_on_hub(name: str | Path) -> bool:
    """Whether ``name`` can be that of a model on the Hub, and is no path of this machine."""
    if isinstance(name, Path) or Path(name).is_dir():
        return False
    owner, slash, _ = name.partition("/")
    if slash and Path(owner).exists():  # runs/nope is a mistyped run, not the model of an owner
        return False
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) is not None


def local_or_hub(model_id: str, name: str, hub: dict[str, Any]) -> Path:
    """The file ``name`` of a local folder or of a model on the Hub.

    Args:
        model_id: a folder, or the name of a model on the Hub (owner/model).
        name: of the file.
        hub: options of the download.

    Raises:
        ForeframeError: it is in neither place.
    """
    if Path(model_id).is_dir():
        if not (Path(model_id) / name).is_file():
            raise ForeframeError(f"{Path(model_id) / name}: no such file. Is this a run's folder?")
        return Path(model_id) / name
    try:
        return Path(hf_hub_download(model_id, name, **hub))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ForeframeError(
            f"{model_id}: no such folder here, and no {name} of that name on the Hub ({error}). "
            "Give the folder of a run (runs/demo) or a Hub name (owner/model)."
        ) from error
