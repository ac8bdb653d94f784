"""The commands that train: a recipe into a run folder, and its schedules shown beforehand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.progress import Progress, TaskID, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import Positional, arg

from foreframe.commands.console import console, leave, progress_bar, say, typed
from foreframe.config.model import ModelConfig
from foreframe.config.recipes import RECIPES
from foreframe.config.training import (
    RunConfig,
    TrainConfig,
    check_config,
    latent_weight,
    scaled,
    scaled_words,
)
from foreframe.runs.folder import named_config, resumed_config
from foreframe.system.places import place
from foreframe.training.listener import Listener
from foreframe.training.options import TrainOptions

if TYPE_CHECKING:
    from foreframe.training.progress import Progress as TrainingProgress


SHOWN = "svg-small"
"""Recipe whose schedules are shown where none is named: all three of them move."""

_RECIPE_HELP = f"Where the settings start from: {', '.join(RECIPES)}, or the run.json of a run."


@dataclass(frozen=True)
class Train:
    """Train a model: a recipe, and options that change it."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help=_RECIPE_HELP)]
    data: str
    """Root of the dataset: the lab's layout, or stores; stores may lie at s3:// and the like."""
    out: Path
    """The run folder."""
    execution: TrainOptions = field(default_factory=TrainOptions)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.training.start import start

        base = named_config(self.recipe)
        config = RunConfig(base.recipe, self.model, self.train)
        if self.execution.resume:
            advice = "Leave these options out, or start a new run from these weights: --init-from."
            config = resumed_config(self.out, config, {"recipe", *typed(words)}, advice=advice)
        else:
            config = replace(config, train=scaled_schedules(self.train, base.train, words))
        with training_display(config) as listener:
            training = start(config, place(self.data), self.out, self.execution, listener=listener)
            training.fit()
        say(f"{self.out}: best validation PSNR {training.progress.best_psnr:.2f} dB")
        say(f"Next: foreframe evaluate {self.out} --data {self.data}")
        leave()


@dataclass(frozen=True)
class Schedules:
    """Show the schedules of a recipe by epoch."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help=_RECIPE_HELP)] = SHOWN
    plot: Path | None = None
    """Draw them into this PNG or SVG file instead of printing them."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.config.schedules import learning_rate, teacher_forcing_ratio
        from foreframe.visuals import schedule_plot

        base = named_config(self.recipe)
        train = scaled_schedules(self.train, base.train, words)
        check_config(RunConfig(self.recipe, base.model, train))
        epochs = train.epochs
        steps = epochs * train.steps_per_epoch
        rows = [
            (
                epoch + 1,
                latent_weight(train, epoch),
                teacher_forcing_ratio(epoch, train.forcing, epochs),
                learning_rate(epoch * train.steps_per_epoch, train.rate, steps),
            )
            for epoch in range(epochs)
        ]
        if self.plot is None:
            show_schedules(rows)
        else:
            schedule_plot(self.plot, [row[1] for row in rows], [row[2] for row in rows])
            say(str(self.plot))


def scaled_schedules(train: TrainConfig, base: TrainConfig, words: Sequence[str]) -> TrainConfig:
    """``train`` with schedules that fit its number of epochs; says what became of the recipe's.

    Args:
        train: with the number of epochs that was asked for.
        base: as the recipe has it.
        words: what the user typed, which stays as it is.
    """
    result = scaled(train, base, typed(words))
    for line in scaled_words(train, result, base):
        say(line)
    return result


class TerminalListener(Listener):
    """A bar over all steps of a training, with a line for every epoch above it.

    Args:
        config: of the run, for its length.
        bar: a started progress display.
    """

    def __init__(self, config: RunConfig, bar: Progress) -> None:
        self._config = config
        self._bar = bar
        train = config.train
        self._steps = train.epochs * train.steps_per_epoch
        self._task: TaskID | None = None
        self._packing: TaskID | None = None

    def message(self, text: str) -> None:
        say(text)

    def packing(self, done: int, total: int) -> None:
        if self._packing is None:
            self._packing = self._bar.add_task("packing")
        self._bar.update(self._packing, completed=done, total=total, visible=done < total)

    def step(self, progress: "TrainingProgress", values: dict[str, float]) -> None:
        # The bar begins at the first step that this process ran, so that its estimate of the time
        # left is not fooled by the steps before a resume.
        done = progress.epoch * self._config.train.steps_per_epoch + progress.step
        if self._task is None:
            self._task = self._bar.add_task("", total=self._steps, completed=done)
        text = (
            f"epoch {progress.epoch + 1}/{self._config.train.epochs} "
            f"loss {values['loss']:.4f} KL {values['kld']:.2f} beta {values['beta']:.1e} "
            f"tf {values['teacher_forcing_ratio']:.2f} PSNR {values['psnr']:.2f} "
            f"{values['frames_per_second']:.0f} frames/s"
        )
        self._bar.update(self._task, completed=done, description=text)

    def begin(self) -> None:
        say("epoch     loss      mse     KL     beta    tf  train dB  val dB  frames/s  seconds")

    def epoch(self, row: dict[str, Any]) -> None:
        say(
            f"{row['epoch'] + 1:5d} {row['loss']:8.5f} {row['mse']:8.5f} {row['kld']:6.2f} "
            f"{row['beta']:8.1e} {row['teacher_forcing_ratio']:5.2f} {row['psnr']:9.2f} "
            f"{row['validation_psnr']:7.2f} {row['frames_per_second']:9.0f} {row['seconds']:8.0f}"
        )


@contextmanager
def training_display(config: RunConfig) -> Iterator[TerminalListener]:
    """The display of a training; yields its listener."""
    with progress_bar(TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        yield TerminalListener(config, bar)


def show_schedules(rows: list[tuple[int, float, float, float]]) -> None:
    """Print (epoch, beta, teacher-forcing ratio, learning rate) for every epoch."""
    table = Table()
    for name in ("epoch", "beta", "teacher forcing", "learning rate"):
        table.add_column(name, justify="right")
    for epoch, beta, ratio, rate in rows:
        table.add_row(str(epoch), f"{beta:.6g}", f"{ratio:.4f}", f"{rate:.6g}")
    console.print(table)
