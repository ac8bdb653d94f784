"""One cell again, from its record alone: the commands, every setting spelled out."""

import shlex

from foreframe.config.plain import as_flags, flat, to_dict
from foreframe.config.recipes import RECIPES, recipe
from foreframe.config.training import RunConfig

NEW_RUN = "NEW_RUN"
"""Stands in the commands for a folder of the reader's choice."""


def commands(config: RunConfig, data: str, limit: int | None) -> list[str]:
    """The commands that train and score a run of ``config``, without any file of the first one.

    Args:
        config: of the run, its seed included.
        data: root of the dataset.
        limit: test sequences that are scored; None: all.
    """
    name = config.recipe if config.recipe in RECIPES else "lab-small"
    values = {**to_dict(config), "recipe": name}
    defaults = flat(to_dict(recipe(name)))
    if config.train.epochs != defaults["train.epochs"]:
        # Schedules that are not given would be scaled to the other number of epochs.
        for scaled in ("kl.kl_cycles", "forcing.teacher_forcing_start", "arm_epochs"):
            del defaults[f"train.{scaled}"]
    flags = as_flags(values, defaults)
    where = ["--data", data]
    scored = [] if limit is None else ["--limit", str(limit)]
    return [
        shlex.join(["foreframe", "train", name, *where, "--out", NEW_RUN, *flags]),
        shlex.join(["foreframe", "evaluate", NEW_RUN, *where, *scored]),
    ]
