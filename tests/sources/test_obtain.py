"""Downloads from a server on this machine that misbehaves as told, and archives of every kind."""

import hashlib
import io
import json
import re
import stat
import threading
import zipfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.coco import downloads as coco_table
from sg2im_pyg.sources.coco.options import CocoOptions
from sg2im_pyg.sources.obtain import obtain
from sg2im_pyg.sources.visual_genome import downloads as genome_table
from sg2im_pyg.sources.visual_genome.options import VisualGenomeOptions
from sg2im_pyg.system import archives, disk
from sg2im_pyg.system.archives import unpack
from sg2im_pyg.system.fetch import Patience, RemoteFile, fetch

CONTENT = np.random.default_rng(0).bytes(300_000)
PIECE = 2**16  # what is lost of a broken transfer at most


@dataclass
class Answer:
    """How the server answers one request; by default as a good server does."""

    status: int | None = None  # answer with this status and nothing else
    cut: int | None = None  # break the connection after so many bytes of the body
    stall: bool = False  # stop sending there, without breaking the connection
    ranges: bool = True  # whether Range is understood
    moved_to: str | None = None
    begin: int | None = None  # first byte that Content-Range claims
    encoding: str | None = None
    chunked: bool = False  # send no Content-Length
    times: int = 1  # send the body so often, in spite of the Content-Length


@dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None
    written: int = 0
    answered: threading.Event = field(default_factory=threading.Event)

    @property
    def sent(self) -> int:
        """Bytes of the body: a client may have them all before the server has counted them."""
        assert self.answered.wait(10)
        return self.written


@dataclass
class Files:
    """What the server holds, how it is told to answer, and what it was asked."""

    contents: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    requests: list[Request] = field(default_factory=list)
    address: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, content: bytes = CONTENT, *answers: Answer) -> str:
        self.contents[path] = content
        self.tags.setdefault(path, f'"{path}"')
        self.answers[path] = list(answers)
        return self.address + path

    def sent(self) -> list[int]:
        return [request.sent for request in self.requests]

    def starts(self) -> list[int]:
        """First byte that each request asked for."""
        found = [re.fullmatch(r"bytes=(\d+)-", request.range or "") for request in self.requests]
        return [int(match[1]) if match else 0 for match in found]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        files: Files = self.server.files
        request = Request(self.path, self.headers["Range"], self.headers["If-Range"])
        files.requests.append(request)
        queue = files.answers[self.path]
        answer = queue.pop(0) if queue else Answer()
        self.close_connection = True
        try:
            self.answer(files, request, answer)
        finally:
            request.answered.set()
        if answer.stall:
            files.stop.wait(10)

    def answer(self, files: Files, request: Request, answer: Answer) -> None:
        content, tag = files.contents.get(self.path), files.tags.get(self.path)
        if answer.moved_to or answer.status or content is None:
            self.send_response(302 if answer.moved_to else answer.status or 404)
            if answer.moved_to:
                self.send_header("Location", answer.moved_to)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            return
        found = re.fullmatch(r"bytes=(\d+)-", request.range or "") if answer.ranges else None
        start = int(found[1]) if found and request.if_range in (None, tag) else None
        if start is not None and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Connection", "close")
            self.end_headers()
            return
        body = content[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            begin = start if answer.begin is None else answer.begin
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if not answer.chunked:
            self.send_header("Content-Length", str(len(body)))
        if answer.encoding:
            self.send_header("Content-Encoding", answer.encoding)
        if tag:
            self.send_header("ETag", tag)
        self.send_header("Connection", "close")
        self.end_headers()
        body = body[: answer.cut]
        try:
            for _ in range(answer.times):
                self.wfile.write(body)
                request.written += len(body)
            self.wfile.flush()
        except ConnectionError:  # the client has enough
            return


@pytest.fixture
def server(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        running.files = Files(address=f"http://127.0.0.1:{running.server_port}")
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running.files
        running.files.stop.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def patience(waits):
    return Patience(connect_seconds=2, read_seconds=0.5, attempts=3, sleep=waits.append)


def described(addresses, content=CONTENT, name="file.bin", checksum=True, **more):
    checksum = hashlib.sha256(content).hexdigest() if checksum else None
    return RemoteFile(name, tuple(addresses), len(content), checksum, **more)


def obtain_coco(folder, with_stuff=True, **options):
    return obtain(CocoOptions(things_only=not with_stuff).files(), folder, **options)


def obtain_visual_genome(folder, **options):
    return obtain(VisualGenomeOptions(root=str(folder)).files(), folder, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def no_space(monkeypatch, free=1000):
    monkeypatch.setattr(disk, "free_bytes", lambda folder: free)


# ---- one file


def test_a_file_is_fetched_once(server, patience, tmp_path):
    file = described([server.put("/file.bin")])
    for _ in range(2):
        path = fetch(file, tmp_path / "new", patience=patience)
        assert path == tmp_path / "new" / "file.bin"
        assert path.read_bytes() == CONTENT
    assert server.sent() == [len(CONTENT)]
    assert names(tmp_path / "new") == ["file.bin", "file.bin.fetched.json"]


@pytest.mark.parametrize("checksum", [True, False])
def test_a_broken_transfer_goes_on_where_it_broke(server, patience, waits, tmp_path, checksum):
    cuts = [Answer(cut=140_000), Answer(cut=100_000)]
    file = described([server.put("/file.bin", CONTENT, *cuts)], checksum=checksum)
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    first, second, third = server.starts()
    assert first == 0
    assert 140_000 - PIECE <= second <= 140_000
    assert second + 100_000 - PIECE <= third <= second + 100_000
    assert server.sent() == [140_000, 100_000, len(CONTENT) - third]
    assert {request.if_range for request in server.requests[1:]} == {'"/file.bin"'}
    assert waits == [1, 1]  # each attempt brought something: the waits do not grow
    assert not list(tmp_path.glob("*.part*"))


def test_a_silent_end_counts_as_a_break(server, patience, tmp_path, monkeypatch):
    pieces_of = requests.Response.iter_content

    def silent(self, size):  # as urllib3 before version 2
        with suppress(requests.RequestException):
            yield from pieces_of(self, size)

    monkeypatch.setattr(requests.Response, "iter_content", silent)
    file = described([server.put("/file.bin", CONTENT, Answer(cut=200_000))], checksum=False)
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert server.starts()[1] >= 200_000 - PIECE


def test_a_stall_counts_as_a_break(server, patience, tmp_path):
    file = described([server.put("/file.bin", CONTENT, Answer(cut=200_000, stall=True))])
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert server.starts()[1] >= 200_000 - PIECE


def test_the_next_run_goes_on_where_the_last_one_gave_up(server, patience, tmp_path):
    file = described([server.put("/file.bin", CONTENT, Answer(cut=200_000))])
    impatient = replace(patience, attempts=1)
    with pytest.raises(Sg2ImError, match="what came so far is kept"):
        fetch(file, tmp_path, patience=impatient)
    had = (tmp_path / "file.bin.part").stat().st_size
    assert had >= 200_000 - PIECE
    assert fetch(file, tmp_path, patience=impatient).read_bytes() == CONTENT
    assert server.starts() == [0, had]
    assert server.sent() == [200_000, len(CONTENT) - had]


def test_a_part_that_is_whole_is_not_asked_for_again(server, patience, tmp_path):
    file = described([server.put("/file.bin", CONTENT, Answer(cut=200_000))])
    with pytest.raises(Sg2ImError):
        fetch(file, tmp_path, patience=replace(patience, attempts=1))
    (tmp_path / "file.bin.part").write_bytes(CONTENT)  # stopped before it was renamed
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_attempts_without_progress_end_with_longer_and_longer_waits(
    server, patience, waits, tmp_path
):
    file = described([server.put("/file.bin", CONTENT, *[Answer(status=500)] * 9)])
    with pytest.raises(Sg2ImError, match="status 500"):
        fetch(file, tmp_path, patience=replace(patience, attempts=6, longest_wait=5))
    assert waits == [1, 2, 4, 5, 5]
    assert len(server.requests) == 6


def test_an_overloaded_server_is_asked_again(server, patience, tmp_path):
    file = described([server.put("/file.bin", CONTENT, Answer(status=503), Answer(status=429))])
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_is_begun_anew_but_not_for_ever(server, patience, tmp_path):
    file = described([server.put("/file.bin", CONTENT, Answer(cut=200_000), Answer(ranges=False))])
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert server.sent() == [200_000, len(CONTENT)]

    never = [Answer(cut=200_000, ranges=False)] * 9
    file = described([server.put("/other.bin", CONTENT, *never)], name="other.bin")
    server.requests.clear()
    with pytest.raises(Sg2ImError, match="could not be downloaded"):
        fetch(file, tmp_path, patience=patience)
    assert len(server.requests) == patience.attempts


@pytest.mark.parametrize("checksum", [True, False])
def test_a_file_that_changes_on_the_server_is_begun_anew(server, patience, tmp_path, checksum):
    older = bytes(len(CONTENT))
    address = server.put("/file.bin", older, Answer(cut=200_000))
    file = described([address], checksum=checksum)
    with pytest.raises(Sg2ImError):
        fetch(file, tmp_path, patience=replace(patience, attempts=1))
    server.tags["/file.bin"] = '"newer"'
    server.put("/file.bin", CONTENT)
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert server.sent() == [200_000, len(CONTENT)]


def test_a_part_without_a_version_goes_on_only_where_a_checksum_tells(server, patience, tmp_path):
    for checksum, sent in ((False, len(CONTENT)), (True, None)):
        path = f"/{checksum}"
        address = server.put(path, CONTENT, Answer(cut=200_000))
        server.tags[path] = ""
        server.requests.clear()
        fetch(described([address], name=path[1:], checksum=checksum), tmp_path, patience=patience)
        second = server.requests[1]
        assert second.if_range is None
        assert second.sent == (sent or len(CONTENT) - server.starts()[1])


def test_an_answer_for_another_place_of_the_file_is_not_appended(server, patience, tmp_path):
    wrong = Answer(begin=7)
    file = described([server.put("/file.bin", CONTENT, Answer(cut=200_000), wrong)], checksum=False)
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert server.requests[2].range is None


def test_a_part_longer_than_the_file_is_begun_anew(server, patience, tmp_path):
    file = described([server.put("/file.bin", CONTENT, Answer(cut=200_000))])
    with pytest.raises(Sg2ImError):
        fetch(file, tmp_path, patience=replace(patience, attempts=1))
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert server.starts() == [0, len(CONTENT) + 4, 0]  # the second is answered with 416


def test_redirects_are_followed(server, patience, tmp_path):
    there = server.put("/elsewhere")
    file = described([server.put("/file.bin", b"", Answer(moved_to=there))])
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT


def test_a_file_of_unknown_size_is_fetched_with_and_without_a_length(server, patience, tmp_path):
    server.put("/a", CONTENT, Answer(cut=200_000))
    server.put("/b", CONTENT, Answer(chunked=True))
    for name in "ab":
        file = RemoteFile(name, (f"{server.address}/{name}",))
        assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT


# ---- several addresses


@pytest.mark.parametrize("status", [206, 403, 404, 410])
def test_an_address_without_the_file_is_left_at_once(server, patience, waits, tmp_path, status):
    bad = server.put("/bad", CONTENT, Answer(status=status))
    file = described([bad, server.put("/good")])
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert [request.path for request in server.requests] == ["/bad", "/good"]
    assert waits == []


@pytest.mark.parametrize(
    "content", [CONTENT[:-1], CONTENT + b"x", bytes(len(CONTENT))], ids=["short", "long", "other"]
)
def test_another_file_at_an_address_is_not_taken(server, patience, tmp_path, content):
    file = described([server.put("/bad", content), server.put("/good")])
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert [request.path for request in server.requests] == ["/bad", "/good"]
    assert server.starts() == [0, 0]


def test_a_file_without_an_end_does_not_fill_the_disk(server, patience, tmp_path):
    long = Answer(chunked=True, times=300)
    file = described([server.put("/bad", CONTENT, long), server.put("/good")])
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert server.requests[0].sent < 100 * len(CONTENT)


def test_a_compressed_answer_is_not_taken_for_the_file(server, patience, waits, tmp_path):
    bad = server.put("/bad", CONTENT, Answer(encoding="gzip"))
    assert fetch(described([bad, server.put("/good")]), tmp_path, patience=patience)
    assert [request.path for request in server.requests] == ["/bad", "/good"]
    assert waits == []


def test_another_address_goes_on_where_a_checksum_tells(server, patience, tmp_path):
    cuts = [Answer(cut=200_000), *[Answer(status=500)] * 9]
    file = described([server.put("/first", CONTENT, *cuts), server.put("/second")])
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    last = server.requests[-1]
    assert last.path == "/second" and last.if_range is None
    assert last.sent == len(CONTENT) - server.starts()[-1] <= 100_000 + PIECE


def test_another_address_begins_anew_without_a_checksum(server, patience, tmp_path):
    cuts = [Answer(cut=200_000), *[Answer(status=500)] * 9]
    addresses = [server.put("/first", bytes(len(CONTENT)), *cuts), server.put("/second")]
    file = described(addresses, checksum=False)
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert server.requests[-1].sent == len(CONTENT)


def test_parts_that_do_not_belong_together_are_thrown_away(server, patience, tmp_path):
    cuts = [Answer(cut=200_000), *[Answer(status=500)] * 9]
    addresses = [server.put("/first", bytes(len(CONTENT)), *cuts), server.put("/second")]
    file = described(addresses)
    with pytest.raises(Sg2ImError, match="checksum"):
        fetch(file, tmp_path, patience=patience)
    assert names(tmp_path) == []
    server.answers["/first"] = [Answer(status=404)]
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT


def test_an_unreachable_address_does_not_cost_what_another_one_sent(server, patience, tmp_path):
    first = server.put("/first", CONTENT, Answer(cut=200_000), *[Answer(status=500)] * 3)
    file = described([first, "http://127.0.0.1:1/file.bin"], checksum=False)
    with pytest.raises(Sg2ImError, match="kept"):
        fetch(file, tmp_path, patience=patience)
    server.answers["/first"].clear()
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert server.requests[-1].sent < len(CONTENT)


def test_a_broken_transfer_goes_on_at_its_own_address_first(server, patience, tmp_path):
    first = server.put("/first", CONTENT, Answer(status=404))
    second = server.put("/second", CONTENT, Answer(cut=200_000))
    file = described([first, second], checksum=False)
    with pytest.raises(Sg2ImError):
        fetch(file, tmp_path, patience=replace(patience, attempts=1))
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT
    assert [request.path for request in server.requests] == ["/first", "/second", "/second"]


def test_a_mirror_is_tried_first(server, patience, tmp_path):
    server.put("/mirror/file.bin")
    file = described([server.put("/file.bin")])
    mirror = f"{server.address}/mirror/"
    assert fetch(file, tmp_path, mirror, patience=patience).read_bytes() == CONTENT
    assert [request.path for request in server.requests] == ["/mirror/file.bin"]


def test_a_mirror_without_the_file_is_followed_by_the_others(server, patience, tmp_path):
    file = described([server.put("/file.bin")])
    mirror = f"{server.address}/mirror"
    assert fetch(file, tmp_path, mirror, patience=patience).read_bytes() == CONTENT
    assert [request.path for request in server.requests] == ["/mirror/file.bin", "/file.bin"]


@pytest.mark.parametrize("mirror", ["", "ftp://example.org", "file:///data", "example.org/coco"])
def test_a_mirror_is_an_http_address(mirror, tmp_path):
    with pytest.raises(Sg2ImError, match="begins with http"):
        fetch(described([]), tmp_path, mirror)


def test_a_redirect_out_of_http_is_not_followed(server, patience, waits, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    file = described([server.put("/file.bin", b"", Answer(moved_to=secret.as_uri()))])
    with pytest.raises(Sg2ImError, match="could not be downloaded"):
        fetch(file, tmp_path, patience=patience)
    assert waits == []


def test_what_was_tried_is_said_when_all_fails(server, patience, tmp_path):
    missing = f"{server.address}/missing"
    addresses = [missing, "http://127.0.0.1:1/file.bin", server.put("/short", CONTENT[:10])]
    with pytest.raises(Sg2ImError) as caught:
        fetch(described(addresses), tmp_path, patience=patience)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.startswith("file.bin could not be downloaded")
    assert f"{missing} (the server answers with status 404)" in sentence
    assert "http://127.0.0.1:1/file.bin (the server can not be reached)" in sentence
    assert "(the file has 10 bytes there instead of 300,000)" in sentence
    assert f"into {tmp_path} yourself" in sentence


# ---- what is there already, and room


def test_a_file_put_there_by_hand_is_taken_if_it_is_the_right_one(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    assert fetch(described(["http://127.0.0.1:1/"]), tmp_path) == path
    assert fetch(RemoteFile("file.bin", ()), tmp_path) == path  # nothing is known of it
    path.write_bytes(CONTENT[:-5])
    with pytest.raises(Sg2ImError, match="has 299,995 bytes instead of 300,000: remove it"):
        fetch(described([]), tmp_path)
    path.write_bytes(bytes(len(CONTENT)))
    with pytest.raises(Sg2ImError, match="SHA-256"):
        fetch(described([]), tmp_path)


def test_a_checksum_is_computed_once(server, patience, tmp_path, monkeypatch):
    file = described([server.put("/file.bin")])
    fetch(file, tmp_path, patience=patience)
    with monkeypatch.context() as context:
        context.setattr(hashlib, "sha256", None)
        fetch(file, tmp_path)
    (tmp_path / "file.bin").write_bytes(bytes(len(CONTENT)))  # same size, later
    with pytest.raises(Sg2ImError, match="SHA-256"):
        fetch(file, tmp_path)


def test_a_full_disk_is_seen_before_the_transfer(server, tmp_path, monkeypatch):
    no_space(monkeypatch)
    file = described([server.put("/file.bin")])
    with pytest.raises(Sg2ImError, match=r"needs 300\.0 kB .* where 1\.0 kB are free") as caught:
        fetch(file, tmp_path / "new")
    assert str(tmp_path / "new") in str(caught.value)
    assert server.requests == [] and not (tmp_path / "new").exists()


def test_what_came_already_needs_no_room(server, patience, tmp_path, monkeypatch):
    file = described([server.put("/file.bin", CONTENT, Answer(cut=250_000))])
    with pytest.raises(Sg2ImError):
        fetch(file, tmp_path, patience=replace(patience, attempts=1))
    no_space(monkeypatch, free=150_000)
    assert fetch(file, tmp_path, patience=patience).read_bytes() == CONTENT


# ---- archives

PICTURES = {f"train2017/{number:012}.jpg": CONTENT[: 1000 * number] for number in range(1, 6)}


def zipped(entries, compression=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def written(folder, content, name="pictures.zip"):
    path = folder / name
    path.write_bytes(content)
    return path


def files_below(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_the_named_members_are_unpacked(tmp_path):
    others = {"readme.txt": b"x", "train2017.txt": b"x", "annotations/a.json.zip": b"x"}
    content = zipped({**others, **PICTURES, "annotations/a.json": b"{}", "train2017/": b""})
    archive = written(tmp_path, content)
    unpack(archive, tmp_path / "out", ["train2017/", "annotations/a.json"])
    assert files_below(tmp_path / "out") == {**PICTURES, "annotations/a.json": b"{}"}


def test_an_interrupted_unpacking_goes_on(tmp_path, monkeypatch):
    archive = written(tmp_path, zipped(PICTURES))
    opened = []
    open_entry = zipfile.ZipFile.open

    def interrupted(self, entry, *arguments, **options):
        opened.append(entry.filename)
        if len(opened) == 3:
            raise KeyboardInterrupt
        return open_entry(self, entry, *arguments, **options)

    monkeypatch.setattr(zipfile.ZipFile, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert len(files_below(tmp_path / "out")) == 2
    assert archives.is_partly_unpacked("pictures.zip", tmp_path / "out")
    unpack(archive, tmp_path / "out", ["train2017/"])
    assert files_below(tmp_path / "out") == PICTURES
    assert len(opened) == 3 + 3  # the two whole ones are not read again
    assert not archives.is_partly_unpacked("pictures.zip", tmp_path / "out")


def test_what_is_unpacked_is_not_looked_at_again(tmp_path, monkeypatch):
    archive = written(tmp_path, zipped(PICTURES))
    unpack(archive, tmp_path, ["train2017/"])
    with monkeypatch.context() as context:
        context.setattr(archives, "ZipFile", None)
        unpack(archive, tmp_path, ["train2017/"])
    for path in (tmp_path / "train2017").iterdir():
        path.unlink()
    unpack(archive, tmp_path, ["train2017/"])  # the marker alone is not believed
    assert len(list((tmp_path / "train2017").iterdir())) == len(PICTURES)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "train2017/../../evil.jpg",
        "/evil.jpg",
        "train2017//evil.jpg",
        "./train2017/evil.jpg",
        "C:/evil.jpg",
        "C:evil.jpg",
        "train2017\\..\\..\\evil.jpg",
        "train2017/a:b.jpg",
        "train2017/con",
        "train2017/LPT1.jpg",
        "train2017/evil.jpg.",
        "train2017/evil ",
        "train2017/ev\nil.jpg",
        "train2017/what?.jpg",
    ],
)
def test_hostile_names_are_refused_before_anything_is_written(tmp_path, name):
    archive = written(tmp_path, zipped({**PICTURES, name: b"evil"}))
    with pytest.raises(Sg2ImError, match="is refused, its entry") as caught:
        unpack(archive, tmp_path / "a" / "out", ["train2017/"])
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["pictures.zip"]


def test_links_and_names_that_collide_are_refused(tmp_path):
    for kind in (stat.S_IFLNK, stat.S_IFIFO):
        link = zipfile.ZipInfo("train2017/link")
        link.create_system, link.external_attr = 3, (kind | 0o777) << 16
        archive = written(tmp_path, zipped({link: b"/etc/passwd"}))
        with pytest.raises(Sg2ImError, match="is a link"):
            unpack(archive, tmp_path / "out", ["train2017/"])
    archive = written(tmp_path, zipped({"train2017/a.jpg": b"1", "train2017/A.JPG": b"2"}))
    with pytest.raises(Sg2ImError, match="is there twice"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert names(tmp_path) == ["pictures.zip"]


def test_an_archive_without_the_members_is_refused(tmp_path):
    archive = written(tmp_path, zipped(PICTURES))
    with pytest.raises(Sg2ImError, match="does not hold val2017/"):
        unpack(archive, tmp_path / "out", ["train2017/", "val2017/"])
    assert names(tmp_path) == ["pictures.zip"]


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_an_archive_cut_off_is_to_be_downloaded_again(tmp_path, kept):
    content = zipped(PICTURES)
    for part in (content[: int(len(content) * kept)], content[-int(len(content) * kept) :]):
        archive = written(tmp_path, part)
        with pytest.raises(Sg2ImError, match="damaged or cut off .* download it again"):
            unpack(archive, tmp_path / "out", ["train2017/"])
        assert not any(name.startswith("train") for name in files_below(tmp_path / "out"))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_within_an_archive_leaves_no_half_file(tmp_path, compression):
    content = bytearray(zipped(PICTURES, compression))
    content[content.index(b"train2017/000000000003.jpg") + 500] ^= 255
    archive = written(tmp_path, bytes(content))
    with pytest.raises(Sg2ImError, match="damaged"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert files_below(tmp_path / "out") == dict(list(PICTURES.items())[:2])


def test_an_entry_larger_than_its_header_says_is_refused(tmp_path):
    size = 50_000_000
    content = zipped({"train2017/bomb.jpg": bytes(size)})
    assert len(content) < 100_000
    archive = written(tmp_path, content.replace(size.to_bytes(4, "little"), b"\x64\0\0\0"))
    with zipfile.ZipFile(archive) as changed:
        assert changed.getinfo("train2017/bomb.jpg").file_size == 100
    with pytest.raises(Sg2ImError, match="damaged"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert files_below(tmp_path / "out") == {}


def test_an_entry_smaller_than_its_header_says_is_refused(tmp_path):
    content = zipped({"train2017/1.jpg": CONTENT})
    size = len(CONTENT).to_bytes(4, "little")
    archive = written(tmp_path, content.replace(size, (2 * len(CONTENT)).to_bytes(4, "little")))
    with pytest.raises(Sg2ImError, match="smaller than its header says"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert files_below(tmp_path / "out") == {}


def test_an_archive_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    archive = written(tmp_path, zipped({"train2017/bomb.jpg": bytes(50_000_000)}))
    no_space(monkeypatch, free=49_000_000)
    with pytest.raises(Sg2ImError, match=r"needs 50\.0 MB"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert names(tmp_path) == ["pictures.zip"]


# ---- whole data sets


def serve(server, files, archives_by_name):
    """The real table, with small archives that the server holds."""
    small = []
    for file in files:
        content = archives_by_name[file.name]
        address = server.put(f"/{file.name}", content)
        small.append(
            replace(
                file,
                addresses=(address,),
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest() if file.sha256 else None,
                unpacked_size=2 * len(content),
            )
        )
    return tuple(small)


@pytest.fixture
def coco(server, monkeypatch):
    """COCO's table with small archives; what lies in the data folder in the end."""
    val = {"val2017/000000000139.jpg": b"a picture"}
    annotations = {
        f"annotations/{kind}_{part}2017.json": f"{kind} {part}".encode()
        for kind in ("instances", "stuff")
        for part in ("train", "val")
    }
    instances = {name: text for name, text in annotations.items() if "instances" in name}
    stuff = {name: text for name, text in annotations.items() if "stuff" in name}
    contents = {
        "train2017.zip": zipped(PICTURES, zipfile.ZIP_STORED),
        "val2017.zip": zipped(val, zipfile.ZIP_STORED),
        "annotations_trainval2017.zip": zipped(
            {**instances, "annotations/captions_train2017.json": b"not needed"}
        ),
        "stuff_annotations_trainval2017.zip": zipped(
            {**stuff, "annotations/stuff_train2017_pixelmaps.zip": b"not needed"}
        ),
    }
    monkeypatch.setattr(coco_table, "COCO", serve(server, coco_table.COCO, contents))
    monkeypatch.setattr(
        coco_table, "COCO_STUFF", serve(server, [coco_table.COCO_STUFF], contents)[0]
    )
    pictures = {f"images/{name}": content for name, content in {**PICTURES, **val}.items()}
    return {**pictures, **annotations}


def without_downloads(folder):
    return {
        name: content
        for name, content in files_below(folder).items()
        if not name.startswith("downloads/")
    }


def test_coco_is_fetched_and_unpacked(server, coco, patience, tmp_path, capsys):
    report = obtain_coco(tmp_path / "coco", patience=patience)
    assert without_downloads(tmp_path / "coco") == coco
    assert {request.path for request in server.requests} == {
        f"/{file.name}" for file in (*coco_table.COCO, coco_table.COCO_STUFF)
    }
    assert len([line for line in report if line.startswith("downloaded ")]) == 4
    assert "unpacked images/train2017" in report
    total = disk.format_bytes(sum(server.sent()))
    assert f"To download: {total}" in capsys.readouterr().out

    again = obtain_coco(tmp_path / "coco", download=False)
    assert len(server.requests) == 4
    assert "images/train2017: there already" in again
    assert all(line.endswith("there already") for line in again)


def test_coco_without_stuff(server, coco, patience, tmp_path):
    obtain_coco(tmp_path, with_stuff=False, patience=patience)
    assert without_downloads(tmp_path) == {k: v for k, v in coco.items() if "stuff" not in k}


def test_what_was_put_there_by_hand_is_not_fetched(server, coco, patience, tmp_path):
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "1.jpg").write_bytes(b"mine")
    (tmp_path / "annotations").mkdir()
    mine = tmp_path / "annotations" / "instances_val2017.json"
    mine.write_bytes(b"mine")
    report = obtain_coco(tmp_path, with_stuff=False, patience=patience)
    assert {r.path for r in server.requests} == {"/val2017.zip", "/annotations_trainval2017.zip"}
    assert "images/train2017: there already" in report
    assert not (tmp_path / "images" / "train2017").exists()
    assert mine.read_bytes() == b"mine"
    assert (tmp_path / "annotations" / "instances_train2017.json").exists()


@pytest.mark.parametrize("place", [".", "downloads"])
def test_archives_put_there_by_hand_are_unpacked_without_the_network(server, coco, tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    for file in (*coco_table.COCO, coco_table.COCO_STUFF):
        (tmp_path / place / file.name).write_bytes(server.contents[f"/{file.name}"])
    obtain_coco(tmp_path, download=False)
    assert coco.items() <= without_downloads(tmp_path).items()
    assert server.requests == []


def test_a_wrong_archive_is_named_before_anything_is_fetched(server, coco, patience, tmp_path):
    (tmp_path / "train2017.zip").write_bytes(b"half")
    with pytest.raises(Sg2ImError, match=r"train2017.zip is not .* has 4 bytes instead of"):
        obtain_coco(tmp_path, patience=patience)
    assert server.requests == []


def test_a_folder_unpacked_halfway_is_not_taken_for_whole(server, coco, patience, tmp_path):
    obtain_coco(tmp_path, patience=patience)
    folder = tmp_path / "images"
    next((folder / "train2017").iterdir()).unlink()
    marker = folder / ".train2017.zip.unpacked.json"
    state = json.loads(marker.read_text(encoding="utf-8"))
    marker.write_text(json.dumps({**state, "whole": False}), encoding="utf-8")
    assert "unpacked images/train2017" in obtain_coco(tmp_path, download=False)
    assert without_downloads(tmp_path) == coco
    assert len(server.requests) == 4


def test_what_is_missing_is_said_where_downloading_is_switched_off(server, coco, tmp_path):
    folder = tmp_path / "coco"
    (folder / "val2017").mkdir(parents=True)
    (folder / "val2017" / "1.jpg").touch()
    with pytest.raises(Sg2ImError) as caught:
        obtain_coco(folder, with_stuff=False, download=False)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert f"{folder} lacks annotations/instances_train2017.json, " in sentence
    assert "images/train2017," in sentence and "val2017.zip from" not in sentence.replace(
        "annotations_trainval2017.zip from", ""
    )
    assert f"train2017.zip from {server.address}/train2017.zip" in sentence
    assert str(folder / "downloads") in sentence
    assert server.requests == []


def test_room_for_archives_and_what_is_in_them_is_asked_for_first(
    server, coco, patience, tmp_path, monkeypatch
):
    archive_bytes = sum(file.size for file in (*coco_table.COCO, coco_table.COCO_STUFF))
    no_space(monkeypatch, free=3 * archive_bytes - 1)
    with pytest.raises(Sg2ImError, match="What is missing needs"):
        obtain_coco(tmp_path / "new", patience=patience)
    assert server.requests == [] and names(tmp_path) == []
    no_space(monkeypatch, free=3 * archive_bytes)
    obtain_coco(tmp_path / "new", patience=patience)


@pytest.fixture
def visual_genome(server, monkeypatch):
    texts = {f"{name}.json": f"[{name!r}]".encode() for name in ("objects", "attributes")}
    texts |= {f"{name}.json": f"[{name!r}]".encode() for name in ("relationships", "image_data")}
    contents = {f"{name}.zip": zipped({name: text}) for name, text in texts.items()}
    plain = {"object_alias.txt": b"a,b", "relationship_alias.txt": b"c,d", "vg_splits.json": b"{}"}
    contents |= plain
    contents["images.zip"] = zipped({"VG_100K/1.jpg": b"one", "VG_100K/2.jpg": b"two"})
    contents["images2.zip"] = zipped({"VG_100K_2/3.jpg": b"three"})
    monkeypatch.setattr(
        genome_table,
        "VISUAL_GENOME",
        serve(server, genome_table.VISUAL_GENOME, contents),
    )
    pictures = {"VG_100K/1.jpg": b"one", "VG_100K/2.jpg": b"two", "VG_100K_2/3.jpg": b"three"}
    return {**texts, **plain, **{f"images/{name}": picture for name, picture in pictures.items()}}


def test_visual_genome_is_fetched_and_unpacked(server, visual_genome, patience, tmp_path):
    obtain_visual_genome(tmp_path, patience=patience)
    assert without_downloads(tmp_path) == visual_genome
    asked = len(server.requests)
    assert len(obtain_visual_genome(tmp_path, download=False)) == len(genome_table.VISUAL_GENOME)
    assert len(server.requests) == asked


def test_the_splits_of_visual_genome_may_be_missing(server, visual_genome, patience, tmp_path):
    del server.contents["/vg_splits.json"]
    report = obtain_visual_genome(tmp_path, patience=patience)
    assert any(line.startswith("vg_splits.json: not there (") for line in report)
    del visual_genome["vg_splits.json"]
    assert without_downloads(tmp_path) == visual_genome
    assert "vg_splits.json: not there" in obtain_visual_genome(tmp_path, download=False)


def test_pictures_of_visual_genome_may_lie_in_the_data_folder(
    server, visual_genome, patience, tmp_path
):
    for name in ("VG_100K", "VG_100K_2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    obtain_visual_genome(tmp_path, patience=patience)
    assert not any("images" in request.path for request in server.requests)


def test_a_folder_without_files_is_no_folder_of_pictures(server, coco, patience, tmp_path):
    (tmp_path / "images" / "val2017").mkdir(parents=True)
    (tmp_path / "images" / "val2017" / ".DS_Store").touch()
    obtain_coco(tmp_path, patience=patience)
    assert (tmp_path / "images" / "val2017" / "000000000139.jpg").exists()


def test_nothing_is_done_for_no_files(tmp_path):
    assert obtain([], tmp_path) == []
    assert names(tmp_path) == []


def test_the_tables_are_well_formed():
    files = [
        *coco_table.COCO,
        coco_table.COCO_STUFF,
        *genome_table.VISUAL_GENOME,
    ]
    assert len({file.name for file in files}) == len(files)
    for file in files:
        assert re.fullmatch(r"[\w.]+", file.name)
        assert file.addresses
        for address in file.addresses:
            assert re.fullmatch(r"https?://[a-z0-9.]+/[\w./~-]+", address)
            assert address.endswith(f"/{file.name}")
        assert len(set(file.addresses)) == len(file.addresses)
        assert any(address.startswith("https://") for address in file.addresses)
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.optional or (file.size or 0) > 0
        assert file.name.endswith(".zip") == bool(file.members)
        for member in file.members:
            assert re.fullmatch(r"[\w./]+", member) and not member.startswith(("/", "."))
    assert [file.name for file in files if file.optional] == ["vg_splits.json"]
