"""The gate before every page: names, tokens, rates, origins, sizes; and its headers."""

import asyncio
import json

import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.web import application as module
from sg2im_pyg.web.application import HEADERS, StaticFiles, make_application, read_json
from sg2im_pyg.web.limits import RateLimit
from sg2im_pyg.web.options import WebOptions

TOKEN = "0123456789abcdef"


async def echo(request):
    return JSONResponse(await read_json(request))


async def hello(request):
    return PlainTextResponse("hello")


async def fail(request):
    raise RuntimeError("a mistake of ours")


FILES = StaticFiles({"a.css": (b"p {}", "text/css")})
ROUTES = [
    Route("/", hello),
    Route("/echo", echo, methods=["POST"]),
    Route("/fail", fail),
    Route("/static/{name}", FILES.answer),
]


def client(name="localhost:8000", token=None, limit=None, **options):
    application = make_application(ROUTES, WebOptions(**options), token, 1000, limit)
    return TestClient(
        application, f"http://{name}", raise_server_exceptions=False, follow_redirects=False
    )


def test_every_answer_has_the_headers():
    page = client()
    found = [page.get(path) for path in ("/", "/static/a.css", "/nothing", "/fail", "/echo")]
    found.append(page.get("/", headers={"Host": "elsewhere.example"}))
    assert [answer.status_code for answer in found] == [200, 200, 404, 500, 405, 421]
    for answer in found:
        for name in HEADERS.keys() - {"Cache-Control"}:
            assert answer.headers[name] == HEADERS[name]
        assert "cache-control" in answer.headers
    assert "default-src 'self'" in HEADERS["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]


def test_refusals_are_sentences_for_programs_and_for_browsers():
    page = client()
    assert page.get("/nothing").json() == {"error": "There is nothing at this address."}
    assert page.get("/fail").json() == {"error": "Something went wrong here: try again."}
    shown = page.get("/nothing", headers={"Accept": "text/html,*/*"})
    assert shown.headers["content-type"].startswith("text/html")
    assert "<p>There is nothing at this address.</p>" in shown.text


@pytest.mark.parametrize(
    ("options", "host", "status"),
    [
        ({}, "localhost:8000", 200),
        ({}, "127.0.0.1:8000", 200),
        ({}, "[::1]:8000", 200),
        ({}, "LOCALHOST", 200),
        ({}, "elsewhere.example", 421),
        ({}, "127.0.0.1.elsewhere.example", 421),
        ({}, "localhost@elsewhere.example", 421),
        ({}, "", 421),
        ({"host": "127.0.0.2"}, "127.0.0.2:8000", 200),
        ({"host": "0.0.0.0"}, "any.example:8000", 200),
        ({"address": "https://study.example/a"}, "study.example", 200),
        ({"address": "https://study.example/a"}, "localhost:8000", 200),
        ({"address": "https://study.example/a"}, "elsewhere.example", 421),
        ({"address": "https://study.example", "host": "0.0.0.0"}, "elsewhere.example", 421),
    ],
)
def test_the_page_answers_to_its_own_names(options, host, status):
    assert client(**options).get("/", headers={"Host": host}).status_code == status


def test_without_the_token_nothing_is_answered():
    page = client(token=TOKEN)
    for wrong in ("/", "/static/a.css", "/nothing", f"/?token={TOKEN}0", "/?token=", "/?token=ä"):
        assert page.get(wrong).status_code == 401
    assert page.post("/echo", json={}).status_code == 401
    assert page.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).text == "hello"
    assert page.get("/", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
    assert page.get("/", headers={"Cookie": "sg2im_=x; ;;=%00"}).status_code == 401


def test_the_token_becomes_a_cookie_and_leaves_the_address():
    page = client(token=TOKEN)
    answer = page.get(f"/?a=1&token={TOKEN}&b=%2F%2F")
    assert answer.status_code == 303 and answer.headers["location"] == "./?a=1&b=%2F%2F"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "secure" not in cookie
    assert page.get("/").text == "hello"  # the client keeps the cookie
    encrypted = client("study.example", TOKEN, address="https://study.example/")
    assert "; Secure" in encrypted.get(f"/?token={TOKEN}").headers["set-cookie"]


def test_other_sites_can_change_nothing():
    page = client()

    def post(**headers):
        return page.post("/echo", json=[1], headers=headers).status_code

    assert post() == 200
    assert post(Origin="http://localhost:8000") == 200
    assert post(Origin="http://localhost:9000") == 403
    assert post(Origin="https://elsewhere.example") == 403
    assert post(Origin="null") == 403
    assert post(**{"Sec-Fetch-Site": "cross-site"}) == 403
    assert post(**{"Sec-Fetch-Site": "same-origin"}) == 200
    # Forms can send these without asking.
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = page.post("/echo", content="[1]", headers={"Content-Type": kind})
        assert answer.status_code == 415


@pytest.mark.parametrize(
    "body", ["", "{", "[" * 900, "NaN", '{"a": Infinity}', "1" * 900 + "e", "\xff", "\x00"]
)
def test_what_is_no_json_is_refused(body):
    kind = {"Content-Type": "application/json"}
    answer = client().post("/echo", content=body.encode("latin-1"), headers=kind)
    assert answer.status_code == 400 and answer.json() == {"error": "What was sent is no JSON."}


def test_no_more_is_taken_than_allowed():
    page = client()
    assert page.post("/echo", json="a" * 990).status_code == 200
    assert page.post("/echo", json="a" * 1000).status_code == 413
    kind = {"Content-Type": "application/json"}
    pieces = (b"[%s]" % (b" " * 500) for _ in range(3))  # of unknown length
    assert page.post("/echo", content=pieces, headers=kind).status_code == 413
    for length in ("-1", "x", "9" * 30):
        answer = page.post("/echo", content=b"1", headers={**kind, "Content-Length": length})
        assert answer.status_code == 413


def test_a_request_that_does_not_come_ends(monkeypatch):
    monkeypatch.setattr(module, "BODY_SECONDS", 0.05)
    application = make_application(ROUTES, WebOptions())
    sent = []

    async def never():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/echo",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }
    asyncio.run(application(scope, never, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"].startswith("The request did not come in time")


def test_who_asks_too_often_is_told_how_long_to_wait():
    now = [0.0]
    page = client(limit=RateLimit(0.5, burst=2, clock=lambda: now[0]))
    assert [page.get("/").status_code for _ in range(3)] == [200, 200, 429]
    answer = page.get("/")
    assert answer.headers["retry-after"] == "2" and "wait 2 seconds" in answer.json()["error"]
    now[0] = 2.0
    assert page.get("/").status_code == 200


def test_a_limit_forgets_clients_and_counts_each_by_itself():
    now = [0.0]
    limit = RateLimit(1, burst=1, clock=lambda: now[0])
    assert [limit.wait(str(k)) for k in range(25_000)] == [0.0] * 25_000
    assert len(limit._clients) == 20_000
    assert limit.wait("24999") > 0 and limit.wait("0") == 0


@pytest.mark.parametrize("name", ["../a.css", "..%2fa.css", "%2e%2e/a.css", "a.css%00", "A.CSS"])
def test_no_name_becomes_a_path(name):
    assert client().get(f"/static/{name}").status_code == 404


def test_files_are_sent_once():
    page = client()
    answer = page.get("/static/a.css")
    assert answer.text == "p {}" and answer.headers["content-type"].startswith("text/css")
    again = page.get("/static/a.css", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and again.content == b""


@pytest.mark.parametrize(
    "options",
    [
        {"token": "short"},
        {"token": "with space in it"},
        {"token": "ünïcödé-token"},
        {"address": "example.org"},
        {"address": "javascript:alert(1)"},
        {"address": "https://"},
        {"address": "https://u@example.org"},
        {"address": "https://example.org/?a"},
        {"address": "https://[::1"},
        {"address": "https://example.org:x"},
        {"address": "https://example.org/\n"},
        {"port": 70_000},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(Sg2ImError):
        WebOptions(**options)
