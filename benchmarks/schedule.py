"""The lab report's whole training, 150 epochs of 600 steps, extrapolated from some steps.

    python benchmarks/schedule.py --steps 500 --device cuda

Teacher-forced and free-running steps are timed apart, batches being made and copied meanwhile, and
weighed by the schedule's teacher-forcing ratio, epoch by epoch.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results, train_step
from foreframe.config.recipes import recipe
from foreframe.config.schedules import TeacherForcing, teacher_forcing_ratio
from foreframe.model.clip import Clip
from foreframe.training.loop import Training


def arguments() -> argparse.Namespace:
    parser = results.options(__doc__)
    parser.add_argument("--steps", type=int, default=500, help="that are timed, of both kinds")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--net", default="vgg64")
    return parser.parse_args()


def batches(clip: Clip) -> Iterator[Clip]:
    """The same batch again and again, copied to the device each time."""
    while True:
        yield clip


def seconds_a_step(made: Training, clip: Clip, steps: int) -> float:
    device = made.device
    held = Clip(clip.frames.cpu(), None if clip.actions is None else clip.actions.cpu(), None)
    if device.type == "cuda":
        held = held.pin_memory()
    made.step(held.to(device), 0)
    results.synchronise(device)
    begun = time.perf_counter()
    for k, one in zip(range(steps), batches(held), strict=False):
        made.step(one.to(device), k)
    results.synchronise(device)
    return (time.perf_counter() - begun) / steps


def main() -> None:
    given = arguments()
    device = results.set_up(given)
    lab = recipe("lab-fp-cyclical")
    model = replace(lab.model, net=given.net, condition="actions", timing="source")
    found = {}
    for kind in ("always", "never"):
        config = replace(
            lab,
            model=model,
            train=replace(
                lab.train, batch_size=given.batch, forcing=TeacherForcing(teacher_forcing=kind)
            ),
        )
        with tempfile.TemporaryDirectory() as folder:
            made = train_step.training(config, device, Path(folder))
            clip = train_step.batch(config, torch.device("cpu"))
            found[kind] = seconds_a_step(made, clip, max(1, given.steps // 2))
            del made
    train = lab.train
    ratios = [teacher_forcing_ratio(e, train.forcing, train.epochs) for e in range(train.epochs)]
    forced = sum(ratios) / len(ratios)
    mean = forced * found["always"] + (1 - forced) * found["never"]
    steps = train.epochs * train.steps_per_epoch
    text = (
        f"**The report's schedule: {given.net}, batch {given.batch}, 2 -> 10.** "
        f"{given.steps} steps timed, validation and checkpoints left out.\n\n"
    )
    text += results.table(
        ["", "ms a step"],
        [
            ["teacher-forced", f"{1e3 * found['always']:.1f}"],
            ["free-running", f"{1e3 * found['never']:.1f}"],
            [f"mean, {100 * forced:.0f} % teacher-forced", f"{1e3 * mean:.1f}"],
            [
                f"{train.epochs} x {steps // train.epochs} steps, minutes",
                f"{mean * steps / 60:.0f}",
            ],
        ],
    )
    results.publish(given, device, f"schedule {given.net} {given.batch}", text)


if __name__ == "__main__":
    main()
