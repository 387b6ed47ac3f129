"""How the process asks its system for memory."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of mallopt in glibc's malloc.h
_MOST = 2**31 - 1
_AT_ONCE = 64 * 2**20


def keep_freed_memory() -> bool:
    """Lets the process keep memory that it has freed, for what it asks for next.

    glibc gives the system each large block back, and the system clears all of its pages when it is
    asked for again: networks on a CPU, which make and free such blocks in each layer, spend up to
    half of their time on that. The most memory that is used at a time stays the same.

    Returns:
        Whether there was anything to do: it is a setting of glibc alone, which Linux mostly has.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    options = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _MOST), (_TOP_PAD, _AT_ONCE))
    return all(mallopt(option, value) for option, value in options)
