"""A disk that fails: at one chosen call, writing is killed, torn, or refused by the system.

Every call of a function that opens, writes, syncs, renames, links or removes a file below a folder
is a boundary. A process that is killed runs nothing more, not even what cleans up: after a kill
every later call raises as well.
"""

import builtins
import errno
import io
import os
import pathlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from foreframe.runs import weights

FAULTS = ("killed before", "killed after", "torn", "EIO", "ENOSPC")

_WRITERS = ("save_file", "copyfile", "write_text")


class Killed(BaseException):
    """What a SIGKILL is to a process that is simulated: nothing catches it."""


class Disk:
    """Counts the boundaries below ``folder``, and fails at one of them.

    Args:
        folder: only calls that concern it are counted.
        at: number of the boundary that fails; None: none does.
        fault: how, one of ``FAULTS``.
    """

    def __init__(self, folder: Path, at: int | None = None, fault: str = "") -> None:
        self.folder, self.at, self.fault = folder.resolve(), at, fault
        self.calls: list[str] = []
        self.dead = False

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put the failing functions in the place of the system's."""
        places: list[tuple[Any, str, int]] = [
            (builtins, "open", 0),
            (io, "open", 0),
            (os, "open", 0),
            (os, "fsync", 0),
            (os, "replace", 1),
            (os, "link", 1),
            (os, "unlink", 0),
            (shutil, "copyfile", 1),
            (weights, "save_file", 1),
            (pathlib.Path, "write_text", 0),
        ]
        for owner, name, target in places:
            patch.setattr(owner, name, self._failing(name, getattr(owner, name), target))

    def _failing(self, name: str, real: Callable[..., Any], target: int) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            path = self._path(arguments[target])
            if path is None:
                return real(*arguments, **more)
            if self.dead:
                raise Killed
            number = len(self.calls)
            self.calls.append(f"{name} {path.name.split('.safetensors')[0]}")
            if number != self.at:
                return None if name == "fsync" else real(*arguments, **more)
            return self._fail(name, real, path, arguments, more)

        return call

    def _fail(self, name: str, real: Any, path: Path, arguments: Any, more: Any) -> Any:
        if self.fault in ("EIO", "ENOSPC"):
            if name == "save_file":  # that library's own way of saying it
                raise SafetensorError(f"I/O error: {self.fault}")
            number = getattr(errno, self.fault)
            raise OSError(number, os.strerror(number), str(path))
        self.dead = self.fault == "killed before"
        if not self.dead:
            with suppress(OSError):  # what is to be removed may be gone
                opened = real(*arguments, **more)
                if name == "open":  # the system closes what a killed process had open
                    os.close(opened) if isinstance(opened, int) else opened.close()
        self.dead = True
        if self.fault == "torn" and name in _WRITERS:
            os.truncate(path, path.stat().st_size // 2)
        raise Killed

    def _path(self, target: Any) -> Path | None:
        """The path that a call concerns; None if it is none of the folder's."""
        if isinstance(target, int):
            try:
                target = os.readlink(f"/proc/self/fd/{target}")
            except OSError:
                return None
        path = Path(os.path.abspath(target))
        return path if path.is_relative_to(self.folder) else None
