"""What a process gives up before it touches what somebody else has sent: files, network, programs.

Limits of the system (``setrlimit``) hold on every Unix: no file can be opened, none written, time
and memory end. On Linux the process also leaves the network (``unshare``), and the kernel answers
none of its calls but those on a list (seccomp): to compute, to read and write what is open, and to
end. Neither needs a privilege. Where the kernel allows one of them not, the others hold.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from contextlib import suppress
from pathlib import Path

_NEW_NET, _NEW_USER = 0x40000000, 0x10000000
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_SET_FILTER, _ALL_THREADS = 1, 1
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_CALL, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # places in what a filter is shown

# Numbers of system calls by architecture, from the kernel's tables; the names are in their order.
#
# What is open: read, write, readv, writev, pread64, close, lseek, fstat, poll (x86), ppoll.
# Memory: mmap, mprotect, munmap, brk, mremap, madvise.
# The process's own signals: rt_sigaction, rt_sigprocmask, rt_sigreturn, sigaltstack.
# Time, and waiting: nanosleep, clock_gettime, clock_getres, clock_nanosleep, gettimeofday,
# time (x86), times, sched_yield, futex, restart_syscall.
# Who and where it is: getpid, getppid, gettid, getuid, geteuid, getgid, getegid, uname, sysinfo,
# getrusage, getrlimit, sched_getaffinity, getrandom.
# Threads, and the end: set_robust_list, rseq, exit, exit_group.
_ALLOWED = {
    "x86_64": (
        *(0, 1, 19, 20, 17, 3, 8, 5, 7, 271),
        *(9, 10, 11, 12, 25, 28),
        *(13, 14, 15, 131),
        *(35, 228, 229, 230, 96, 201, 100, 24, 202, 219),
        *(39, 110, 186, 102, 107, 104, 108, 63, 99, 98, 97, 204, 318),
        *(273, 334, 60, 231),
    ),
    "aarch64": (
        *(63, 64, 65, 66, 67, 57, 62, 80, 73),
        *(222, 226, 215, 214, 216, 233),
        *(134, 135, 139, 132),
        *(101, 113, 114, 115, 169, 153, 124, 98, 128),
        *(172, 173, 178, 174, 175, 176, 177, 160, 179, 165, 163, 123, 278),
        *(99, 293, 93, 94),
    ),
}
# Calls of which some are allowed: clone makes threads and no processes, prlimit64 reads the
# process's own limits. The arguments of clone3 lie in memory that a filter cannot see; told that
# there is no such call, the C library takes clone.
_CLONE, _PRLIMIT, _CLONE3 = (
    {"x86_64": 56, "aarch64": 220},
    {"x86_64": 302, "aarch64": 261},
    {"x86_64": 435, "aarch64": 435},
)
_THREAD = 0x00010000
_NAMESPACES = 0x7E020080  # every flag of clone that makes a new one
_SET_FILTER_CALL = {"x86_64": 317, "aarch64": 277}
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # calls of x86_64 from here on are those of another table

_Step = tuple[int, int, int, int]


def confine(*, seconds: float, megabytes: float) -> None:
    """Give up all that decoding and encoding do not need; there is no way back.

    Args:
        seconds: of computing from now on; then the system ends the process.
        megabytes: of memory beyond what the process holds now; more is a ``MemoryError``.
    """
    _limit(seconds, megabytes)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            _leave_network()
        with suppress(OSError, AttributeError):
            _refuse_calls()


def _limit(seconds: float, megabytes: float) -> None:
    try:
        import resource
    except ImportError:  # Windows: the service ends the process when its time is over
        return

    def lower(which: int, most: int) -> None:
        with suppress(OSError, ValueError):
            resource.setrlimit(which, (most, most))

    used = resource.getrusage(resource.RUSAGE_SELF)
    lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1)
    # On Linux 0 holds for files alone; at 1 no program that collects core dumps gets one either.
    lower(resource.RLIMIT_CORE, int(sys.platform == "linux"))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        held = pages * os.sysconf("SC_PAGE_SIZE")
        lower(resource.RLIMIT_AS, held + int(megabytes * 2**20))
    lower(resource.RLIMIT_FSIZE, 0)
    lower(resource.RLIMIT_NOFILE, 0)  # what is open stays open; what is closed leaves no place


def _leave_network() -> None:
    ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER | _NEW_NET)


def _refuse_calls() -> None:
    """Have the kernel refuse (EPERM) all calls of this process but those that it needs."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return
    steps = _filter(machine)
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    program = Program(len(steps), ctypes.addressof(code))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return
    # Of all threads, should a library have begun one; kernels before 3.17 know only the other call.
    call = ctypes.c_long(_SET_FILTER_CALL[machine])
    if library.syscall(call, _SET_FILTER, _ALL_THREADS, ctypes.byref(program)) != 0:
        library.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)


def _filter(machine: str) -> list[_Step]:
    """The program that the kernel runs at each call: allowed, refused, or the end of the process.

    Each step is an instruction: what to do, how many to skip where it is so, and where it is not,
    and a number.
    """
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _ARCHITECTURES[machine])]
    steps += [(_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _CALL)]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for call in _ALLOWED[machine]:
        steps += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _ALLOW)]
    steps += [(_EQUAL, 0, 1, _CLONE3[machine]), (_RETURN, 0, 0, _UNKNOWN)]
    steps += _if(_CLONE[machine], [(0, _THREAD | _NAMESPACES, _THREAD)])
    nothing_new = [(2, 0xFFFFFFFF, 0), (2.5, 0xFFFFFFFF, 0)]  # a pointer has two halves
    steps += _if(_PRLIMIT[machine], [(0, 0xFFFFFFFF, 0), *nothing_new])
    return [*steps, (_RETURN, 0, 0, _REFUSE)]


def _if(call: int, checks: list[tuple[float, int, int]]) -> list[_Step]:
    """A call is allowed where arguments (number, mask) have the values that they must have."""
    inner: list[_Step] = []
    for number, mask, value in checks:
        inner += [(_LOAD, 0, 0, _ARGUMENTS + int(8 * number)), (_AND, 0, 0, mask)]
        inner += [(_EQUAL, 1, 0, value), (_RETURN, 0, 0, _REFUSE)]
    return [(_EQUAL, 0, len(inner) + 1, call), *inner, (_RETURN, 0, 0, _ALLOW)]
