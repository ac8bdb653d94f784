"""The seal of a weights file: a checksum of all that it holds, written in the same file.

The metadata of a safetensors file that foreframe writes have one entry more: the version that wrote
it, and a SHA-256 over the tensors (names, types, shapes and bytes, in the order of their names) and
over the metadata, such as the progress of a training. It tells damage, not malice: whoever can
write the file can also seal it.

It is a single entry, since the library writes several in an order that differs from time to time:
the same weights are the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import foreframe

SEAL = "foreframe"
"""Name of the entry."""

SEALED_ONLY = "run"
"""An entry that only versions have written which also seal."""

_SEAL = re.compile(r"\S+ [0-9a-f]{64}")


class Unsound(Exception):
    """The file is no safetensors file, or not what was written; says in words what is wrong."""


class Contents(NamedTuple):
    """What a safetensors file holds."""

    tensors: dict[str, Tensor]
    """By name, on the CPU."""
    metadata: dict[str, str]
    """Without the entries of the seal."""
    sealed: bool
    """Whether it was compared with its checksum; False: it has none."""


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors on the CPU, and over metadata."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode() + b"\n")
        sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    sha.update(json.dumps(sorted(metadata.items())).encode())
    return sha.hexdigest()


def seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """``metadata`` with the seal."""
    said = {**metadata, SEAL: foreframe.__version__}
    return {**metadata, SEAL: f"{foreframe.__version__} {digest(tensors, said)}"}


def read_sealed(path: Path) -> Contents:
    """Read a safetensors file whole, and compare it with its checksum if it has one.

    Raises:
        Unsound: it is truncated, damaged or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    # The library's own words for damage are many, some of them meant for programmers.
    except (SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise Unsound(
            f"cannot be read as safetensors, it is truncated or damaged ({error})"
        ) from error
    # Under a damaged name, too, it is a seal.
    sealed = SEAL in metadata or any(map(_SEAL.fullmatch, metadata.values()))
    if not sealed and SEALED_ONLY in metadata:
        raise Unsound("it is damaged: its checksum is gone")
    if sealed:
        version, _, expected = metadata.get(SEAL, "").partition(" ")
        if digest(tensors, {**metadata, SEAL: version}) != expected:
            raise Unsound(
                "it is damaged: what it holds is not what was written (its SHA-256 is another one)"
            )
        del metadata[SEAL]
    return Contents(tensors, metadata, sealed)
