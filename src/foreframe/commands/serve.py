"""The command that serves the playground."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NoReturn

from tyro.conf import Positional, arg

from foreframe.commands.console import say
from foreframe.errors import ForeframeError
from foreframe.serve.options import ServeOptions
from foreframe.system.device import DeviceName
from foreframe.system.places import place


@dataclass(frozen=True)
class Serve:
    """Open the playground: drive the robot inside the model."""

    run_folders: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="RUN", help="One run folder or several.")
    ]
    data: str | None = None
    """Root of the dataset whose test sequences are offered; by default the runs' own."""
    device: DeviceName = "auto"
    """Where to compute."""
    options: ServeOptions = field(default_factory=ServeOptions)

    def run(self, words: Sequence[str]) -> None:
        try:
            from foreframe.serve.listen import listen
            from foreframe.serve.served import Served
        except ImportError as error:
            if (error.name or "").startswith("foreframe"):
                raise
            raise ForeframeError(
                f"The playground needs the package {error.name}: pip install 'foreframe[web]'."
            ) from error
        if not self.run_folders:
            raise ForeframeError("serve: give a run folder: foreframe serve RUN.")
        self.options.check()
        data = None if self.data is None else place(self.data)
        runs: dict[str, Served] = {}
        for folder in self.run_folders:
            name = folder.resolve().name
            while name in runs:
                name += "-"
            runs[name] = Served(name, folder, data, self.device)
            for note in runs[name].notes:
                say(note)
        try:
            listen(runs, self.options, log=say)
        except KeyboardInterrupt:
            _leave_at_once()


def _leave_at_once() -> NoReturn:
    """End the process as Ctrl-C does: nothing is left to save, and tidying up takes seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130)
