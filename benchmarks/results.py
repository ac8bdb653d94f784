"""benchmarks/RESULTS.md: each benchmark writes its own section, with machine and command."""

import argparse
import datetime
import os
import platform
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch

from foreframe.system.device import choose_device, has_fast_bf16
from foreframe.system.files import write_text

RESULTS = Path(__file__).with_name("RESULTS.md")
HEADING = "# Results\n\nWritten by the scripts beside it (`--write`); none of it by hand.\n"


def options(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto")
    parser.add_argument("--threads", type=int, help="of the CPU; by default all cores")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    return parser


def set_up(given: argparse.Namespace) -> torch.device:
    """The device asked for, with as many threads as were asked for."""
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.device == "cuda" or (given.device == "auto" and torch.cuda.is_available()):
        torch.backends.cuda.matmul.allow_tf32 = False  # float32 is float32 in what is compared
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    return choose_device(given.device)


def machine(device: torch.device) -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    units = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    used = [name for name in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if units.get(name)]
    text = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores ({model}"
    text += f"; {', '.join(used)})" if used else ")"
    if device.type == "cuda":
        text = f"{torch.cuda.get_device_name(device)}; {text}"
    bf16 = "bf16 in hardware" if has_fast_bf16(device) else "no bf16 in hardware"
    return f"{text}, {bf16}; Python {platform.python_version()}, PyTorch {torch.__version__}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown whose first column is words and the others numbers."""
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def publish(given: argparse.Namespace, device: torch.device, key: str, text: str) -> None:
    """Print a section, and with --write put it into RESULTS.md in the place of its predecessor."""
    print(text)
    if not given.write:
        return
    words = [word for word in sys.argv[1:] if word != "--write"]
    script = f"benchmarks/{Path(sys.argv[0]).name}"
    command = shlex.join(["python", script, *words])
    body = f"`{command}`, {datetime.date.today()}, {machine(device)}\n\n{text}"
    begin, end = f"<!-- begin {key} -->\n", f"<!-- end {key} -->\n"
    found = RESULTS.read_text("utf-8") if RESULTS.exists() else HEADING
    section = f"{begin}{body}\n{end}"
    if begin in found:
        first, rest = found.split(begin, 1)
        found = first + section + rest.split(end, 1)[1]
    else:
        found += f"\n{section}"
    write_text(RESULTS, found)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(
    work: Sequence[Callable[[], object]], device: torch.device, rounds: int
) -> list[list[float]]:
    """Times of several pieces of work, done in turn so that each sees the machine in all moods."""
    times: list[list[float]] = [[] for _ in work]
    for k in range(rounds + 1):
        for one, taken in zip(work, times, strict=True):
            synchronise(device)
            begun = time.perf_counter()
            one()
            synchronise(device)
            if k:  # the first round warms up
                taken.append(time.perf_counter() - begun)
    return times


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the best of some large matrix products, ten of each after one to warm up."""
    best = 0.0
    for n in (1024, 2048, 4096) if device.type == "cpu" else (4096, 8192):
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        times = seconds([lambda a=a, b=b: a @ b], device, 10 if device.type == "cuda" else 5)[0]
        best = max(best, 2 * n**3 / statistics.median(times))
    return best


def peak_resident() -> int:
    """The most memory that this process has held, bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))
