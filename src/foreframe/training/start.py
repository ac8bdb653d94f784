"""Run folders: begun, gone on with, read back."""

from collections.abc import Callable
from pathlib import Path

import torch

import foreframe
from foreframe.config.plain import differences, flat, to_dict
from foreframe.config.training import RunConfig
from foreframe.errors import ForeframeError
from foreframe.runs.folder import (
    FROM_DATA,
    HISTORY,
    LAST,
    LAST_GOOD,
    LAST_PREVIOUS,
    RUN_CONFIG,
    saved_config,
)
from foreframe.runs.hub import load_model
from foreframe.runs.kinematics import fit_kinematics
from foreframe.runs.remedy import remedy
from foreframe.system.asides import sweep
from foreframe.system.device import choose_device
from foreframe.system.files import read_json, write_json
from foreframe.system.places import Place
from foreframe.training.checkpoint import Checkpoint
from foreframe.training.listener import Listener
from foreframe.training.loop import Training
from foreframe.training.options import TrainOptions
from foreframe.training.processes import Processes
from foreframe.training.unchanged import Unchanged, data_entries, settings_text

_WIDTHS = frozenset(f"model.{name}" for name in FROM_DATA)


def start(
    config: RunConfig,
    data: Place,
    out: Path,
    options: TrainOptions | None = None,
    *,
    listener: Listener | None = None,
) -> Training:
    """Set up a run in ``out``: a new one, or with ``options.resume`` the one that is there.

    Args:
        config: of the new run; of a resumed one, the saved configuration (``resumed_config``).
        data: root of the dataset.
        out: the run folder.
        options: how it is started.
        listener: who is told what happens.

    Raises:
        ForeframeError: ``out`` holds a run and is not to be resumed, or it holds none and is; the
            settings, the data or the weights to start from are refused.
    """
    options = options or TrainOptions()
    options.check()
    processes = Processes(choose_device(options.device))
    # The others would find what the first has begun.
    processes.on_first(lambda: _check_folder(out, options.resume))
    if options.resume:
        return _resumed(config, data, out, options, listener, processes)
    training = Training(config, data, out, options, listener=listener)
    init_from = options.init_from
    if init_from is not None:
        with processes.agreed():
            _take_weights(training, init_from)

    def write_config() -> None:
        write_json(
            out / RUN_CONFIG,
            {
                **to_dict(training.config),
                **data_entries(data, training.splits),
                "init_from": None if init_from is None else str(init_from),
                "foreframe": foreframe.__version__,
                "torch": torch.__version__,
            },
        )

    processes.on_first(write_config)
    training.settings = processes.on_first(lambda: settings_text(out))
    if training.config.model.things and training.splits["train"].track_dim is None:
        training.listener.message(
            f"{data}: has no tracks, so nothing teaches the model where things are, and it will "
            "find none. Add tracks.csv to the recordings, or train with --things 0."
        )
    processes.on_first(lambda: _keep_kinematics(training, out))
    return training


def _resumed(
    config: RunConfig,
    data: Place,
    out: Path,
    options: TrainOptions,
    listener: Listener | None,
    processes: Processes,
) -> Training:
    """The run in ``out`` as its last checkpoint has it, if settings and data are still its own.

    Raises:
        ForeframeError: the checkpoint is damaged; or the settings or the data were changed.
    """
    tell = (listener if listener and processes.first else Listener()).message
    unchanged = Unchanged(out, options.data_changed, tell)
    saved: Checkpoint | None = None
    # Each reads the checkpoint, but whether there is one, the first says.
    if processes.on_first((out / LAST).exists):
        with processes.agreed():
            saved = Checkpoint.read(out, tell)
            unchanged.settings(saved.settings)
    else:
        with processes.agreed():
            _require_unsaved(out)
    training = Training(config, data, out, options, listener=listener)
    processes.on_first(lambda: _require_own(training.config, out))
    if saved is not None:
        with processes.agreed():
            training.progress = saved.restore(
                training.model, training.optimizer, training.average, training.config.train
            )
    else:
        _begin_again(training, out, tell, processes)
    processes.on_first(lambda: unchanged.data(data, training.splits, training.progress))
    training.settings = processes.on_first(lambda: settings_text(out))
    if saved is not None:
        processes.on_first(lambda: training.catch_up(tell))
    return training


def _require_unsaved(out: Path) -> None:
    """Refuse to begin again where there was a checkpoint.

    Raises:
        ForeframeError: the last checkpoint is gone, and what it led to is there; names the sound
            one that is furthest on.
    """
    left = [name for name in (LAST_PREVIOUS, LAST_GOOD, HISTORY) if (out / name).exists()]
    if left:
        raise ForeframeError(
            f"{out / LAST}: is gone, but {' and '.join(left)} of this run are there, and would be "
            f"lost. {remedy(out / LAST)}"
        )


def _begin_again(
    training: Training, out: Path, tell: Callable[[str], None], processes: Processes
) -> None:
    """A run that was ended before its first save begins as it began then."""
    tell(f"{out}: was ended before anything was saved, and begins from its first step.")
    begun_from = read_json(out / RUN_CONFIG).get("init_from")
    if begun_from is not None:
        with processes.agreed():
            _take_weights(training, Path(begun_from))
    processes.on_first(lambda: _keep_kinematics(training, out))


def _require_own(config: RunConfig, out: Path) -> None:
    """Refuse to go on with other settings than the run has.

    Raises:
        ForeframeError: says what differs.
    """
    # The widths of the data are those of the data, which are compared by their content.
    own, asked = (
        {path: value for path, value in flat(to_dict(each)).items() if path not in _WIDTHS}
        for each in (saved_config(out), config)
    )
    differing = differences(own, asked)
    if differing:
        raise ForeframeError(
            f"{out}: a resumed run keeps its settings: {'; '.join(differing)}. Give "
            "foreframe.runs.folder.saved_config of the run, or another folder."
        )


def _keep_kinematics(training: Training, out: Path) -> None:
    """Whoever plays with the model later chooses actions, and needs positions that follow."""
    if not training.config.model.uses_positions:
        return
    train = training.splits["train"]
    kinematics = fit_kinematics(train[i] for i in range(len(train)))
    if kinematics is not None:
        kinematics.write(out)


def _check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that is not what was meant; sweep what a killed process left in a run's."""
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
    if resume:
        sweep(out, deep=True)


def _take_weights(training: Training, run: Path) -> None:
    """Begin with the best weights of ``run``: of every tensor that fits; says which are new.

    Raises:
        ForeframeError: its model has other settings, which could be given here, too.
    """
    source, target = load_model(run), training.model
    theirs, ours = to_dict(source.config), to_dict(target.config)
    widths = {name: theirs[name] for name in FROM_DATA}
    others = differences(theirs, ours | widths)
    if others:
        raise ForeframeError(
            f"--init-from {run}: its model is another one: {'; '.join(others)}. "
            "Give the same options as that run."
        )
    own = target.state_dict()
    fitting = {k: t for k, t in source.state_dict().items() if t.shape == own[k].shape}
    target.load_state_dict(own | fitting)
    new = [name for name in own if name not in fitting]
    if new:
        training.listener.message(
            f"--init-from {run}: {'; '.join(differences(theirs, ours))}. Taken: {len(fitting)} of "
            f"{len(own)} tensors. These begin anew: {', '.join(new)}."
        )
