"""Memory that is free goes back to the system: glibc keeps what a busy service once needed.

Without this a service that had been flooded held some 100 MB that nothing used.
"""

import ctypes
import sys

_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 2


def _of_libc(name: str) -> "ctypes._NamedFuncPointer | None":
    # Other C libraries have neither of these functions, and hold less.
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def keep_together() -> None:
    """Let all threads take memory from the same two places; call it before there are any.

    glibc gives each thread one of its own, up to eight for each core, and what is free in one is
    not used by the others.
    """
    set_option = _of_libc("mallopt")
    if set_option is not None:
        set_option(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Give free memory back to the system; takes some milliseconds."""
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)
