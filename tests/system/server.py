"""A server on this machine that misbehaves as told, and small archives for it."""

import hashlib
import io
import re
import threading
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sg2im_pyg.system import disk
from sg2im_pyg.system.fetch import Patience, RemoteFile

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


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def no_space(monkeypatch, free=1000):
    monkeypatch.setattr(disk, "free_bytes", lambda folder: free)


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
