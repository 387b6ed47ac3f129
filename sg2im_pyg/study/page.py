"""The page of a study: what a participant's browser is sent, and what it sends back.

A participant's code is drawn by their browser, which keeps it, and the answers that have not been
acknowledged yet. Which system made a picture, and which questions are attention checks, is told
to nobody.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.study.answers import Answers, Participant, Unavailable, study_key
from sg2im_pyg.study.questions import Presented, Question, Study
from sg2im_pyg.study.transactions import Transactions
from sg2im_pyg.web.application import StaticFiles, check_rate, make_application, read_json
from sg2im_pyg.web.limits import RateLimit
from sg2im_pyg.web.options import WebOptions

CONSENT = "consent.txt"
"""File in a study's folder."""

BEGINNINGS = 200
"""People who may begin at once from one address, such as a school's; then one every two seconds, so
that a program does not fill the study."""

_FOLDER = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MOST_CONSENT = 2**16  # bytes
_MOST_PICTURE = 2**23
_MOST_AT_ONCE = 200  # answers

T = TypeVar("T")


def make_page(
    study: Study,
    folder: Path,
    answers: Answers,
    options: WebOptions,
    token: str | None,
    most_participants: int,
    closing: Mapping[str, str | None],
) -> ASGIApp:
    """The application of a study's page.

    Args:
        study: What is asked.
        folder: The study's, which holds the pictures.
        answers: Where answers are kept.
        options: Where it is served.
        token: Secret of its link, if it has one.
        most_participants: Whoever comes after them is told that there are enough.
        closing: What stands at the end: ``code`` for everybody instead of one for each, and
            ``address`` to go on to.

    Raises:
        Sg2ImError: If a picture or the consent can not be sent.
    """
    pictures = picture_files(study, folder)
    page = render_page(study, folder)
    transactions = Transactions(answers)
    requests = RateLimit(100, burst=3_000) if options.is_public else None
    beginnings = RateLimit(0.5, burst=BEGINNINGS) if options.is_public else None

    async def in_database(work: Callable[[Connection], T]) -> T:
        try:
            return await transactions.do(work)
        except Unavailable:
            sentence = "Answers can not be kept just now: they are sent again by themselves."
            raise HTTPException(503, sentence, {"Retry-After": "2"}) from None

    def show(request: Request) -> Response:
        return HTMLResponse(page)

    def show_picture(request: Request) -> Response:
        path = pictures.get(request.path_params["name"])
        if path is None:
            raise HTTPException(404)
        kept = {"Cache-Control": "private, max-age=86400, immutable"}
        return FileResponse(path, media_type="image/png", headers=kept)

    async def begin(request: Request) -> Response:
        given = _fields(await read_json(request), "participant")
        code = str(given["participant"])
        if beginnings is not None:
            check_rate(beginnings, request)
        try:
            participant = await in_database(
                lambda connection: answers.begin(connection, code, most_participants)
            )
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        if participant is None:
            raise HTTPException(
                410, "This study has enough participants already. Thank you for your interest."
            )
        asked = [presented_entry(entry) for entry in answers.assignment(participant.number)]
        state = _state(participant, closing)
        return JSONResponse({"questions": asked, "answered": list(participant.answered), **state})

    async def answer(request: Request) -> Response:
        given = _fields(await read_json(request), "participant", "answers")
        code, entries = str(given["participant"]), given["answers"]
        if not isinstance(entries, list) or len(entries) > _MOST_AT_ONCE:
            raise HTTPException(400, f"answers must be a list of at most {_MOST_AT_ONCE}.")
        try:
            participant = await in_database(
                lambda connection: answers.keep(connection, code, entries)
            )
        except LookupError:
            raise HTTPException(404, "Nobody takes part under this code: begin first.") from None
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        return JSONResponse(_state(participant, closing))

    routes = [
        Route("/", show),
        Route("/static/{name}", StaticFiles(static_files()).answer),
        Route("/pictures/{name}", show_picture),
        Route("/api/begin", begin, methods=["POST"]),
        Route("/api/answers", answer, methods=["POST"]),
    ]
    return make_application(routes, options, token, limit=requests)


def render_page(study: Study, folder: Path, **embedded: Any) -> str:
    """The page as HTML.

    Args:
        study: What is asked.
        folder: The study's, with the consent.
        embedded: Of a page that stands alone: what else its template needs.
    """
    return (
        _templates()
        .get_template("page.html.jinja")
        .render(
            study=study,
            key=study_key(study)[:16],
            consent=read_consent(folder),
            amount=len(study.assignment(0)),
            embedded=embedded,
        )
    )


def presented_entry(presented: Presented) -> dict[str, Any]:
    """A question as it is sent to a participant, in the order in which it is shown: no word of
    systems, categories or checks."""
    question, order = presented
    is_caption = question.kind == "caption"
    pictures = [{"key": str(k), "address": path} for k, path in enumerate(question.pictures)]
    choices = choice_entries(question)
    return {
        "id": question.id,
        "kind": question.kind,
        "text": question.text,
        "pictures": [pictures[place] for place in order] if is_caption else pictures,
        "choices": [] if is_caption else [choices[place] for place in order],
    }


def choice_entries(question: Question) -> list[dict[str, str]]:
    """The choices of a question as they are sent to participants."""
    return [{"key": choice.id, "text": choice.text} for choice in question.choices]


def read_consent(folder: Path) -> list[str]:
    """Paragraphs of a study's consent text; none where there is no such file.

    Raises:
        Sg2ImError: If it is no text.
    """
    path = folder / CONSENT
    if not path.is_file():
        return []
    if path.stat().st_size > _MOST_CONSENT:
        raise Sg2ImError(f"{path} is longer than {_MOST_CONSENT // 2**10} KiB: shorten it.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Sg2ImError(f"{path} is no text in UTF-8: save it as such.") from error
    text = "".join(c for c in text if c.isprintable() or c.isspace())
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def picture_files(study: Study, folder: Path) -> dict[str, Path]:
    """The files of all pictures by their names.

    Raises:
        Sg2ImError: If one of them is no PNG file, or a very large one.
    """
    files = {}
    for picture in dict.fromkeys(p for question in study.questions for p in question.pictures):
        path = folder / picture
        with path.open("rb") as file:
            is_png = file.read(8) == b"\x89PNG\r\n\x1a\n"
        if not is_png or path.stat().st_size > _MOST_PICTURE:
            raise Sg2ImError(
                f"{path} is no PNG picture of at most {_MOST_PICTURE // 2**20} MiB: make the study "
                "anew."
            )
        files[path.name] = path
    return files


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """The page's own files: content and type by name."""
    return {
        path.name: (path.read_bytes(), _TYPES[path.suffix])
        for path in sorted((_FOLDER / "static").iterdir())
        if path.suffix in _TYPES
    }


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _state(participant: Participant, closing: Mapping[str, str | None]) -> dict[str, Any]:
    if not participant.is_done:
        return {"end": None}
    code = closing.get("code") or participant.completion
    return {"end": {"code": code, "address": closing.get("address")}}


def _fields(given: Any, *names: str) -> Mapping[str, Any]:
    if not isinstance(given, dict) or set(given) != set(names):
        raise HTTPException(400, f"Send a JSON object with {' and '.join(names)}.")
    return given
