"""A run of two epochs that was trained whole, with its folder as it was after every save."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from foreframe.config.schedules import TeacherForcing
from foreframe.config.training import RunConfig
from foreframe.runs.folder import LAST, saved_config
from foreframe.training.loop import Training
from foreframe.training.options import TrainOptions
from foreframe.training.start import start

OLD = Path(__file__).parents[1] / "data" / "v0.1"
CPU = TrainOptions(device="cpu", threads=1)


@dataclass(frozen=True)
class Whole:
    """The run.

    Attributes:
        config: complete.
        data: root of its dataset.
        run: the finished folder.
        saves: the folder after each save of the last checkpoint, in order.
    """

    config: RunConfig
    data: Path
    run: Path
    saves: list[Path]

    def copied(self, source: Path, out: Path) -> Path:
        """A copy of a folder of the run, in which last-previous stays what it was."""
        return Path(shutil.copytree(source, out))


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Whole:
    place = tmp_path_factory.mktemp("whole")
    data = Path(shutil.copytree(OLD / "store", place / "store"))
    config = saved_config(OLD / "run")
    train = replace(config.train, epochs=2, steps_per_epoch=3, checkpoint_every=2, sample_every=9)
    train = replace(train, forcing=TeacherForcing("always"))
    saves: list[Path] = []
    training = start(replace(config, train=train), data, place / "run", CPU)
    original = Training._save_last

    def save(self: Training) -> None:
        original(self)
        saves.append(place / f"save-{len(saves)}")
        shutil.copytree(place / "run", saves[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_save_last", save)
        training.fit()
    assert (place / "run" / LAST).is_file()
    return Whole(training.config, data, place / "run", saves)
