"""The whole system once: simulate, train, evaluate, predict, report; goes on from what is there."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foreframe.commands.console import CORES, counting, say
from foreframe.commands.evaluate import show_card
from foreframe.commands.train import training_display
from foreframe.config.model import ModelConfig
from foreframe.config.recipes import recipe
from foreframe.config.training import RunConfig, TrainConfig
from foreframe.data.lab import list_sequences
from foreframe.errors import ForeframeError
from foreframe.runs.folder import BEST, EVALUATION, RUN_CONFIG, saved_config
from foreframe.serve.options import HOST, PORT
from foreframe.system.device import DeviceName


@dataclass(frozen=True)
class Demo:
    """Simulate, train, evaluate and report, in minutes."""

    out: Path = Path("runs/demo")
    """The run folder."""
    data: Path = Path("data/push")
    """Folder of the simulated dataset."""
    sequences: int = 600
    """Simulated sequences in all."""
    workers: int = CORES
    """Processes that simulate side by side."""
    fresh: bool = False
    """Remove the run and the dataset first."""
    device: DeviceName = "auto"
    """Where to compute."""
    model: ModelConfig = field(default_factory=lambda: recipe("demo").model)
    train: TrainConfig = field(default_factory=lambda: recipe("demo").train)

    def run(self, words: Sequence[str]) -> None:
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


def run_demo(
    config: RunConfig,
    data: Path,
    out: Path,
    *,
    sequences: int,
    workers: int,
    seed: int = 0,
    device: DeviceName = "auto",
    fresh: bool = False,
) -> Path:
    """Simulate a dataset, train on it, evaluate, predict and write the report.

    Args:
        config: the run; frames are simulated at the size that its net takes.
        data: folder of the simulated dataset.
        out: the run folder.
        sequences: simulated sequences in all.
        workers: simulating processes.
        seed: of the simulation.
        device: "auto", "cpu", "cuda" or "mps".
        fresh: remove the dataset and the run first.

    Returns:
        the report's path.

    Raises:
        ForeframeError: ``data`` or ``out`` hold something else, or a step fails.
    """
    # PyTorch and MuJoCo take a second to import, which the other commands are spared.
    from foreframe.evaluation.card import Card
    from foreframe.evaluation.evaluate import evaluate
    from foreframe.evaluation.options import EvaluateOptions, PredictOptions
    from foreframe.evaluation.predict import predict
    from foreframe.report import write_report
    from foreframe.simulator.simulate import SimulateOptions, simulate
    from foreframe.system.workers import Execution
    from foreframe.training.start import start

    if fresh:
        _remove(data, "dataset.json")
        _remove(out, RUN_CONFIG)

    say(f"1/5 simulate {sequences} sequences into {data}")
    with counting("simulating") as progress:
        simulate(
            data,
            SimulateOptions(sequences=sequences, seed=seed, size=config.model.image_size),
            execution=Execution(workers=workers),
            progress=progress,
        )

    say(f"2/5 train {config.recipe} into {out}")
    resume = (out / RUN_CONFIG).exists()
    if resume:
        saved = saved_config(out)
        if (saved.train, saved.recipe) != (config.train, config.recipe):
            raise ForeframeError(
                f"{out}: holds a run with other settings than this demo's. "
                "Start over with --fresh (make demo FRESH=1), or give another --out."
            )
    with training_display(config) as listener:
        training = start(config, data, out, resume=resume, device=device, listener=listener)
        if training.progress.epoch == training.config.train.epochs:
            say("it is trained already")
        training.fit()

    say("3/5 evaluate on the test split")
    best = (out / BEST).stat().st_mtime_ns
    card_path = out / EVALUATION
    card = None
    if card_path.exists() and card_path.stat().st_mtime_ns > best:
        card = Card.read(card_path)
    if card is None or card.is_partial:
        with counting("evaluating") as progress:
            card = evaluate(
                out,
                data,
                EvaluateOptions(device=device),
                command=f"foreframe evaluate {out} --data {data}",
                log=say,
                progress=progress,
            )
    show_card(card)

    say("4/5 predict the first test sequence")
    prediction = out / "prediction"
    if not (prediction.exists() and prediction.stat().st_mtime_ns > best):
        shutil.rmtree(prediction, ignore_errors=True)
        predict(
            out,
            list_sequences(data, "test")[0],
            prediction,
            PredictOptions(n_future=10, device=device),
        )

    say("5/5 write the report")
    return write_report(out)


def _remove(folder: Path, mark: str) -> None:
    if not folder.exists():
        return
    if not (folder / mark).is_file() and any(folder.iterdir()):
        raise ForeframeError(
            f"{folder}: holds no {mark}, so it is not the demo's to remove. "
            "Remove it yourself, or give another folder."
        )
    shutil.rmtree(folder)
