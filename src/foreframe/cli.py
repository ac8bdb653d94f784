"""The command line: nothing but wiring."""

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

import foreframe
from foreframe.cli_data import GROUPS, Check
from foreframe.cli_diagnose import Diagnose
from foreframe.cli_evaluate import Evaluate
from foreframe.cli_probe import Probe
from foreframe.cli_serve import HOST, PORT, Serve
from foreframe.cli_study import Study
from foreframe.config import to_dict
from foreframe.device import DeviceName
from foreframe.errors import ForeframeError
from foreframe.listener import Interrupted, is_first
from foreframe.model_config import ModelConfig
from foreframe.places import place
from foreframe.recipes import RECIPES, named_config, recipe
from foreframe.terminal import console, counting, say, show_schedules, training_display
from foreframe.train_config import RunConfig, TrainConfig, check_config
from foreframe.workers import available_cores

_CORES = available_cores()
_PATIENCE = 5.0
"""Seconds that one of several processes waits for the others at their end."""
_RECIPE_HELP = f"Where the settings start from: {', '.join(RECIPES)}, or the run.json of a run."


@dataclass(frozen=True)
class Simulate:
    """Simulate a robot pushing objects: a dataset in the lab's layout, with its splits."""

    out: Positional[Path]
    """New folder of the dataset (or one that was begun with the same settings)."""
    sequences: int = 600
    """Sequences in all, of 30 frames each."""
    workers: int = _CORES
    """Processes that simulate side by side; they do not change what is made."""
    seed: int = 0
    """The same seed makes the same files."""
    size: int = 64
    """Height and width of the frames; vgg128 and dcgan128 take 128."""
    ray: str | None = None
    """Address of a Ray cluster that does the work instead; local starts one on this machine."""

    def run(self, words: Sequence[str]) -> None:
        from foreframe.data.push.simulate import simulate

        with counting("simulating") as progress:
            simulate(
                self.out,
                sequences=self.sequences,
                workers=self.workers,
                seed=self.seed,
                size=self.size,
                ray=self.ray,
                progress=progress,
            )
        say(f"{self.out}: {self.sequences} sequences")


@dataclass(frozen=True)
class Train:
    """Train a model: a recipe, any field of it changed by a flag."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help=_RECIPE_HELP)]
    data: str
    """Root of the dataset: the lab's layout, or stores; stores may lie at s3:// and the like."""
    out: Path
    """The run folder."""
    resume: bool = False
    """Go on with the run in --out, exactly as if it had never stopped; its saved settings count."""
    init_from: Path | None = None
    """A run whose weights this one starts from (fine-tuning)."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA, then Apple's MPS, then the CPU."""
    stop_on_collapse: bool = False
    """End the training when the model collapses, instead of warning only."""
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.runs import start

        config = RunConfig(named_config(self.recipe).recipe, self.model, self.train)
        if self.resume:
            config = _resumed(config, named_config(self.recipe), self.out)
        with training_display(config) as listener:
            training = start(
                config,
                place(self.data),
                self.out,
                resume=self.resume,
                init_from=self.init_from,
                device=self.device,
                listener=listener,
            )
            training.fit(stop_on_collapse=self.stop_on_collapse)
        say(f"{self.out}: best validation PSNR {training.progress.best_psnr:.2f} dB")
        say(f"Next: foreframe evaluate {self.out} --data {self.data}")
        _leave()


@dataclass(frozen=True)
class Predict:
    """Imagine futures of one recorded sequence: a GIF, a strip of every step, the frames as PNG."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="The run folder.")]
    sequence: str
    """The sequence: a folder with 0.png, 1.png, ... and its CSV files, or STORE/test/NUMBER."""
    out: Path | None = None
    """New folder for what is written; by default RUN/predictions/<the sequence's name>."""
    samples: int = 4
    """Futures."""
    n_past: int = 2
    """Given frames."""
    n_future: int | None = None
    """Frames to predict; by default to the end of the recording."""
    seed: int = 0
    """Seed of z."""
    device: DeviceName = "auto"
    """Where to compute."""

    def run(self, words: Sequence[str]) -> None:
        from foreframe.predict import predict

        sequence = place(self.sequence)
        parts = sequence.resolve().parts if isinstance(sequence, Path) else sequence.parts
        name = "-".join(parts[-3:])
        done = predict(
            self.run_folder,
            sequence,
            self.out or self.run_folder / "predictions" / name,
            samples=self.samples,
            n_past=self.n_past,
            n_future=self.n_future,
            seed=self.seed,
            device=self.device,
        )
        listed = ", ".join(f"{value:.2f}" for value in done.psnr)
        say(f"{done.folder}: prediction.gif, strip.png, sample-<k>/; PSNR of each: {listed} dB")


@dataclass(frozen=True)
class Report:
    """Write RUN/report.html, one self-contained page."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="The run folder.")]

    def run(self, words: Sequence[str]) -> None:
        from foreframe.report import write_report

        say(str(write_report(self.run_folder)))


@dataclass(frozen=True)
class Schedules:
    """Show epoch by epoch what a configuration will do to the KL weight and teacher forcing."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help=_RECIPE_HELP)] = "demo"
    plot: Path | None = None
    """Draw them into this PNG or SVG file instead of printing them."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.schedules import kl_weight, learning_rate, teacher_forcing_ratio
        from foreframe.visuals import schedule_plot

        check_config(RunConfig(self.recipe, train=self.train))
        train, epochs = self.train, self.train.epochs
        steps = epochs * train.steps_per_epoch
        rows = [
            (
                epoch,
                kl_weight(epoch, train.kl, epochs),
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


@dataclass(frozen=True)
class Demo:
    """Simulate, train, evaluate, predict and report, in minutes; goes on from what is there."""

    out: Path = Path("runs/demo")
    """The run folder."""
    data: Path = Path("data/push")
    """Folder of the simulated dataset."""
    sequences: int = 600
    """Simulated sequences in all."""
    workers: int = _CORES
    """Processes that simulate side by side."""
    fresh: bool = False
    """Remove the run and the dataset first."""
    device: DeviceName = "auto"
    """Where to compute."""
    model: ModelConfig = field(default_factory=lambda: recipe("demo").model)
    train: TrainConfig = field(default_factory=lambda: recipe("demo").train)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.demo import run_demo

        page = run_demo(
            RunConfig("demo", self.model, self.train),
            self.data,
            self.out,
            sequences=self.sequences,
            workers=self.workers,
            device=self.device,
            fresh=self.fresh,
        )
        say(f"Open {page} in a browser.")
        data = "" if self.data == Path("data/push") else f" --data {self.data}"
        say(f"Drive the robot: foreframe serve {self.out}{data}, then open http://{HOST}:{PORT}/")


COMMANDS = {
    "demo": Demo,
    "simulate": Simulate,
    "check": Check,
    "train": Train,
    "evaluate": Evaluate,
    "diagnose": Diagnose,
    "probe": Probe,
    "predict": Predict,
    "report": Report,
    "serve": Serve,
    "study": Study,
    "schedules": Schedules,
}


def _resumed(asked: RunConfig, defaults: RunConfig, run: Path) -> RunConfig:
    """The saved configuration of ``run``, unless a flag asks for something else."""
    from foreframe.runs import saved_config

    saved = saved_config(run)
    flat_saved, flat_asked, flat_defaults = (_flat(to_dict(c)) for c in (saved, asked, defaults))
    changed = [
        f"--{name.rsplit('.', 1)[-1].replace('_', '-')} is {flat_saved[name]} there"
        for name, value in flat_asked.items()
        if value != flat_defaults[name] and value != flat_saved[name]
    ]
    if saved.recipe != asked.recipe:
        changed.insert(0, f"its recipe is {saved.recipe}")
    if changed:
        raise ForeframeError(
            f"{run}: a resumed run keeps its settings: {'; '.join(changed)}. Leave these options "
            "out, or start a new run from these weights: --init-from."
        )
    return saved


def _flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _parse(words: Sequence[str]) -> Any:
    names = (*COMMANDS, *GROUPS)
    usage = f"foreframe {{{','.join(names)}}}"
    if not words or words[0] in ("-h", "--help"):
        say(f"usage: {usage} [--help]\n\n{foreframe.__doc__}\n")
        for name, command in COMMANDS.items():
            say(f"  {name:10s} {(command.__doc__ or '').strip()}")
        for name, group in GROUPS.items():
            say(f"  {name:10s} {{{','.join(group)}}}: foreframe {name} {next(iter(group))} --help")
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        say(f"foreframe {foreframe.__version__}")
        raise SystemExit(0)
    if words[0] in GROUPS:
        return _parse_group(words[0], list(words[1:]))
    if words[0] not in COMMANDS:
        raise ForeframeError(f"{words[0]}: unknown command; known: {', '.join(names)}.")
    command, rest = COMMANDS[words[0]], list(words[1:])
    default: dict[str, object] = {}
    if command in (Train, Schedules):
        # The recipe comes first: its values are the defaults that the other words change.
        named = bool(rest) and not rest[0].startswith("-")
        if not named and command is Train and not {"-h", "--help"} & set(rest):
            raise ForeframeError(
                "train: the recipe comes first: foreframe train RECIPE --data DIR --out RUN; "
                f"known recipes: {', '.join(RECIPES)}."
            )
        config = named_config(rest[0]) if named else recipe("demo")
        default = {"train": config.train}
        if command is Train:
            default["model"] = config.model
    if command is Study:
        config = named_config(_option(rest, "--base") or "lab-small")
        default = {"model": config.model, "train": config.train}
    annotated = OmitArgPrefixes[FlagCreatePairsOff[command]]  # type: ignore[valid-type]
    return tyro.cli(
        annotated,
        prog=f"foreframe {words[0]}",
        args=rest,
        default=_with_defaults(command, default) if default else None,
    )


def _option(words: Sequence[str], name: str) -> str | None:
    """The value of an option that must be known before the others are read."""
    for word, after in zip(words, [*words[1:], None], strict=True):
        if word == name:
            return after
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _parse_group(name: str, words: list[str]) -> Any:
    group = GROUPS[name]
    if not words or words[0] in ("-h", "--help"):
        say(f"usage: foreframe {name} {{{','.join(group)}}} IN OUT [--help]\n")
        for kind, listed in group.items():
            say(f"  {kind:10s} {(listed.__doc__ or '').strip()}")
        raise SystemExit(0 if words else 2)
    if words[0] not in group:
        raise ForeframeError(f"{name} {words[0]}: unknown; known: {', '.join(group)}.")
    command: Any = group[words[0]]
    annotated = OmitArgPrefixes[FlagCreatePairsOff[command]]
    return tyro.cli(annotated, prog=f"foreframe {name} {words[0]}", args=words[1:])


def _with_defaults(command: type, values: dict[str, object]) -> object:
    blank = {
        Train: {"recipe": tyro.MISSING, "data": tyro.MISSING, "out": tyro.MISSING},
        Schedules: {},
        Study: {"study": tyro.MISSING, "data": tyro.MISSING, "out": tyro.MISSING},
    }[command]
    return replace(command(**blank), **values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on standard error and exit status 2."""
    words = sys.argv[1:] if arguments is None else arguments
    # Of the processes that train together the first alone speaks.
    console.quiet = words[:1] == ["train"] and not is_first()
    try:
        with _one_speaks():
            command = _parse(words)
        command.run(words)
    except ForeframeError as error:
        _fail(str(error))
    except Interrupted:
        again = [word for word in words if word not in ("--fresh", "--resume")]
        again += ["--resume"] if words[0] == "train" else []
        say(f"Stopped and saved. Go on with: {shlex.join(['foreframe', *again])}")
        _leave()
        raise SystemExit(130) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # Whoever read the output (head, a pager) has gone: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        _fail(
            f"{where}{error.strerror or error}. Check the path, its permissions and the free space."
        )


def _fail(message: str) -> None:
    """Say it and end; of several processes that end together, the first says it for all."""
    # A launcher ends all when one has ended, so nobody leaves before it is said. And if the first
    # goes on, or has not come yet, this process alone knows what is wrong.
    silent = console.quiet and _leave()
    if not silent:
        print(f"foreframe: error: {message}", file=sys.stderr, flush=True)
        if not console.quiet:
            _leave()
    raise SystemExit(2)


def _leave() -> bool:
    """Part from the other processes of a training; whether all are at their end."""
    if "foreframe.processes" in sys.modules:  # else no training has begun
        from foreframe.processes import leave_together

        if leave_together(_PATIENCE):
            return True
    if console.quiet:
        time.sleep(_PATIENCE)  # the launcher ends this process once the first has spoken
    return False


@contextmanager
def _one_speaks() -> Iterator[None]:
    """What tyro prints about the words, it prints once."""
    if not console.quiet:
        yield
        return
    try:
        with open(os.devnull, "w") as nobody, redirect_stdout(nobody), redirect_stderr(nobody):
            yield
    except SystemExit as end:
        if end.code:
            time.sleep(_PATIENCE)  # the launcher ends this process once the first has spoken
        raise
