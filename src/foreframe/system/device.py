"""Where to compute and in which precision: asked of the hardware, not assumed.

PyTorch is imported in the functions: the names alone are needed by the command line.
"""

import ctypes
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from foreframe.errors import ForeframeError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(name: str = "auto") -> "torch.device":
    """``name``, or for "auto" the best there is: CUDA, then Apple's MPS, then the CPU.

    Raises:
        ForeframeError: the device asked for is not there.
    """
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(device for device, available in there.items() if available))
    if not there.get(name, False):
        raise ForeframeError(
            f"--device {name}: not available here; "
            f"available: {', '.join(device for device, available in there.items() if available)}."
        )
    return torch.device(name)


def has_fast_bf16(device: "torch.device") -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def autocast(device: "torch.device", precision: Precision) -> "torch.autocast":
    """The autocast context of ``precision``: bf16 for the convolutions, or none for fp32."""
    import torch

    bf16 = precision == "bf16" or (precision == "auto" and has_fast_bf16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free, for those of the next step.

    By default the C library of Linux returns it to the system, which then clears each page again:
    4 to 8 % of a training step on a CPU. Elsewhere nothing is done.
    """
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold = -1, -3  # names of malloc.h
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(mmap_threshold, 32 * 2**20)  # the most that it takes
        library.mallopt(trim_threshold, -1)
