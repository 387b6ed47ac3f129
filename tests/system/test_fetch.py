"""Downloads from a server on this machine that misbehaves as told."""

import hashlib
import json
from contextlib import suppress
from dataclasses import replace

import pytest
import requests

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.cache import fetch_file
from sg2im_pyg.system.fetch import RemoteFile, fetch
from tests.system import server as serving
from tests.system.server import CONTENT, PIECE, Answer, described, names, no_space

server, waits, patience = serving.server, serving.waits, serving.patience

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


def test_records_of_earlier_versions_do_no_harm(tmp_path):
    """They stood in NAME.verified.json, and knew no time of the file in the cache."""
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    old = {"size": len(CONTENT), "mtime_ns": path.stat().st_mtime_ns, "sha256": sha256}
    (tmp_path / "file.bin.verified.json").write_text(json.dumps(old), encoding="utf-8")
    del old["mtime_ns"]
    (tmp_path / "file.bin.fetched.json").write_text(
        json.dumps({**old, "address": "http://127.0.0.1:1/"}), encoding="utf-8"
    )
    file = described([])
    assert fetch_file(file, tmp_path) == fetch(file, tmp_path) == path
    path.write_bytes(bytes(len(CONTENT)))
    with pytest.raises(Sg2ImError, match="no longer the file that came"):
        fetch_file(file, tmp_path)
    with pytest.raises(Sg2ImError, match="SHA-256"):
        fetch(file, tmp_path)
