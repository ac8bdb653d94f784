"""A run probed: does it listen, does it spread; measured, put into words, drawn and written."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import foreframe
from foreframe.config.model import ModelConfig
from foreframe.data.store.opened import open_split, require
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.evaluation.provenance import provenance
from foreframe.metrics import METRICS
from foreframe.metrics.intervals import bootstrap, paired
from foreframe.probe.calibrate import calibration
from foreframe.probe.inverse import STEPS, Inverse, fit_inverse
from foreframe.probe.listen import Heard, Recovery, listen
from foreframe.probe.spread import (
    Plan,
    Spread,
    choose_scenes,
    spread_of_physics,
    spread_of_samples,
)
from foreframe.probe.words import words
from foreframe.runs.hub import VideoCVAE, load_model
from foreframe.simulator.replay import find_simulation
from foreframe.system.device import choose_device
from foreframe.system.files import write_json
from foreframe.system.places import Place
from foreframe.visuals import probe_figure, spread_maps

PROBE = "probe.json"
FIGURE = "probe.png"
MAPS = "probe-maps.png"

_MAPS = 3
_MAP_STEPS = 4

Counter = Callable[[int, int], None]
Stage = Callable[[str], AbstractContextManager[Counter]]


@contextmanager
def _silent(description: str) -> Iterator[Counter]:
    yield lambda done, total: None


def probe(
    run: Path,
    data: Place,
    *,
    split: str = "test",
    n_past: int = 2,
    n_future: int = 10,
    limit: int | None = None,
    samples: int = 32,
    scenes: int = 8,
    replays: int = 64,
    seed: int = 0,
    inverse_steps: int = STEPS,
    workers: int | None = None,
    device: str = "auto",
    command: str = "",
    out: Path | None = None,
    log: Callable[[str], None] = print,
    stage: Stage = _silent,
) -> dict[str, Any]:
    """Probe a run's best weights; writes ``probe.json``, ``probe.png`` and ``probe-maps.png``.

    Args:
        run: the run folder.
        data: root of the dataset; its train and validate splits are for the inverse model.
        split: whose sequences are predicted.
        n_past: given frames.
        n_future: predicted frames.
        limit: listen on the first sequences only.
        samples: futures of each scene whose spread is measured.
        scenes: sequences whose spread is measured.
        replays: of each scene under other physics, for simulated data.
        seed: of z and of the inverse model.
        inverse_steps: training steps of the inverse model, at most.
        workers: processes that simulate; every available core by default.
        device: "auto", "cpu", "cuda" or "mps".
        command: the command that was run, for the record.
        out: folder of what is written, by default the run's.
        log: told about data that are converted.
        stage: given what begins, a context that yields a function of (done, all).

    Returns:
        the numbers and ``words``, as written.

    Raises:
        ForeframeError: the run, the data or the numbers do not serve.
    """
    for name, value, least in (
        ("n-past", n_past, 1),
        ("n-future", n_future, 1),
        ("limit", limit, 1),
        ("samples", samples, 2),
        ("scenes", scenes, 1),
        ("replays", replays, 4),
        ("seed", seed, 0),
        ("inverse-steps", inverse_steps, 1),
    ):
        if value is not None and value < least:
            raise ForeframeError(f"--{name} {value}: must be at least {least}.")
    chosen = choose_device(device)
    model = load_model(run, chosen)
    config = model.config
    if n_past < 2 and config.skips_from == "svg":
        raise ForeframeError(
            f"--n-past {n_past}: the skips of {run} are those of the last given frame but one; "
            "give at least 2."
        )
    names = list(dict.fromkeys((split, "train", "validate")))
    stores = {}
    with stage("packing") as progress:
        for name in names:
            stores[name] = open_split(
                data, name, size=config.image_size, log=log, progress=progress
            )
    store, n_frames = stores[split], n_past + n_future
    require(store, n_frames=n_frames, needs=config.needs)
    sequences = len(store) if limit is None else min(limit, len(store))
    inverse, why_no_actions = _inverse(stores, split, seed, chosen, inverse_steps, stage)
    with stage("listening") as progress:
        heard = listen(
            model,
            config,
            store,
            inverse,
            means=stores["train"].statistics(),
            n_past=n_past,
            n_future=n_future,
            sequences=sequences,
            seed=seed,
            device=chosen,
            progress=progress,
        )
    plan = Plan(n_past, n_future, samples, seed, _MAPS)
    spread, why_no_calibration = _spread(
        model, store, data, split, plan, scenes, replays, workers, stage
    )
    listening = _listening(heard, config, inverse, why_no_actions)
    spreading = _spreading(spread, plan, replays, why_no_calibration)
    found = {
        "run": str(run),
        "data": str(data),
        "command": command,
        "split": split,
        "n_past": n_past,
        "n_future": n_future,
        "seed": seed,
        "condition": config.condition_name,
        "hashes": provenance(run, store, n_frames=n_frames, sequences=sequences),
        "foreframe": foreframe.__version__,
        "listening": listening,
        "spread": spreading,
        "words": words(listening, spreading),
    }
    folder = run if out is None else out
    _draw(folder, found, spread)
    write_json(folder / PROBE, found)
    return found


def _inverse(
    stores: dict[str, Store],
    split: str,
    seed: int,
    device: Any,
    steps: int,
    stage: Stage,
) -> tuple[Inverse | None, str | None]:
    if stores[split].action_dim is None or stores["train"].action_dim is None:
        return None, "the data have no actions"
    if stores[split].action_dim != stores["train"].action_dim:
        raise ForeframeError(
            f"{stores[split].source / split}: {stores[split].action_dim} columns of actions, but "
            f"the train split has {stores['train'].action_dim}. Bring them into line."
        )
    statistics = stores["train"].statistics()["actions"]
    if statistics is not None and not (statistics.high > statistics.low).any():
        return None, "the actions of the training split are all the same"
    with stage("training the inverse model") as progress:
        inverse = fit_inverse(
            stores["train"],
            stores["validate"],
            seed=seed,
            device=device,
            steps=steps,
            progress=progress,
        )
    return inverse, None


def _spread(
    model: VideoCVAE,
    store: Store,
    data: Place,
    split: str,
    plan: Plan,
    scenes: int,
    replays: int,
    workers: int | None,
    stage: Stage,
) -> tuple[Spread, str | None]:
    """Against the physics where the data can be replayed; else of samples alone, and why."""
    device = next(model.parameters()).device
    why = None
    passed: list[str] = []
    try:
        simulation = find_simulation(data)
        chosen, passed = choose_scenes(store, simulation, split, scenes, plan)
        if not chosen:
            why = (
                "in no sequence do objects lie still in the given frames and move later: give "
                "fewer frames (--n-past), or predict more (--n-future)."
            )
    except ForeframeError as error:
        why = str(error)
    if why is not None:
        numbers = list(range(min(scenes, len(store))))
        with stage("sampling") as progress:
            spread = spread_of_samples(
                model, model.config, store, numbers, plan, device=device, progress=progress
            )
    else:
        with stage("replaying and sampling") as progress:
            spread = spread_of_physics(
                model,
                model.config,
                store,
                simulation,
                split,
                chosen,
                plan,
                replays=replays,
                workers=workers,
                device=device,
                progress=progress,
            )
    spread.passed_over = passed
    return spread, why


# -- as it is written ---------------------------------------------------------------------------


def _listening(
    heard: Heard, config: ModelConfig, inverse: Inverse | None, why_no_actions: str | None
) -> dict[str, Any]:
    given = heard.psnr["given"]
    costs = {}
    for name, values in heard.psnr.items():
        if name != "given":
            lost = paired(given, values)
            costs[name] = {
                "mean": lost.mean,
                "interval": [lost.low, lost.high],
                "separable": lost.separable and len(given) > 1,
            }
    actions = None
    if inverse is not None:
        columns = inverse.columns
        actions = {
            "width": columns.width,
            "kept": list(columns.kept),
            "constant": [k for k in range(columns.width) if k not in columns.kept],
            "inverse_steps": inverse.steps,
            "inverse_validation_mse": inverse.validation,
            "recovered": {name: _plain(value) for name, value in heard.recovered.items()},
        }
    return {
        "sequences": len(given),
        "condition": {"both": "actions and positions"}.get(config.condition, config.condition),
        "metric": METRICS["psnr"].definition,
        "psnr": {
            name: {
                "value": float(values.mean()),
                "interval": list(bootstrap(values)),
                "per_sequence": values.tolist(),
            }
            for name, values in heard.psnr.items()
        },
        "costs": costs,
        "actions": actions,
        "why_no_actions": why_no_actions,
    }


def _plain(found: Recovery) -> dict[str, Any]:
    return {**found._asdict(), "interval": found.interval and list(found.interval)}


def _spreading(spread: Spread, plan: Plan, replays: int, why: str | None) -> dict[str, Any]:
    def deviation(variances: list[np.ndarray]) -> list[float] | None:
        return np.sqrt(np.mean(variances, 0)).tolist() if variances else None

    found = calibration(spread.scenes) if why is None else None
    if found is None and why is None:
        why = "the physics hardly moves an object in these scenes."
    return {
        "sequences": spread.sequences,
        "passed_over": spread.passed_over,
        "samples": plan.samples,
        "replays": replays if spread.scenes else None,
        "pixels": {
            "samples": deviation(spread.sample_variance),
            "physics": deviation(spread.physics_variance),
        },
        "calibration": found,
        "why_no_calibration": why,
    }


_BARS = {
    "true": "true frames",
    "predicted": "predicted",
    "shuffled": "shuffled: the given",
    "shuffled, recorded": "shuffled: the recorded",
    "copy-last": "last frame copied",
}


def _draw(folder: Path, found: dict[str, Any], spread: Spread) -> None:
    listening, pixels = found["listening"], found["spread"]["pixels"]
    recovered = {} if listening["actions"] is None else listening["actions"]["recovered"]
    probe_figure(
        folder / FIGURE,
        {name: (cost["mean"], *cost["interval"]) for name, cost in listening["costs"].items()},
        {
            label: (recovered[name]["overall"], *recovered[name]["interval"])
            for name, label in _BARS.items()
            if name in recovered and recovered[name]["overall"] is not None
        },
        {
            f"over the {name}": values
            for name, values in (("physics", pixels["physics"]), ("samples", pixels["samples"]))
            if values is not None
        },
        found["spread"]["calibration"],
    )
    steps = np.unique(np.linspace(0, found["n_future"] - 1, _MAP_STEPS).round().astype(int))
    spread_maps(folder / MAPS, spread.maps, steps.tolist())
