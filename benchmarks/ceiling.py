"""How well can a future be foreseen: a model beside the simulator itself under redrawn physics.

    python benchmarks/ceiling.py --run push --data data/push4k --out docs/results/push

The simulator carries out the beginning and the actions of every sequence again with other hidden
masses and frictions. One such replay is a perfect sample: no model whose samples spread as the
physics do is nearer to the recorded future, on average. The mean of many is what comes nearest in
the squared error. Prints the PSNR over the split (2 -> 10) and writes ceiling.json.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.simulated import ending_in_words, opened, options
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.evaluation.sampling import noise_of_batch
from foreframe.metrics import METRICS, psnr
from foreframe.metrics.intervals import CONFIDENCE, bootstrap, paired
from foreframe.probe.spread import own_number
from foreframe.runs.hub import VideoCVAE
from foreframe.simulator.replay import Simulation
from foreframe.system.files import write_json

PAST, FUTURE = 2, 10
FRAMES = PAST + FUTURE

ROWS = {
    "copy": "copying the last given frame",
    "replay": "one replay of the simulator",
    "replays": "the mean of {n} replays",
    "sample": "one sample of the model",
    "samples": "the mean of {n} samples",
    "middle": "the model with z at the prior's mean",
}


def scores(made: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean PSNR of futures [K, T, 3, H, W], each against the truth [T, 3, H, W]."""
    return float(psnr(made, truth.expand_as(made)).mean())


def of_sequence(
    model: VideoCVAE,
    store: Store,
    simulation: Simulation,
    split: str,
    number: int,
    given: argparse.Namespace,
) -> dict[str, float]:
    """What each row of ``ROWS`` scores on one sequence."""
    recording = store.rows(number, 0, FRAMES)
    frames = torch.from_numpy(np.array(recording.frames)).permute(0, 3, 1, 2) / 255
    past, truth = frames[None, :PAST], frames[PAST:]
    own = own_number(store, number)
    replays = torch.stack(
        [
            torch.from_numpy(simulation.replay(split, own, k, frames=FRAMES).frames[PAST:])
            for k in range(1, given.samples + 1)
        ]
    ).movedim(-1, 2)
    replays = replays / 255
    condition = [
        None if part is None else torch.from_numpy(np.array(part))[None]
        for part in (recording.actions, recording.positions)
    ]
    noise = noise_of_batch(given.seed, [number], given.samples, FRAMES, model.config.z_dim)
    made, middle = (
        model.generate(past, *condition, n_samples=len(z[0]), n_future=FUTURE, noise=z)[0].cpu()
        for z in (noise, torch.zeros_like(noise[:, :1]))
    )
    return {
        "copy": scores(past[0, -1:].expand_as(truth)[None], truth),
        "replay": scores(replays, truth),
        "replays": scores(replays.mean(0, keepdim=True), truth),
        "sample": scores(made, truth),
        "samples": scores(made.mean(0, keepdim=True), truth),
        "middle": scores(middle, truth),
    }


def card(found: list[dict[str, float]], samples: int) -> dict[str, Any]:
    """Means with bootstrap intervals over the sequences, and what each gains over copying."""
    rows = {}
    for name, label in ROWS.items():
        values, copied = ([scored[key] for scored in found] for key in (name, "copy"))
        gain = paired(values, copied)
        rows[name] = {
            "label": label.format(n=samples),
            "psnr": float(np.mean(values)),
            "interval": list(bootstrap(values)),
            "gain": [gain.mean, gain.low, gain.high],
        }
    return rows


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--samples", type=int, default=20, help="of the model, and replays")
    given = parser.parse_args()
    if given.samples < 1:
        raise ForeframeError(f"--samples {given.samples}: must be 1 or more.")
    model, simulation, store = opened(given, FRAMES)
    found = [
        of_sequence(model, store, simulation, given.split, number, given)
        for number in range(len(store))
    ]
    rows = card(found, given.samples)
    for row in rows.values():
        low, high = row["interval"]
        print(f"{row['label']:40} {row['psnr']:6.2f} dB [{low:.2f}, {high:.2f}]", end="")
        print(f"  {row['gain'][0]:+.2f} over copying")
    given.out.mkdir(parents=True, exist_ok=True)
    about = {"past": PAST, "future": FUTURE, "sequences": len(found), "seed": given.seed}
    about |= {"metric": METRICS["psnr"].definition, "confidence": CONFIDENCE}
    write_json(given.out / "ceiling.json", about | {"rows": rows})


if __name__ == "__main__":
    ending_in_words(main)
