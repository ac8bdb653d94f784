"""Evaluation of a run: a protocol, the model and its baselines side by side, one card."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from foreframe.config.model import ModelConfig
from foreframe.data.statistics import Statistics
from foreframe.data.store.opened import open_split, require
from foreframe.data.store.store import Store
from foreframe.errors import ForeframeError
from foreframe.evaluation.card import Card
from foreframe.evaluation.options import EvaluateOptions, require_given
from foreframe.evaluation.protocols import Protocol, protocol_of
from foreframe.evaluation.provenance import provenance
from foreframe.evaluation.score import Collected, score_rows
from foreframe.evaluation.summary import make_card
from foreframe.evaluation.words import markdown
from foreframe.metrics import METRICS, PSNR_MOVING
from foreframe.metrics.frechet import Extractor
from foreframe.metrics.perceptual import lpips_metric
from foreframe.runs.folder import EVALUATION
from foreframe.runs.hub import load_model
from foreframe.system.asides import sweep
from foreframe.system.device import choose_device
from foreframe.system.files import whole_file, write_json, write_text
from foreframe.system.places import Place


def card_path(folder: Path, protocol: str, *, partial: bool = False) -> Path:
    """Where the card of a protocol lies.

    evaluation.json is that of the protocol lab on a whole split; others are called after what they
    are: evaluation-svg.json, evaluation-partial.json.
    """
    parts = [*([] if protocol == "lab" else [protocol]), *(["partial"] if partial else [])]
    path = folder / EVALUATION
    return path.with_stem("-".join([path.stem, *parts]))


def evaluate(
    run: Path,
    data: Place,
    options: EvaluateOptions | None = None,
    *,
    out: Path | None = None,
    command: str = "",
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Card:
    """Score a run's best weights beside its baselines and write the card into ``out``.

    The baselines: the last given frame copied; the model with z from the posterior, which sees the
    future (a ceiling); and the model under each false condition (``conditions``), with the same
    noise of z. What these lose says how much it listens. Computed in float32, in evaluation mode,
    in memory that does not grow with the samples.

    Args:
        run: the run folder.
        data: root of the dataset; the opposed condition is mirrored about the mean of its training
            split, or, where it has none, of the scored split.
        options: by default those of ``EvaluateOptions``.
        out: folder of the card, by default the run's.
        command: the command that was run, for the card.
        log: told about data that are converted.
        progress: called with (sequences done, all).

    Returns:
        the card, as written.

    Raises:
        ForeframeError: the run, the data or the weights of a metric do not serve.
    """
    options = options or EvaluateOptions()
    protocol = protocol_of(options)
    device = choose_device(options.device)
    metrics = [METRICS[name] for name in protocol.metrics]
    metrics += [PSNR_MOVING] * options.moving
    metrics += [lpips_metric(net, options.lpips_weights, device) for net in options.lpips]
    extractor = None if options.fvd_extractor is None else Extractor(options.fvd_extractor, device)
    model = load_model(run, device)
    sweep(out or run)
    config = model.config
    _check_condition(protocol, config, run)
    store = open_split(data, protocol.split, size=config.frame_size, log=log, progress=progress)
    n_frames = protocol.n_past + protocol.n_future
    require(store, n_frames=n_frames, needs=config.needs)
    sequences = min(options.limit or len(store), len(store))
    mirrored_about, means = _means(data, store, protocol.split, config, log, progress)
    collected = score_rows(
        model,
        config,
        store,
        protocol,
        metrics,
        means=means,
        sequences=sequences,
        batch_size=options.batch_size,
        keep=options.keep,
        device=device,
        extractor=extractor,
        progress=progress,
    )
    card = make_card(
        collected.rows,
        metrics,
        protocol,
        config,
        sequences=sequences,
        partial=sequences < len(store),
        mirrored_about=mirrored_about,
        hashes=provenance(run, store, n_frames=n_frames, sequences=sequences),
        run=str(run),
        data=str(data),
        command=command,
        recordings=store.recordings,
    )
    path = card_path(run if out is None else out, protocol.name, partial=sequences < len(store))
    _write_frames(path.with_suffix(".npz"), collected, protocol.n_past)
    write_text(path.with_suffix(".md"), markdown(card))
    write_json(path, card.to_json())
    return card


def _check_condition(protocol: Protocol, config: ModelConfig, run: Path) -> None:
    require_given(protocol.n_past, config, run)
    if protocol.condition is not None and config.condition != protocol.condition:
        raise ForeframeError(
            f"--protocol {protocol.name}: is for models that are told {protocol.condition} alone, "
            f"and {run} is conditioned on: {config.condition_name}. Train one with "
            f"--condition {protocol.condition}, or take another protocol."
        )


def _means(
    data: Place,
    store: Store,
    split: str,
    config: ModelConfig,
    log: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> tuple[str, Mapping[str, Statistics | None]]:
    """Name and statistics of the split about whose mean the opposed condition is mirrored."""
    if split == "train" or config.condition == "none" or not (data / "train").exists():
        return split, store.statistics()
    train = open_split(data, "train", size=config.frame_size, log=log, progress=progress)
    require(train, n_frames=1, needs=config.needs)
    return "train", train.statistics()


def _write_frames(path: Path, collected: Collected, n_past: int) -> None:
    with whole_file(path) as aside, open(aside, "wb") as file:
        np.savez_compressed(
            file,
            truth=collected.truth,
            prediction=collected.prediction,
            n_past=np.array(n_past),
        )
