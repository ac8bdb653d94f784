"""A robot steered for 300 frames from any test start: what the model imagines, beside the truth.

    python benchmarks/steering.py --run push --data data/push4k --out docs/results/push

Each start is driven by the actions of ten recordings, one after another; the simulator carries them
out too. Writes steering.png.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sheets import Cell, Row, save_png, sheet
from benchmarks.simulated import ending_in_words, opened, options
from foreframe.data.lab import SPLITS
from foreframe.errors import ForeframeError
from foreframe.runs.hub import VideoCVAE
from foreframe.simulator.episode import simulate_sequence
from foreframe.visuals.frames import GIVEN, PREDICTED, RECORDED

GIVEN_FRAMES, FRAMES = 2, 300
LENDERS = 10  # recordings whose actions follow one another
STEP = 7  # from one of them to the next
SHOWN = (30, 60, 100, 150, 200, 296)


def driven(seed: int, split: int, number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [T, H, W, 3] of a start under the actions [T, A] of ten recordings."""
    lent = (
        simulate_sequence(seed, split, number + STEP * k, size=size).actions for k in range(LENDERS)
    )
    actions = np.concatenate(list(lent))[: FRAMES - 1]
    frames = simulate_sequence(
        seed, split, number, actions=actions, size=size, frames=FRAMES
    ).frames
    return frames, actions


def steered(model: VideoCVAE, frames: np.ndarray, actions: np.ndarray, seed: int) -> np.ndarray:
    """What the model imagines of it: one sample, uint8 [T, H, W, 3]."""
    past = torch.from_numpy(frames[:GIVEN_FRAMES]).permute(0, 3, 1, 2)
    generator = torch.Generator().manual_seed(seed)
    made = model.generate(
        past, torch.from_numpy(actions), n_future=len(frames) - GIVEN_FRAMES, generator=generator
    )
    future = torch.Tensor(made.cpu())[0].mul(255).round().byte().movedim(1, 3).numpy()
    return np.concatenate([frames[:GIVEN_FRAMES], future])


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--starts", type=int, default=8, help="the first ones of the split")
    given = parser.parse_args()
    if given.starts < 1:
        raise ForeframeError(f"--starts {given.starts}: must be 1 or more.")
    model, simulation, store = opened(given, GIVEN_FRAMES)
    if model.config.needs != {"actions": 4, "positions": None}:
        raise ForeframeError(f"{given.run}: needs more or others than the simulator's actions.")
    size, split = simulation.size, SPLITS.index(given.split)
    heads = ["last given frame", *(f"predicted frame {t}" for t in SHOWN)]
    rows: list[Row] = []
    for number in range(min(given.starts, len(store))):
        frames, actions = driven(simulation.seed, split, number, size)
        imagined = steered(model, frames, actions, given.seed)
        for label, shown, edge in (
            ("truth", frames, RECORDED),
            ("imagined\n(one sample)", imagined, PREDICTED),
        ):
            cells = [Cell(shown[GIVEN_FRAMES - 1], GIVEN)]
            cells += [Cell(shown[GIVEN_FRAMES - 1 + t], edge) for t in SHOWN]
            rows.append(Row(label, cells, () if rows else heads))
    save_png(given.out / "steering.png", sheet("Steered for 300 frames from 2 given ones", rows))
    print(f"{given.out / 'steering.png'}: the first starts of {given.split}.")


if __name__ == "__main__":
    ending_in_words(main)
