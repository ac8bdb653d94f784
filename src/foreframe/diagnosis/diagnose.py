"""Diagnosis of a run: measured, put into words, drawn, and written beside it."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import foreframe
from foreframe.data.store.opened import open_split, require
from foreframe.diagnosis.measure import as_json, measure
from foreframe.diagnosis.words import verdicts
from foreframe.errors import ForeframeError
from foreframe.runs.folder import saved_config
from foreframe.runs.hub import load_model
from foreframe.system.device import choose_device
from foreframe.system.files import write_json
from foreframe.system.places import Place
from foreframe.visuals import latent_figure

DIAGNOSIS = "diagnosis.json"
FIGURE = "diagnosis.png"


def diagnose(
    run: Path,
    data: Place,
    *,
    split: str = "validate",
    n_past: int = 2,
    n_future: int = 10,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    out: Path | None = None,
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Look into the latent of a run's best weights; writes ``diagnosis.json`` and ``.png``.

    Args:
        run: the run folder.
        data: root of the dataset.
        split: whose sequences are looked at.
        n_past: given frames.
        n_future: predicted frames.
        limit: only the first sequences.
        seed: of the noise of z.
        device: "auto", "cpu", "cuda" or "mps".
        out: folder of what is written, by default the run's.
        log: told about data that are converted.
        progress: called with (sequences done, all).

    Returns:
        the numbers and ``verdicts``, as written.

    Raises:
        ForeframeError: the run, the data or the numbers do not serve.
    """
    for name, value, least in (
        ("n-past", n_past, 1),
        ("n-future", n_future, 1),
        ("limit", limit, 1),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise ForeframeError(f"--{name} {value}: must be at least {least}.")
    model = load_model(run, choose_device(device))
    if n_past < 2 and model.config.skips_from == "svg":
        raise ForeframeError(
            f"--n-past {n_past}: the skips of {run} are those of the last given frame but one; "
            "give at least 2."
        )
    config = saved_config(run)
    store = open_split(data, split, size=model.config.image_size, log=log, progress=progress)
    require(store, n_frames=n_past + n_future, needs=model.config.needs)
    found = measure(
        model,
        store,
        n_past=n_past,
        n_future=n_future,
        sequences=len(store) if limit is None else min(limit, len(store)),
        seed=seed,
        progress=progress,
    )
    said = verdicts(found, beta_max=config.train.kl.beta_max, z_dim=model.config.z_dim)
    written = {
        "run": str(run),
        "data": str(data),
        "split": split,
        "n_past": n_past,
        "n_future": n_future,
        "seed": seed,
        "prior": model.config.prior,
        "foreframe": foreframe.__version__,
        **as_json(found),
        "verdicts": [asdict(verdict) for verdict in said],
    }
    folder = run if out is None else out
    latent_figure(
        folder / FIGURE,
        found.latent.kl_per_dimension,
        found.latent.kl_per_step,
        {"posterior": found.latent.sigma_q, "prior": found.latent.sigma_p},
    )
    write_json(folder / DIAGNOSIS, written)
    return written
