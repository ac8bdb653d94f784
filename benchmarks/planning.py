"""One plan's candidates imagined as a batch, against a plain loop over them.

    python benchmarks/planning.py [--run push] [--candidates 200] [--horizon 10]

Each cost is measured with the same candidates in one run; the plain loop imagines some of them one
after another, frame by frame, and is counted up.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from foreframe.config.recipes import recipe
from foreframe.planning.costs import Cost, ObjectCost, PixelCost, picture
from foreframe.planning.dynamics import Imagined, Now
from foreframe.planning.episode import SPACE
from foreframe.planning.options import PlanOptions
from foreframe.planning.registration import Template
from foreframe.planning.tasks import frozen, prepare
from foreframe.runs.hub import VideoCVAE, load_model

_LOOPED = 10


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """The shortest of a few calls."""
    work()
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", default="push")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--horizon", type=int, default=10)
    given = parser.parse_args()
    setting = prepare(frozen()["push validate"][0])
    now = Now(setting.frames, setting.action, setting.start, setting.thing, np.empty((0, 4)))
    random = np.random.default_rng(0)
    drawn = SPACE.deviation * random.normal(size=(given.candidates, given.horizon, 4))
    candidates = np.clip(drawn, SPACE.low, SPACE.high)
    costs: dict[str, Cost] = {
        "object": ObjectCost(
            setting.pixels, Template.of(picture(setting.frames[-1]), setting.thing)
        ),
        "pixels": PixelCost(picture(setting.pictures["recorded"])),
    }
    torch.manual_seed(0)
    models = {
        given.run: load_model(Path(given.run)),
        "foreframe-s, untrained": VideoCVAE(recipe("foreframe-s").model),
    }
    print(f"{torch.get_num_threads()} threads, {given.candidates} x {given.horizon}, one future\n")
    print("| model | cost | one plan's candidates | plain loop | ratio |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, model in models.items():
        for label, cost in costs.items():
            if label == "object" and "untrained" in name:
                continue  # it finds no object to follow
            evaluate = Imagined(model.eval(), PlanOptions(futures=1)).costs(now, cost)
            batch = seconds(lambda evaluate=evaluate: evaluate(candidates))  # type: ignore[misc]
            loop = seconds(
                lambda model=model, cost=cost: plain(model, now, cost, candidates[:_LOOPED]),  # type: ignore[misc]
                1,
            )
            loop *= given.candidates / _LOOPED
            print(f"| {name} | {label} | {batch:.2f} s | {loop:.1f} s | {loop / batch:.0f}x |")


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
