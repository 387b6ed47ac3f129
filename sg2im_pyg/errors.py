"""The one exception for mistakes that a user can put right, and words for its sentences."""

import difflib
import unicodedata
from collections.abc import Iterable


class Sg2ImError(ValueError):
    """Something given by the user is wrong: a file, a name, a size, an option.

    The message is one sentence that says what is wrong and where, what was expected, and what
    to do. The programs print it without a traceback and end with a non-zero exit status.

    Whatever a file put into it, the message is no longer than a person reads, and holds no
    characters that move a terminal's cursor or turn the direction of writing; see
    :func:`readable`.
    """

    def __init__(self, message: object = "", *others: object) -> None:
        super().__init__(readable(str(message)), *others)


_MOST_OF_A_LINE, _KEPT_OF_ITS_END = 1000, 300
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of controls, formats, halves of characters and separators of lines."""


def readable(text: str) -> str:
    """A text as it can be shown: characters that are not seen are written out, and the middle of a
    line that is too long is left out.

    Examples:
        >>> readable("a name\\x1b[31m")
        'a name\\\\x1b[31m'
        >>> len(readable("x" * 10**6))
        1000
    """
    shown = []
    for line in text.split("\n"):
        line = _cut(line)
        if not line.isprintable():
            line = _cut("".join(map(_seen, line)))
        shown.append(line)
    return "\n".join(shown)


def _cut(line: str) -> str:
    if len(line) <= _MOST_OF_A_LINE:
        return line
    begin = _MOST_OF_A_LINE - _KEPT_OF_ITS_END - len(" ... ")
    return f"{line[:begin]} ... {line[-_KEPT_OF_ITS_END:]}"


def _seen(character: str) -> str:
    if unicodedata.category(character) in _UNSEEN:
        return character.encode("unicode_escape", "backslashreplace").decode()
    return character


def first_line(error: BaseException) -> str:
    """What another library's exception says, short enough for a sentence of ours."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":.") if lines else type(error).__name__


def nearest(name: object, known: Iterable[str], otherwise: str = "give one of") -> str:
    """The end of the sentence that a name is none of the known ones.

    Args:
        name: What was given.
        known: The names that there are.
        otherwise: What stands before some of them where none is near.

    Examples:
        >>> nearest("lanscapes", ["coco", "landscapes"])
        "did you mean 'landscapes'?"
        >>> nearest("zebra", ["coco", "landscapes"])
        'give one of coco, landscapes.'
    """
    known = list(known)
    near = difflib.get_close_matches(str(name)[:100].lower(), known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"{otherwise} {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}."


def shortened(text: object, most: int = 60) -> str:
    """As many characters of a text as a person would read in a sentence.

    Examples:
        >>> shortened("as it is"), shortened(10**99, 8)
        ('as it is', '10000...')
    """
    text = str(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."
