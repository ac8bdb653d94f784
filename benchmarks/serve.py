"""The playground under load: one session with 4 futures, 16 sessions side by side, and memory.

    python benchmarks/serve.py --run runs/demo --data data/push [--minutes 10] [--write]

The service runs in a process of its own, as ``foreframe serve`` starts it; this process is the
pages. Frames a second count steps of one session: each step shows a frame of every future.
"""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
from results import options, publish, set_up, table
from websockets.asyncio.client import connect


def post(address: str, path: str, wanted: dict) -> dict:
    request = urllib.request.Request(
        address + path, json.dumps(wanted).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def get(address: str, path: str) -> bytes:
    with urllib.request.urlopen(address + path) as answer:
        return answer.read()


class Page:
    """A page that steers at random, each step from the last moment."""

    def __init__(self, address: str, run: dict, samples: int, seed: int) -> None:
        wanted = {"run": run["run"], "sequence": seed % run["sequences"], "samples": samples}
        begun = post(address, "/api/sessions", {**wanted, "seed": seed})
        self.name = begun["session"]
        self.address = address.replace("http", "ws") + f"/api/sessions/{self.name}/steps"
        self.run, self.draw = run, np.random.default_rng(seed)
        self.latencies: list[float] = []

    async def play(self, seconds: float, rate: float | None, restart: int = 500) -> None:
        """Step for so long, at a rate or as fast as answers come."""
        async with connect(self.address, max_size=2**24, compression=None) as socket:
            began = time.perf_counter()
            node = count = 0
            while (now := time.perf_counter()) - began < seconds:
                deviations = [number["deviation"] for number in self.run["actions"]]
                action = (self.draw.standard_normal(len(deviations)) * deviations).tolist()
                await socket.send(
                    json.dumps({"type": "step", "id": count, "from": node, "action": action})
                )
                answer = await socket.recv()
                if isinstance(answer, str):
                    raise RuntimeError(answer)
                self.latencies.append(time.perf_counter() - now)
                node = int(np.frombuffer(answer[:32], np.uint32)[2])
                count += 1
                if count % restart == 0:
                    node = 0
                if rate is not None:
                    await asyncio.sleep(max(0.0, began + count / rate - time.perf_counter()))


def resident_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def quantiles(latencies: list[float]) -> tuple[float, float]:
    return tuple(1e3 * np.quantile(latencies, (0.5, 0.95)))


async def measure(address: str, pid: int, seconds: float, minutes: float) -> list[list[str]]:
    run = json.loads(get(address, "/api/runs"))[0]
    warm = Page(address, run, 4, 99)
    await warm.play(2.0, None)
    rows = []

    page = Page(address, run, 4, 0)
    await page.play(seconds, None)
    p50, p95 = quantiles(page.latencies)
    rate = len(page.latencies) / sum(page.latencies)
    rows.append(
        [
            "1 session, 4 futures, as fast as it goes",
            f"{rate:.0f}",
            p50,
            p95,
            ">= 30 frames/s, p95 < 50 ms",
        ]
    )

    page = Page(address, run, 4, 1)
    await page.play(seconds, 30.0)
    p50, p95 = quantiles(page.latencies)
    rows.append(
        [
            "1 session, 4 futures, asked for 30 frames/s",
            f"{len(page.latencies) / seconds:.1f}",
            p50,
            p95,
            "p95 < 50 ms",
        ]
    )

    pages = [Page(address, run, 1, seed) for seed in range(16)]
    await asyncio.gather(*(each.play(seconds, 5.0) for each in pages))
    latencies = [latency for each in pages for latency in each.latencies]
    p50, p95 = quantiles(latencies)
    slowest = min(len(each.latencies) for each in pages) / seconds
    rows.append(
        [
            "16 sessions, 1 future, asked for 5 frames/s each",
            f"{slowest:.1f} (slowest)",
            p50,
            p95,
            "5 each, no error",
        ]
    )

    print("memory", flush=True)
    before = resident_megabytes(pid)
    ends, trace = time.perf_counter() + 60 * minutes, [before]
    players = [asyncio.create_task(each.play(60 * minutes, 5.0)) for each in pages]
    while time.perf_counter() < ends:
        await asyncio.sleep(min(30.0, 6 * minutes))
        # People come and go meanwhile.
        for seed in range(5):
            await Page(address, run, 2, 100 + seed).play(0.5, None)
        trace.append(resident_megabytes(pid))
        print(f"  {trace[-1]:.0f} MB", flush=True)
    await asyncio.gather(*players)
    half = trace[len(trace) // 2]
    rows.append(
        [
            f"16 sessions for {minutes:g} minutes, others come and go",
            f"{before:.0f} MB at first, {half:.0f} halfway, {trace[-1]:.0f} at the end",
            float("nan"),
            float("nan"),
            "flat",
        ]
    )
    counted = [
        line for line in get(address, "/metrics").decode().splitlines() if "errors_total{" in line
    ]
    rows.append(
        [
            "refused or failed requests",
            str(len(counted) and counted),
            float("nan"),
            float("nan"),
            "none",
        ]
    )
    return rows


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    device = set_up(given)
    command = [sys.executable, "-m", "foreframe", "serve", str(given.run), "--data", given.data]
    command += ["--device", given.device]
    service = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        address = next(
            line.split()[1].rstrip("/") for line in service.stdout if line.startswith("Open ")
        )
        rows = asyncio.run(measure(address, service.pid, given.seconds, given.minutes))
    finally:
        service.terminate()
        service.wait()
    cells = [
        [name, value, *("" if np.isnan(ms) else f"{ms:.1f}" for ms in (p50, p95)), goal]
        for name, value, p50, p95, goal in rows
    ]
    heads = ["work", "frames/s of each", "p50, ms", "p95, ms", "goal"]
    publish(given, device, "serve", "## The playground\n\n" + table(heads, cells))


if __name__ == "__main__":
    main()
