"""The command that serves the playground."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from foreframe.commands.console import say
from foreframe.errors import ForeframeError
from foreframe.system.device import DeviceName
from foreframe.system.places import place

HOST, PORT = "127.0.0.1", 8642


@dataclass(frozen=True)
class Serve:
    """Open a page in the browser where the robot is driven inside the model."""

    run_folders: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="RUN", help="One run folder or several.")
    ]
    data: str | None = None
    """Root of the dataset whose test sequences are offered; by default the runs' own."""
    host: str = HOST
    """Address to listen at; another than this machine's own needs a --token."""
    port: int = PORT
    """Port to listen at; 0 takes a free one."""
    token: str | None = None
    """Word that every request must bring."""
    samples_max: int = 16
    """Futures of a session at most."""
    sessions_max: int = 64
    """Sessions at a time."""
    session_minutes: float = 15.0
    """Time without a step after which a session ends."""
    upload_megabytes: float = 32.0
    """Size of an upload at most."""
    device: DeviceName = "auto"
    """Where to compute."""

    def run(self, words: Sequence[str]) -> None:
        try:
            from foreframe.serve import Limits, Served, listen
        except ImportError as error:
            if (error.name or "").startswith("foreframe"):
                raise
            raise ForeframeError(
                f"The playground needs the package {error.name}: pip install 'foreframe[web]'."
            ) from error
        if not self.run_folders:
            raise ForeframeError("serve: give a run folder: foreframe serve RUN.")
        for name, least in (
            ("samples_max", 1),
            ("sessions_max", 1),
            ("session_minutes", 0.01),
            ("upload_megabytes", 0.01),
        ):
            value = getattr(self, name)
            if not least <= value < 1e6:
                raise ForeframeError(f"--{name.replace('_', '-')} {value:g}: at least {least:g}.")
        runs = {}
        for folder in self.run_folders:
            name = folder.resolve().name
            while name in runs:
                name += "-"
            data = None if self.data is None else place(self.data)
            runs[name] = Served(name, folder, data, self.device)
        listen(
            runs,
            host=self.host,
            port=self.port,
            token=self.token,
            limits=Limits(
                samples=self.samples_max,
                sessions=self.sessions_max,
                session_seconds=60 * self.session_minutes,
                upload_bytes=int(self.upload_megabytes * 2**20),
            ),
            say=say,
        )
