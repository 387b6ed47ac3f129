"""JSON read entry by entry gives what a parser gives, and a sentence for each way to be wrong."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources import json_stream
from sg2im_pyg.sources.json_stream import number, read_entries, whole

keys = st.text('aN\\\\"', max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
# A name with a dot would be two names of a path to ijson.
entries = st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=5)


def comparable(value):
    """Characters that no encoding has are read as "?"."""
    return json.loads(json.dumps(value).encode("utf-8", "replace"))


@settings(deadline=None, max_examples=60)
@given(entries, st.booleans(), st.sampled_from([None, "images"]), st.sampled_from([None, 2]))
def test_entries_are_those_of_a_parser(tmp_path_factory, found, has_mark, key, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    content = found if key is None else {"info": {"a": [{"b": 1}]}, key: found, "last": [1]}
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    mark = b"\xef\xbb\xbf" if has_mark else b""
    path.write_bytes(mark + text.encode("utf-8", "replace"))
    expected = json.loads(text.encode("utf-8", "replace"))
    assert list(read_entries(path, key)) == (expected if key is None else expected[key])


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.75, 0.999])
@pytest.mark.parametrize("key", [None, "images"])
def test_a_file_cut_anywhere_is_said_to_be_cut(tmp_path, share, key):
    found = [{"name": f"a{i}, b]", "box": [1.5, 2, 3], "x": {"y": None}} for i in range(50)]
    text = json.dumps(found if key is None else {key: found})
    path = tmp_path / "a.json"
    path.write_text(text[: int(share * len(text))], encoding="utf-8")
    with pytest.raises(Sg2ImError, match=r"a\.json ends in the middle \(after [\d,]+ bytes"):
        list(read_entries(path, key))


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is empty"),
        (b" \n ", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"{}", "has no list 'images' of entries"),
        (b"[]", "has no list 'images' of entries"),
        (b'"text"', "has no list 'images' of entries"),
        (b'{"images": {}}', "has no list 'images' of entries"),
        (b'{"images": [null]}', "has no list 'images' of entries"),
        (b'{"images": [[]]}', "has no list 'images' of entries"),
        (b'{"a": {"images": [{}]}}', "has no list 'images' of entries"),
        (b'{"images"; []}', r"no valid JSON in UTF-8 \(.*, near '\{\"images\"; \[\]\}'\)"),
        (b'{"images": [{"a": "\xff"}]}', "no valid JSON in UTF-8 .*UTF8"),
        (b'{"images": [{"a": nan}]}', "no valid JSON"),
        (b'{"images": [{"a": NaNa}]}', "no valid JSON"),
        (b'{"images": [{"a": 1e999}]}', "no valid JSON .*overflow"),
        (b'{"images": [{}]} {}', "no valid JSON .*trailing"),
        (b'{"images": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", "thousands of brackets"),
        (b'{"images":' * 10**5 + b"}" * 10**5, "thousands of brackets"),
    ],
)
def test_wrong_files(tmp_path, content, sentence):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(Sg2ImError, match=rf"a\.json .*{sentence}"):
        list(read_entries(path, "images"))
    with pytest.raises(Sg2ImError, match=r"none\.json is missing"):
        list(read_entries(tmp_path / "none.json", "images"))


numbers = st.floats() | st.integers(-5, 5) | st.text('NaInfity-"\\\\ ,:[]{}x', max_size=9)
keys = st.text('aN\\\\"', max_size=3)
values = st.recursive(numbers, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.dictionaries(st.text('aN\\\\"', max_size=3), values), min_size=1, max_size=3),
    st.data(),
)
def test_nan_and_infinity_are_texts_wherever_blocks_end(tmp_path_factory, found, data):
    def expected(value):
        if isinstance(value, float) and not math.isfinite(value):
            return json.dumps(value)
        if isinstance(value, list):
            return list(map(expected, value))
        if isinstance(value, dict):
            return {key: expected(inner) for key, inner in value.items()}
        return value

    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps({"images": found}, indent=data.draw(st.sampled_from([None, 1]))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BUFFER", data.draw(st.integers(1, 40)))
        assert list(read_entries(path, "images")) == expected(found)


@pytest.mark.parametrize(
    "value, as_whole, as_number",
    [
        (7, 7, 7),
        ("7", 7, 7),
        (" 7 ", 7, 7),
        (7.0, 7, 7),
        ("7.0", 7, 7),
        ("007", 7, 7),
        ("7.5", None, 7.5),
        ("1e3", None, 1000),
        ("-7", None, -7),
        ("NaN", None, None),
        ("Infinity", None, None),
        ("1_000", None, None),
        ("seven", None, None),
        ("", None, None),
        ("9" * 5000, None, None),
        (10**400, None, None),
        (2345678901, 2345678901, 2345678901),
        (True, None, None),
        (None, None, None),
        ([7], None, None),
    ],
)
def test_numbers_in_the_ways_that_programs_write_them(value, as_whole, as_number):
    assert whole(value) == as_whole
    assert number(value) == as_number
