"""A folder that is written part by part, so that an interrupted command can be continued."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from foreframe.config.plain import differences
from foreframe.errors import ForeframeError
from foreframe.system.files import write_json

_ASKED = "asked.json"


@dataclass(frozen=True)
class Resumable:
    """The output folder of an import or an export.

    While it is written, OUT/.<kind> holds a lock, what was asked for, and a record of each part
    that is done; what was asked for is part of the finished folder, too.

    Attributes:
        out: the folder.
        kind: "import" or "export", for the messages.
        description: what was asked for, as JSON holds it: two with the same description end with
            the same bytes.
        finished: file of the finished folder, relative to it, that holds the description.
    """

    out: Path
    kind: str
    description: dict[str, Any]
    finished: str

    @property
    def working(self) -> Path:
        """Folder of the lock and the records."""
        return self.out / f".{self.kind}"

    def record(self, part: str) -> Path:
        """File that says that a part is done."""
        return self.working / f"{part}.json"

    def is_complete(self) -> bool:
        """Whether the folder is there already, complete, with the same description.

        Raises:
            ForeframeError: it holds something else.
        """
        for part in (self.out, *self.out.parents):
            if part.is_file():
                raise ForeframeError(f"{part}: is a file; name a folder for the dataset.")
        if not self.out.is_dir() or not self._anything_done():
            return False
        before = self._asked_before()
        if not self.description.keys() & before.keys():
            raise ForeframeError(
                f"{self.out}: holds other files, and not the beginning of an {self.kind}. "
                "Choose a new folder, or remove this one."
            )
        # A finished folder says more than what was asked for; JSON turns tuples into lists.
        other = differences(
            {key: before.get(key) for key in self.description},
            json.loads(json.dumps(self.description)),
        )
        if other:
            said = "; ".join(other[:4]) + ("; ..." if len(other) > 4 else "")
            raise ForeframeError(
                f"{self.out}: was made by an {self.kind} with other settings ({said}). "
                "Choose another folder, or remove this one."
            )
        return (self.out / self.finished).is_file()

    def _asked_before(self) -> dict[str, Any]:
        """The description that the folder was begun with; empty if there is none."""
        for path in (self.out / self.finished, self.working / _ASKED):
            with suppress(OSError, ValueError):
                asked = json.loads(path.read_text(encoding="utf-8"))
                return asked if isinstance(asked, dict) else {}
        return {}

    def _anything_done(self) -> bool:
        if any(path != self.working for path in self.out.iterdir()):
            return True
        return any(path.name != _ASKED for path in self.working.glob("*.json"))

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Hold the folder while it is written; if nothing is done in the block, nothing is left.

        Raises:
            ForeframeError: it cannot be written, or another process writes it.
        """
        above = [part for part in (self.out, *self.out.parents) if not part.exists()]
        try:
            self.working.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ForeframeError(
                f"{self.out}: cannot be written ({error.strerror}). "
                "Name a folder that you may write to."
            ) from error
        lock = FileLock(self.working / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ForeframeError(
                f"{self.out}: another {self.kind} is writing there. "
                "Wait for it, or name another folder."
            ) from error
        try:
            write_json(self.working / _ASKED, self.description)
            yield
            shutil.rmtree(self.working, ignore_errors=True)
        except BaseException:
            if not self._anything_done():
                shutil.rmtree(self.working, ignore_errors=True)
                for part in above:
                    with suppress(OSError):
                        part.rmdir()
            raise
        finally:
            lock.release()
