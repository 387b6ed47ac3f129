"""A study as one HTML file, for platforms that host the page themselves, and a CSV file with a row
for each participant.

The file holds pictures, script and style, and its own policy keeps it from fetching anything. Each
participant opens it under a number (``study.html?number=17``). The answers stay in the browser
until the end; there they can be saved as a CSV file, copied as JSON, are handed in on Mechanical
Turk as the field ``answers``, and are told to a page around it
(``postMessage``, ``{type: "sg2im-study", result}``). All three come back by
:func:`~sg2im_pyg.study.answers.read_answers`.
"""

import base64
import csv
import io
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.study.page import choice_entries, picture_files, render_page, static_files
from sg2im_pyg.study.questions import Study
from sg2im_pyg.system.disk import format_bytes
from sg2im_pyg.system.files import check_output, replace_when_whole

PAGE, TABLE = "study.html", "participants.csv"
_MOST_BYTES = 2**28  # of the page: browsers do not open much larger ones


def export_study(
    study: Study,
    folder: Path,
    output: Path,
    participants: int,
    address: str,
    closing: Mapping[str, str | None],
) -> list[Path]:
    """Writes the page and the table.

    Args:
        study: What is asked.
        folder: The study's, which holds the pictures.
        output: Folder to write to.
        participants: How many may take part.
        address: Where the page will be found.
        closing: What stands at the end: ``code`` and ``address``; see
            :func:`~sg2im_pyg.study.page.make_page`.

    Returns:
        The files.

    Raises:
        Sg2ImError: If the page would be too large, or the folder can not be written to.
    """
    check_output(output)
    files = picture_files(study, folder)
    size = sum(path.stat().st_size for path in files.values()) * 4 // 3
    if size > _MOST_BYTES:
        raise Sg2ImError(
            f"The page would hold {format_bytes(size)} of pictures, and browsers open about "
            f"{format_bytes(_MOST_BYTES)}: make a study with fewer questions, or serve it."
        )
    script, style = (static_files()[name][0].decode() for name in ("study.js", "study.css"))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; form-action https://*.mturk.com; base-uri 'none'"
    )
    page = render_page(
        study,
        folder,
        policy=policy,
        script=Markup(script),
        style=Markup(style),
        data={**page_data(study, files, participants), "closing": dict(closing)},
    )
    with replace_when_whole(output / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    table = io.StringIO(newline="")
    rows = csv.writer(table)
    joint = "&" if "?" in address else "?"
    rows.writerow(["number", "address"])
    rows.writerows([n, f"{address}{joint}number={n}"] for n in range(participants))
    with replace_when_whole(output / TABLE) as temporary:
        temporary.write_text(table.getvalue(), encoding="utf-8", newline="")
    return [output / PAGE, output / TABLE]


def page_data(study: Study, files: Mapping[str, Path], participants: int) -> dict[str, Any]:
    """What the page's script needs: pictures, questions, and who is asked which in what order."""
    places = {name: place for place, name in enumerate(files)}
    numbers = {question.id: place for place, question in enumerate(study.questions)}
    questions = [
        {
            "id": question.id,
            "kind": question.kind,
            "text": question.text,
            "pictures": [places[Path(picture).name] for picture in question.pictures],
            "choices": choice_entries(question),
        }
        for question in study.questions
    ]
    assignments = [
        [(numbers[asked.id], order) for asked, order in study.assignment(number)]
        for number in range(participants)
    ]
    pictures = [
        f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
        for path in files.values()
    ]
    return {"pictures": pictures, "questions": questions, "assignments": assignments}


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode('ascii')}"
