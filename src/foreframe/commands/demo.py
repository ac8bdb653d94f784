"""The whole system once: simulate, train, evaluate, predict, report; goes on from what is there."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foreframe.commands.console import CORES, counting, say
from foreframe.commands.evaluate import show_card
from foreframe.commands.train import scaled_schedules, training_display
from foreframe.config.model import ModelConfig
from foreframe.config.plain import flat, to_dict
from foreframe.config.recipes import recipe
from foreframe.config.training import RunConfig, TrainConfig
from foreframe.data.lab import list_sequences
from foreframe.errors import ForeframeError
from foreframe.runs.folder import (
    BEST,
    EVALUATION,
    FROM_DATA,
    RUN_CONFIG,
    resumed_config,
    saved_config,
)
from foreframe.serve.options import HOST, PORT
from foreframe.training.options import Compute, TrainOptions


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
    compute: Compute = field(default_factory=Compute)
    model: ModelConfig = field(default_factory=lambda: recipe("demo").model)
    train: TrainConfig = field(default_factory=lambda: recipe("demo").train)

    def run(self, words: Sequence[str]) -> None:
        if self.fresh:
            _remove(self.data, "dataset.json")
            _remove(self.out, RUN_CONFIG)
        say(f"1/5 simulate {self.sequences} sequences into {self.data}")
        self._simulate()
        say(f"2/5 train demo into {self.out}")
        self._train(words)
        say("3/5 evaluate on the test split")
        self._evaluate()
        say("4/5 predict the first test sequence")
        self._predict()
        say("5/5 write the report")
        from foreframe.report import write_report

        say(f"Open {write_report(self.out)} in a browser.")
        data = "" if self.data == Path("data/push") else f" --data {self.data}"
        say(f"Drive the robot: foreframe serve {self.out}{data}, then open http://{HOST}:{PORT}/")

    # PyTorch and MuJoCo take a second to import, which the other commands are spared.

    def _simulate(self) -> None:
        from foreframe.simulator.simulate import SimulateOptions, simulate
        from foreframe.system.workers import Execution

        with counting("simulating") as progress:
            simulate(
                self.data,
                SimulateOptions(sequences=self.sequences, size=self.model.frame_size[0]),
                execution=Execution(workers=self.workers),
                progress=progress,
            )

    def _train(self, words: Sequence[str]) -> None:
        from foreframe.training.start import start

        train = scaled_schedules(self.train, recipe("demo").train, words)
        config = RunConfig("demo", self.model, train)
        resume = (self.out / RUN_CONFIG).exists()
        if resume:
            config = self._resumed(config)
        options = TrainOptions(**vars(self.compute), resume=resume)
        with training_display(config) as listener:
            training = start(config, self.data, self.out, options, listener=listener)
            if training.progress.epoch == training.config.train.epochs:
                say("it is trained already")
            else:
                training.fit()

    def _resumed(self, config: RunConfig) -> RunConfig:
        if saved_config(self.out).train == self.train:  # version 0.1 scaled no schedules
            config = replace(config, train=self.train)
        names = {path.rpartition(".")[2] for path in flat(to_dict(config))} - {*FROM_DATA}
        where = shlex.join(["--data", str(self.data), "--out", str(self.out)])
        advice = (
            "Start over with --fresh (make demo FRESH=1), give another --out, or go on with the "
            f"run as it is: foreframe train demo {where} --resume"
        )
        return resumed_config(self.out, config, names, advice=advice)

    def _evaluate(self) -> None:
        from foreframe.evaluation.card import Card
        from foreframe.evaluation.evaluate import evaluate
        from foreframe.evaluation.options import EvaluateOptions

        path = self.out / EVALUATION
        card = Card.read(path) if self._newer_than_weights(path) else None
        if card is None or card.is_partial:
            with counting("evaluating") as progress:
                card = evaluate(
                    self.out,
                    self.data,
                    EvaluateOptions(device=self.compute.device),
                    command=f"foreframe evaluate {self.out} --data {self.data}",
                    log=say,
                    progress=progress,
                )
        show_card(card)

    def _predict(self) -> None:
        from foreframe.evaluation.options import PredictOptions
        from foreframe.evaluation.predict import predict

        prediction = self.out / "prediction"
        if not self._newer_than_weights(prediction):
            shutil.rmtree(prediction, ignore_errors=True)
            sequence = list_sequences(self.data, "test")[0]
            options = PredictOptions(n_future=10, device=self.compute.device)
            predict(self.out, sequence, prediction, options)

    def _newer_than_weights(self, path: Path) -> bool:
        best = (self.out / BEST).stat().st_mtime_ns
        return path.exists() and path.stat().st_mtime_ns > best


def _remove(folder: Path, mark: str) -> None:
    if not folder.exists():
        return
    if not (folder / mark).is_file() and any(folder.iterdir()):
        raise ForeframeError(
            f"{folder}: holds no {mark}, so it is not the demo's to remove. "
            "Remove it yourself, or give another folder."
        )
    shutil.rmtree(folder)
