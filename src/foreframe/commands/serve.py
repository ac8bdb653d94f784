"""The commands that open the playground."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
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
        if not self.run_folders:
            raise ForeframeError("serve: give a run folder: foreframe serve RUN.")
        _serve(self.run_folders, self.data, self.device, self.options)


@dataclass(frozen=True)
class Play:
    """Drive the robot inside a model, now: no training, no data."""

    run_folders: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="RUN", help="By default push, the model that comes with the package."),
    ] = (Path("push"),)
    data: str | None = None
    """Root of the dataset whose test sequences are offered; by default the runs' own, or scenes of
    the simulator."""
    device: DeviceName = "auto"
    """Where to compute."""
    browser: bool = True
    """Open the page in the browser."""
    options: ServeOptions = field(default_factory=ServeOptions)

    def run(self, words: Sequence[str]) -> None:
        _serve(self.run_folders, self.data, self.device, self.options, browser=self.browser)


def _serve(
    folders: Sequence[Path],
    data: str | None,
    device: DeviceName,
    options: ServeOptions,
    *,
    browser: bool = False,
) -> None:
    try:
        from foreframe.serve.listen import listen
        from foreframe.serve.served import Served
    except ImportError as error:
        if (error.name or "").startswith("foreframe"):
            raise
        raise ForeframeError(
            f"The playground needs the package {error.name}: pip install 'foreframe[web]'."
        ) from error
    from foreframe.runs.shipped import run_folder

    options.check()
    root = None if data is None else place(data)
    runs: dict[str, Served] = {}
    for given in folders:
        folder = run_folder(given)
        name = folder.resolve().name
        while name in runs:
            name += "-"
        runs[name] = Served(name, folder, root, device)
        for note in runs[name].notes:
            say(note)
    try:
        listen(runs, options, log=say, ready=_open if browser else lambda address: None)
    except KeyboardInterrupt:
        _leave_at_once()


def _open(address: str) -> None:
    """Open a page in the browser, if there is one, without waiting for it."""
    Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _leave_at_once() -> NoReturn:
    """End the process as Ctrl-C does: nothing is left to save, and tidying up takes seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130)
