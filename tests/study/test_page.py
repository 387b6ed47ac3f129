"""A study's page by its requests: what is told, what is taken, who is let in; a hundred people at
once; and a server that is killed."""

import asyncio
import json
import re
import signal
import threading
from collections import Counter
from functools import partial

import httpx
import pytest
from starlette.testclient import TestClient

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.study import page as page_module
from sg2im_pyg.study.answers import Answers, database_url, read_answers
from sg2im_pyg.study.page import make_page
from sg2im_pyg.study.serve_options import ExportOptions, ServeOptions
from sg2im_pyg.web.limits import RateLimit
from sg2im_pyg.web.options import WebOptions
from tests.study.serving import served, start
from tests.study.studies import small_study

CODE = "0123456789abcdef" * 2
CLOSING = {"code": None, "address": None}


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path)


@pytest.fixture
def page(study, tmp_path):
    answers = Answers(database_url(tmp_path), study)
    application = make_page(study, tmp_path, answers, WebOptions(), None, 3, CLOSING)
    with TestClient(application, "http://localhost:8000", raise_server_exceptions=False) as client:
        yield client
    answers.close()


def begin(page, code=CODE):
    return page.post("/api/begin", json={"participant": code})


def send(page, *entries, code=CODE):
    return page.post("/api/answers", json={"participant": code, "answers": list(entries)})


def given(question, *choice):
    return {"question": question, "choice": list(choice), "milliseconds": 5}


def first_choice(question):
    """Whatever stands first on the page."""
    shown = question["pictures"] if question["kind"] == "caption" else question["choices"]
    return given(question["id"], shown[0]["key"])


def test_somebody_takes_part_to_the_end(page, study, tmp_path):
    told = begin(page).json()
    assert told["answered"] == [] and told["end"] is None
    asked = study.assignment(0)
    assert [question["id"] for question in told["questions"]] == [q.id for q, _ in asked]
    for question, (own, order) in zip(told["questions"], asked):
        if own.kind == "caption":
            expected = [{"key": str(k), "address": own.pictures[k]} for k in order]
            assert question["pictures"] == expected and question["choices"] == []
        else:
            shown = [(choice["key"], choice["text"]) for choice in question["choices"]]
            assert shown == [(own.choices[k].id, own.choices[k].text) for k in order]
        for picture in question["pictures"]:
            answer = page.get(f"/{picture['address']}")
            assert answer.content == (tmp_path / picture["address"]).read_bytes()
            assert answer.headers["content-type"] == "image/png"
    *others, last = map(first_choice, told["questions"])
    assert send(page, *others).json() == {"end": None}
    end = send(page, last, *others).json()["end"]
    assert re.fullmatch(r"[0-9A-F]{4}-[0-9A-F]{4}", end["code"]) and end["address"] is None
    again = begin(page).json()  # after a reload
    assert again["end"] == end and sorted(again["answered"]) == sorted(q.id for q, _ in asked)
    found = {(a.question, a.choice) for a in read_answers(tmp_path)}
    assert found == {(a["question"], tuple(a["choice"])) for a in (*others, last)}


def test_nothing_of_systems_and_checks_is_told(page, study):
    texts = [page.get("/").text, begin(page).text]
    texts += [page.get(f"/static/{name}").text for name in ("study.js", "study.css")]
    for text in texts:
        for word in ("ours", 'other"', "shuffled", "landscapes, test", "study make", '"thing"'):
            assert word not in text
    keys = {key for question in begin(page).json()["questions"] for key in question}
    assert keys == {"id", "kind", "text", "pictures", "choices"}
    for path in ("/study.json", "/answers.sqlite", "/consent.txt", "/pictures/study.json"):
        assert page.get(path).status_code == 404


def test_the_page_shows_the_consent_and_runs_nothing_of_it(tmp_path):
    hostile = "<script>alert(1)</script> {{ 7 * 7 }} & \"'\x00\x1b\n\n\n second \n\n"
    study = small_study(tmp_path, title="</title><script>alert(2)</script>")
    (tmp_path / "consent.txt").write_text(hostile, encoding="utf-8")
    answers = Answers(database_url(tmp_path), study)
    application = make_page(study, tmp_path, answers, WebOptions(), None, 3, CLOSING)
    text = TestClient(application, "http://localhost").get("/").text
    answers.close()
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt; {{ 7 * 7 }} &amp; &#34;&#39;</p>" in text
    assert "<p>second</p>" in text and "alert(2)</script>" not in text
    assert text.count("<script") == 1  # the page's own
    assert "I agree, begin" in text
    assert "http:" not in text and "https:" not in text and "//" not in text.replace("</", "")


def test_where_no_consent_is_asked_for_none_is_shown(tmp_path):
    study = small_study(tmp_path)
    (tmp_path / "consent.txt").unlink()
    answers = Answers(database_url(tmp_path), study)
    application = make_page(study, tmp_path, answers, WebOptions(), None, 3, CLOSING)
    text = TestClient(application, "http://localhost").get("/").text
    answers.close()
    assert "I agree" not in text and "Begin" in text and 'class="consent"' not in text


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a" * 70_000], ids=["no text", "long"])
def test_a_consent_that_can_not_be_shown_is_refused(study, tmp_path, content):
    (tmp_path / "consent.txt").write_bytes(content)
    answers = Answers(database_url(tmp_path), study)
    with pytest.raises(Sg2ImError, match="consent.txt is"):
        make_page(study, tmp_path, answers, WebOptions(), None, 3, CLOSING)
    answers.close()


def test_a_picture_that_is_none_is_refused(study, tmp_path):
    picture = tmp_path / study.questions[0].pictures[0]
    picture.write_bytes(b"<svg onload=alert(1)>")
    answers = Answers(database_url(tmp_path), study)
    with pytest.raises(Sg2ImError, match="is no PNG picture"):
        make_page(study, tmp_path, answers, WebOptions(), None, 3, CLOSING)
    answers.close()


HOSTILE = [
    None, True, 0, -1, 1e308, "", "x", "\x00", "\ud800", "😀" * 40, "'; drop table answers; --",
    "../../etc/passwd", "<script>alert(1)</script>", "{{ 7 * 7 }}", [], [[]], {}, {"a": []},
    "0" * 5000, 10**40, ["0"] * 300,
]  # fmt: skip


@pytest.mark.parametrize("place", ["participant", "answers", "answer", "question", "choice"])
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:24])
def test_hostile_input_in_every_field_is_refused_with_a_sentence(page, tmp_path, place, value):
    begin(page)
    content = {"participant": CODE, "answers": [given("c0", "0")]}
    if place in content:
        content[place] = value
    elif place == "answer":
        content["answers"] = [given("c1", "0"), value]
    else:
        content["answers"][0][place] = value if place == "question" else [value]
    body = json.dumps(content)  # with \ud800, which httpx would refuse to send
    kind = {"Content-Type": "application/json"}
    answer = page.post("/api/answers", content=body, headers=kind)
    if content["answers"] == []:
        assert answer.status_code == 200
    else:
        assert answer.status_code in (400, 404)
        [(name, sentence)] = answer.json().items()
        assert name == "error" and sentence.endswith(".") and "Traceback" not in sentence
    if place == "participant":
        assert begin(page, value if value != "\ud800" else "x").status_code == 400
    assert read_answers(tmp_path) == []
    assert send(page, given("c0", "0")).status_code == 200  # it goes on


@pytest.mark.parametrize("milliseconds", [v for v in HOSTILE if type(v) is not int or v < 0])
def test_hostile_times_are_refused(page, tmp_path, milliseconds):
    begin(page)
    body = json.dumps(
        {"participant": CODE, "answers": [{**given("c0", "0"), "milliseconds": milliseconds}]}
    )
    kind = {"Content-Type": "application/json"}
    assert page.post("/api/answers", content=body, headers=kind).status_code == 400
    assert read_answers(tmp_path) == []


def test_other_shapes_of_requests_are_refused(page):
    for content in ([], "a", 1, {}, {"participant": CODE, "answers": [], "more": 1}):
        assert page.post("/api/answers", json=content).status_code == 400
        assert page.post("/api/begin", json=content).status_code == 400
    assert send(page, code="f" * 32).status_code == 404  # who never began
    assert page.get("/api/answers").status_code == 405


@pytest.mark.parametrize(
    "name",
    ["../study.json", "..%2fstudy.json", "%2e%2e%2fstudy.json", "x.png", ".", "%00", "a" * 500],
)
def test_no_picture_is_a_path(page, name):
    assert page.get(f"/pictures/{name}").status_code == 404


def test_whoever_comes_after_the_last_is_told_so(page):
    codes = [f"{k:032x}" for k in range(4)]
    assert [begin(page, code).status_code for code in codes] == [200, 200, 200, 410]
    assert "enough participants already" in begin(page, codes[3]).json()["error"]
    assert begin(page, codes[0]).status_code == 200


def test_while_nothing_can_be_kept_nothing_is_acknowledged(study, tmp_path):
    answers = Answers(database_url(tmp_path), study)
    application = make_page(study, tmp_path, answers, WebOptions(), None, 3, CLOSING)
    with TestClient(application, "http://localhost") as client:
        begin(client)
        (tmp_path / "answers.sqlite").rename(tmp_path / "gone")
        answers.close()
        (tmp_path / "answers.sqlite").mkdir()  # as little a database as a disk that went away
        refused = send(client, given("c0", "0"))
        assert refused.status_code == 503 and refused.headers["retry-after"] == "2"
        (tmp_path / "answers.sqlite").rmdir()
        (tmp_path / "gone").rename(tmp_path / "answers.sqlite")
        assert send(client, given("c0", "0")).status_code == 200
    answers.close()
    assert len(read_answers(tmp_path)) == 1


def test_strangers_begin_no_more_often_than_people_do(study, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "BEGINNINGS", 4)
    monkeypatch.setattr(page_module, "RateLimit", partial(RateLimit, clock=lambda: 0.0))
    answers = Answers(database_url(tmp_path), study)
    public = WebOptions(host="0.0.0.0")
    application = make_page(study, tmp_path, answers, public, "t" * 16, 10_000, CLOSING)
    with TestClient(
        application, "http://study.example", headers={"Authorization": "Bearer " + "t" * 16}
    ) as client:
        found = Counter(begin(client, f"{k:032x}").status_code for k in range(7))
    answers.close()
    assert found == {200: 4, 429: 3}


# The real server -------------------------------------------------------------------------------


def test_a_public_page_has_a_link_with_a_token_that_stays(study, tmp_path):
    links = []
    for _ in range(2):
        with served(tmp_path, "--host", "0.0.0.0", "--completion_code", "C0DE") as server:
            links.append(server.address.partition("?token=")[2])
            address = f"http://127.0.0.1:{server.port}/"
            assert httpx.get(address).status_code == 401
            with httpx.Client(follow_redirects=True) as client:
                shown = client.get(f"{address}?token={links[-1]}")
                assert shown.status_code == 200 and links[-1] not in str(shown.url)
                told = client.post(f"{address}api/begin", json={"participant": CODE}).json()
                sent = list(map(first_choice, told["questions"]))
                content = {"participant": CODE, "answers": sent}
                end = client.post(f"{address}api/answers", json=content).json()["end"]
                assert end["code"] == "C0DE"
            status, said, complained = server.stop()
            assert status == 0 and complained == ""
            assert f"1 took part, 1 to the end; {len(sent)} answers are in " in said
    assert links[0] == links[1] and len(links[0]) == 32


def test_a_hundred_people_at_once_lose_no_vote(study, tmp_path):
    """Each person sends each answer by itself, some twice; all of them are in the file once, and
    each person was somebody of their own."""
    codes = [f"{k:032x}" for k in range(100)]
    sent = {}

    async def ask(client, address, content):
        for _ in range(5):  # as the page does where a connection breaks
            try:
                return await client.post(address, json=content)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
        raise AssertionError("no connection")

    async def take_part(client, code):
        told = (await ask(client, "api/begin", {"participant": code})).json()
        for k, question in enumerate(told["questions"]):
            answer = first_choice(question)
            content = {"participant": code, "answers": [answer]}
            for _ in range(1 + (k == 0)):
                reply = await ask(client, "api/answers", content)
                assert reply.status_code == 200
            sent[code, answer["question"]] = tuple(answer["choice"])
        assert reply.json()["end"]["code"]

    async def all_take_part(address):
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=address, limits=limits, timeout=120) as client:
            await asyncio.gather(*(take_part(client, code) for code in codes))

    with served(tmp_path) as server:
        asyncio.run(all_take_part(server.address))
        assert read_answers(tmp_path)  # also while it is served
        server.stop()
    found = read_answers(tmp_path)
    assert {(a.participant, a.question): a.choice for a in found} == sent
    assert len(found) == len(sent) == 100 * len(study.assignment(0))
    assert {a.number for a in found} == set(range(100)) and all(a.completed for a in found)


def test_a_server_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path):
    """Killed in mid-vote, three times, while eight people answer; what was acknowledged is there
    as it was sent, and everybody goes on to the end."""
    study = small_study(tmp_path, captions=20)
    people = [f"{k:032x}" for k in range(8)]
    acknowledged = {}
    lost = Counter()

    def vote(address, code, stop_at):
        try:
            with httpx.Client(base_url=address, timeout=30) as client:
                told = client.post("api/begin", json={"participant": code}).json()
                for question in told["questions"]:
                    if question["id"] in told["answered"]:
                        continue
                    answer = first_choice(question)
                    content = {"participant": code, "answers": [answer]}
                    if client.post("api/answers", json=content).status_code == 200:
                        acknowledged[code, answer["question"]] = tuple(answer["choice"])
                    if len(acknowledged) >= stop_at:
                        half.set()
        except httpx.HTTPError:
            lost[code] += 1  # the server is gone

    for stop_at in (20, 60, 100, 10**9):
        half = threading.Event()
        with served(tmp_path) as server:
            threads = [
                threading.Thread(target=vote, args=(server.address, code, stop_at))
                for code in people
            ]
            for thread in threads:
                thread.start()
            if stop_at < 10**9:
                assert half.wait(60)
                server.process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            for thread in threads:
                thread.join()
        found = {(a.participant, a.question): a.choice for a in read_answers(tmp_path)}
        assert found.items() >= acknowledged.items()
    assert sum(lost.values()) > 0  # it was in mid-vote
    assert len(found) == len(acknowledged) or found.keys() >= acknowledged.keys()
    assert len(found) == 8 * len(study.assignment(0))


def test_mistakes_are_one_sentence(tmp_path):
    for words, sentence in (
        ([tmp_path], "There is no study.json in"),
        ([tmp_path, "--port", "x"], "--port must be a whole number"),
        ([tmp_path, "--database", "mysql://a"], "There is no study.json in"),
        ([tmp_path, "--completion_code", "<b>"], "--completion_code must be letters"),
    ):
        process = start(*words)
        said, complained = process.communicate(timeout=60)
        assert process.returncode in (1, 2) and said == ""
        assert sentence in complained and complained.count("\n") == 1


def test_what_stands_at_the_end_is_checked():
    for options in (ServeOptions, ExportOptions):
        for closing in (
            "javascript:alert(1)",
            "data:text/html,a",
            "https://a b",
            "/done",
            "https://",
        ):
            with pytest.raises(Sg2ImError, match="--completion_address must be"):
                options(study="s", completion_address=closing)
        with pytest.raises(Sg2ImError, match="--completion_code must be"):
            options(study="s", completion_code="a b")
        options(study="s", completion_address="https://example.org/?cc=A1", completion_code="A1")
