"""One plan's candidates imagined as a batch, against a plain loop over them.

python benchmarks/planning.py                 the model that ships, and the demo's net untrained

The plain loop imagines some of the candidates one after another, frame by frame, and is counted up.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results
from foreframe.config.recipes import recipe
from foreframe.planning.costs import Cost, ObjectCost, PixelCost, picture
from foreframe.planning.dynamics import Imagined, Now
from foreframe.planning.episode import SPACE
from foreframe.planning.options import PlanOptions
from foreframe.planning.registration import Template
from foreframe.planning.tasks import frozen, prepare
from foreframe.runs.hub import VideoCVAE, load_model

_LOOPED = 10


def arguments() -> argparse.Namespace:
    parser = results.options(__doc__)
    parser.add_argument("--run", default="push")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--horizon", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    given.device = "cpu"  # the simulator's frames and costs are here
    device = results.set_up(given)
    setting = prepare(frozen()["push validate"][0])
    now = Now(setting.frames, setting.action, setting.start, setting.thing, np.empty((0, 4)))
    noise = np.random.default_rng(0).normal(size=(given.candidates, given.horizon, 4))
    candidates = np.clip(SPACE.deviation * noise, SPACE.low, SPACE.high)
    last = picture(setting.frames[-1])
    of_object: Cost = ObjectCost(setting.pixels, Template.of(last, setting.thing))
    of_pixels: Cost = PixelCost(picture(setting.pictures["recorded"]))
    torch.manual_seed(0)
    shipped = load_model(Path(given.run)).eval()
    untrained = VideoCVAE(recipe("foreframe-s").model).eval()
    rows = []
    for name, model, label, cost in (
        (given.run, shipped, "object", of_object),
        (given.run, shipped, "pixels", of_pixels),
        # Untrained, it finds no object to follow.
        ("foreframe-s, untrained", untrained, "pixels", of_pixels),
    ):
        evaluate = Imagined(model, PlanOptions(futures=1)).costs(now, cost)
        taken = results.seconds(
            [
                lambda evaluate=evaluate: evaluate(candidates),  # type: ignore[misc]
                lambda model=model, cost=cost: plain(model, now, cost, candidates[:_LOOPED]),  # type: ignore[misc]
            ],
            device,
            given.rounds,
        )
        batch, loop = (statistics.median(times) for times in taken)
        loop *= given.candidates / _LOOPED
        rows.append([f"{name}, {label}", f"{batch:.2f} s", f"{loop:.1f} s", f"{loop / batch:.0f}x"])
    size = f"{given.candidates} x {given.horizon}, one future"
    text = f"## Planning\n\n**The candidates of one plan: {size}.**\n\n"
    text += results.table(["model, cost", "as a batch", "plain loop", "speed"], rows)
    results.publish(given, device, "planning", text)


def plain(model: VideoCVAE, now: Now, cost: Cost, candidates: np.ndarray) -> list[float]:
    """Each candidate by itself: frames given, encoded and imagined one after another."""
    imagined = Imagined(model, PlanOptions(futures=1))
    found = []
    for candidate in candidates:
        imagined.costs(now, cost)  # the given frames are encoded
        frames = imagined.imagine(now, candidate)
        found.append(float(cost(picture(frames[-1])[None], None)[0]))
    return found


if __name__ == "__main__":
    main()
