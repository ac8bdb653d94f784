"""The command that compares settings over several seeds."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from foreframe.commands.console import counting, resumable, say
from foreframe.commands.train import scaled_schedules
from foreframe.config.model import ModelConfig
from foreframe.config.recipes import recipe
from foreframe.config.training import RunConfig, TrainConfig
from foreframe.runs.folder import named_config
from foreframe.study.options import StudyOptions

_NAME_HELP = (
    "What is varied: kl-schedules, teacher-forcing, kl-weight or learning-rate as in the report, "
    "report for all of them, or grid for fields of your own."
)


@dataclass(frozen=True)
class Study:
    """Compare settings over several seeds, and write a page."""

    study: Annotated[Positional[str], arg(metavar="STUDY", help=_NAME_HELP)]
    data: str
    """Root of the dataset."""
    out: Path
    """Folder of the study; a second call goes on with it."""
    base: str = "lab-small"
    """Recipe, or the run.json of a run, whose settings the study changes."""
    vary: UseAppendAction[tuple[str, ...]] = ()
    """For grid: FIELD=VALUE,VALUE; may be given several times, one factor at a time."""
    full: bool = False
    """For grid: all combinations."""
    running: StudyOptions = field(default_factory=StudyOptions)
    model: ModelConfig = field(default_factory=lambda: recipe("lab-small").model)
    train: TrainConfig = field(default_factory=lambda: recipe("lab-small").train)

    def run(self, words: Sequence[str]) -> None:
        from foreframe.study.plan import make_plan
        from foreframe.study.study import run_study

        train = scaled_schedules(self.train, named_config(self.base).train, words)
        base = RunConfig(self.base, self.model, train)
        plan = make_plan(self.study, base, self.vary, full=self.full)
        with resumable(words), counting("runs") as progress:
            page = run_study(
                plan,
                base,
                self.data,
                self.out,
                self.running,
                command=shlex.join(["foreframe", *words]),
                log=say,
                progress=progress,
            )
        say(f"Open {page} in a browser.")
