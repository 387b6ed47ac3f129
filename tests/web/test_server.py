"""A page served by a process of its own: how it begins, how it ends, and who may wait."""

import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.study.serving import REPOSITORY

CODE = """
import sys
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from sg2im_pyg.system.program import run_program
from sg2im_pyg.web import server
from sg2im_pyg.web.application import make_application
from sg2im_pyg.web.options import WebOptions
server.WAITING_SECONDS = 0.5
async def hello(request):
    return PlainTextResponse(request.client.host)
def main():
    options = WebOptions(port=int(sys.argv[1]), address=sys.argv[2] or None)
    application = make_application([Route("/", hello)], options)
    server.serve(application, options, None, lambda address: print(address, flush=True))
    print("stopped")
run_program(main)
"""


def start(port=0, address=""):
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(port), address],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process


@pytest.fixture
def server():
    process = start()
    port = int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
    yield process, port
    process.kill()
    process.communicate()


def ask(port, text="GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", timeout=10):
    connection = socket.create_connection(("127.0.0.1", port), timeout)
    connection.sendall(text.encode())
    return connection


def answer_of(connection):
    """All of an answer, which ends with an address of four numbers."""
    answer = ""
    while not re.search(r"\r\n\r\n[0-9.]{7,}$", answer):
        piece = connection.recv(10_000).decode()
        assert piece, answer
        answer += piece
    return answer


def test_it_listens_at_once_says_where_and_ends_with_a_word(server):
    process, port = server
    with ask(port) as connection:
        answer = answer_of(connection)
    assert answer.startswith("HTTP/1.1 200 OK") and answer.endswith("127.0.0.1")
    assert "server:" not in answer.lower()
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=30)
    assert (process.returncode, said, complained) == (0, "stopped\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Windows end a process at once")
def test_ctrl_c_ends_it_with_a_word(server):
    process, _ = server
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=30)
    assert (process.returncode, said, complained) == (0, "stopped\n", "")


def test_a_port_in_use_is_one_sentence(server):
    _, port = server
    second = start(port)
    said, complained = second.communicate(timeout=60)
    assert second.returncode == 1 and said == ""
    assert complained.startswith(f"Error: Port {port} of 127.0.0.1 is in use: give another one")
    assert complained.count("\n") == 1


def test_who_asks_for_nothing_is_sent_away(server):
    _, port = server
    begun = time.monotonic()
    halves = ["", "GET / HT", "GET / HTTP/1.1\r\nHost: localhost\r\nX: "]
    waiting = [ask(port, text) for text in halves]
    # One that has asked already, and begins another request.
    waiting.append(ask(port))
    assert answer_of(waiting[-1]).startswith("HTTP/1.1 200")
    waiting[-1].sendall(b"GET / ")
    for connection in waiting:
        with connection:
            assert connection.recv(10_000) == b""
    assert time.monotonic() - begun < 10


def test_what_is_no_request_does_no_harm(server):
    _, port = server
    for text in ("\x00" * 100, "GET\r\n\r\n", "A" * 70_000, "GET / HTTP/9.9\r\n\r\n"):
        with ask(port, text) as connection:
            try:
                assert connection.recv(100).startswith(b"HTTP/1.1 400") or text.startswith("GET /")
            except ConnectionError:
                pass  # the rest was not waited for
    forged = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    with ask(port, forged) as connection:  # believed of a proxy alone
        assert answer_of(connection).endswith("127.0.0.1")
