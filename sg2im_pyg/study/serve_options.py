"""What `study serve` and `study export` do: their options, and how they run."""

import re
from dataclasses import MISSING, dataclass
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.study.questions import read_study
from sg2im_pyg.system.lazy import packages_of
from sg2im_pyg.system.options import check_options, option
from sg2im_pyg.web.options import WebOptions


@dataclass(kw_only=True)
class ServeOptions(WebOptions):
    """Asks the questions of a study on a page, and keeps the answers."""

    study: str = option(MISSING, positional=True, metavar="STUDY")
    """Folder of the study; a text consent.txt in it is shown before the first question."""
    database: str | None = option(None, metavar="URL")
    """PostgreSQL for the answers: postgresql://user@host/name; null: SQLite, in the folder."""
    participants: int = option(10_000, least=1, most=1_000_000)
    """People who may take part."""
    completion_code: str | None = option(None, metavar="CODE")
    """Code that all see at the end; null: a code of their own for each."""
    completion_address: str | None = option(None, metavar="URL")
    """Where they can go on at the end, such as a crowd platform's page."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_closing(self.completion_code, self.completion_address)

    def run(self, base: Path) -> None:
        """Serves the page until it is stopped."""
        folder = Path(self.study)
        study = read_study(folder)
        with packages_of("study"):
            from sg2im_pyg.study.answers import Answers, database_url
            from sg2im_pyg.study.page import make_page
            from sg2im_pyg.web.server import draw_token, serve
        url = database_url(folder, self.database)
        answers = Answers(url, study)
        token = None
        if self.is_public:  # the same after a restart: links that were sent go on working
            token = self.token or answers.fact("token", draw_token())
        closing = {"code": self.completion_code, "address": self.completion_address}
        page = make_page(study, folder, answers, self, token, self.participants, closing)

        def say(address: str) -> None:
            print(f"The study {study.title!r} is at {address}")
            print("Ctrl-C stops it; it goes on where it was when it is served again.")

        try:
            serve(page, self, token, say)
            counts = answers.counts()
        finally:
            answers.close()
        where = "in the database" if self.database else f"in {url.database}"
        print(
            f"Stopped: {counts.participants} took part, {counts.completed} to the end; "
            f"{counts.answers} answers are {where}."
        )


@dataclass(kw_only=True)
class ExportOptions:
    """Writes a study as one HTML file, for platforms that host the page themselves."""

    study: str = option(MISSING, positional=True, metavar="STUDY")
    """Folder of the study."""
    output: str | None = option(None, metavar="DIR")
    """Folder to write to; null: "export" in the study's folder."""
    participants: int = option(100, least=1, most=100_000)
    """People who may take part; each has a number, and a row of the CSV file."""
    address: str = option("study.html", metavar="URL")
    """Where the HTML file will be found: begins the links in the CSV file."""
    completion_code: str | None = option(None, metavar="CODE")
    """Code that all see at the end; null: none."""
    completion_address: str | None = option(None, metavar="URL")
    """Where they can go on at the end."""

    def __post_init__(self) -> None:
        check_options(self)
        check_closing(self.completion_code, self.completion_address)

    def run(self, base: Path) -> None:
        """Writes the files."""
        folder = Path(self.study)
        study = read_study(folder)
        with packages_of("study"):
            from sg2im_pyg.study.export import export_study
        closing = {"code": self.completion_code, "address": self.completion_address}
        output = Path(self.output) if self.output else folder / "export"
        for path in export_study(study, folder, output, self.participants, self.address, closing):
            print(f"written: {path}")


def check_closing(code: str | None, address: str | None) -> None:
    """Checks what is shown at the end of a study.

    Raises:
        Sg2ImError: If the code is no code, or the address none of the web.
    """
    if code is not None and not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", code):
        raise Sg2ImError("--completion_code must be letters, digits, - and _, at most 64.")
    if address is not None and not re.fullmatch(r"https?://[!-~]{1,2000}", address):
        raise Sg2ImError(
            "--completion_address must be an address such as https://example.org/done, got "
            f"{shortened(repr(address))}."
        )
