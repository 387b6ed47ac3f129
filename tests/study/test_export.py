"""A study as one file: whole, closed, and without a word of what participants may not know."""

import base64
import hashlib
import html
import json
import re

import pytest

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.study import export
from sg2im_pyg.study.page import presented_entry
from sg2im_pyg.study.serve_options import ExportOptions
from tests.study.studies import small_study


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "s", title="</script><script>alert(1)</script>")


@pytest.fixture
def page(study, tmp_path):
    ExportOptions(
        study=str(tmp_path / "s"),
        output=str(tmp_path / "out"),
        participants=4,
        address="https://files.example/study.html?a=b",
        completion_code="C0DE",
    ).run(tmp_path)
    return (tmp_path / "out" / "study.html").read_text(encoding="utf-8")


def data_of(page):
    return json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


def test_it_holds_what_the_server_would_send(page, study, tmp_path):
    """A reader of the data puts each participant's questions together as the server does."""
    data = data_of(page)
    assert len(data["assignments"]) == 4
    for number, assignment in enumerate(data["assignments"]):
        shown = []
        for place, order in assignment:
            question = data["questions"][place]
            keyed = list(enumerate(data["pictures"][k] for k in question["pictures"]))
            if question["kind"] == "caption":
                shown.append((question["id"], [keyed[k] for k in order], []))
            else:
                chosen = [question["choices"][k] for k in order]
                shown.append((question["id"], keyed, chosen))
        expected = []
        for entry in map(presented_entry, study.assignment(number)):
            pictures = [
                (
                    int(picture["key"]),
                    "data:image/png;base64,"
                    + base64.b64encode((tmp_path / "s" / picture["address"]).read_bytes()).decode(),
                )
                for picture in entry["pictures"]
            ]
            expected.append((entry["id"], pictures, entry["choices"]))
        assert shown == expected
    assert data["closing"] == {"code": "C0DE", "address": None}


def test_its_policy_lets_only_its_own_script_run_and_fetches_nothing(page):
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for tag in ("script", "style"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"<(link|script|img)[^>]*(src|href)=", page)


def test_it_tells_nothing_of_systems_and_checks(page):
    shown = json.dumps({name: v for name, v in data_of(page).items() if name != "pictures"})
    for word in ("ours", '"other"', "shuffled", '"thing"', "category", "check", "landscapes"):
        assert word not in shown
    assert "alert(1)</script>" not in page


def test_each_participant_has_a_row(page, tmp_path):
    rows = (tmp_path / "out" / "participants.csv").read_text().splitlines()
    assert rows[0] == "number,address" and len(rows) == 5
    assert rows[4] == "3,https://files.example/study.html?a=b&number=3"


def test_what_no_browser_opens_is_not_written(study, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_MOST_BYTES", 100)
    with pytest.raises(Sg2ImError, match="fewer questions, or serve it"):
        ExportOptions(study=str(tmp_path / "s")).run(tmp_path)
    assert not (tmp_path / "s" / "export").exists()
