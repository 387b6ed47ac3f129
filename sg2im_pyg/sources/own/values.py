"""Values as other programs write them: numbers as texts, ids that are names, NaN for nothing."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from sg2im_pyg.sources.json_stream import number, numbers, side


def size(height: Any, width: Any) -> tuple[int, int] | None:
    """Height and width, :obj:`None` where one of them is missing."""
    rows, columns = side(height), side(width)
    return None if rows is None or columns is None else (rows, columns)


def identity(value: Any) -> str | None:
    """An id as a text that is the same however it is written; :obj:`None` where there is none.

    Examples:
        >>> identity(1), identity("1"), identity(1.0), identity("1.0"), identity(" a "), identity(0)
        ('1', '1', '1', '1', 'a', '0')
        >>> identity(None), identity(""), identity([1])
        (None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        text = value.strip()
        found = number(text) if text[:1] in "-0123456789." else None
        # "007" and "1e3" are names.
        plain = found is not None and text.removesuffix(".0") == f"{found:.0f}"
        return (text.removesuffix(".0") if plain else text) or None
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else None
    return f"{value:.0f}" if value.is_integer() else (str(value) if math.isfinite(value) else None)


def clean_name(value: Any) -> str | None:
    """The name of a category or predicate without blanks around and what can not be printed;
    :obj:`None` where nothing is left.

    Examples:
        >>> clean_name(" traffic   light\\n"), clean_name(3), clean_name(""), clean_name(None)
        ('traffic light', '3', None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value)[:1000]
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or None


def corners_of(x: float, y: float, width: float, height: float) -> tuple[float, ...]:
    """The corners of a box that is given by its left upper one and its sides."""
    return x, y, x + width, y + height


def polygons(content: Any) -> Any:
    """An outline as a list of compact polygons where it is made of polygons, else as it is.

    A single polygon without the list around it (VIA), lists of pairs, and numbers in texts are
    read, too; empty ones are left out.
    """
    if not isinstance(content, list):
        return content
    if content and all(number(value) is not None for value in content):
        content = [content]
    found = []
    for part in content:
        if isinstance(part, (list, tuple)) and part and isinstance(part[0], (list, tuple)):
            part = [value for pair in part for value in (pair if len(pair) == 2 else [None])]
        if part is None or (isinstance(part, (list, tuple)) and not part):
            continue
        values = numbers(part)
        if values is None or len(values) % 2:
            return content  # said where it is used
        found.append(values)
    return found


def bounds(outline: Iterable[Sequence[float]]) -> tuple[float, float, float, float] | None:
    """The box around polygons; none around nothing."""
    xs = [x for polygon in outline for x in polygon[0::2]]
    ys = [y for polygon in outline for y in polygon[1::2]]
    return (min(xs), min(ys), max(xs), max(ys)) if xs and ys else None
