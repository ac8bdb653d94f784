"""HDF5 files read by a process of its own, which may break off or never come to an end.

libhdf5 trusts much of what it reads. Of 11,000 files with a few changed bytes two sent it round in
a circle, and some had it ask for gigabytes; no exception can come of either. So what touches a file
is done aside, one call after the other, with a bound on its computing time and its memory: a
process that dies is an error in words, and the next call begins a new one.
"""

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from foreframe.data.sources.source import UnusableError
from foreframe.errors import ForeframeError
from foreframe.system.places import Place

Result = TypeVar("Result")

SECONDS = 10
"""Of computing, for one call; waiting for a disk does not count."""
MEMORY = 4 << 30
"""Bytes of addresses, on Linux."""

_START = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve()"
_lock = threading.Lock()
_fatal: dict[tuple[str, bytes, int], str] = {}
"""Calls of which a process has died, and what was said: they are not tried again."""
_process: subprocess.Popen[bytes] | None = None


def aside(place: Place, work: Callable[..., Result], *values: Any) -> Result:
    """What ``work`` returns for ``values``, computed by the other process.

    Args:
        place: the file that is read. One that is not on this machine is read here: its connection
            cannot be handed over.
        work: a function of a module, or a method of a value that can be pickled.
        values: can be pickled.

    Raises:
        UnusableError, ForeframeError: as ``work`` raises them; or the process has died of the file.
    """
    if not isinstance(place, Path):
        return work(*values)
    call = pickle.dumps((work, values), pickle.HIGHEST_PROTOCOL)
    here = str(Path.cwd())  # to which the paths belong
    key = here, call, place.stat().st_mtime_ns if place.exists() else 0
    with _lock:
        if key in _fatal:
            raise UnusableError(_fatal[key])
        process = _running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((here, call, SECONDS), process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            error, result = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            _fatal[key] = _obituary(_end())
            raise UnusableError(_fatal[key]) from None
        except BaseException:
            _end()  # else its answer would be taken for that of the next call
            raise
    if error is not None:
        raise error(result)
    return result


def _running() -> subprocess.Popen[bytes]:
    global _process
    if _process is None or _process.poll() is not None:
        _end()
        start = _START.format(path=sys.path, module=__name__)
        _process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=1 << 20,  # the most that Linux lets users have
        )
    return _process


@atexit.register
def _end() -> int:
    """End the process; its exit status."""
    global _process
    process, _process = _process, None
    if process is None:
        return 0
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.2)  # it may just be dying, and its status says of what
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    return process.returncode


def _obituary(status: int) -> str:
    if status == -getattr(signal, "SIGPROF", 0):
        return f"HDF5 found no end in it after computing for {SECONDS} s: it is damaged"
    return f"HDF5 broke off while it was read (exit status {status}): it is damaged"


# -- the other process --------------------------------------------------------------------------


def serve() -> None:
    """Answer calls from standard input on standard output until there are no more."""
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides
    _bound_memory()
    while (answer := _answer(calls)) is not None:
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _answer(calls: IO[bytes]) -> tuple[type[Exception] | None, Any] | None:
    try:
        here, call, seconds = pickle.load(calls)
    except EOFError:
        return None
    os.chdir(here)
    work, values = pickle.loads(call)
    _bound_time(seconds)
    try:
        return None, work(*values)
    except (UnusableError, ForeframeError, ValueError) as error:
        return type(error) if type(error) is not ValueError else UnusableError, str(error)
    except (OSError, RuntimeError, MemoryError) as error:
        return UnusableError, f"it cannot be read ({error or type(error).__name__})"
    finally:
        _bound_time(0)


def _bound_time(seconds: float) -> None:
    """Let the system end this process after so much computing; 0: never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _bound_memory() -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
