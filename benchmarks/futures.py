"""How fast a model imagines: many futures of one beginning, for each of several recipes.

    python benchmarks/futures.py                  100 futures of 28 frames
    python benchmarks/futures.py --recipes svg-small foreframe-m

What `generate` takes, from uint8 frames to all imagined ones in memory, in each precision, with
untrained weights: what a model imagines costs the same whatever it has learnt.
"""

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results
from foreframe.config.recipes import RECIPES, recipe
from foreframe.runs.hub import VideoCVAE
from foreframe.system.device import autocast, has_fast_bf16

ACTIONS, POSITIONS = 4, 3


def arguments() -> argparse.Namespace:
    parser = results.options(__doc__)
    parser.add_argument(
        "--recipes",
        nargs="+",
        choices=list(RECIPES),
        default=["svg-small", "foreframe-s", "foreframe-m"],
        help="the first one is what the others are compared with",
    )
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--n-future", type=int, default=28)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def seconds(
    name: str, given: argparse.Namespace, device: torch.device, precision: str
) -> list[float]:
    """Of each repeat, after one that does not count."""
    torch.manual_seed(0)
    config = replace(recipe(name).model, action_dim=ACTIONS, position_dim=POSITIONS)
    model = VideoCVAE(config).eval().to(device)
    size, rows = config.frame_size[0], 2 + given.n_future
    past = torch.randint(0, 256, (1, 2, 3, size, size), dtype=torch.uint8)
    actions = torch.randn(1, rows, ACTIONS)
    noise = torch.randn(1, given.samples, rows - 1, config.z_dim)
    taken = []
    for _ in range(1 + given.repeats):
        results.synchronise(device)
        begun = time.perf_counter()
        with autocast(device, precision):  # type: ignore[arg-type]
            model.generate(
                past, actions, n_samples=given.samples, n_future=given.n_future, noise=noise
            )
        results.synchronise(device)
        taken.append(time.perf_counter() - begun)
    return taken[1:]


def main() -> None:
    given = arguments()
    device = results.set_up(given)
    precisions = ["fp32", "bf16"] if has_fast_bf16(device) else ["fp32"]
    frames = given.samples * given.n_future
    rows = []
    first: dict[str, float] = {}
    for name in given.recipes:
        for precision in precisions:
            taken = seconds(name, given, device, precision)
            middle = statistics.median(taken)
            least = first.setdefault(precision, middle)
            rows.append(
                [
                    f"{name}, {precision}",
                    f"{middle:.2f}",
                    f"{frames / middle:.0f}",
                    f"{least / middle:.2f}x",
                    f"{min(taken):.2f} to {max(taken):.2f}",
                ]
            )
    shown = f"{given.samples} futures of {given.n_future} frames"
    text = f"**Imagining {shown}.** Medians of {given.repeats}; speed beside the first recipe.\n\n"
    text += results.table(["", "s", "frames/s", "speed", "s, least to most"], rows)
    results.publish(given, device, f"futures {shown}", text)


if __name__ == "__main__":
    main()
