"""An honest client beside a hostile one: how long its steps take, and what the service holds.

    python benchmarks/floods.py [--run runs/demo --data data/push] [--seconds 10] [--write]

The service runs in a process of its own, as ``foreframe serve`` starts it, on a small model that is
made here unless one is given. The honest client steps one session ten times a second; the hostile
one, in another process and from another address of this machine (or, with ``--one-address``, from
the same), floods the service in one way after the other. The last row is Ctrl-C under all of them.
"""

import argparse
import asyncio
import json
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import psutil
from results import options, publish, set_up, table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.flooding import FLOODS, Hostile
from benchmarks.serve import Page, get
from foreframe.commands.app import main as foreframe

HONEST, OTHER = "127.0.0.1", "127.0.0.2"
RATE = 10.0


def small_run(folder: Path) -> tuple[Path, Path]:
    """A run of the demo's model that has hardly trained, and its data."""
    data, run = folder / "data", folder / "run"
    words = f"simulate {data} --sequences 12 --validate 2 --test 4 --workers 1"
    foreframe(words.split())
    words = f"train demo --data {data} --out {run} --epochs 1 --steps-per-epoch 2 --device cpu"
    foreframe(words.split())
    return run, data


def memory(service: subprocess.Popen) -> float:
    """Megabytes that the service and its processes hold, what they share divided among them."""
    total = 0.0
    process = psutil.Process(service.pid)
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):  # it has just ended
            # One that is just being started is still the service's own memory.
            if each == process or each.cmdline() != process.cmdline():
                total += each.memory_full_info().pss / 2**20
    return total


async def honest(
    address: str, run: dict, seconds: float, service: subprocess.Popen
) -> tuple[float, float, float]:
    """Seconds until a session has begun, the steps' p95 in ms, and the most memory meanwhile."""
    began = time.perf_counter()
    page = await asyncio.to_thread(Page, address, run, 1, 0)
    begin = time.perf_counter() - began
    most = [0.0]

    async def watch() -> None:
        while True:
            most.append(await asyncio.to_thread(memory, service))
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    await page.play(seconds, RATE)
    watching.cancel()
    return begin, 1e3 * float(np.quantile(page.latencies, 0.95)), max(most)


def under(
    flood: str, address: str, run: dict, service: subprocess.Popen, given: argparse.Namespace
) -> tuple[float, ...]:
    """The same under a flood, and what the hostile client was served and refused in a second."""
    source = HONEST if given.one_address else OTHER
    context = multiprocessing.get_context("spawn")
    tally = context.Array("l", 2)
    hostile = context.Process(
        target=Hostile(address, source, run["run"]).flood, args=(flood, tally), daemon=True
    )
    try:
        hostile.start()
        until = time.time() + 60
        while not sum(tally) and time.time() < until:
            time.sleep(0.1)
        time.sleep(given.seconds / 3)
        before, began = list(tally), time.perf_counter()
        seen = asyncio.run(honest(address, run, given.seconds, service))
        took = time.perf_counter() - began
        return (*seen, *((after - n) / took for n, after in zip(before, tally, strict=True)))
    finally:
        _end(hostile)
        time.sleep(2.0)  # what it had begun ends


def interrupted(
    address: str, run: dict, service: subprocess.Popen, given: argparse.Namespace
) -> float:
    """Seconds from Ctrl-C to the end, under several floods at once."""
    context = multiprocessing.get_context("spawn")
    source = HONEST if given.one_address else OTHER
    hostiles = [
        context.Process(
            target=Hostile(address, source, run["run"]).flood, args=(flood,), daemon=True
        )
        for flood in ("steps", "unread steps", "predictions", "uploads")
    ]
    try:
        for each in hostiles:
            each.start()
        time.sleep(given.seconds / 2)
        began = time.perf_counter()
        service.send_signal(signal.SIGINT)
        service.wait(60)
        return time.perf_counter() - began
    finally:
        for each in hostiles:
            _end(each)


def _end(hostile: SpawnProcess) -> None:
    if hostile.pid is not None:
        hostile.kill()
        hostile.join()


def measure(address: str, service: subprocess.Popen, given: argparse.Namespace) -> list[tuple]:
    """Name, seconds until a session has begun, p95 in ms and memory in MB: quiet, then floods.

    Each is the median of some rounds, in which all have their turn; memory is the most of them, and
    that of the quiet service what it held before any flood.
    """
    run = json.loads(get(address, "/api/runs"))[0]
    asyncio.run(honest(address, run, 2.0, service))  # warms up
    told_of = "{}: begins in {:.2f} s, p95 {:.1f} ms, {:.0f} MB; "
    told_of += "the other: {:.1f}/s served, {:.1f}/s refused"
    rounds: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(given.rounds):
        for flood in ["quiet", *(given.only or FLOODS)]:
            if flood == "quiet":
                seen = (*asyncio.run(honest(address, run, given.seconds, service)), 0.0, 0.0)
            else:
                seen = under(flood, address, run, service, given)
            print(told_of.format(flood, *seen), flush=True)
            rounds.setdefault(flood, []).append(seen)
    took = interrupted(address, run, service, given)
    print(f"Ctrl-C: ends within {took:.1f} s", flush=True)
    rows = []
    for flood, seen in rounds.items():
        row = np.median(seen, 0)
        row[2] = seen[0][2] if flood == "quiet" else max(each[2] for each in seen)
        rows.append((flood, *row.tolist()))
    return [*rows, ("Ctrl-C", took)]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each flood")
    parser.add_argument("--rounds", type=int, default=3, help="whose median counts")
    parser.add_argument("--only", nargs="*", choices=list(FLOODS))
    parser.add_argument("--one-address", action="store_true")
    given = parser.parse_args()
    # Whoever ends this by a signal ends the service and the hostile processes, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    device = set_up(given)
    with tempfile.TemporaryDirectory() as folder:
        run, data = (given.run, given.data) if given.run else small_run(Path(folder))
        command = [sys.executable, "-m", "foreframe", "serve", str(run), "--port", "0"]
        command += ["--device", given.device, *(["--data", str(data)] if data else [])]
        errors = Path(folder) / "errors"
        with errors.open("w") as file:
            service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
            try:
                address = next(
                    line.split()[1].rstrip("/") for line in service.stdout if "Open " in line
                )
                rows = measure(address, service, given)
            finally:
                service.kill()
                service.wait()
        tracebacks = errors.read_text().count("Traceback")
    publish(given, device, "floods", "## The service under floods\n\n" + told(rows, tracebacks))


def told(rows: list[tuple], tracebacks: int) -> str:
    """The table in words and numbers."""
    quiet = rows[0]
    cells = [
        [
            name,
            f"{begin:.2f}",
            f"{p95:.0f}",
            f"{p95 / quiet[2]:.1f}",
            f"{held - quiet[3]:+.0f}",
            f"{served:.1f}",
            f"{refused:.1f}",
        ]
        for name, begin, p95, held, served, refused in rows[:-1]
    ]
    heads = [
        "flood",
        "session begins, s",
        "step, p95, ms",
        "times quiet",
        f"memory, MB beyond {quiet[3]:.0f}",
        "hostile: served/s",
        "refused/s",
    ]
    text = "Steps of an honest client, ten a second, beside a hostile one. Goal: p95 below 150 ms "
    text += "and 3 times its quiet value, memory within 300 MB.\n\n" + table(heads, cells)
    return text + (
        f"\nCtrl-C under steps, unread steps, predictions and uploads: ended after "
        f"{rows[-1][1]:.1f} s; tracebacks of the whole run: {tracebacks}.\n"
    )


if __name__ == "__main__":
    main()
