"""Half-written files: named so that a later process can tell whether their writer still lives.

A file or folder is written under ``.NAME.<host>-<process>-<begun>-<random>.part`` and renamed when
it is whole. A process that is killed outright leaves it behind, and ``sweep`` removes it.
"""

import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_MARK = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}\.part", re.DOTALL)
_MARK_OF_OLD = re.compile(r"\..+\.[0-9a-f]{8}\.part|\.last-good\.safetensors\.part", re.DOTALL)

ABANDONED = 24 * 3600.0
"""Seconds without a write after which a half-written file of an unknown writer is abandoned."""


def aside(path: Path) -> Path:
    """A new name beside ``path`` for what is to become it; it says which process writes it."""
    # The same folder as the target, so that the rename never crosses a file system.
    number = os.getpid()
    begun = _state(number)[1] or "0"
    mark = f"{_host()}-{number}-{begun}-{uuid.uuid4().hex[:8]}"
    return path.with_name(f".{path.name}.{mark}.part")


def sweep(folder: Path, *, deep: bool = False) -> list[Path]:
    """Remove what killed processes have left half-written in ``folder``.

    What a living process writes stays. Where that cannot be told (another machine's process, an
    earlier version's name), it goes after a day without a write.

    Args:
        folder: any folder; nothing happens if there is none.
        deep: whether to look into the folders below it, too.

    Returns:
        what was removed.
    """
    removed = []
    for path in sorted((folder.rglob if deep else folder.glob)(".*.part")):
        if _is_abandoned(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
            removed.append(path)
    return removed


def _is_abandoned(path: Path) -> bool:
    mark = _MARK.fullmatch(path.name)
    if mark is not None and mark[1] == _host():
        alive = _is_alive(int(mark[2]), mark[3])
        if alive is not None:
            return not alive
    if mark is None and _MARK_OF_OLD.fullmatch(path.name) is None:
        return False
    return _last_write(path) < time.time() - ABANDONED


def _is_alive(number: int, begun: str) -> bool | None:
    """Whether a process of this machine lives; None where that cannot be told."""
    if os.name != "posix":  # elsewhere the question itself could end the process
        return None
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    state, since = _state(number)
    if state == "Z":  # killed, and its parent has not asked for it yet
        return False
    # Numbers of processes are given again: another one has begun at another time.
    return since is None or begun in ("0", since)


def _state(number: int) -> tuple[str | None, str | None]:
    """State and beginning (ticks since the machine's) of a process, where the system tells."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return None, None


@lru_cache(maxsize=1)
def _host() -> str:
    """This machine, or this container: whose processes have numbers that mean something here."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        space = 0
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _last_write(path: Path) -> float:
    try:
        inside = path.iterdir() if path.is_dir() else ()
        return max(one.lstat().st_mtime for one in (path, *inside))
    except OSError:  # its owner has just renamed it
        return time.time()
