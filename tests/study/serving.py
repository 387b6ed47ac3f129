"""A study's page served by a process of its own, as people start it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = """
import sys
from pathlib import Path
from sg2im_pyg.study.serve_options import ServeOptions
from sg2im_pyg.system.command_line import parse_options
from sg2im_pyg.system.program import run_program
run_program(lambda: parse_options(ServeOptions, sys.argv[1:], "serve", None).run(Path.cwd()))
"""


class Served(NamedTuple):
    address: str
    process: subprocess.Popen

    @property
    def port(self) -> str:
        return self.address.partition("?")[0].rstrip("/").rpartition(":")[2]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Ends it by a signal: exit status, and what it said."""
        self.process.send_signal(number)
        said, complained = self.process.communicate(timeout=30)
        return self.process.returncode, said, complained


def start(*words: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"},
    )


@contextmanager
def served(folder: Path, *words: object) -> Iterator[Served]:
    """Serves a study at a free port, unless the words name one."""
    given = words if "--port" in words else (*words, "--port", 0)
    process = start(folder, *given)
    try:
        line = process.stdout.readline()
        assert " is at http" in line, process.communicate()[1]
        yield Served(line.rpartition(" ")[2].strip(), process)
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
        process.stderr.close()
