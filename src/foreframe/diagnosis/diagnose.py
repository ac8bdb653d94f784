"""Diagnosis of a run: measured, put into words, drawn, and written beside it."""

from collections.abc import Callable
from pathlib import Path

import foreframe
from foreframe.data.store.opened import open_split, require
from foreframe.diagnosis.measure import measure
from foreframe.diagnosis.options import DiagnoseOptions
from foreframe.diagnosis.result import Diagnosis
from foreframe.diagnosis.words import verdicts
from foreframe.evaluation.options import require_given
from foreframe.runs.folder import DIAGNOSIS, DIAGNOSIS_FIGURE, saved_config
from foreframe.runs.hub import load_model
from foreframe.system.asides import sweep
from foreframe.system.device import choose_device
from foreframe.system.files import write_json
from foreframe.system.places import Place
from foreframe.visuals import latent_figure


def diagnose(
    run: Path,
    data: Place,
    options: DiagnoseOptions | None = None,
    *,
    out: Path | None = None,
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Look into the latent of a run's best weights; writes ``diagnosis.json`` and ``.png``.

    Args:
        run: the run folder.
        data: root of the dataset.
        options: by default those of ``DiagnoseOptions``.
        out: folder of what is written, by default the run's.
        log: told about data that are converted.
        progress: called with (sequences done, all).

    Raises:
        ForeframeError: the run, the data or the numbers do not serve.
    """
    options = options or DiagnoseOptions()
    options.check()
    model = load_model(run, choose_device(options.device))
    sweep(run)
    require_given(options.n_past, model.config, run)
    config = saved_config(run)
    size = model.config.frame_size
    store = open_split(data, options.split, size=size, log=log, progress=progress)
    require(store, n_frames=options.n_frames, needs=model.config.needs)
    measured = measure(model, store, options, progress=progress)
    latent = measured.latent
    diagnosis = Diagnosis(
        run=str(run),
        data=str(data),
        split=options.split,
        n_past=options.n_past,
        n_future=options.n_future,
        seed=options.seed,
        prior=model.config.prior_name,
        foreframe=foreframe.__version__,
        sequences=measured.sequences,
        kl=latent.kl,
        kl_per_dimension=latent.kl_per_dimension,
        kl_per_step=latent.kl_per_step,
        mean_variance=latent.mean_variance,
        active_units=latent.active_units,
        active_by_kl=latent.active_by_kl,
        sigma_q=latent.sigma_q,
        sigma_p=latent.sigma_p,
        mu_q=latent.mu_q,
        psnr=measured.psnr,
        cost_of_zero=measured.cost_of_zero,
        prior_posterior_gap=measured.gap,
        between_samples=measured.between_samples,
        verdicts=verdicts(measured, beta_max=config.train.kl.beta_max, z_dim=model.config.z_dim),
    )
    folder = run if out is None else out
    latent_figure(
        folder / DIAGNOSIS_FIGURE,
        latent.kl_per_dimension,
        latent.kl_per_step,
        {"posterior": latent.sigma_q, "prior": latent.sigma_p},
    )
    write_json(folder / DIAGNOSIS, diagnosis.to_json())
    return diagnosis
