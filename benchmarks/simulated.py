"""What the benchmarks of a model on simulated data share: options, what is opened, and the end."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from foreframe.data.lab import SPLITS
from foreframe.data.store.opened import open_split, require
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.runs.hub import VideoCVAE, load_model
from foreframe.simulator.replay import Simulation, find_simulation
from foreframe.system.device import choose_device


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser of the run, the data, the folder of the results and how to sample."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of a run, or push")
    parser.add_argument("--data", type=Path, required=True, help="of foreframe simulate")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto")
    return parser


def opened(given: argparse.Namespace, n_frames: int) -> tuple[VideoCVAE, Simulation, Store]:
    """The model, what its data were made by, and their split.

    Raises:
        ForeframeError: they do not fit together, or the sequences are too short.
    """
    model = load_model(given.run, choose_device(given.device))
    simulation = find_simulation(given.data)
    size = model.config.frame_size[0]
    if simulation.size != size:
        raise ForeframeError(
            f"{given.data}: simulated at {simulation.size}x{simulation.size} pixels, but the model "
            f"takes {size}x{size}. Simulate other data for it."
        )
    store = open_split(given.data, given.split, size=size)
    require(store, n_frames=n_frames, needs=model.config.needs)
    return model, simulation, store


def ending_in_words(main: Callable[[], None]) -> None:
    """Run a benchmark; a mistake of the user ends it with a line and status 2."""
    try:
        main()
    except ForeframeError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
