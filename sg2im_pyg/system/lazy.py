"""Packages whose names are imported when they are first used.

torch and PyG take seconds to import; the processes that draw landscapes need neither, and until
they are there Ctrl-C is already answered with a word instead of a traceback.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from sg2im_pyg.errors import Sg2ImError


def lazy_names(package: str) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """``__all__``, ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    It offers the names that it imports ``if TYPE_CHECKING``, and its modules as attributes.

    Args:
        package: Name of the package, which is being imported.

    Examples:
        >>> import sg2im_pyg.nn
        >>> names, getattr_, dir_ = lazy_names("sg2im_pyg.nn")
        >>> getattr_("TripleConv") is getattr_("triple_conv").TripleConv
        True
    """
    module = sys.modules[package]
    homes = {
        name.name: statement.module
        for block in ast.parse(inspect.getsource(module)).body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }

    def modules() -> list[str]:
        return [found.name for found in iter_modules(module.__path__) if found.name[0] != "_"]

    def get_name(name: str) -> Any:
        if name in homes:
            return getattr(import_module(str(homes[name])), name)
        if name in modules():
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return sorted(homes), get_name, lambda: sorted([*homes, *modules()])


@contextmanager
def packages_of(extra: str) -> Iterator[None]:
    """Where packages of an extra of setup.cfg are imported.

    Raises:
        Sg2ImError: If one of them is not installed; it says how to do it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "sg2im_pyg":
            raise
        raise Sg2ImError(
            f"{error.name} is not installed, which this needs: python -m pip install "
            f"'sg2im-pyg[{extra}]'"
        ) from error
