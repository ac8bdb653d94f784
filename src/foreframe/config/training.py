"""What a run is: the model and the training, complete, as run.json holds it."""

import math
from dataclasses import dataclass, field

from foreframe.config.model import ModelConfig
from foreframe.config.schedules import KLSchedule, LearningRate, TeacherForcing, check_schedules
from foreframe.errors import ForeframeError
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
    """Epochs at the beginning in which only the arm is taught where it is, without drawing frames
    (places64, from data with positions)."""
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
    least = {
        "epochs": 1,
        "steps_per_epoch": 1,
        "batch_size": 2,  # batch normalisation of a 1x1 map needs two values
        "n_past": 2 if config.model.skips_from == "svg" else 1,
        "n_future": 1,
        "validation_sequences": 1,
        "sample_every": 1,
        "checkpoint_every": 1,
        "seed": 0,
    }
    for name, minimum in least.items():
        if getattr(train, name) < minimum:
            raise ForeframeError(
                f"--{name.replace('_', '-')} {getattr(train, name)}: must be at least {minimum}."
            )
    if not (train.rate.lr > 0 and math.isfinite(train.rate.lr)):
        raise ForeframeError(f"--lr {train.rate.lr}: must be above 0.")
    if train.arm_epochs and config.model.net != "places64":
        raise ForeframeError(f"--arm-epochs {train.arm_epochs}: only --net places64 has an arm.")
    if not 0 <= train.arm_epochs < train.epochs:
        raise ForeframeError(
            f"--arm-epochs {train.arm_epochs}: must be from 0 to below --epochs {train.epochs}."
        )
    if not 0 <= train.ema < 1:
        raise ForeframeError(f"--ema {train.ema}: must be at least 0 and below 1.")
    check_schedules(train.kl, train.forcing, train.epochs)
