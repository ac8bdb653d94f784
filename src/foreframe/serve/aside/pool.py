"""Processes aside, as the service has them: one idle, each for one piece of work, none for long."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

from foreframe.serve.aside import wire
from foreframe.serve.refusal import ENDING, Refusal

_BEGIN = "from foreframe.serve.aside.process import main; main()"
_BEGINNING_SECONDS = 60.0
_NONSENSE = (
    *(EOFError, OSError, ValueError, TypeError, AttributeError),
    *(LookupError, ArithmeticError, RecursionError),
)
"""What reading an answer may raise that was made up by who has taken over the process."""
_KEPT = ("PATH", "HOME", "LANG", "TZ", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV")
_KEPT_BEGINNINGS = ("PYTHON", "LC_", "LD_", "DYLD_")


class Aside:
    """Does work in processes of their own, each of which does one piece and is ended with it.

    Args:
        spares: processes that wait idle, once there has been work.
    """

    def __init__(self, spares: int = 1) -> None:
        self._spares, self._closed = spares, False
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def do(
        self,
        header: Mapping[str, Any],
        send: Callable[[IO[bytes]], None],
        receive: Callable[[dict[str, Any], IO[bytes]], Any],
        *,
        seconds: float,
        megabytes: float,
        what: str,
    ) -> Any:
        """Do one piece of work; blocks while it is done.

        Args:
            header: says what; see ``process``.
            send: writes the bytes that the header announces.
            receive: reads the answer's bytes, given its header; must believe nothing.
            seconds: of time, and of computing; then the process is killed.
            megabytes: of memory that the process may take beyond what it begins with.
            what: names the work in refusals: "frames".

        Returns:
            what ``receive`` does.

        Raises:
            Refusal: the work was refused, took too much, or the process died of it.
        """
        process = self._take()
        over = threading.Event()

        def end() -> None:
            over.set()
            _kill(process)

        timer = threading.Timer(_BEGINNING_SECONDS, end)
        timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            wire.read_exactly(process.stdout, 1)
            timer.cancel()
            timer = threading.Timer(seconds, end)
            timer.start()
            with suppress(OSError):  # it has refused before it had read all
                wire.write_header(
                    process.stdin, {**header, "seconds": seconds, "megabytes": megabytes}
                )
                send(process.stdin)
                process.stdin.flush()
            answer = wire.read_header(process.stdout)
            if "refused" in answer:
                raise _refusal(answer)
            return receive(answer, process.stdout)
        except _NONSENSE as error:
            raise self._died(process, over.is_set(), seconds, what) from error
        finally:
            timer.cancel()
            self._end(process)

    def close(self) -> None:
        """Kill all processes, and begin none any more."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for process in self._busy:
                _kill(process)  # who waits for it puts it away
        for process in idle:
            _put_away(process)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise Refusal(503, ENDING)
            process = self._idle.pop() if self._idle else _begin()
            self._busy.add(process)
            while len(self._idle) < self._spares:
                self._idle.append(_begin())
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._busy.discard(process)
        _put_away(process)

    def _died(
        self, process: subprocess.Popen[bytes], over: bool, seconds: float, what: str
    ) -> Refusal:
        if self._closed:
            return Refusal(503, ENDING)
        _kill(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        too_long = {-getattr(signal, name, 0) for name in ("SIGXCPU",)}
        if over or process.returncode in too_long:
            return Refusal(
                413, f"{what}: took longer than {seconds:g} s, the most it may. Send less."
            )
        return Refusal(422, f"{what}: cannot be read; what reads it broke off. Is it damaged?")


def _begin() -> subprocess.Popen[bytes]:
    """Start a process that holds none of the service's files, and no word that is secret."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)
    }
    once = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # Else the C library sets 64 MB of addresses aside for each thread of FFmpeg.
    once["MALLOC_ARENA_MAX"] = "1"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BEGIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=kept | once,
        start_new_session=True,  # Ctrl-C in the terminal is the service's to answer
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and, where it has begun others, those too: each would hold the pipes open.

    The number of a process that has been waited for may be another's, and is left alone. One that
    has ended by itself keeps its own code.
    """
    if process.returncode is None and hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session, and a group of that number
    process.kill()


def _put_away(process: subprocess.Popen[bytes]) -> None:
    _kill(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # what nobody has read
                pipe.close()


def _refusal(answer: Mapping[str, Any]) -> Refusal:
    status, reason = answer["refused"]
    if status not in (413, 422, 501):
        raise ValueError(f"a refusal with status {status!r}")
    return Refusal(status, str(reason)[:500])
