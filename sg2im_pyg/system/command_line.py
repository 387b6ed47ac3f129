"""The command lines of all programs: dataclasses of options in, filled ones out, and each mistake
in one sentence of a person's words.

The fields of the dataclasses are the options, and the texts below them are the help. Options of a
group are named with a dot (``--optimizer.lr``). Hyphens and underscores are the same in names; an
option that is a list takes several words (``--rows full no_gconv``), and one of yes or no needs
none (``--overwrite``).
"""

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from sg2im_pyg.errors import Sg2ImError, nearest, shortened
from sg2im_pyg.system.options import (
    ADDS_UP,
    BARE,
    METAVAR,
    POSITIONAL,
    RANGE,
    expected,
    shown,
    takes_none,
)
from sg2im_pyg.system.plain_yaml import PlainYamlError, grows, load_yaml
from sg2im_pyg.system.program import UsageError, as_started

T = TypeVar("T")
_SEE_HELP = "see --help for all options"
_LARGEST, _DIGITS = 10**100, re.compile(r"\s*[-+]?\d{100,}\s*")
_TRUTHS = ("true", "false", "yes", "no", "on", "off")


def parse_options(
    options: type[T], arguments: Iterable[str] | None, program: str, description: str | None
) -> T:
    """Reads a command line.

    Args:
        options: Dataclass of the options.
        arguments: The words after the program's name; by default those that Python was given.
        program: The program's name, see :func:`~sg2im_pyg.system.program.program_name`.
        description: First lines of its help; their line breaks are kept.

    Raises:
        UsageError: If there is no such option, or a value is none of its option.
        Sg2ImError: What the dataclass itself raises.
        SystemExit: After ``--help``.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Options:
        ...     names: list[str]
        ...     image_size: int = 64
        ...     overwrite: bool = False
        >>> words = ["--overwrite", "--image-size=32", "--names", "a", "b"]
        >>> parse_options(Options, words, "program", None)
        Options(names=['a', 'b'], image_size=32, overwrite=True)
        >>> parse_options(Options, ["--name=32"], "program", None)
        Traceback (most recent call last):
        sg2im_pyg.system.program.UsageError: There is no option --name: did you mean --names?
    """
    [filled] = CommandLine(options, program=program, description=description).parse(arguments)
    return filled


def choose(
    arguments: Iterable[str] | None,
    choices: Mapping[str, str],
    kind: str,
    program: str,
    description: str,
) -> tuple[str, list[str]]:
    """Reads the first word of a command line that chooses between several.

    Args:
        arguments: The words after the program's name; by default those that Python was given.
        choices: What may be chosen, each with what it is.
        kind: What they are called, such as :obj:`"COMMAND"`.
        program: The program's name.
        description: First lines of its help.

    Returns:
        The choice, and the other words.

    Raises:
        UsageError: If there is no such choice, or none was made.
        SystemExit: After ``--help``.
    """
    first, *others = (sys.argv[1:] if arguments is None else list(arguments)) or [""]
    if first in choices:
        return first, others
    if first in ("-h", "--help"):
        width = max(map(len, choices))
        print(f"usage: {program} {kind} [OPTIONS]\n\n{as_started(description).strip()}\n\n{kind}:")
        print("\n".join(f"  {name:{width}}  {text}" for name, text in choices.items()))
        print(f"\n'{program} {kind} --help' explains the options of each.")
        raise SystemExit(0)
    if not first:
        raise UsageError(f"{kind} must be given: one of {', '.join(choices)}.")
    raise UsageError(f"There is no {kind} {shortened(first)!r}: {nearest(first, choices)}")


def did_you_mean(name: str, names: Iterable[str]) -> list[str]:
    """The names that somebody who wrote another one may have meant, at most three.

    Examples:
        >>> did_you_mean("lr", ["losses.box", "optimizer.lr"])
        ['optimizer.lr']
        >>> did_you_mean("losses.bocks", ["losses.box", "optimizer.lr"])
        ['losses.box']
    """
    names = list(names)
    last = name.rpartition(".")[2]
    ends = [other.rpartition(".")[2] for other in names]
    exact = [other for other, end in zip(names, ends) if end == last]
    if exact:
        return exact[:3]
    alike = difflib.get_close_matches(last, ends, 1)
    near = difflib.get_close_matches(name, names, 1)
    return near or [other for other, end in zip(names, ends) if end in alike][:3]


class CommandLine:
    """The options of a program.

    Args:
        *options: Dataclasses of the options, in the order of the help.
        program: The program's name.
        description: First lines of its help.
        usage: How it is called, where a list of all options would be too long.
    """

    def __init__(
        self, *options: type, program: str, description: str | None = None, usage: str | None = None
    ) -> None:
        self.classes = options
        self.options: dict[str, Field] = {}
        self.hints: dict[str, Any] = {}  # of groups of options, too
        for cls in options:
            self._collect(cls, "")
        self.positional = [n for n, field in self.options.items() if POSITIONAL in field.metadata]
        set_parsing_settings(docstring_parse_attribute_docstrings=True)
        self.parser = _Parser(
            self.options,
            prog=program,
            description=description and as_started(description),
            usage=usage,
            formatter_class=_HelpFormatter,
            exit_on_error=False,
        )
        for cls in options:
            self.parser.add_class_arguments(cls, as_group=False)

    def parse(self, arguments: Iterable[str] | None = None) -> list[Any]:
        """The dataclasses, filled; see :meth:`read` and :meth:`fill`."""
        return self.fill(self.read(arguments))

    def read(self, arguments: Iterable[str] | None = None) -> dict[str, Any]:
        """The values on a command line by the names of their options: texts, and lists of texts.

        Args:
            arguments: The words after the program's name; by default those that Python was given.

        Raises:
            UsageError: If there is no such option, or its value is left out.
            SystemExit: After ``--help``.
        """
        words = sys.argv[1:] if arguments is None else list(arguments)
        if {"-h", "--help"} & set(words):
            self.parser.parse_args(["--help"])
        given: dict[str, Any] = {}
        loose: list[str] = []
        waiting = words[::-1]
        while waiting:
            word = waiting.pop()
            if word == "--":
                loose += reversed(waiting)
                break
            if not is_option(word):
                loose.append(word)
                continue
            name, (_, equals, value) = name_of(word), word.partition("=")
            if name not in self.hints or name in self.positional:
                raise UsageError(self._unknown(name))
            values = [value] if equals else self._take(name, waiting)
            if not values:
                raise UsageError(f"--{name}: expected one argument, {self._expected(name)}.")
            if name not in self.options:  # a group as a whole
                given.update(_flat({name: _loaded(values[0])}, self.hints))
            elif not _is_list(self.hints[name]):
                given[name] = values[0]
            elif len(values) == 1 and (values[0].startswith("[") or values[0] == "null"):
                given[name] = _loaded(values[0])
            else:
                adds_up = ADDS_UP in self.options[name].metadata or "+" in word.partition("=")[0]
                given[name] = [*(given.get(name) or []), *values] if adds_up else values
        for name in self.positional:
            if loose and _is_list(self.hints[name]):
                given[name], loose = loose, []
            elif loose:
                given[name] = loose.pop(0)
        if loose:
            raise UsageError(f"{loose[0]!r} is not expected here: {_SEE_HELP}.")
        return given

    def fill(
        self, given: Mapping[str, Any], contents: Iterable[tuple[str, Mapping[str, Any]]] = ()
    ) -> list[Any]:
        """The dataclasses, filled from their defaults, then the contents, then a command line.

        Args:
            given: What :meth:`read` gave.
            contents: Options of files, each with the name of its file; later ones win.

        Raises:
            UsageError: If a value of the command line is none of its option.
            Sg2ImError: If a content is wrong, and what the dataclasses themselves raise.
        """
        values: dict[str, Any] = {}
        places: dict[str, str] = {}  # of the values, where they are of a file
        for place, content in contents:
            flat = {str(name): value for name, value in _flat(content, self.hints)}
            values |= flat
            places |= dict.fromkeys(flat, place)
        places = {name: place for name, place in places.items() if name not in given}
        filled = self._check(values | dict(given), places)
        return [_fill(cls, filled) for cls in self.classes]

    def split(self, arguments: Iterable[str]) -> tuple[list[str], list[str]]:
        """The words that belong to these options, and those after options of somebody else's."""
        own: list[str] = []
        others: list[str] = []
        chosen = own
        for word in arguments:
            if is_option(word):
                known = name_of(word) in self.hints or word in ("-h", "--help")
                chosen = own if known else others
            chosen.append(word)
        return own, others

    def _collect(self, cls: type, prefix: str) -> None:
        hints = get_type_hints(cls)
        for field in fields(cls):
            name = prefix + field.name
            self.hints[name] = hints[field.name]
            if isinstance(self.hints[name], type) and is_dataclass(self.hints[name]):
                self._collect(self.hints[name], f"{name}.")
            else:
                self.options[name] = field

    def _take(self, name: str, waiting: list[str]) -> list[str]:
        """Takes the values of an option from the words that follow it, of which the last is next;
        or those that it has without any."""
        hint = self.hints[name]
        values: list[str] = []
        while waiting and not is_option(waiting[-1]) and (not values or _is_list(hint)):
            if hint is bool and waiting[-1].lower() not in _TRUTHS:
                break
            values.append(waiting.pop())
        bare = "true" if hint is bool else None
        if name in self.options:
            bare = self.options[name].metadata.get(BARE, bare)
        return values or [bare] if bare is not None else values

    def _check(self, given: Mapping[str, Any], places: Mapping[str, str]) -> Namespace:
        """The options given, each as its type wants it, and the defaults of the others."""
        for name, value in given.items():
            if name not in self.hints:
                raise self._refusal(name, self._unknown(name, name in places), places)
            if name not in self.options:
                sentence = f"{self._called(name, places)} must hold options, got {shown(value)}."
                raise self._refusal(name, sentence, places)
            texts = [value, *(value if isinstance(value, (list, tuple)) else [])]
            none = value is None and not takes_none(self.hints[name])
            if none or any(map(_grows, texts)):
                raise self._refusal(name, self._wrong(name, value, places), places)
        for name, field in self.options.items():
            if field.default is field.default_factory is MISSING and name not in given:
                raise UsageError(f"{self._called(name)} must be given: {_SEE_HELP}.")
        content = Namespace()
        for name, value in given.items():  # the parser changes lists
            content[name] = list(value) if isinstance(value, list) else value
            if type(value) is int and str in (self.hints[name], *get_args(self.hints[name])):
                content[name] = str(value)  # YAML takes a text of digits for a number
        try:
            return self.parser.parse_object(content)
        except argparse.ArgumentError as error:
            found = re.search(r'key "([^"]+)"', str(error))
            name = found[1] if found else ""
            if name not in given:
                raise UsageError(f"{' '.join(str(error).split()).rstrip('.')}.") from error
            sentence = self._wrong(name, given[name], places)
            raise self._refusal(name, sentence, places) from error

    def _wrong(self, name: str, value: Any, places: Mapping[str, str]) -> str:
        called = self._called(name, places)
        return f"{called} must be {self._expected(name)}, got {shown(value)}."

    def _refusal(self, name: str, sentence: str, places: Mapping[str, str]) -> Sg2ImError:
        return Sg2ImError(f"{places[name]}: {sentence}") if name in places else UsageError(sentence)

    def _called(self, name: str, places: Mapping[str, str] = {}) -> str:
        if name in self.positional:
            return self.options[name].metadata.get(METAVAR) or name
        return name if name in places else f"--{name}"

    def _expected(self, name: str) -> str:
        bounds = self.options[name].metadata.get(RANGE) if name in self.options else None
        return expected(self.hints[name], bounds)

    def _unknown(self, name: str, in_file: bool = False) -> str:
        dashes = "" if in_file else "-" if len(name) == 1 else "--"
        near = did_you_mean(name, (n for n in self.options if n not in self.positional))
        meant = " or ".join(f"{'' if in_file else '--'}{other}" for other in near)
        return f"There is no option {dashes}{name}: " + (
            f"did you mean {meant}?" if meant else f"{_SEE_HELP}."
        )


class _Parser(ArgumentParser):
    """Adds what stands in the metadata of the fields."""

    def __init__(self, options: Mapping[str, Field], **kwargs: Any) -> None:
        self._own = options
        super().__init__(**kwargs)

    def add_argument(self, *names: str, **kwargs: Any) -> Any:
        own = getattr(self, "parser", self)._own  # jsonargparse gives this method to groups, too
        name = names[0].removeprefix("--")
        metadata = own[name].metadata if name in own else {}
        if METAVAR in metadata:
            kwargs["metavar"] = metadata[METAVAR]
        if POSITIONAL in metadata:
            names = (name,)
            if not kwargs.pop("required", False):
                kwargs["nargs"] = "?"
        elif kwargs.get("type") is bool:
            kwargs["nargs"] = "?"
        return super().add_argument(*names, **kwargs)


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, which are commands to type."""


def is_option(word: str) -> bool:
    """Whether a word of a command line names an option."""
    return word.startswith("-") and len(word) > 1 and not re.match(r"-\.?\d", word)


def name_of(word: str) -> str:
    """The option that such a word names, with underscores."""
    return word.partition("=")[0].lstrip("-").replace("-", "_").removesuffix("+")


def _is_list(hint: Any) -> bool:
    return any(get_origin(kind) is list for kind in (hint, *get_args(hint)))


def _loaded(value: str) -> Any:
    try:
        return load_yaml(value)
    except PlainYamlError:
        return value


def _grows(value: Any) -> bool:
    """Whether a value must not be given to the parser: a text of many levels, or a number that no
    floating point number is as large as."""
    if isinstance(value, int):
        return not -_LARGEST < value < _LARGEST
    return isinstance(value, str) and (bool(_DIGITS.fullmatch(value)) or grows(value))


def _flat(content: Mapping[str, Any], hints: Mapping[str, Any], prefix: str = "") -> Iterator[Any]:
    """Options with their dotted names; groups that are none are given as they are."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and is_dataclass(hints.get(name)):
            yield from _flat(value, hints, f"{name}.")
        else:
            yield name, value


def _fill(cls: type[T], values: Namespace) -> T:
    hints = get_type_hints(cls)
    filled = {field.name: values[field.name] for field in fields(cls)}  # type: ignore[arg-type]
    groups = {name: hints[name] for name in filled if is_dataclass(hints[name])}
    return cls(**filled | {name: _fill(kind, filled[name]) for name, kind in groups.items()})
