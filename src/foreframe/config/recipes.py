"""Named complete runs: a recipe is a function that returns a configuration."""

from collections.abc import Callable
from dataclasses import replace

from foreframe.config.model import ModelConfig
from foreframe.config.schedules import KLSchedule, LearningRate, TeacherForcing
from foreframe.config.training import RunConfig, TrainConfig
from foreframe.errors import ForeframeError


def _places(
    name: str,
    *,
    rnn_size: int,
    epochs: int,
    steps_per_epoch: int,
    arm_epochs: int,
    lr: float,
    width: float = 1.0,
) -> RunConfig:
    """A state with places: an arm, a scene that it touches, things that it pushes, one latent."""
    return RunConfig(
        recipe=name,
        model=ModelConfig(
            net="places64",
            width=width,
            g_dim=256,
            z_dim=128,
            rnn_size=rnn_size,
            condition="actions",
            timing="source",
            recurrence="latent",
            things=8,
        ),
        train=TrainConfig(
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            batch_size=16,
            arm_epochs=arm_epochs,
            ema=0.99,
            kl=KLSchedule(kl_schedule="constant", beta_max=1.0),
            forcing=TeacherForcing(teacher_forcing="never"),
            rate=LearningRate(lr=lr, lr_schedule="cosine", lr_warmup=0.02, clip_norm=1.0),
        ),
    )


def foreframe_s() -> RunConfig:
    """Small and good: the state with places at half the width, for minutes on two CPU cores.

    It learns where the arm is from recorded positions, and things from tracks, where there are any;
    without them it learns from the frames and the actions alone.
    """
    return _places(
        "foreframe-s",
        width=0.5,
        rnn_size=32,
        epochs=20,
        steps_per_epoch=75,
        arm_epochs=10,
        lr=0.002,
    )


def demo() -> RunConfig:
    """What `make demo` trains: foreframe-s."""
    return replace(foreframe_s(), recipe="demo")


def foreframe_m() -> RunConfig:
    """The state with places at full width.

    About seventy minutes on one CPU core with bfloat16; it wants thousands of sequences
    with positions and tracks.
    """
    return _places(
        "foreframe-m",
        rnn_size=64,
        epochs=54,
        steps_per_epoch=125,
        arm_epochs=24,
        lr=0.0015,
    )


def _lab(name: str, prior: str, kl_schedule: str) -> RunConfig:
    return RunConfig(
        recipe=name,
        model=ModelConfig(
            prior=prior,  # type: ignore[arg-type]
            condition="both",
            timing="target",
            standardise=False,
        ),
        train=TrainConfig(
            epochs=150,
            steps_per_epoch=600,
            batch_size=20,
            kl=KLSchedule(kl_schedule=kl_schedule, beta_max=1.0, kl_cycles=3, kl_ratio=0.5),  # type: ignore[arg-type]
            forcing=TeacherForcing(teacher_forcing="linear", teacher_forcing_start=11),
            rate=LearningRate(lr=0.002),
        ),
    )


def lab_fp_cyclical() -> RunConfig:
    """The report's first system: fixed prior, cyclical KL annealing to 1, actions + positions."""
    return _lab("lab-fp-cyclical", "fixed", "cyclical")


def lab_fp_monotonic() -> RunConfig:
    """The report's second system: fixed prior, monotonic KL annealing to 1."""
    return _lab("lab-fp-monotonic", "fixed", "monotonic")


def lab_lp_cyclical() -> RunConfig:
    """The report's third system: learned prior, cyclical KL annealing to 1."""
    return _lab("lab-lp-cyclical", "learned", "cyclical")


def lab_small() -> RunConfig:
    """The report's first system at a size for two CPU cores: what studies start from."""
    config = lab_fp_cyclical()
    return replace(
        config,
        recipe="lab-small",
        model=replace(config.model, net="dcgan64", width=0.25),
        train=replace(
            config.train,
            epochs=12,
            steps_per_epoch=50,
            batch_size=16,
            # After epoch 11 of 150, in a run of 12.
            forcing=TeacherForcing(teacher_forcing="linear", teacher_forcing_start=1),
        ),
    )


def _svg(name: str, prior: str) -> RunConfig:
    return RunConfig(
        recipe=name,
        model=ModelConfig(prior=prior, condition="actions", timing="source"),  # type: ignore[arg-type]
        train=TrainConfig(
            epochs=300,
            steps_per_epoch=600,
            batch_size=100,
            kl=KLSchedule(kl_schedule="constant", beta_max=1e-4),
            forcing=TeacherForcing(teacher_forcing="always"),
            rate=LearningRate(lr=0.002),
        ),
    )


def svg_fp() -> RunConfig:
    """SVG's fixed prior and settings (constant 1e-4, always teacher-forced), given actions."""
    return _svg("svg-fp", "fixed")


def svg_lp() -> RunConfig:
    """SVG's learned prior and settings (constant 1e-4, always teacher-forced), given actions."""
    return _svg("svg-lp", "learned")


def svg_small() -> RunConfig:
    """Small and good of SVG's kind: a dcgan64 that blends, averaged weights; actions, source-time.

    Two to four minutes on two CPU cores; docs/training.md says what each of its parts brought.
    """
    return RunConfig(
        recipe="svg-small",
        model=ModelConfig(
            net="dcgan64", width=0.25, condition="actions", timing="source", output="blend"
        ),
        train=TrainConfig(
            epochs=10,
            steps_per_epoch=75,
            batch_size=16,
            ema=0.99,
            kl=KLSchedule(kl_schedule="cyclical", beta_max=1e-5, kl_cycles=3, kl_ratio=0.5),
            forcing=TeacherForcing(teacher_forcing="linear", teacher_forcing_start=6),
            rate=LearningRate(lr=0.002, lr_schedule="cosine"),
        ),
    )


#: Every recipe by its name on the command line.
RECIPES: dict[str, Callable[[], RunConfig]] = {
    "demo": demo,
    "foreframe-s": foreframe_s,
    "foreframe-m": foreframe_m,
    "lab-fp-cyclical": lab_fp_cyclical,
    "lab-fp-monotonic": lab_fp_monotonic,
    "lab-lp-cyclical": lab_lp_cyclical,
    "lab-small": lab_small,
    "svg-fp": svg_fp,
    "svg-lp": svg_lp,
    "svg-small": svg_small,
}


def recipe(name: str) -> RunConfig:
    """The configuration called ``name``.

    Raises:
        ForeframeError: unknown; the message lists the known ones.
    """
    if name not in RECIPES:
        raise ForeframeError(f"{name}: unknown recipe; known recipes: {', '.join(RECIPES)}.")
    return RECIPES[name]()
