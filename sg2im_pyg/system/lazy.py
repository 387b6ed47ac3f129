"""Packages whose names are imported when they are first used.

torch and PyG take seconds to import; the processes that draw landscapes need neither, and until
they are there Ctrl-C is already answered with a word instead of a traceback.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: Name of the package.
        modules: Its modules that may be reached as attributes, each with the names that the
            package itself offers from it.

    Examples:
        >>> getattr_, dir_ = lazy_names("os", {"path": ("join",)})
        >>> getattr_("join")("a", "b") == getattr_("path").join("a", "b"), dir_()
        (True, ['join', 'path'])
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get_name(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        if name in modules:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get_name, lambda: sorted([*homes, *modules])
