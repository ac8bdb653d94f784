"""Before any test: one thread each, no window, no network, and shapes checked at run time."""

import os

# Also for the processes that tests start. Two test processes with as many threads as cores each
# would slow one another down, and sums over threads differ in the last bits.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

torch.set_num_threads(1)

# Each annotated argument and result of these modules is compared with its annotation, shapes
# included. Only modules imported after this line are reached.
install_import_hook(
    ["foreframe.model", "foreframe.metrics"],
    "beartype.beartype",
)


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in the lab's layout: a bright square that the actions move; 14 frames each."""
    from foreframe.data.lab import write_sequence

    root = tmp_path_factory.mktemp("toy") / "data"
    for split, count in {"train": 6, "validate": 3, "test": 3}.items():
        for n in range(count):
            random = np.random.default_rng((len(split), n))
            actions = np.zeros((14, 4), np.float32)
            actions[:, :2] = random.integers(-4, 5, (14, 2))
            corner = 24 + np.concatenate([np.zeros((1, 2)), actions[:-1, :2].cumsum(0)])
            corner = corner.clip(0, 52).astype(int)
            frames = np.full((14, 64, 64, 3), 40, np.uint8)
            for t, (y, x) in enumerate(corner):
                frames[t, y : y + 12, x : x + 12] = (230, 180, 60)
            positions = np.concatenate([corner, np.ones((14, 1))], 1).astype(np.float32) / 64
            write_sequence(root / split / "traj_0_to_255" / str(n), frames, actions, positions)
    return root


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Path:
    """A small run on ``toy_data``, turned up so that what actions and z do is plain to see."""
    from foreframe import VideoCVAE
    from foreframe.commands.app import main

    out = tmp_path_factory.mktemp("played") / "toy"
    main(
        f"train svg-small --data {toy_data} --out {out} --net dcgan64 --width 0.125 --g-dim 32 "
        "--z-dim 4 --rnn-size 32 --condition both --epochs 2 --steps-per-epoch 30 --batch-size 4 "
        "--n-future 6 --kl-schedule constant --teacher-forcing always --output frame "
        "--device cpu".split()
    )
    model = VideoCVAE.from_pretrained(out)
    with torch.no_grad():
        model.frame_predictor.embed.weight.mul_(30)
        model.frame_predictor.output[0].weight.mul_(8)
        model.decoder.head[1].weight.mul_(3)
    model.save_pretrained(out)
    return out


@pytest.fixture(scope="session")
def bridge() -> Path:
    """Folder of the 25 real Bridge episodes, where they are at hand."""
    folder = SHARED / "bridge"
    if not folder.is_dir():
        pytest.skip("the real Bridge episodes are not at hand")
    return folder


@pytest.fixture(scope="session")
def bair_sample() -> Path:
    """The real BAIR sequence, where it is at hand."""
    path = SHARED / "bair" / "bair_sample.npz"
    if not path.is_file():
        pytest.skip("the real BAIR sequence is not at hand")
    return path


@pytest.fixture
def in_two_goes(tmp_path: Path) -> Callable[[Any, Path], None]:
    """A check: a run stopped after its first epoch and gone on with ends with the same weights."""
    from foreframe import VideoCVAE
    from foreframe.training.options import TrainOptions
    from foreframe.training.start import start

    class Stop(Exception):
        pass

    def stop(row: dict[str, Any]) -> None:
        raise Stop

    def check(config: Any, data: Path) -> None:
        on_cpu = TrainOptions(device="cpu")
        start(config, data, tmp_path / "whole", on_cpu).fit()
        begun = start(config, data, tmp_path / "twice", on_cpu)
        begun.listener.epoch = stop
        with pytest.raises(Stop):
            begun.fit()
        start(config, data, tmp_path / "twice", replace(on_cpu, resume=True)).fit()
        ours, theirs = (
            VideoCVAE.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "twice")
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    return check
