"""What the operating system says about processors and memory."""

import os
import platform
import sys
from pathlib import Path


def busy_seconds() -> float | None:
    """Seconds that all processors together have worked since the machine started, those that a
    virtual machine was denied among them; none where nothing says it."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    user, nice, system, _, _, *interrupts_and_steal = map(
        int, stat.read_text(encoding="ascii").split(maxsplit=9)[1:9]
    )
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def peak_memory() -> float | None:
    """Most memory that this process has held, in GiB; none where nothing says it."""
    if sys.platform == "linux":  # getrusage would count that of the process that started this one
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if "VmHWM:" in status:
            return int(status.partition("VmHWM:")[2].split()[0]) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_memory() -> float | None:
    """Memory that this process holds now, in GiB; none where nothing says it."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError:
        return None
    return psutil.Process().memory_info().rss / 2**30


def reset_peak_memory() -> None:
    """Lets :func:`peak_memory` count from now on, where the system allows it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def cpu_name() -> str:
    """As the system names it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
