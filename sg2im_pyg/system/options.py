"""Options as fields of dataclasses, each with its range beside it, and one wording for all."""

import math
import operator
from dataclasses import field, fields, is_dataclass
from itertools import repeat
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sg2im_pyg.errors import Sg2ImError, shortened

RANGE, METAVAR, POSITIONAL, BARE = "range", "metavar", "positional", "bare"
ADDS_UP = "adds up"
"""What :func:`option` keeps in a field's metadata."""

_BOUNDS = {
    "least": ("at least", operator.ge),
    "most": ("at most", operator.le),
    "above": ("more than", operator.gt),
    "below": ("less than", operator.lt),
}
_NOUNS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def option(
    default: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    metavar: str | None = None,
    positional: bool = False,
    bare: str | None = None,
    adds_up: bool = False,
) -> Any:
    """A field of a dataclass with the range of its value, or of each number of its list, and how
    it is given on a command line.

    Args:
        default: The default; lists and other mutable ones are given as a function that makes one,
            and :data:`dataclasses.MISSING` stands for none.
        least: Smallest value that is allowed.
        most: Largest value that is allowed.
        above: The value must be larger than this.
        below: The value must be smaller than this.
        metavar: Word that stands for the value in the help, such as :obj:`"FILE"`.
        positional: Given on a command line without its name; the last one may be a list, and then
            has a :obj:`metavar` such as :obj:`"NAME ..."`.
        bare: What the name alone means on a command line.
        adds_up: Whether a list that is given several times adds up; otherwise the last one counts.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Options:
        ...     steps: int = option(100, least=1)
        ...     def __post_init__(self):
        ...         check_options(self)
        >>> Options(steps=0)
        Traceback (most recent call last):
        sg2im_pyg.errors.Sg2ImError: steps must be a whole number, at least 1, got 0.
    """
    bounds = {"least": least, "most": most, "above": above, "below": below}
    others = {METAVAR: metavar, POSITIONAL: positional or None, BARE: bare}
    others |= {ADDS_UP: adds_up or None}
    metadata = {
        RANGE: {name: bound for name, bound in bounds.items() if bound is not None},
        **{name: value for name, value in others.items() if value is not None},
    }
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def check_options(options: Any, prefix: str = "") -> None:
    """Checks each field of a dataclass by its type and its range; groups of options within it are
    left to themselves.

    Args:
        options: The dataclass.
        prefix: What stands before the names in sentences, such as :obj:`"optimizer."`.

    Raises:
        Sg2ImError: At the first value that is none of its option.
    """
    hints = _hints(type(options))
    for entry in fields(options):
        value, hint = getattr(options, entry.name), hints[entry.name]
        if is_dataclass(hint):
            continue
        bounds = entry.metadata.get(RANGE, {})
        if not _fits(value, hint, bounds):
            raise Sg2ImError(
                f"{prefix}{entry.name} must be {expected(hint, bounds)}, got {shown(value)}."
            )


_HINTS: dict[type, tuple[dict[str, Any], dict[str, Any]]] = {}


def _hints(cls: type) -> dict[str, Any]:
    """The types of a dataclass's fields; resolved each time, they would take most of the time of
    many small checks."""
    written = cls.__annotations__  # another one where a table gave the class new fields
    if cls not in _HINTS or _HINTS[cls][0] is not written:
        _HINTS[cls] = written, get_type_hints(cls)
    return _HINTS[cls][1]


def expected(hint: Any, bounds: dict[str, float] | None = None) -> str:
    """What is asked of a value, in a person's words.

    Args:
        hint: Its type.
        bounds: Its range, as :func:`option` keeps it.

    Examples:
        >>> expected(int | None), expected(Literal["mean", "sum"])
        ('a whole number or null', 'one of mean, sum')
        >>> expected(tuple[int, int], {"least": 1})
        'a list of 2 whole numbers, each at least 1'
    """
    bounds = bounds or {}
    origin, arguments = get_origin(hint), get_args(hint)
    within = " and ".join(f"{_BOUNDS[name][0]} {_number(bound)}" for name, bound in bounds.items())
    if origin in (Union, UnionType):
        parts = [expected(kind, bounds) for kind in arguments if kind is not NoneType]
        return " or ".join([*parts, *(["null"] if NoneType in arguments else [])])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (list, tuple):
        kinds = [kind for kind in arguments if kind is not Ellipsis]
        count = f"{len(kinds)} " if origin is tuple and Ellipsis not in arguments else ""
        if get_origin(kinds[0]) in (list, tuple):
            return f"a list of {count}lists, each {expected(kinds[0], bounds)}"
        if get_origin(kinds[0]) is Literal:
            return f"a list of {count}words, each {expected(kinds[0])}"
        noun = {int: "whole numbers", float: "numbers", str: "texts"}.get(kinds[0], "values")
        return f"a list of {count}{noun}" + (f", each {within}" if within else "")
    noun = _NOUNS.get(hint, getattr(hint, "__name__", "a value"))
    return f"{noun}, {within}" if within else noun


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _fits(value: Any, hint: Any, bounds: dict[str, float]) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, kind, bounds) for kind in arguments)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            return False
        kinds = arguments if origin is tuple and Ellipsis not in arguments else None
        if kinds is not None and len(value) != len(kinds):
            return False
        return all(map(_fits, value, kinds or repeat(arguments[0]), repeat(bounds)))
    if hint is NoneType:
        return value is None
    if hint is Any:
        return True
    if hint is float and type(value) is int and abs(value) < 10**100:  # it fits
        value = float(value)
    if type(value) is not hint:
        return isinstance(hint, type) and hint not in (int, float, bool) and isinstance(value, hint)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return True
    return math.isfinite(value) and all(
        _BOUNDS[name][1](value, bound) for name, bound in bounds.items()
    )


def takes_none(hint: Any) -> bool:
    """Whether nothing is a value of a type."""
    return hint in (Any, NoneType) or NoneType in get_args(hint)


def shown(value: Any) -> str:
    """A wrong value for a sentence."""
    if value is None:
        return "null"
    return shortened(repr(list(value) if isinstance(value, tuple) else value))
