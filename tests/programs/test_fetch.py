import subprocess
import sys
from pathlib import Path

import pytest

from sg2im_pyg.commands import run_command
from sg2im_pyg.formats import published as pretrained
from sg2im_pyg.formats.published import PRETRAINED, released_path
from tests.system import server as serving

server = serving.server

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "eval" / "fetch.py"
OFFICIAL = (REPOSITORY / "tests" / "golden" / "full.official.pt").read_bytes()


@pytest.fixture
def call():
    """The command, in this process."""
    return lambda *arguments: run_command("fetch", list(map(str, arguments)))


@pytest.fixture
def fails(call, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            call(*arguments)
        assert ended.value.code == 1
        error = capsys.readouterr().err
        assert error.startswith("Error: ") and error.count("\n") == 1
        return error

    return run


@pytest.fixture
def release(server, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "RELEASE_ADDRESS", server.address)
    monkeypatch.setenv("SG2IM_CACHE", str(tmp_path / "cache"))
    return server


def test_without_names_it_lists_them_and_what_is_there(release, call, capsys, tmp_path):
    release.put("/small/vg64.pt", OFFICIAL)
    call("vg64")
    capsys.readouterr()
    for arguments in ([], ["--list"]):
        call(*arguments)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[:-1]] == list(PRETRAINED)
        there = {line.split()[0]: line.split()[1] for line in lines[:-1]}
        assert there.pop("vg64") == "360.6" and set(there.values()) == {"-"}
        assert str(tmp_path / "cache") in lines[-1]
    call("--full", "--list", "vg64")
    assert capsys.readouterr().out.split()[:2] == ["vg64", "-"]
    assert len(release.requests) == 1


def test_the_path_of_each_file_stands_at_the_end(release, call, capsys, tmp_path):
    for name in ("coco64", "vg64"):
        release.put(f"/small/{name}.pt", OFFICIAL)
        release.put(f"/full/{name}.pt", OFFICIAL)
    call("coco64", "vg64", "coco64")
    paths = [tmp_path / "cache" / f"{name}.pt" for name in ("coco64", "vg64")]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines[-2:]] == list(map(str, paths))
    assert len(release.requests) == 2
    call("coco64", "--full", "--cache", tmp_path / "other")
    assert str(tmp_path / "other" / "full" / "coco64.pt") in capsys.readouterr().out
    assert released_path("coco64", tmp_path / "other", full=True).read_bytes() == OFFICIAL


def test_what_can_not_be_had_does_not_keep_the_rest_back(release, call, capsys, tmp_path):
    release.put("/mirror/vg64.pt", OFFICIAL)
    with pytest.raises(SystemExit):
        call("coco64", "vg64", "vg128", "--mirror", f"{release.address}/mirror")
    printed = capsys.readouterr()
    assert str(tmp_path / "cache" / "vg64.pt") in printed.out
    for name in ("coco64", "vg128"):
        address, place = f"{release.address}/small/{name}.pt", tmp_path / "cache" / f"{name}.pt"
        assert f"save {address} as {place}" in printed.err
        assert f"{release.address}/mirror/{name}.pt (the server answers with" in printed.err
    assert printed.err.count("\n") == 1


def test_nothing_is_fetched_if_a_name_is_unknown(release, fails):
    assert "'coco64'" in fails("vg64", "coco46")
    assert release.requests == []


def test_a_file_that_is_no_model_is_refused(release, fails, tmp_path):
    release.put("/small/coco64.pt", b"<html>")
    sentence = fails("coco64")
    assert "can not be read as a checkpoint" in sentence and "fetch it again" in sentence
    assert not (tmp_path / "cache" / "coco64.pt").exists()


@pytest.mark.slow
def test_as_a_person_runs_it(server, tmp_path):
    """From another folder; -I leaves out PYTHONPATH and that folder."""
    server.put("/models/coco64.pt", OFFICIAL)
    options = ["coco64", "--cache", "models", "--mirror", f"{server.address}/models"]
    command = [sys.executable, "-I", str(PROGRAM), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path.resolve() / "models" / "coco64.pt"
    assert done.stdout.splitlines()[-1] == f"coco64  {path}"
    assert path.read_bytes() == OFFICIAL
