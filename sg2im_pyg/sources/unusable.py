"""Annotations that can not be used: they are named together, or left out and counted."""

from pathlib import Path

from sg2im_pyg.errors import Sg2ImError

LEFT_OUT = "annotations that can not be used, left out"
"""Why annotations are missing, in a store's report."""

_NAMED = 20


class Unusable:
    """What is wrong with annotations, while their files are read to the end.

    Examples:
        >>> found = Unusable()
        >>> found.add(Path("a.json"), "annotation 7", "has no box")
        >>> found.raise_any()
        Traceback (most recent call last):
        sg2im_pyg.errors.Sg2ImError: The annotation 7 of a.json has no box: correct or remove it, \
or leave it out with --skip_unreadable.
    """

    def __init__(self) -> None:
        self.count = 0
        self._named: dict[Path, list[tuple[str, str]]] = {}

    def add(self, path: Path, label: str, what: str) -> None:
        """Notes an annotation.

        Args:
            path: Its file.
            label: Names it within the file.
            what: What is wrong with it, as the end of a sentence.
        """
        if self.count < _NAMED:
            self._named.setdefault(path, []).append((label, what))
        self.count += 1

    def raise_any(self) -> None:
        """Raises if there is one.

        Raises:
            Sg2ImError: With the first twenty, and how many more there are.
        """
        if not self.count:
            return
        if self.count == 1:
            [(path, [(label, what)])] = self._named.items()
            raise Sg2ImError(
                f"The {label} of {path} {what}: correct or remove it, or leave it out with "
                "--skip_unreadable."
            )
        lines = [
            f"{self.count:,} annotations can not be used: correct or remove them, or leave them "
            "out with --skip_unreadable."
        ]
        for path, found in self._named.items():
            lines += [f"In {path}:", *(f"  {label} {what}." for label, what in found)]
        if self.count > _NAMED:
            lines.append(f"And {self.count - _NAMED:,} more.")
        raise Sg2ImError("\n".join(lines))
