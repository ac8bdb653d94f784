"""One interactive step: encode a frame, predict, decode the next, and hand it over as bytes.

With --onnx also what ``foreframe export onnx`` writes, on ONNX Runtime, beside PyTorch's begin and
step: 1 and 4 futures, this net and ``push``, the model that comes with the package.

python benchmarks/interactive.py                 the model of svg-small
python benchmarks/interactive.py --net vgg64 --width 1
python benchmarks/interactive.py --onnx --threads 1
"""

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results
from foreframe.config.model import ModelConfig
from foreframe.config.plain import to_dict
from foreframe.config.recipes import recipe
from foreframe.runs.hub import VideoCVAE, load_model
from foreframe.runs.onnx_export import export_onnx
from foreframe.runs.onnx_model import OnnxModel
from foreframe.system.device import autocast, has_fast_bf16
from foreframe.system.files import write_json
from foreframe.training.checkpoint import save_best


def arguments() -> argparse.Namespace:
    parser = results.options(__doc__)
    parser.add_argument("--net", default="dcgan64")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--onnx", action="store_true", help="ONNX Runtime beside PyTorch")
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


def moments(model: Any, config: ModelConfig, samples: int, steps: int) -> list[float]:
    """Seconds of each step of ``begin`` and ``step``, of PyTorch's model or ONNX Runtime's."""
    past, rows = torch.rand(1, 2, 3, *config.frame_size), torch.zeros(1, steps + 2, 4)
    noise = torch.randn(steps, 1, samples, config.z_dim)
    now = model.begin(past, rows, n_samples=samples)
    times = []
    for t in range(steps):
        begun = time.perf_counter()
        frames, now = model.step(now, rows[:, t], noise=noise[t])
        frames.mul(255).byte()
        times.append(time.perf_counter() - begun)
    return times[10:]


def beside_onnx(given: argparse.Namespace, model: VideoCVAE) -> list[list[str]]:
    """A row for each net, number of futures and program."""
    rows = []
    for name, net in ((f"{given.net}, width {given.width:g}", model), ("push", None)):
        with TemporaryDirectory() as folder:
            run, out = Path(folder, "run"), Path(folder, "out")
            if net is None:
                run, net = Path("push"), load_model(Path("push"))
            else:
                save_best(run, net)
                config = replace(recipe("svg-small"), model=net.config)
                write_json(run / "run.json", to_dict(config))
            export_onnx(run, out)
            exported = OnnxModel(out, threads=torch.get_num_threads())
            for samples in (1, 4):
                for program, made in (("PyTorch", net), ("ONNX Runtime", exported)):
                    times = sorted(moments(made, net.config, samples, given.steps))
                    late = times[int(0.95 * len(times))]
                    numbers = (statistics.median(times), late)
                    rows.append(
                        [f"{name}, {program}", str(samples), *(f"{1e3 * x:.1f}" for x in numbers)]
                    )
    return rows


def main() -> None:
    given = arguments()
    device = results.set_up(given)
    torch.manual_seed(0)
    config = replace(recipe("svg-small").model, net=given.net, width=given.width)
    model = VideoCVAE(config).to(device).eval()
    if given.onnx:
        text = f"**One interactive step, exported.** Milliseconds, of {given.steps} steps.\n\n"
        heads = ["", "futures", "median", "95 % within"]
        text += results.table(heads, beside_onnx(given, model))
        results.publish(given, device, "interactive onnx", text)
        return
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
