"""The page in a real browser: to the end by mouse, by keyboard alone, on a phone; with the
connection cut, with a reload in between; read by axe-core."""

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sg2im_pyg.study.answers import read_answers
from sg2im_pyg.study.questions import read_study, write_study
from sg2im_pyg.study.serve_options import ExportOptions
from tests.needs import skip_or_fail
from tests.study.serving import served
from tests.study.studies import small_study

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=document.title='ran'> & \"both\" {{ 7 * 7 }}"
READY = "#next[aria-disabled=false]"
END = "#end:not([hidden])"
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True}


def launch(playwright, name):
    """A browser that is there: the system's Chromium, or one of Playwright's own."""
    kind = getattr(playwright, name)
    names = ("chromium", "chromium-browser", "google-chrome") if name == "chromium" else ()
    own = kind.executable_path if Path(kind.executable_path).is_file() else None
    found = next(filter(None, map(shutil.which, names)), own)
    if found is None and name == "firefox":  # the system's own does not speak to Playwright
        pytest.skip("Playwright's Firefox is not installed: python -m playwright install firefox.")
    if found is None:
        skip_or_fail(
            "There is no browser: on Debian, apt install chromium; elsewhere, "
            "python -m playwright install chromium."
        )
    is_root = os.name == "posix" and os.geteuid() == 0
    arguments = ["--no-sandbox"] if is_root and name == "chromium" else []
    return kind.launch(executable_path=found, args=arguments)


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def browser(request):
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        skip_or_fail("Playwright is not installed: python -m pip install 'sg2im-pyg[dev]'.")
    with sync_playwright() as playwright:
        opened = launch(playwright, request.param)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    small_study(folder)
    with served(folder) as running:
        yield running, folder


@pytest.fixture
def open_page(browser, server):
    """Opens the page as somebody new, and fails on any mistake of its script."""
    contexts, mistakes = [], []

    def open_it(address=server[0].address, **options):
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **options})
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.goto(address)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert mistakes == []


def code_of(page):
    """The participant's code, as the browser keeps it."""
    kept = page.evaluate("() => ({...localStorage})")
    [code] = [value for name, value in kept.items() if name.endswith(":code")]
    return code


def answers_of(server, page):
    code = code_of(page)
    return {a.question: a for a in read_answers(server[1]) if a.participant == code}


def current(page):
    """What is asked: the kind, and the keys of what stands there in order, and the pictures."""
    page.wait_for_selector("#question:not([hidden]) .view img")
    page.wait_for_selector(".view:not(:has(img))", state="detached")
    kind = page.get_attribute("#question", "class").split()[-1]
    keys = [element.get_attribute("value") for element in page.query_selector_all("#answer input")]
    pictures = [e.get_attribute("src") for e in page.query_selector_all(".view img")]
    return kind, keys, pictures


def picture_key(study, address):
    """The position of a picture in its question: what must be kept when it is chosen."""
    [found] = [
        str(question.pictures.index(address))
        for question in study.questions
        if question.kind == "caption" and address in question.pictures
    ]
    return found


def count(page):
    return page.inner_text("#count")


def go_on(page, press):
    """Goes on by something, which is done when the page says so."""
    before = count(page)
    press()
    for _ in range(600):
        if count(page) != before:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"the page stays at {before}")


def is_asking(page):
    """Whether a question is still to come; looked at all at once, as the page goes on meanwhile."""
    return page.evaluate(
        "() => ['saving', 'end', 'stopped'].every((id) => document.getElementById(id).hidden)"
    )


def take_part(page, study, choose, press, stop_after=99):
    """Answers question after question; returns what was chosen: the picture that stood second, or
    the first and last of a list, by where they stood on the page."""
    chosen = []
    while len(chosen) < stop_after and is_asking(page):
        kind, keys, pictures = current(page)
        places = [1] if kind == "caption" else [0, len(keys) - 1]
        if kind == "caption":
            assert [picture_key(study, address) for address in pictures] == keys
        for place in places:
            choose(page, place)
        page.wait_for_selector(READY)
        chosen.append((kind, sorted(keys[place] for place in places)))
        go_on(page, lambda: press(page))
    return chosen


def by_mouse(page, place):
    page.locator(".option").nth(place).click()


def press_next(page):
    page.click("#next")


def check_kept(server, page, study, chosen):
    """What was chosen is what was kept, question by question in the order that was asked."""
    page.wait_for_selector(END)
    kept = answers_of(server, page)
    [number] = {answer.number for answer in kept.values()}
    asked = [entry.question for entry in study.assignment(number)]
    expected = {q.id: (q.kind, keys) for q, (_, keys) in zip(asked, chosen)}
    assert [kind for kind, _ in chosen] == [question.kind for question in asked]
    by_id = study.by_id
    assert {name: (by_id[name].kind, sorted(a.choice)) for name, a in kept.items()} == expected
    assert all(answer.completed and answer.milliseconds > 0 for answer in kept.values())


def test_to_the_end_by_mouse(open_page, server):
    page, study = open_page(), read_study(server[1])
    assert "You can stop at any time." in page.inner_text("#welcome")
    page.click("#begin")
    chosen = take_part(page, study, by_mouse, press_next)
    check_kept(server, page, study, chosen)
    assert re.fullmatch(r"[0-9A-F]{4}-[0-9A-F]{4}", page.inner_text("#code"))
    assert page.inner_text("#connection") == "All answers saved"
    code = page.inner_text("#code")
    page.reload()  # the code is still there, and nothing is asked again
    page.wait_for_selector(END)
    assert page.inner_text("#code") == code


def test_to_the_end_by_keyboard_alone(open_page, server):
    page, study = open_page(), read_study(server[1])
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "begin"
    page.keyboard.press("Enter")
    turn = iter(range(100))

    def choose(page, place):
        kind, keys, _ = current(page)
        if next(turn) % 2:
            page.keyboard.press(str(place + 1))
        elif kind == "caption":
            page.keyboard.press("ArrowLeft")
            page.keyboard.press("ArrowRight")
        else:  # arrows go round
            focused = page.evaluate("() => document.activeElement.value ?? null")
            page.keyboard.press("ArrowDown")
            steps = place if focused is None else place - keys.index(focused) - 1
            for _ in range(abs(steps)):
                page.keyboard.press("ArrowDown" if steps > 0 else "ArrowUp")
            page.keyboard.press("Space")

    def press(page):
        kind, _, _ = current(page)
        page.keyboard.press("Space" if kind == "caption" and next(turn) % 2 else "Enter")

    chosen = take_part(page, study, choose, press)
    check_kept(server, page, study, chosen)


def test_to_the_end_on_a_phone(open_page, server):
    page, study = open_page(**PHONE), read_study(server[1])
    page.tap("#begin")
    widths = []

    def choose(page, place):
        option = page.locator(".option").nth(place)
        option.tap()
        box = option.bounding_box()
        assert box["width"] >= 44 and box["height"] >= 40  # a finger's width
        widths.append(page.evaluate("() => document.documentElement.scrollWidth"))
        button = page.locator("#next").bounding_box()
        assert button["y"] + button["height"] <= 780  # in sight without scrolling

    chosen = take_part(page, study, choose, lambda page: page.tap("#next"))
    check_kept(server, page, study, chosen)
    assert set(widths) == {390}  # nothing stands out on a side


def test_no_answer_is_lost_when_the_connection_is_cut(open_page, server):
    page, study = open_page(), read_study(server[1])
    page.click("#begin")
    chosen = take_part(page, study, by_mouse, press_next, stop_after=1)
    page.wait_for_selector("#connection.saved")
    current(page)
    page.wait_for_timeout(500)  # the next pictures are loaded ahead
    page.context.set_offline(True)
    chosen += take_part(page, study, by_mouse, press_next)  # all the others
    page.wait_for_selector("#saving:not([hidden])")
    page.wait_for_selector("#connection.waiting")
    waiting = len(chosen) - 1
    assert f"{waiting} answers are kept in this browser" in page.inner_text("#connection")
    assert len(answers_of(server, page)) == 1 and page.is_hidden("#end")
    page.context.set_offline(False)
    check_kept(server, page, study, chosen)


def test_a_reload_goes_on_where_it_was_with_what_was_not_sent_yet(open_page, server):
    page, study = open_page(), read_study(server[1])
    page.click("#begin")
    chosen = take_part(page, study, by_mouse, press_next, stop_after=1)
    page.wait_for_selector("#connection.saved")
    page.route("**/api/answers", lambda route: route.abort())
    chosen += take_part(page, study, by_mouse, press_next, stop_after=2)
    assert len(answers_of(server, page)) == 1
    shown = current(page), count(page)
    page.reload()
    assert (current(page), count(page)) == shown  # in this order: the first one waits
    assert page.is_hidden("#welcome")
    page.unroute("**/api/answers")
    chosen += take_part(page, study, by_mouse, press_next)
    check_kept(server, page, study, chosen)


def test_a_server_that_starts_again_is_found_again(open_page, browser, tmp_path):
    study = small_study(tmp_path)
    with served(tmp_path) as first:
        page = open_page(first.address)
        page.click("#begin")
        chosen = take_part(page, study, by_mouse, press_next, stop_after=2)
        page.wait_for_selector("#connection.saved")
        page.wait_for_timeout(500)
        first.process.kill()
        first.process.wait(30)
        chosen += take_part(page, study, by_mouse, press_next, stop_after=2)
        page.wait_for_selector("#connection.waiting")
    with served(tmp_path, "--port", first.port) as second:
        chosen += take_part(page, study, by_mouse, press_next)
        check_kept((second, tmp_path), page, study, chosen)


def test_none_of_a_list_can_be_said_and_a_picture_must_be_chosen(open_page, server):
    page = open_page()
    page.click("#begin")
    kinds = set()
    while is_asking(page):
        kind, _, _ = current(page)
        kinds.add(kind)
        if kind == "caption":
            page.wait_for_timeout(400)
            before = count(page)
            page.keyboard.press("Enter")
            page.keyboard.press("Space")
            assert page.get_attribute("#next", "aria-disabled") == "true" and count(page) == before
            by_mouse(page, 0)
        page.wait_for_selector(READY)
        assert page.inner_text("#next") == ("Next" if kind == "caption" else "None of these")
        go_on(page, lambda: press_next(page))
    page.wait_for_selector(END)
    kept = answers_of(server, page)
    assert kinds == {"caption", "objects", "relations"}
    assert sum(answer.choice == () for answer in kept.values()) == 3


def test_what_comes_from_elsewhere_is_text(open_page, tmp_path):
    study = small_study(tmp_path, captions=1, lists=1, title=HOSTILE)
    questions = tuple(
        replace(
            question,
            text=HOSTILE if question.kind == "caption" else "",
            choices=tuple(replace(choice, text=HOSTILE) for choice in question.choices),
        )
        for question in study.questions
    )
    study = replace(study, questions=questions)
    write_study(study, tmp_path)
    (tmp_path / "consent.txt").write_text(HOSTILE, encoding="utf-8")
    with served(tmp_path, "--completion_address", "https://example.org/a?b=c&d") as running:
        page = open_page(running.address)
        assert HOSTILE in page.inner_text("#welcome") and page.title() == HOSTILE
        page.click("#begin")
        seen = []

        def choose(page, place):
            seen.append(page.inner_text("#question"))
            by_mouse(page, place)

        take_part(page, study, choose, press_next)
        page.wait_for_selector(END)
        assert all(HOSTILE in text for text in seen)
        assert page.title() == HOSTILE  # nothing ran
        assert page.get_attribute("#leave a", "href") == "https://example.org/a?b=c&d"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, server, scheme):
    Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
    page, study = open_page(color_scheme=scheme), read_study(server[1])
    seen = {}

    def look(name):
        if name not in seen:
            found = Axe().run(page).response["violations"]
            seen[name] = [(v["id"], v["nodes"][0]["html"]) for v in found]

    look("welcome")
    page.click("#begin")

    def choose(page, place):
        look(current(page)[0])
        by_mouse(page, place)

    take_part(page, study, choose, press_next)
    page.wait_for_selector(END)
    look("end")
    assert set(seen) == {"welcome", "caption", "objects", "relations", "end"}
    assert not any(seen.values()), seen  # not even what is not serious


def test_the_exported_page_is_taken_to_the_end_and_its_answers_come_back(open_page, tmp_path):
    study = small_study(tmp_path)
    ExportOptions(study=str(tmp_path), participants=5).run(tmp_path)
    page_file = tmp_path / "export" / "study.html"
    with (tmp_path / "export" / "participants.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["address"] for row in rows] == [f"study.html?number={k}" for k in range(5)]
    page = open_page(f"{page_file.as_uri()}?number=3", accept_downloads=True)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.click("#begin")
    order = [entry.question for entry in study.assignment(3)]
    kept = {}
    for question in order:
        kind, keys, _ = current(page)
        assert kind == question.kind
        [presented] = [p for p in study.assignment(3) if p.question is question]
        names = [choice.id for choice in question.choices] or ["0", "1"]
        assert keys == [names[place] for place in presented.order]
        by_mouse(page, 0)
        page.wait_for_selector(READY)
        kept[question.id] = (keys[0],)
        go_on(page, lambda: press_next(page))
        if question is order[2]:
            page.reload()
    page.wait_for_selector(END)
    assert [url for url in asked if not url.startswith(("data:", page_file.as_uri()))] == []
    with page.expect_download() as download:
        page.click("#download")
    answers = tmp_path / "answers.csv"
    download.value.save_as(answers)
    found = read_answers(answers)
    assert {a.question: a.choice for a in found} == kept
    assert {(a.number, a.completed) for a in found} == {(3, True)}
    bundle = tmp_path / "bundle.csv"
    with bundle.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["Answer.answers"], [page.input_value("#answers")]])
    assert read_answers(bundle) == found
    assert json.loads(page.input_value("#answers"))["completed"] is True
