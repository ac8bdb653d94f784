"""A protocol of many samples on a trained run: speed against one sample at a time, and memory.

    python benchmarks/protocol.py --run runs/demo --data data/push

One at a time: one future of one sequence after another, each frame scored when it is there. All at
once: what `foreframe evaluate` runs. Both in float32, the same futures. Peak memory is that of
processes of their own, for a tenth of the samples and for all.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results
from foreframe.data.store.batches import evaluation_batches
from foreframe.data.store.opened import open_split
from foreframe.evaluation.options import EvaluateOptions
from foreframe.evaluation.protocols import protocol_of
from foreframe.evaluation.sampling import score_futures, sequence_noise
from foreframe.metrics import METRICS
from foreframe.runs.hub import load_model

BATCH = 16  # sequences at once in `foreframe evaluate`


def arguments() -> argparse.Namespace:
    parser = results.options(__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--protocol", default="svg")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--single", type=int, default=40, help="futures that are timed one by one")
    parser.add_argument("--samples", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(given: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Score all sequences with ``given.samples`` futures each; then a few one by one."""
    model = load_model(given.run, device)
    store = open_split(given.data, "test", size=model.config.frame_size)
    protocol = protocol_of(EvaluateOptions(protocol=given.protocol, samples=given.samples))
    metrics = [METRICS[name] for name in protocol.metrics]
    n_past, n_frames = protocol.n_past, protocol.n_past + protocol.n_future
    count = min(given.sequences, len(store))

    def score(batch_size: int, limit: int, samples: int) -> tuple[float, torch.Tensor]:
        values, begun, at = [], 0.0, 0
        for clip in evaluation_batches(
            store, n_frames=n_frames, batch_size=batch_size, limit=limit
        ):
            begun = begun or time.perf_counter()
            noise = torch.stack(
                [
                    sequence_noise(0, at + k, samples, n_frames - 1, model.config.z_dim)
                    for k in range(len(clip))
                ]
            )
            x = clip.to(device).as_float().frames
            past, truth = x[:, :n_past], x[:, n_past:]
            groups = noise.split(1, 1) if batch_size == 1 else [noise]
            parts = [
                score_futures(
                    model, past, truth, clip.actions, clip.positions, group, metrics=metrics
                ).values[protocol.metrics[0]]
                for group in groups
            ]
            values.append(torch.cat(parts, 1).cpu())
            at += len(clip)
        results.synchronise(device)
        return time.perf_counter() - begun, torch.cat(values)

    score(BATCH, BATCH, 2)
    taken, values = score(BATCH, count, protocol.samples)
    peak = results.peak_resident()
    each = max(1, given.single // 4)
    alone, single = score(1, 4, each)
    apart = (single - values[:4, :each]).abs().max().item() if each <= protocol.samples else 0.0
    return {
        "frames": count * protocol.samples * protocol.n_future,
        "seconds": taken,
        "memory": peak,
        "single_frames": 4 * each * protocol.n_future,
        "single_seconds": alone,
        "apart": apart,
        "count": count,
    }


def main() -> None:
    given = arguments()
    device = results.set_up(given)
    if given.samples:
        print(json.dumps(measure(given, device)))
        return
    samples = protocol_of(EvaluateOptions(protocol=given.protocol)).samples
    found = {}
    for n in (max(1, samples // 10), samples):
        words = [sys.executable, *sys.argv, "--samples", str(n)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found[n] = json.loads(done.stdout.splitlines()[-1])
    full, few = found[samples], found[max(1, samples // 10)]
    once = full["frames"] / full["seconds"]
    single = full["single_frames"] / full["single_seconds"]
    rows = [
        ["one future at a time", f"{single:.0f}", "1.00x", ""],
        [
            f"{samples} futures of {full['count']} sequences",
            f"{once:.0f}",
            f"{once / single:.2f}x",
            f"{full['memory'] / 1e6:.0f} MB",
        ],
        [
            f"{max(1, samples // 10)} futures of each",
            f"{few['frames'] / few['seconds']:.0f}",
            "",
            f"{few['memory'] / 1e6:.0f} MB",
        ],
    ]
    text = (
        f"**Protocol {given.protocol} on {given.run.name}** ({full['count']} sequences; largest "
        f"difference of a frame's PSNR: {full['apart']:.1e} dB).\n\n"
    )
    text += results.table(["", "frames/s", "speed", "peak memory of the process"], rows)
    results.publish(given, device, f"protocol {given.protocol}", text)


if __name__ == "__main__":
    main()
