"""Mistakes in annotations: they are named together, or what has them is left out and counted."""

from pathlib import Path

from sg2im_pyg.errors import Sg2ImError, shortened

LEFT_OUT = "annotations that can not be used, left out"
"""Why annotations are missing, in a store's report."""

_NAMED = 20  # mistakes that an error names; of the others it says how many there are
_LONG = 300  # characters of one


class WrongAnnotation(ValueError):
    """An annotation can not be used; the text goes on from its name."""


class Mistakes:
    """What is wrong with annotations, while their files are read to the end.

    Examples:
        >>> found = Mistakes()
        >>> found.add("The annotation 7 of a.json has no box.")
        >>> found.check()
        Traceback (most recent call last):
        sg2im_pyg.errors.Sg2ImError: The annotation 7 of a.json has no box. Correct or remove it, \
or leave it out with --skip_unreadable.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lines: dict[Path | None, list[str]] = {}
        self._first = ""

    def add(self, sentence: str) -> None:
        """Notes a mistake in a sentence of its own; its entry is left out."""
        self._add(None, sentence, sentence)

    def add_entry(self, path: Path, label: str, what: str) -> None:
        """Notes a mistake in an entry of a file, which is named once for all its mistakes.

        Args:
            path: The file.
            label: Names the entry within the file.
            what: What is wrong with it, as the end of a sentence.
        """
        self._add(path, f"  {label} {what}.", f"The {label} of {path} {what}.")

    def _add(self, path: Path | None, line: str, sentence: str) -> None:
        if self.count < _NAMED:
            line, sentence = (
                shortened(text.replace("\n", "\\n"), _LONG) for text in (line, sentence)
            )
            self._lines.setdefault(path, []).append(line)
            self._first = self._first or sentence
        self.count += 1

    def check(self) -> None:
        """Raises if there was a mistake.

        Raises:
            Sg2ImError: With the first twenty, and how many more there are.
        """
        if not self.count:
            return
        if self.count == 1:
            raise Sg2ImError(
                f"{self._first} Correct or remove it, or leave it out with --skip_unreadable."
            )
        lines = [
            f"{self.count:,} mistakes were found in the annotations: correct or remove them, or "
            "leave them out with --skip_unreadable."
        ]
        for path, found in self._lines.items():
            lines += [f"In {path}:", *found] if path else found
        if self.count > _NAMED:
            lines.append(f"And {self.count - _NAMED:,} more.")
        raise Sg2ImError("\n".join(lines))
