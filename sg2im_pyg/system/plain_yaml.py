"""YAML as options are written in: numbers, texts, lists and groups, in a few levels.

What else YAML can do is refused before anything is made of it: aliases grow without bound, levels
are gone through by recursion, and the time of reading grows with the square of their number.
"""

from typing import Any

import yaml
from yaml.tokens import (
    AliasToken,
    AnchorToken,
    BlockEndToken,
    BlockMappingStartToken,
    BlockSequenceStartToken,
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
)

_NULL = "tag:yaml.org,2002:null"
_MOST_LEVELS = 20
_MOST_BYTES = 2**17
_BEGIN = (
    BlockMappingStartToken,
    BlockSequenceStartToken,
    FlowMappingStartToken,
    FlowSequenceStartToken,
)
_END = (BlockEndToken, FlowMappingEndToken, FlowSequenceEndToken)


class PlainYamlError(ValueError):
    """A text is no plain YAML; the message says why, and where."""


def load_yaml(text: str) -> Any:
    """What a text holds.

    Raises:
        PlainYamlError: If it is no YAML, or asks for more than options need, or an entry of a group
            or list is empty (one that is meant to be none is written :obj:`null`).

    Examples:
        >>> load_yaml("steps: 3\\nbetas: [0, 0.9]\\nlimit: null")
        {'steps': 3, 'betas': [0, 0.9], 'limit': None}
        >>> load_yaml("losses: {mask: , box: 1}")
        Traceback (most recent call last):
        sg2im_pyg.system.plain_yaml.PlainYamlError: it names 'losses.mask' without a value
    """
    check_yaml(text)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_entries(node, "")
        return loader.construct_document(node)
    except PlainYamlError:
        raise
    except Exception as error:  # constructors raise nearly anything at numbers and dates
        raise _no_yaml(error) from error
    finally:
        loader.dispose()


def check_yaml(text: str) -> None:
    """Goes through a text without making anything of it.

    Raises:
        PlainYamlError: As for :func:`load_yaml`, without regard to what is empty.
    """
    if len(text) > _MOST_BYTES:
        raise PlainYamlError(f"it has {len(text):,} characters, too many for options")
    level, anchored = 0, False
    try:
        for token in yaml.scan(text):
            level += isinstance(token, _BEGIN)
            level -= isinstance(token, _END)
            anchored = anchored or isinstance(token, AnchorToken)
            if level > _MOST_LEVELS:
                raise PlainYamlError(f"it has more than {_MOST_LEVELS} levels")
            if isinstance(token, AliasToken) and anchored:
                raise PlainYamlError("it has an alias (*name), write the options out")
    except yaml.YAMLError as error:
        raise _no_yaml(error) from error


def grows(text: str) -> bool:
    """Whether a text is one that must not be given to a parser of YAML, because of its levels or
    aliases; a text that is no YAML at all does no harm."""
    try:
        check_yaml(text)
    except PlainYamlError as error:
        return not isinstance(error.__cause__, yaml.YAMLError)
    return False


def _check_entries(node: yaml.Node, name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            own = key.value if isinstance(key.value, str) else "?"
            _check_entries(value, f"{name}.{own}" if name else own)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_entries(value, name)
    elif name and node.tag == _NULL and not node.value:
        raise PlainYamlError(f"it names {name!r} without a value")


def _no_yaml(error: Exception) -> PlainYamlError:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or type(error).__name__
    return PlainYamlError(f"{place}this is no YAML ({problem})")
