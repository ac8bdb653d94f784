"""What a run is: the model and the training, complete, as run.json holds it."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from foreframe.config.model import ModelConfig
from foreframe.config.plain import flat, option, to_dict
from foreframe.config.schedules import (
    KLSchedule,
    LearningRate,
    TeacherForcing,
    check_schedules,
    kl_weight,
)
from foreframe.errors import ForeframeError, at_least
from foreframe.system.device import Precision


@dataclass(frozen=True)
class TrainConfig:
    """The training: its length, its batches and its schedules."""

    epochs: int = 150
    """Number of epochs E; the schedules are drawn over them."""
    steps_per_epoch: int = 600
    """Optimiser steps in an epoch."""
    batch_size: int = 20
    """Clips in a batch."""
    n_past: int = 2
    """Given frames."""
    n_future: int = 10
    """Predicted frames."""
    kl: KLSchedule = field(default_factory=KLSchedule)
    forcing: TeacherForcing = field(default_factory=TeacherForcing)
    rate: LearningRate = field(default_factory=LearningRate)
    arm_epochs: int = 0
    """Epochs at the beginning in which only motion is taught, without drawing frames: where the arm
    is (places64, from data with positions) and how things are pushed (from data with tracks)."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is then validated and saved as the best in
    place of the last step's; 0: none."""
    seed: int = 0
    """Seed of the initial weights, the order of the data and every draw."""
    precision: Precision = "auto"
    """Of the convolutions: bf16, fp32, or auto for bf16 where the hardware multiplies it."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more
    time, the same result."""
    validation_sequences: int = 256
    """Sequences of the validation split that are predicted after each epoch, at most."""
    sample_every: int = 5
    """Epochs between two sample GIFs."""
    checkpoint_every: int = 200
    """Steps between two checkpoints within an epoch; one is always written at its end."""


@dataclass(frozen=True)
class RunConfig:
    """A complete run: what ``foreframe train`` does and writes to ``run.json``."""

    recipe: str
    """Name of the recipe that the run began as."""
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def check_config(config: RunConfig) -> None:
    """Refuse a configuration that cannot be trained.

    Raises:
        ForeframeError: names the option, its value and what it must be.
    """
    train = config.train
    at_least(
        1,
        epochs=train.epochs,
        steps_per_epoch=train.steps_per_epoch,
        n_future=train.n_future,
        validation_sequences=train.validation_sequences,
        sample_every=train.sample_every,
        checkpoint_every=train.checkpoint_every,
    )
    at_least(2, batch_size=train.batch_size)  # batch normalisation of a 1x1 map needs two values
    two = config.model.skips_from == "svg" or config.model.net == "places64"
    at_least(2 if two else 1, n_past=train.n_past)
    at_least(0, seed=train.seed)
    if not (train.rate.lr > 0 and math.isfinite(train.rate.lr)):
        raise ForeframeError(f"--lr {train.rate.lr}: must be above 0.")
    if train.arm_epochs and config.model.net != "places64":
        raise ForeframeError(
            f"--arm-epochs {train.arm_epochs}: only --net places64 has an arm. For SVG's nets "
            "begin with the recipe svg-small, or give --arm-epochs 0."
        )
    if not 0 <= train.arm_epochs < train.epochs:
        raise ForeframeError(
            f"--arm-epochs {train.arm_epochs}: must be from 0 to below --epochs {train.epochs}."
        )
    if not 0 <= train.ema < 1:
        raise ForeframeError(f"--ema {train.ema}: must be at least 0 and below 1.")
    check_schedules(train.kl, train.forcing, train.epochs)


def latent_weight(train: TrainConfig, epoch: int) -> float:
    """The weight of the KL at ``epoch`` (from 0); 0 while motion alone is taught, without a z."""
    return kl_weight(epoch, train.kl, train.epochs) if epoch >= train.arm_epochs else 0.0


def scaled(train: TrainConfig, base: TrainConfig, typed: Collection[str] = ()) -> TrainConfig:
    """The training with the schedules of ``base`` brought to its own number of epochs.

    Teacher forcing begins to decay at the same share of all epochs: after epoch 11 of 150 is after
    epoch 1 of 12. So does the training of more than the arm. Every KL cycle keeps the two epochs
    that it needs at least. A single epoch has no room for either: the KL weight is constant then,
    and the true frame is always fed.

    Args:
        train: with the number of epochs that was asked for.
        base: as the recipe has it.
        typed: names of fields that the user has set, and which therefore stay.
    """
    epochs = train.epochs
    if epochs == base.epochs or epochs < 1:
        return train

    def untyped(**values: Any) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name not in typed}

    start = round(base.forcing.teacher_forcing_start * epochs / base.epochs)
    kl = untyped(kl_cycles=min(base.kl.kl_cycles, max(1, epochs // 2)))
    forcing = untyped(teacher_forcing_start=min(start, max(0, epochs - 2)))
    if epochs == 1 and kl:
        kl |= untyped(kl_schedule="constant")
    if epochs == 1 and forcing and train.forcing.teacher_forcing == "linear":
        forcing |= untyped(teacher_forcing="always")
    arm = untyped(arm_epochs=min(round(base.arm_epochs * epochs / base.epochs), epochs - 1))
    return replace(
        train, kl=replace(train.kl, **kl), forcing=replace(train.forcing, **forcing), **arm
    )


def scaled_words(train: TrainConfig, result: TrainConfig, base: TrainConfig) -> list[str]:
    """A line for the user if ``scaled`` set options that are in use; else none."""
    before, after = flat(to_dict(train)), flat(to_dict(result))
    unused = set()
    if result.kl.kl_schedule != "cyclical":
        unused.add("kl.kl_cycles")
    if result.forcing.teacher_forcing != "linear":
        unused.add("forcing.teacher_forcing_start")
    changes = [path for path in after if after[path] != before[path] and path not in unused]
    if not changes:
        return []
    options = ", ".join(f"{option(path)} {after[path]}" for path in changes)
    return [f"The schedules of {base.epochs} epochs are brought to {train.epochs}: {options}."]
