"""A run probed: does it listen, does it spread; measured, put into words, drawn and written."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import torch

import foreframe
from foreframe.config.model import ModelConfig
from foreframe.data.store.opened import open_split, require
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.evaluation.options import require_given
from foreframe.evaluation.provenance import provenance
from foreframe.metrics import METRICS
from foreframe.metrics.intervals import bootstrap, paired
from foreframe.probe.calibrate import calibration
from foreframe.probe.inverse import Inverse, fit_inverse
from foreframe.probe.landscape import check_columns, chosen_columns, landscape, why_none
from foreframe.probe.listen import Heard, listen
from foreframe.probe.options import ProbeOptions
from foreframe.probe.pushed import pushed_objects
from foreframe.probe.result import (
    Actions,
    ConditionScore,
    Cost,
    Landscape,
    Listening,
    Pixels,
    ProbeResult,
    Spreading,
)
from foreframe.probe.spread import (
    Spread,
    choose_scenes,
    spread_of_physics,
    spread_of_samples,
)
from foreframe.probe.words import words
from foreframe.runs.folder import PROBE, PROBE_FIGURE, PROBE_LANDSCAPE, PROBE_MAPS
from foreframe.runs.hub import VideoCVAE, load_model
from foreframe.runs.shipped import run_folder
from foreframe.simulator.replay import Simulation, find_simulation
from foreframe.system.asides import sweep
from foreframe.system.device import choose_device
from foreframe.system.files import write_json
from foreframe.system.places import Place
from foreframe.visuals import landscape_figure, probe_figure, spread_maps

_MAP_STEPS = 4

Counter = Callable[[int, int], None]
Stage = Callable[[str], AbstractContextManager[Counter]]


@contextmanager
def _silent(description: str) -> Iterator[Counter]:
    yield lambda done, total: None


def probe(
    run: Path,
    data: Place,
    options: ProbeOptions | None = None,
    *,
    out: Path | None = None,
    command: str = "",
    log: Callable[[str], None] = print,
    stage: Stage = _silent,
) -> ProbeResult:
    """Probe a run's best weights; writes ``probe.json`` and its pictures, ``probe*.png``.

    Args:
        run: the run folder, or the name of a model that comes with the package.
        data: root of the dataset; its train and validate splits are for the inverse model.
        options: by default those of ``ProbeOptions``.
        out: folder of what is written, by default the run's.
        command: the command that was run, for the record.
        log: told about data that are converted.
        stage: given what begins, a context that yields a function of (done, all).

    Raises:
        ForeframeError: the run, the data or the numbers do not serve.
    """
    options = options or ProbeOptions()
    options.check()
    if out is None and not run.exists() and run_folder(run).exists():
        raise ForeframeError(f"{run}: comes with foreframe; say where to write with --out.")
    device = choose_device(options.device)
    model = load_model(run, device)
    sweep(run)
    config = model.config
    require_given(options.n_past, config, run)
    stores: dict[str, Store] = {}
    with stage("packing") as progress:
        for name in dict.fromkeys((options.split, "train", "validate")):
            stores[name] = open_split(
                data, name, size=config.frame_size, log=log, progress=progress
            )
    store = stores[options.split]
    require(store, n_frames=options.n_frames, needs=config.needs)
    check_columns(options.columns, stores["train"].statistics()["actions"])
    inverse, why_no_actions = _inverse(stores, options, device, stage)
    with stage("listening") as progress:
        heard = listen(
            model,
            config,
            store,
            inverse,
            stores["train"].statistics(),
            options,
            device=device,
            progress=progress,
        )
    around, why_no_landscape = _landscape(model, stores, inverse, heard, options, stage)
    spread, why_no_calibration = _spread(model, store, data, options, stage)
    listening = _listening(heard, config, inverse, why_no_actions)
    spreading = _spreading(spread, options, why_no_calibration)
    sequences = options.count(len(store))
    result = ProbeResult(
        run=str(run),
        data=str(data),
        command=command,
        split=options.split,
        n_past=options.n_past,
        n_future=options.n_future,
        seed=options.seed,
        condition=config.condition_name,
        hashes=provenance(run_folder(run), store, n_frames=options.n_frames, sequences=sequences),
        foreframe=foreframe.__version__,
        listening=listening,
        spread=spreading,
        words=words(listening, spreading, around, why_no_landscape),
        landscape=around,
        why_no_landscape=why_no_landscape,
    )
    folder = run if out is None else out
    _draw(folder / PROBE_FIGURE, result)
    steps = np.unique(np.linspace(0, options.n_future - 1, _MAP_STEPS).round().astype(int))
    spread_maps(folder / PROBE_MAPS, spread.maps, steps.tolist())
    (folder / PROBE_LANDSCAPE).unlink(missing_ok=True)  # of a probe before
    if around is not None:
        landscape_figure(
            folder / PROBE_LANDSCAPE, around.surface, around.reach, around.minima, around.columns
        )
    write_json(folder / PROBE, result.to_json())
    return result


def _inverse(
    stores: dict[str, Store], options: ProbeOptions, device: torch.device, stage: Stage
) -> tuple[Inverse | None, str | None]:
    """The inverse model, or why there is none."""
    own, train = stores[options.split], stores["train"]
    if own.action_dim is None or train.action_dim is None:
        return None, "the data have no actions"
    if own.action_dim != train.action_dim:
        raise ForeframeError(
            f"{own.source / options.split}: {own.action_dim} columns of actions, but the train "
            f"split has {train.action_dim}. Bring them into line."
        )
    statistics = train.statistics()["actions"]
    if statistics is not None and not (statistics.high > statistics.low).any():
        return None, "the actions of the training split are all the same"
    with stage("training the inverse model") as progress:
        inverse = fit_inverse(
            train,
            stores["validate"],
            seed=options.seed,
            device=device,
            steps=options.inverse_steps,
            progress=progress,
        )
    return inverse, None


def _landscape(
    model: VideoCVAE,
    stores: dict[str, Store],
    inverse: Inverse | None,
    heard: Heard,
    options: ProbeOptions,
    stage: Stage,
) -> tuple[Landscape | None, str | None]:
    """What actions around the true ones cost; or why there is no saying, if it was asked for."""
    if options.starts == 0:
        return None, None
    columns = None if options.columns is None else list(options.columns)
    if columns is None and inverse is not None:
        columns = chosen_columns(inverse.columns, heard.recovered["true"])
    why = why_none(model.config, columns)
    statistics = stores["train"].statistics()["actions"]
    if why is not None or columns is None or statistics is None:
        return None, why
    with stage("imagining other actions") as progress:
        found = landscape(
            model,
            model.config,
            stores[options.split],
            columns,
            statistics,
            options,
            device=next(model.parameters()).device,
            progress=progress,
        )
    return found, None


def _spread(
    model: VideoCVAE, store: Store, data: Place, options: ProbeOptions, stage: Stage
) -> tuple[Spread, str | None]:
    """The spread beside that of the physics; of the samples alone where there are no replays."""
    device = next(model.parameters()).device
    simulation, numbers, passed, why = _scenes(store, data, options)
    if simulation is None:
        numbers = list(range(min(options.scenes, len(store))))
        with stage("sampling") as progress:
            spread = spread_of_samples(
                model, model.config, store, numbers, options, device=device, progress=progress
            )
    else:
        with stage("replaying and sampling") as progress:
            spread = spread_of_physics(
                model,
                model.config,
                store,
                simulation,
                numbers,
                options,
                device=device,
                progress=progress,
            )
    spread.passed_over = passed
    return spread, why


def _scenes(
    store: Store, data: Place, options: ProbeOptions
) -> tuple[Simulation | None, list[int], list[str], str | None]:
    """Simulation, scenes and names that were passed over; or no simulation, and why."""
    try:
        simulation = find_simulation(data)
        chosen, passed = choose_scenes(store, simulation, options)
    except ForeframeError as error:
        return None, [], [], str(error)
    if chosen:
        return simulation, chosen, passed, None
    why = (
        "in no sequence do objects lie still in the given frames and move later: give "
        "fewer frames (--n-past), or predict more (--n-future)."
    )
    return None, [], passed, why


# -- as it is written ---------------------------------------------------------------------------


def _listening(
    heard: Heard, config: ModelConfig, inverse: Inverse | None, why_no_actions: str | None
) -> Listening:
    given = heard.psnr["given"]
    costs = {}
    for name, values in heard.psnr.items():
        if name != "given":
            lost = paired(given, values, heard.groups)
            separable = lost.separable and len(given) > 1
            costs[name] = Cost(lost.mean, (lost.low, lost.high), separable)
    actions = None
    if inverse is not None:
        columns = inverse.columns
        actions = Actions(
            width=columns.width,
            kept=list(columns.kept),
            constant=[k for k in range(columns.width) if k not in columns.kept],
            inverse_steps=inverse.steps,
            inverse_validation_mse=inverse.validation,
            recovered=heard.recovered,
        )
    return Listening(
        sequences=len(given),
        condition={"both": "actions and positions"}.get(config.condition, config.condition),
        metric=METRICS["psnr"].definition,
        psnr={
            name: ConditionScore(
                float(values.mean()), bootstrap(values, heard.groups), values.tolist()
            )
            for name, values in heard.psnr.items()
        },
        costs=costs,
        actions=actions,
        why_no_actions=why_no_actions,
    )


def _spreading(spread: Spread, options: ProbeOptions, why: str | None) -> Spreading:
    def deviation(variances: list[np.ndarray]) -> list[float] | None:
        return np.sqrt(np.mean(variances, 0)).tolist() if variances else None

    calibrated = None
    if why is None:
        calibrated = calibration(spread.scenes, pushed_objects(spread.pushed))
    if calibrated is None and why is None:
        why = "the physics hardly moves an object in these scenes."
    return Spreading(
        sequences=spread.sequences,
        passed_over=spread.passed_over,
        samples=options.samples,
        replays=options.replays if spread.scenes else None,
        pixels=Pixels(deviation(spread.sample_variance), deviation(spread.physics_variance)),
        calibration=calibrated,
        why_no_calibration=why,
    )


_BARS = {
    "true": "true frames",
    "predicted": "predicted",
    "permuted": "permuted: the given",
    "permuted, recorded": "permuted: the recorded",
    "copy-last": "last frame copied",
}


def _draw(path: Path, result: ProbeResult) -> None:
    listening, spread = result.listening, result.spread
    recovered = {} if listening.actions is None else listening.actions.recovered
    bars = {label: recovered[name] for name, label in _BARS.items() if name in recovered}
    curves = {"over the physics": spread.pixels.physics, "over the samples": spread.pixels.samples}
    positions: dict[str, list[float]] = {}
    if spread.calibration is not None:
        positions = {
            "true positions": spread.calibration.true,
            "read from true frames": spread.calibration.read_true,
            "read from samples": spread.calibration.read_samples,
        }
    probe_figure(
        path,
        {name: (cost.mean, *cost.interval) for name, cost in listening.costs.items()},
        {
            label: (bar.overall, *bar.interval)
            for label, bar in bars.items()
            if bar.overall is not None and bar.interval is not None
        },
        {name: curve for name, curve in curves.items() if curve is not None},
        positions,
        spread.calibration.rank_histogram if spread.calibration is not None else (),
    )
