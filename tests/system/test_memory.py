"""Memory that is freed stays with the process, where its C library can be told so."""

import subprocess
import sys

import pytest

from sg2im_pyg.system import memory

COUNT = """
import resource, sys
from sg2im_pyg.system.memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
size = int(sys.argv[2])
b'x' * size
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b'x' * size
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept: str) -> int:
    """Pages that the system had to give in ten rounds."""
    command = [sys.executable, "-c", COUNT, kept, "64000000"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def has_mallopt() -> bool:
    return sys.platform == "linux" and hasattr(memory.ctypes.CDLL(None), "mallopt")


@pytest.mark.skipif(not has_mallopt(), reason="glibc alone has the setting")
def test_a_block_that_was_freed_is_used_again() -> None:
    # 64 MB have 15,625 pages of 4 KiB; larger pages are fewer.
    assert faults("kept") < faults("as it is") / 5


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "win32")
    assert not memory.keep_freed_memory()


def test_without_the_setting_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()
