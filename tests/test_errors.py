"""What every sentence is, whatever a file put into it."""

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.program import UsageError


def test_sentences_are_short_and_move_no_cursor():
    name = "a\x1b[31mred\x07\r\u202e\ud800 b\u2028" + "x" * 10**6
    for kind in (Sg2ImError, UsageError):
        sentence = str(kind(f"The file {name} is wrong: give another."))
        assert sentence.isprintable() and len(sentence) <= 1000
        assert sentence.startswith("The file a\\x1b[31mred\\x07\\r\\u202e\\ud800 b\\u2028")
        assert sentence.endswith("is wrong: give another.")


def test_names_in_any_script_and_several_lines_stay():
    text = "Zürich 東京 🐑 ñ:\n  one\n  two"
    assert str(Sg2ImError(text)) == text
