"""The files of a run folder by name, and its configuration.

RUN/run.json              the full configuration
RUN/config.json           the model's, and
RUN/model.safetensors     the best weights: what VideoCVAE.from_pretrained(RUN) loads
RUN/last.safetensors      the last weights, the optimiser's moments, the progress
RUN/last-previous.safetensors  the same, as it was one save before
RUN/last-good.safetensors      the same, after the last epoch whose validation was sound
RUN/history.json          a row for each epoch done
RUN/evaluation.json       the result card of the best weights on a whole split, and
RUN/evaluation.npz        the frames of its first sequences
RUN/probe.json            what the probe measured
RUN/diagnosis.json        what the latent carries
"""

import re
from collections.abc import Collection
from pathlib import Path

from foreframe.config.plain import differences, flat, from_dict, option, to_dict
from foreframe.config.recipes import recipe
from foreframe.config.training import RunConfig
from foreframe.errors import ForeframeError
from foreframe.system.files import read_json

RUN_CONFIG = "run.json"
MODEL_CONFIG = "config.json"
LAST = "last.safetensors"
LAST_PREVIOUS = "last-previous.safetensors"
LAST_GOOD = "last-good.safetensors"
BEST = "model.safetensors"
HISTORY = "history.json"
EVALUATION = "evaluation.json"
EVALUATION_FRAMES = "evaluation.npz"
PROBE = "probe.json"
PROBE_FIGURE = "probe.png"
PROBE_MAPS = "probe-maps.png"
PROBE_LANDSCAPE = "probe-landscape.png"
DIAGNOSIS = "diagnosis.json"
DIAGNOSIS_FIGURE = "diagnosis.png"
PLANS = "plan"
PLAN = "plan.json"

FROM_DATA = ("action_dim", "position_dim")
"""Settings of the model that the training data decide, whatever was asked for."""


def saved_config(run: Path) -> RunConfig:
    """The full configuration of a run folder.

    Raises:
        ForeframeError: no run is there, or its run.json is damaged.
    """
    path = run / RUN_CONFIG
    values = read_json(path)
    if not isinstance(values, dict):
        raise ForeframeError(f"{path}: is not the configuration of a run.")
    known = {key: values[key] for key in ("recipe", "model", "train") if key in values}
    return from_dict(RunConfig, known, str(path))


def named_config(name: str) -> RunConfig:
    """A recipe by its name, or the configuration saved in a run's run.json.

    Raises:
        ForeframeError: there is neither.
    """
    if name.endswith(".json"):
        return saved_config(Path(name).parent)
    return recipe(name)


def has_limit(command: str) -> bool:
    """Whether an evaluation's command scored the first sequences of a split alone.

    Version 0.1 wrote the card of such a command where a whole split's belongs.
    """
    return re.search(r"(^|\s)--limit(\s|=)", command) is not None


def resumed_config(
    run: Path, asked: RunConfig, names: Collection[str], *, advice: str
) -> RunConfig:
    """The saved configuration of a run that is gone on with: it keeps its settings.

    Args:
        run: the run folder.
        asked: what the user asks for now.
        names: of the fields in which both must agree.
        advice: what the user can do if they do not.

    Raises:
        ForeframeError: names the fields in which they differ, or there is no run.
    """
    saved = saved_config(run)
    there, here = (
        {
            "its recipe" if path == "recipe" else option(path): value
            for path, value in flat(to_dict(config)).items()
            if path.rpartition(".")[2] in names
        }
        for config in (saved, asked)
    )
    differing = differences(there, here)
    if differing:
        raise ForeframeError(
            f"{run}: a resumed run keeps its settings: {'; '.join(differing)}. {advice}"
        )
    return saved
