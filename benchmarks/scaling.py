"""How the time of a training step grows with the batch, the length, the width and the processes.

    python benchmarks/scaling.py                     the net of svg-small, dcgan64 of quarter width
    python benchmarks/scaling.py --net vgg64 --width 1

Each line changes one thing of the first. Several processes share the cores, and the batch.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results, train_step


def arguments() -> argparse.Namespace:
    parser = results.options(__doc__)
    parser.add_argument("--net", default="dcgan64", help="vgg64 or dcgan64")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--n-past", type=int, default=2)
    parser.add_argument("--n-future", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2, help="the most that are tried")
    parser.add_argument("--free-running", action="store_true")
    parser.add_argument("--prior", default="fixed", help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="auto", help=argparse.SUPPRESS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def one(given: argparse.Namespace, device: torch.device) -> None:
    """The median time of a step, printed by the first process."""
    config = train_step.configuration(given)
    with tempfile.TemporaryDirectory() as folder:
        made = train_step.training(config, device, Path(folder))
        clip = train_step.batch(config, made.device)
        own = made.processes.part(given.batch)
        assert clip.actions is not None
        clip = type(clip)(clip.frames[own], clip.actions[own], None)
        times = results.seconds([lambda: made.step(clip, 0)], made.device, given.rounds)[0]
        if made.processes.first:
            print(json.dumps(statistics.median(times)))
    if made.processes.number > 1:
        dist.destroy_process_group()


def measured(given: argparse.Namespace, processes: int = 1, **changed: object) -> float:
    words = {**vars(given), **changed}
    command = [sys.executable]
    threads = max(1, (given.threads or torch.get_num_threads()) // processes)
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command += ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
        command += [f"--master-port={port}"]
    command += [sys.argv[0], "--one", "--threads", str(threads)]
    for name in ("net", "width", "batch", "n_past", "n_future", "rounds", "device"):
        command += [f"--{name.replace('_', '-')}", str(words[name])]
    command += ["--free-running"] if given.free_running else []
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    given = arguments()
    if given.one:
        one(given, results.set_up(given))
        return
    device = results.set_up(given)
    batch, n_future, size = given.batch, given.n_future, int(given.net[-2:])
    wide = given.net.replace("64", "128")
    lines: list[tuple[str, dict[str, object], int]] = [
        (f"batch {batch}, {given.n_past} -> {n_future}, {size}x{size}", {}, 1),
        (f"batch {2 * batch}", {"batch": 2 * batch}, 1),
        (f"batch {4 * batch}", {"batch": 4 * batch}, 1),
        (f"{given.n_past} -> {2 * n_future}", {"n_future": 2 * n_future}, 1),
        (f"{given.n_past} -> {4 * n_future}", {"n_future": 4 * n_future}, 1),
        (f"128x128 ({wide})", {"net": wide}, 1),
    ]
    lines += [
        (f"{count} processes, batch {batch} together", {}, count)
        for count in range(2, given.processes + 1)
    ]
    rows, first = [], 0.0
    for name, changed, processes in lines:
        taken = measured(given, processes, **changed)
        first = first or taken
        clips = int(str(changed.get("batch", batch)))
        frames = clips * (given.n_past + int(str(changed.get("n_future", n_future))))
        rows.append([name, f"{taken:.3f}", f"{taken / first:.2f}x", f"{frames / taken:.0f}"])
    forcing = "free-running" if given.free_running else "teacher-forced"
    shown = f"{given.net}, width {given.width:g}, {forcing}"
    text = f"**Scaling of the training step: {shown}.** Medians of {given.rounds} steps.\n\n"
    text += results.table(["", "s", "time", "frames/s"], rows)
    results.publish(given, device, f"scaling {shown}", text)


if __name__ == "__main__":
    main()
