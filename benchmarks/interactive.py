"""One interactive step: encode a frame, predict, decode the next, and hand it over as bytes.

python benchmarks/interactive.py                 the model of svg-small
python benchmarks/interactive.py --net vgg64 --width 1
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
from foreframe.config.recipes import recipe
from foreframe.runs.hub import VideoCVAE
from foreframe.system.device import autocast, has_fast_bf16


def arguments() -> argparse.Namespace:
    parser = results.options(__doc__)
    parser.add_argument("--net", default="dcgan64")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=300)
    return parser.parse_args()


def step_times(model: VideoCVAE, steps: int, device: torch.device, precision: str) -> list[float]:
    """Seconds of each step, from one frame in the hands of the caller to the next."""
    size, z_dim = model.config.frame_size[0], model.config.z_dim
    past = torch.randint(0, 256, (1, 2, 3, size, size), dtype=torch.uint8)
    with autocast(device, precision):  # type: ignore[arg-type]
        made = model.futures(
            past,
            torch.randn(1, steps + 2, 4),
            None,
            noise=torch.randn(1, 1, steps + 1, z_dim),
            n_future=steps,
        )
        times, begun = [], time.perf_counter()
        for _, _, frames in made:
            frames.mul(255).byte().cpu()
            now = time.perf_counter()
            times.append(now - begun)
            begun = now
    return times[10:]


def main() -> None:
    given = arguments()
    device = results.set_up(given)
    torch.manual_seed(0)
    config = replace(recipe("svg-small").model, net=given.net, width=given.width)
    model = VideoCVAE(config).to(device).eval()
    rows = []
    for precision in ["fp32", *(["bf16"] if has_fast_bf16(device) else [])]:
        times = sorted(step_times(model, given.steps, device, precision))
        late = times[int(0.95 * len(times))]
        rows.append([precision, f"{1e3 * statistics.median(times):.1f}", f"{1e3 * late:.1f}"])
    shown = f"{given.net}, width {given.width:g}, batch 1"
    text = f"**One interactive step: {shown}.** Milliseconds, of {given.steps} steps.\n\n"
    text += results.table(["", "median", "95 % within"], rows)
    results.publish(given, device, f"interactive {shown}", text)


if __name__ == "__main__":
    main()
