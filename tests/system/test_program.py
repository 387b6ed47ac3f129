import errno
import os
import shutil
import subprocess
import sys

import pytest

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.program import UsageError, as_started, program_name, run_program, to_type


def raising(error):
    def main():
        raise error

    return main


def test_a_program_that_succeeds_returns(capsys):
    run_program(lambda: print("done"))
    assert capsys.readouterr() == ("done\n", "")


@pytest.mark.parametrize(
    "error, status, sentence",
    [
        (UsageError("There is no option."), 2, "error: There is no option."),
        (Sg2ImError("The size is odd."), 1, "Error: The size is odd."),
        (
            FileNotFoundError(errno.ENOENT, "No such file", "a.h5"),
            1,
            "Error: There is no such file or folder (a.h5): check the path.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "a.h5"),
            1,
            "Error: The system refuses access (a.h5): change the permissions or choose another "
            "place.",
        ),
        (
            OSError(errno.ENOSPC, "No space left", "a.h5"),
            1,
            "Error: The disk is full (a.h5): make room or choose a folder on another disk.",
        ),
        (  # as HDF5 raises it: the reason stands in the text only
            OSError(f"(file write failed: errno = 28, '{os.strerror(errno.ENOSPC)}')"),
            1,
            "Error: The disk is full: make room or choose a folder on another disk.",
        ),
        (OSError("The tape is torn"), 1, "Error: The system reports: The tape is torn."),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)
def test_one_sentence_and_a_status(capsys, error, status, sentence):
    with pytest.raises(SystemExit) as end:
        run_program(raising(error))
    assert end.value.code == status
    assert capsys.readouterr() == ("", sentence + "\n")


@pytest.mark.parametrize("error", [IndexError("a bug"), ValueError("a bug"), SystemExit(3)])
def test_everything_else_passes(capsys, error):
    with pytest.raises(type(error)) as raised:
        run_program(raising(error))
    assert raised.value is error
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports a closed pipe in other ways")
@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_pipe_without_a_reader_ends_it_quietly(lines):
    """Whether it shows at the last flush or in the middle."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom sg2im_pyg.system.program import run_program\n"
            f"sys.stdin.read()\nrun_program(lambda: [print('line') for _ in range({lines})])",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 1


def test_what_is_to_be_typed_names_the_python_that_runs(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["train/run.py"])
    text = 'Go on with: python train/run.py --resume "a python run"'
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    typed = text.replace("python train", f"{sys.executable} train")
    assert to_type(text) == typed
    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)  # it is activated
    assert to_type(text) == text
    monkeypatch.setattr("sys.argv", ["bin/sg2im"])
    assert to_type(text) == text.replace("python train/run.py", "sg2im train")


def test_programs_are_called_as_they_were_started(monkeypatch):
    text = "python eval/generate.py --grow, python eval/run.py"
    for started, name, called in (
        ("eval/generate.py", "generate.py", text),
        ("bin/sg2im", "sg2im generate", "sg2im generate --grow, sg2im evaluate"),
        ("sg2im_pyg/__main__.py", "sg2im generate", "sg2im generate --grow, sg2im evaluate"),
    ):
        monkeypatch.setattr("sys.argv", [started])
        assert program_name("generate") == name and as_started(text) == called
