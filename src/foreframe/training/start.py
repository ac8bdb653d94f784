"""Run folders: begun, gone on with, read back."""

from pathlib import Path

import torch

import foreframe
from foreframe.config.plain import to_dict
from foreframe.config.training import RunConfig
from foreframe.errors import ForeframeError
from foreframe.runs.folder import LAST, RUN_CONFIG
from foreframe.runs.hub import VideoCVAE, load_model
from foreframe.runs.kinematics import fit_kinematics
from foreframe.runs.training_data import KEY, TrainingData
from foreframe.system.device import choose_device
from foreframe.system.files import write_json
from foreframe.system.places import Place
from foreframe.training import checkpoint
from foreframe.training.listener import Listener
from foreframe.training.loop import Training
from foreframe.training.processes import Processes


def start(
    config: RunConfig,
    data: Place,
    out: Path,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    device: str = "auto",
    listener: Listener | None = None,
) -> Training:
    """Set up a run in ``out``: a new one, or with ``resume`` the one that is there.

    Args:
        config: of the new run; with ``resume``, the saved one counts (see ``saved_config``).
        data: root of the dataset.
        out: the run folder.
        resume: go on from the last checkpoint.
        init_from: a run whose best weights a new run starts from.
        device: "auto", "cpu", "cuda" or "mps".
        listener: who is told what happens.

    Raises:
        ForeframeError: ``out`` holds a run already and ``resume`` is off, or it holds none.
    """
    processes = Processes(choose_device(device))
    # The others would find what the first has begun.
    processes.on_first(lambda: _check_folder(out, resume))
    training = Training(config, data, out, device=device, listener=listener)
    if resume:
        # Each reads the checkpoint, but whether there is one, the first says.
        if processes.on_first((out / LAST).exists):
            with processes.agreed():
                training.progress = checkpoint.load_last(
                    out, training.model, training.optimizer, training.average
                )
        return training
    if init_from is not None:
        with processes.agreed():
            training.model.load_state_dict(
                _matching(load_model(init_from), training.model, init_from).state_dict()
            )

    def write_config() -> None:
        write_json(
            out / RUN_CONFIG,
            {
                **to_dict(training.config),
                "data": str(data),
                KEY: TrainingData.of(data, training.splits["train"]).to_json(),
                "init_from": None if init_from is None else str(init_from),
                "foreframe": foreframe.__version__,
                "torch": torch.__version__,
            },
        )

    processes.on_first(write_config)
    if training.config.model.uses_positions:
        processes.on_first(lambda: _keep_kinematics(training, out))
    return training


def _keep_kinematics(training: Training, out: Path) -> None:
    """Whoever plays with the model later chooses actions, and needs positions that follow."""
    train = training.splits["train"]
    kinematics = fit_kinematics(train[i] for i in range(len(train)))
    if kinematics is not None:
        kinematics.write(out)


def _check_folder(out: Path, resume: bool) -> None:
    there = (out / RUN_CONFIG).exists()
    if there and not resume:
        raise ForeframeError(
            f"{out}: a run is there already. Go on with it: --resume. Or give another --out."
        )
    if not there and out.is_dir() and any(out.iterdir()):
        raise ForeframeError(
            f"{out}: the folder is not empty and holds no run. Give another --out."
        )
    if out.exists() and not out.is_dir():
        raise ForeframeError(f"{out}: is a file. Give the name of a folder as --out.")
    if resume and not there:
        raise ForeframeError(
            f"{out}: no run is there to resume. Train one first, without --resume."
        )


def _matching(source: VideoCVAE, target: VideoCVAE, where: Path) -> VideoCVAE:
    ours, theirs = to_dict(target.config), to_dict(source.config)
    different = [
        f"{key} is {theirs[key]} there and {ours[key]} here"
        for key in ours
        if ours[key] != theirs[key]
    ]
    if different:
        raise ForeframeError(
            f"--init-from {where}: its model is another one: {'; '.join(different)}. "
            "Give the same options as that run."
        )
    return source
