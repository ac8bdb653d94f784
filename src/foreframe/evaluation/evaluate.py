"""Evaluation of a run: a protocol, the model and its baselines side by side, one card."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.config.model import ModelConfig
from foreframe.data.store.opened import open_split, require
from foreframe.errors import ForeframeError
from foreframe.evaluation.card import make_card, markdown
from foreframe.evaluation.protocols import Protocol, check_protocol
from foreframe.evaluation.provenance import provenance
from foreframe.evaluation.score import Collected, score_rows
from foreframe.metrics import METRICS
from foreframe.metrics.frechet import Extractor
from foreframe.metrics.perceptual import Backbone, lpips_metric
from foreframe.runs.hub import load_model
from foreframe.system.device import choose_device
from foreframe.system.files import whole_file, write_json, write_text
from foreframe.system.places import Place

EVALUATION = "evaluation.json"
EVALUATION_FRAMES = "evaluation.npz"


def card_path(folder: Path, protocol: Protocol) -> Path:
    """Where the card of a protocol lies: evaluation.json, or evaluation-NAME.json beside it."""
    return folder / (EVALUATION if protocol.name == "lab" else f"evaluation-{protocol.name}.json")


def evaluate(
    run: Path,
    data: Place,
    protocol: Protocol | None = None,
    *,
    limit: int | None = None,
    lpips: tuple[Backbone, ...] = (),
    lpips_weights: Path | None = None,
    fvd_extractor: Path | None = None,
    batch_size: int = 16,
    keep: int = 4,
    device: str = "auto",
    command: str = "",
    out: Path | None = None,
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Score a run's best weights beside its baselines and write the card into ``out``.

    The baselines: the last given frame copied; the model with z from the posterior, which sees the
    future (a ceiling); and the model told another sequence's whole condition, zeros, or its own
    condition mirrored, with the same noise of z. What these lose says how much it listens. Computed
    in float32, in evaluation mode, in memory that does not grow with the samples.

    Args:
        run: the run folder.
        data: root of the dataset.
        protocol: by default the lab's, 2 -> 10 on the test split.
        limit: score only the first sequences.
        lpips: nets by which LPIPS is measured too.
        lpips_weights: file of the net's weights, if they are not where torchvision puts them.
        fvd_extractor: TorchScript file of video features, by which FVD is measured too.
        batch_size: sequences at once; changes no number beyond rounding.
        keep: sequences (the first ones) whose frames are kept for the report.
        device: "auto", "cpu", "cuda" or "mps".
        command: the command that was run, for the card.
        out: folder of the card, by default the run's.
        log: told about data that are converted.
        progress: called with (sequences done, all).

    Returns:
        the card, as written.

    Raises:
        ForeframeError: the run, the data or the weights of a metric do not serve.
    """
    protocol = protocol or Protocol()
    check_protocol(protocol, limit)
    if lpips_weights is not None and len(lpips) != 1:
        raise ForeframeError("--lpips-weights: belongs to one net; give one --lpips with it.")
    chosen = choose_device(device)
    metrics = [METRICS[name] for name in protocol.metrics]
    metrics += [lpips_metric(net, lpips_weights, chosen) for net in lpips]
    extractor = None if fvd_extractor is None else Extractor(fvd_extractor, chosen)
    model = load_model(run, chosen)
    config = model.config
    _check_condition(protocol, config, run)
    store = open_split(data, protocol.split, size=config.image_size, log=log, progress=progress)
    n_frames = protocol.n_past + protocol.n_future
    require(store, n_frames=n_frames, needs=config.needs)
    sequences = len(store) if limit is None else min(limit, len(store))
    collected = score_rows(
        model,
        config,
        store,
        protocol,
        metrics,
        sequences=sequences,
        batch_size=batch_size,
        keep=keep,
        device=chosen,
        extractor=extractor,
        progress=progress,
    )
    card = make_card(
        collected.rows,
        metrics,
        protocol,
        config,
        sequences=sequences,
        hashes=provenance(run, store, n_frames=n_frames, sequences=sequences),
        run=str(run),
        data=str(data),
        command=command,
    )
    path = card_path(run if out is None else out, protocol)
    _write_frames(path.with_suffix(".npz"), collected, protocol.n_past)
    write_text(path.with_suffix(".md"), markdown(card))
    write_json(path, card)
    return card


def _check_condition(protocol: Protocol, config: ModelConfig, run: Path) -> None:
    if protocol.n_past < 2 and config.skips_from == "svg":
        raise ForeframeError(
            f"--protocol {protocol.name}: gives {protocol.n_past} frame, and the skips of {run} "
            "are those of the last but one. Give --n-past 2, and the card will say so."
        )
    if protocol.condition is not None and config.condition != protocol.condition:
        raise ForeframeError(
            f"--protocol {protocol.name}: is for models that are told {protocol.condition} alone, "
            f"and {run} is conditioned on: {config.condition_name}. Train one with "
            f"--condition {protocol.condition}, or take another protocol."
        )


def _write_frames(path: Path, collected: Collected, n_past: int) -> None:
    with whole_file(path) as aside, open(aside, "wb") as file:
        np.savez_compressed(
            file,
            truth=collected.truth,
            prediction=collected.prediction,
            n_past=np.array(n_past),
        )
