"""What a process gives up before it touches what somebody else has sent: files, network, programs.

Limits of the system (``setrlimit``) hold on every Unix: no file can be opened, none written, time
and memory end. On Linux the process also leaves the network (``unshare``) and has the kernel refuse
the calls it has no use for (seccomp); neither needs a privilege. Where the kernel allows one of
them not, the others hold.
"""

import ctypes
import os
import platform
import struct
import sys
from contextlib import suppress
from pathlib import Path

_NEW_NET, _NEW_USER = 0x40000000, 0x10000000
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused with EPERM

# Numbers of system calls by architecture, from the kernel's tables. Calls for the network, other
# programs and other processes: socket, connect, bind, listen, accept, socketpair, accept4, execve,
# execveat, ptrace, process_vm_readv, process_vm_writev, kill, tkill, io_uring_setup, bpf.
_OUTSIDE = {
    "x86_64": (41, 42, 49, 50, 43, 53, 288, 59, 322, 101, 310, 311, 62, 200, 425, 321),
    "aarch64": (198, 203, 200, 201, 202, 199, 242, 221, 281, 117, 270, 271, 129, 130, 425, 280),
}
# Calls for files: open, creat, openat, openat2, open_by_handle_at, truncate, unlink, unlinkat,
# rename, renameat, renameat2, link, linkat, symlink, symlinkat, mkdir, mkdirat, chmod, fchmodat.
_FILES = {
    "x86_64": (2, 85, 257, 437, 304, 76, 87, 263, 82, 264, 316, 86, 265, 88, 266, 83, 258, 90, 268),
    "aarch64": (56, 437, 265, 45, 35, 38, 276, 37, 36, 34, 53),
}
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # calls of x86_64 from here on are those of another table


def confine(*, seconds: float, megabytes: float, writes: bool = False) -> None:
    """Give up all that decoding does not need; there is no way back.

    Args:
        seconds: of computing from now on; then the system ends the process.
        megabytes: of memory beyond what the process holds now; more is a ``MemoryError``.
        writes: whether it may open and write files, as an export does.
    """
    _limit(seconds, megabytes, writes)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            _leave_network()
        with suppress(OSError, AttributeError):
            _refuse_calls(writes)


def _limit(seconds: float, megabytes: float, writes: bool) -> None:
    try:
        import resource
    except ImportError:  # Windows: the service ends the process when its time is over
        return

    def lower(which: int, most: int) -> None:
        with suppress(OSError, ValueError):
            resource.setrlimit(which, (most, most))

    used = resource.getrusage(resource.RUSAGE_SELF)
    lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1)
    lower(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        held = pages * os.sysconf("SC_PAGE_SIZE")
        lower(resource.RLIMIT_AS, held + int(megabytes * 2**20))
    if not writes:
        lower(resource.RLIMIT_FSIZE, 0)
        lower(resource.RLIMIT_NOFILE, 3)  # the two pipes and where errors go are open already


def _leave_network() -> None:
    ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER | _NEW_NET)


def _refuse_calls(writes: bool) -> None:
    """Have the kernel answer EPERM to some calls, and end the process at those of another table."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return
    calls = _OUTSIDE[machine] + (() if writes else _FILES[machine])
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL)]
    steps += [(_LOAD, 0, 0, 0)]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for call in calls:
        steps += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _REFUSE)]
    steps += [(_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    program = Program(len(steps), ctypes.addressof(code))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        library.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)
