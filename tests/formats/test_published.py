"""Files of others, fetched by name from a server on this machine that misbehaves as told."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from sg2im_pyg.checkpoint import load_released
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.network_files import INCEPTION
from sg2im_pyg.formats import published
from sg2im_pyg.formats.published import PRETRAINED, fetch_pretrained, released_file, released_path
from sg2im_pyg.system.cache import cache_folder, fetch_file
from sg2im_pyg.system.fetch import RemoteFile, fetch
from tests.system import server as serving
from tests.system.server import Answer

server, waits, patience = serving.server, serving.waits, serving.patience

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = (ROOT / "tests" / "golden" / "full.official.pt").read_bytes()


@pytest.fixture
def release(server, monkeypatch):
    """The server in place of the release's; the models are a small one of random weights."""
    monkeypatch.setattr(published, "RELEASE_ADDRESS", server.address)
    for name in PRETRAINED:
        server.put(f"/small/{name}.pt", OFFICIAL)
        server.put(f"/full/{name}.pt", OFFICIAL)
    return server


@pytest.fixture
def obtain(patience, tmp_path):
    def call(name="coco64", **options):
        return fetch_pretrained(
            name, tmp_path / "cache", progress=False, **{"patience": patience, **options}
        )

    return call


@pytest.fixture
def fails(obtain):
    """The one sentence that a call ends with."""

    def call(name="coco64", **options):
        with pytest.raises(Sg2ImError) as caught:
            obtain(name, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return call


def record(path):
    return json.loads(path.with_name(f"{path.name}.fetched.json").read_text("utf-8"))


# ---- which files there are


def test_names_lead_to_the_release_s_addresses():
    base = "https://storage.googleapis.com/sg2im-data"
    assert released_file("vg128").addresses == (f"{base}/small/vg128.pt",)
    assert released_file("coco64_no_gconv", full=True).addresses == (
        f"{base}/full/coco64_no_gconv.pt",
    )
    assert len(PRETRAINED) == 15
    assert INCEPTION.addresses[0].endswith(f"/{INCEPTION.name}")


def test_unknown_names_get_the_nearest_ones(fails):
    assert "'coco46'" in fails("coco46") and "'coco64'" in fails("coco46")
    assert "'vg64_no_gconv'" in fails("vg64_no_gcnv")
    assert "give one of coco64, vg64, vg128" in fails("nothing like it at all")
    assert "'coco64'" in fails("../coco64")  # no way out of the cache folder
    assert len(fails("x" * 10_000)) < 1000


def test_the_cache_is_where_the_system_keeps_such(monkeypatch, tmp_path):
    monkeypatch.delenv("SG2IM_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    places = {"linux": "xdg", "freebsd": "xdg", "win32": "local", "darwin": "Library/Caches"}
    for system, place in places.items():
        monkeypatch.setattr(sys, "platform", system)
        assert cache_folder() == tmp_path / place / "sg2im_pyg"
    monkeypatch.setattr(sys, "platform", "linux")
    for ignored in ("relative/path", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder() == tmp_path / ".cache" / "sg2im_pyg"
    monkeypatch.setenv("SG2IM_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"
    assert released_path("vg64") == tmp_path / "own" / "vg64.pt"
    assert not (tmp_path / "own").exists()


# ---- fetching


def test_a_model_is_fetched_once_and_loads(release, obtain, tmp_path):
    path = obtain()
    assert path == tmp_path / "cache" / "coco64.pt" == released_path("coco64", tmp_path / "cache")
    assert load_released(path)[0].vocabulary.objects[0] == "__image__"
    assert record(path) == {
        "size": len(OFFICIAL),
        "mtime_ns": path.stat().st_mtime_ns,
        "sha256": hashlib.sha256(OFFICIAL).hexdigest(),
        "address": f"{release.address}/small/coco64.pt",
    }
    for _ in range(2):
        assert obtain() == path
    assert [request.path for request in release.requests] == ["/small/coco64.pt"]


def test_full_files_lie_beside_the_small_ones(release, obtain, tmp_path):
    small, full = obtain(), obtain(full=True)
    assert full == tmp_path / "cache" / "full" / "coco64.pt" != small
    assert [r.path for r in release.requests] == ["/small/coco64.pt", "/full/coco64.pt"]


def test_the_cache_folder_is_the_default(release, patience, tmp_path, monkeypatch):
    monkeypatch.setenv("SG2IM_CACHE", str(tmp_path / "own"))
    assert fetch_pretrained("vg64", patience=patience) == tmp_path / "own" / "vg64.pt"


def test_a_mirror_is_tried_first_and_remembered(release, obtain):
    release.put("/elsewhere/coco64.pt", OFFICIAL)
    path = obtain(mirror=f"{release.address}/elsewhere/")
    assert record(path)["address"] == f"{release.address}/elsewhere/coco64.pt"
    assert len(release.requests) == 1
    other = obtain("vg64", mirror=f"{release.address}/elsewhere")  # which does not have it
    assert record(other)["address"] == f"{release.address}/small/vg64.pt"


def test_a_cut_transfer_goes_on_where_it_broke(release, obtain, waits):
    half = len(OFFICIAL) // 2
    release.put("/small/coco64.pt", OFFICIAL, Answer(cut=half))
    assert obtain().read_bytes() == OFFICIAL
    first, second = release.starts()
    assert first == 0 < second <= half and waits == [1]


def test_what_came_of_a_cut_transfer_is_kept_for_the_next_call(release, obtain, fails, patience):
    half = len(OFFICIAL) // 2
    release.put("/small/coco64.pt", OFFICIAL, Answer(cut=half), Answer(status=500))
    assert "what came so far is kept" in fails(patience=replace(patience, attempts=1))
    release.answers["/small/coco64.pt"].clear()
    release.requests.clear()
    assert obtain().read_bytes() == OFFICIAL
    assert 0 < release.starts()[0] <= half


def test_a_transfer_with_more_bytes_than_announced_is_not_taken(server, patience, tmp_path):
    content = bytes(300_000)
    too_much = Answer(chunked=True, times=2)  # after the announcement of the first answer
    address = server.put("/a.bin", content, Answer(cut=200_000), too_much)
    with pytest.raises(Sg2ImError, match="more than the 300,000 bytes"):
        fetch(RemoteFile("a.bin", (address,)), tmp_path, progress=False, patience=patience)
    assert list(tmp_path.iterdir()) == []
    assert fetch_file(RemoteFile("a.bin", (address,)), tmp_path).read_bytes() == content


def test_where_nothing_can_be_had_the_sentence_says_what_to_put_where(release, fails, tmp_path):
    release.contents.clear()
    sentence = fails(mirror=f"{release.address}/elsewhere")
    assert f"{release.address}/elsewhere/coco64.pt (the server answers with status 404)" in sentence
    assert f"{release.address}/small/coco64.pt (" in sentence
    assert f"put the file into {tmp_path / 'cache'} yourself" in sentence
    assert "http" in fails(mirror="elsewhere")


# ---- what came is looked at


class Mkdir:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def saved(path, content):
    torch.save(content, path)
    return path.read_bytes()


def test_files_that_are_no_checkpoints_are_not_kept(release, obtain, fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = saved(tmp_path / "made.pt", {"model_kwargs": Mkdir(), "model_state": {}})
    contents = {
        "pickled code": hostile,
        "of another kind": b"<html>Please log in</html>",
        "cut off": OFFICIAL[: len(OFFICIAL) // 2],  # as the server has it, and announces it
        "no checkpoint": saved(tmp_path / "made.pt", {"weights": torch.zeros(2)}),
    }
    for words, content in contents.items():
        release.put("/small/coco64.pt", content)
        sentence = fails()
        assert words in sentence and "it was deleted, fetch it again" in sentence
        assert f"{release.address}/small/coco64.pt" in sentence
        assert not list((tmp_path / "cache").glob("coco64*"))
    assert not Path("ran").exists()
    release.put("/small/coco64.pt", OFFICIAL)
    assert obtain().read_bytes() == OFFICIAL


def test_the_hostile_file_would_run_its_code(tmp_path, monkeypatch):
    """So that the test above tests something."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "made.pt", {"model_kwargs": Mkdir()})
    torch.load(tmp_path / "made.pt", weights_only=False)
    assert Path("ran").is_dir()


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda content: content[:-7], "bytes instead of"),
        (lambda content: content[:-7] + bytes(7), "another SHA-256 checksum"),
    ],
)
def test_a_damaged_file_in_the_cache_is_noticed(release, obtain, fails, damage, words):
    path = obtain()
    for _ in range(2):  # at once after it was found whole, too
        path.write_bytes(damage(OFFICIAL))
        sentence = fails()
        assert str(path) in sentence and words in sentence and "delete it" in sentence
        path.write_bytes(OFFICIAL)
        assert obtain() == path
    assert len(release.requests) == 1
    path.unlink()
    assert obtain().read_bytes() == OFFICIAL
    assert len(release.requests) == 2


def test_a_file_put_there_by_hand_is_taken_if_it_is_one(release, obtain, fails):
    path = obtain()
    path.with_name("vg64.pt").write_bytes(OFFICIAL)
    assert obtain("vg64") == path.with_name("vg64.pt")
    assert record(path.with_name("vg64.pt"))["address"] is None
    path.with_name("vg128.pt").write_bytes(OFFICIAL[:-1000])
    sentence = fails("vg128")
    assert str(path.with_name("vg128.pt")) in sentence and "put the right file there" in sentence
    assert path.with_name("vg128.pt").exists()  # it is somebody's own
    path.with_name("coco64_no_gconv.pt").mkdir()
    assert "is a folder" in fails("coco64_no_gconv")
    assert len(release.requests) == 1


def test_a_cache_that_can_only_be_read_serves_what_it_holds(release, obtain, monkeypatch):
    def refused(*_, **__):
        raise PermissionError("read-only")

    path = obtain()
    record_path = path.with_name("coco64.pt.fetched.json")
    monkeypatch.setattr(FileLock, "acquire", refused)
    monkeypatch.setattr("sg2im_pyg.system.fetch.write_json", refused)
    assert obtain() == path
    record_path.unlink()
    assert obtain() == path
    with pytest.raises(PermissionError):
        obtain("vg64")


def test_any_file_is_fetched_but_no_web_page(server, patience, tmp_path):
    address = server.put("/network.bin", b"\n<!DOCTYPE html><title>Log in</title>")
    file = RemoteFile("network.bin", (address,))
    with pytest.raises(Sg2ImError, match="it is a web page; it was deleted"):
        fetch_file(file, tmp_path, progress=False, patience=patience)
    server.put("/network.bin", b"weights")
    for _ in range(2):
        path = fetch_file(file, tmp_path, progress=False, patience=patience)
        assert path == tmp_path / "network.bin" and path.read_bytes() == b"weights"
    assert len(server.requests) == 2


# ---- several at once


def test_one_waits_while_another_fetches(server, patience, tmp_path, capsys):
    file = RemoteFile("a.bin", (server.put("/a.bin"),))
    results = []
    with FileLock(tmp_path / ".a.bin.lock"):
        thread = threading.Thread(
            target=lambda: results.append(fetch_file(file, tmp_path, patience=patience))
        )
        thread.start()
        until = time.monotonic() + 10
        said = ""
        while "Waiting for another process" not in said and time.monotonic() < until:
            time.sleep(0.01)
            said += capsys.readouterr().out
        assert "Waiting for another process that fetches a.bin" in said
        assert server.requests == []
    thread.join(10)
    assert results == [tmp_path / "a.bin"] and len(server.requests) == 1


def test_processes_at_once_fetch_a_file_once(server, tmp_path, monkeypatch):
    content = bytes(range(256)) * 8000
    server.put("/a.bin", content)
    answer = serving.Handler.answer

    def slow(self, *arguments):
        time.sleep(1)  # the others start meanwhile
        answer(self, *arguments)

    monkeypatch.setattr(serving.Handler, "answer", slow)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from sg2im_pyg.system.cache import fetch_file\n"
        "from sg2im_pyg.system.fetch import RemoteFile\n"
        "print(fetch_file(RemoteFile('a.bin', (sys.argv[2],)), sys.argv[3], progress=False))"
    )
    command = [sys.executable, "-c", code, str(ROOT), f"{server.address}/a.bin", str(tmp_path)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in running:
        output, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, "")
        assert Path(output.strip()) == tmp_path / "a.bin"
    assert (tmp_path / "a.bin").read_bytes() == content
    assert len(server.requests) == 1
    assert re.fullmatch("[0-9a-f]{64}", record(tmp_path / "a.bin")["sha256"])
