"""The report: one whole HTML file with all figures and pictures, that no name can break."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sg2im_pyg.evaluation.report import Example, write_report
from tests.evaluation.test_table import category, make_result, system

COLUMNS = ("graph", "true picture", "true layout", "predicted layout", "generated picture")
VOID = {"img", "meta"}


class Page(HTMLParser):
    """Reads a page, and fails where elements are not nested."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.elements, self.texts = [], [], []
        self.cells, self.rows = None, []
        self.feed(text)
        self.close()
        assert not self.stack, f"left open: {self.stack}"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute stands twice: {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, f"</{tag}> within {self.stack}"
        self.stack.pop()

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.texts.append(data)
            if "td" in self.stack or "tr" in self.stack:
                self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def picture(seed, size=(64, 64)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def make_examples(name="best.pt"):
    rows = []
    for k in range(2):
        images = {title: picture(10 * k + i) for i, title in enumerate(COLUMNS)}
        images["graph"] = picture(99 + k, (50, 120))
        rows.append(Example(f"picture {1034 + k}", 0.4 + k / 10, name, images))
    return {"A sample of the split": rows, "Best by IoU": rows[:1]}


def read(tmp_path, result=None, examples=None):
    path = tmp_path / "report.html"
    write_report(
        path,
        make_result() if result is None else result,
        make_examples() if examples is None else examples,
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert all(c.isprintable() or c in "\n\u00a0" for c in text)
    return text, Page(text)


def test_page_is_whole_and_in_sections(tmp_path):
    _, page = read(tmp_path)
    assert [tag for tag, _ in page.elements].count("h1") == 1
    assert len(page.all("title")) == 1
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    links = {a["href"][1:] for a in page.all("a") if a["href"] != "#small"}
    assert links <= set(identifiers)
    for title in (
        "Systems",
        "A sample of the split",
        "Best by IoU",
        "Objects by category",
        "Relations by predicate",
        "What the figures mean",
        "Settings",
    ):
        assert title in page.texts
    assert page.text.index("A sample of the split") < page.text.index("Best by IoU")


def test_nothing_is_fetched_and_nothing_runs(tmp_path):
    text, page = read(tmp_path)
    assert not re.search(r"https?:|url\(|@import", re.sub(r"base64,[^\"]*", "", text), re.I)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:image/png").startswith("data:image/png")
        assert attributes.get("href", "#").startswith("#")
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy and "script" not in policy


def test_pictures_are_in_the_file_unchanged(tmp_path):
    _, page = read(tmp_path)
    shown = page.all("img")
    wanted = [
        row.images[title] for rows in make_examples().values() for row in rows for title in COLUMNS
    ]
    assert len(shown) == len(wanted) == 15
    for attributes, image in zip(shown, wanted, strict=True):
        content = base64.b64decode(attributes["src"].partition("base64,")[2])
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.asarray(image))
        assert attributes["alt"]
    assert shown[4]["alt"] == "generated picture, picture 1034"


def test_true_and_generated_pictures_are_equally_large(tmp_path):
    _, page = read(tmp_path)
    aspects = {a["alt"].split(",")[0]: a["style"] for a in page.all("img")}
    assert aspects["true picture"] == aspects["generated picture"] == "aspect-ratio:1.000"
    assert aspects["graph"] == "aspect-ratio:1.800"  # 120 / 50, as far as there is room
    styles = {a["style"] for a in page.all("div") if "style" in a}
    assert styles == {"--columns:minmax(0,1.800fr) " + " ".join(["minmax(0,1.000fr)"] * 4)}


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16"])
def test_pictures_of_any_mode_are_shown(tmp_path, mode):
    image = picture(0).convert("L").convert("I;16") if mode == "I;16" else picture(0).convert(mode)
    _, page = read(tmp_path, examples={"A": [Example("a", None, "best.pt", {"x": image})]})
    content = base64.b64decode(page.all("img")[0]["src"].partition("base64,")[2])
    assert Image.open(io.BytesIO(content)).size == (64, 64)


def test_table_holds_all_figures_with_the_best_in_bold(tmp_path):
    text, page = read(tmp_path)
    row = next(row for row in page.rows if row and row[0].startswith("best.pt"))
    assert row[0] == "best.ptcheckpoint, step 800"
    assert row[1:] == [
        *["0.601", "0.372", "0.411", "0.113", "0.051", "0.801", "0.701"],
        *["5.10 ± 0.12", "45.13", "0.0413 ± 0.0021", "1,000"],
    ]
    bold = re.findall(r"<td[^>]*><b>([^<]*)</b>", text)
    assert bold == ["5.10", "45.13", "0.0413"]  # layouts have one system only
    other = next(row for row in page.rows if row and row[0].startswith("other_system"))
    assert other[1:8] == ["–"] * 7


def test_network_stands_beside_its_figures(tmp_path):
    _, page = read(tmp_path)
    heads = page.rows[0]
    assert heads[-1] == "Pictures, by landscape classifier of sg2im_pyg"
    assert "FID and KID by landscape classifier of sg2im_pyg, 64 features" in page.text
    assert "0123456789abcdef" in page.text
    result = make_result()
    result["network"] = None
    for entry in result["systems"]:
        entry["pictures"] = None
    _, page = read(tmp_path, result)
    assert page.rows[0][-1] == "Pictures, no network"
    assert "no network was chosen" in page.text


def test_notes_command_and_settings_are_told(tmp_path):
    result = make_result()
    for entry in result["systems"][1:]:
        entry["pictures"]["notes"] = ["KID is taken once."]
    _, page = read(tmp_path, result)
    assert "best.pt : A note on the checkpoint." in page.text
    assert page.text.count("KID is taken once.") == 1
    assert "best.pt, other_system : KID is taken once." in page.text
    assert "python eval/run.py --checkpoint best.pt" in page.text
    assert ["masks", "true"] in page.rows and ["limit", "–"] in page.rows
    assert ["image_size", "64, 64"] in page.rows
    assert "2026-11-23, 22:10 UTC" in page.text


def test_every_figure_is_explained_with_its_source(tmp_path):
    _, page = read(tmp_path)
    for source in (
        "CVPR 2018, Section 4.4 and Table 2",
        "Salimans et al. 2016",
        "Heusel et al. 2017",
        "Bińkowski et al. 2018",
    ):
        assert source in page.text


# Bars


def bars(page, name):
    """Widths of the bars in a row, and its cells."""
    return next(row for row in page.rows if row and row[0] == name)


def test_categories_stand_by_frequency_with_bars_as_long_as_their_share(tmp_path):
    result = make_result()
    result["systems"][1]["categories"] = [
        category("sun", 47, 0.25, mask_iou=None),
        category("sky", 990, 0.75),
    ]
    text, page = read(tmp_path, result)
    names = [row[0] for row in page.rows]
    assert names.index("all objects") < names.index("sky") < names.index("sun")
    assert bars(page, "sky") == ["sky", "990", "0.75", "0.75", "0.75", "0.75"]
    assert bars(page, "sun") == ["sun", "47", "0.25", "0.25", "0.25", "–"]
    assert bars(page, "all objects") == ["all objects", "5,012", "0.60", "0.37", "0.41", "0.70"]
    widths = re.findall(r'class="fill" style="width:([\d.]+)%"', text)
    total = ["60.1", "37.2", "41.1", "70.1"]
    assert widths[:11] == [*total, *["75.0"] * 4, *["25.0"] * 3]


def test_predicates_stand_by_frequency_with_their_accuracy(tmp_path):
    _, page = read(tmp_path)
    names = [row[0] for row in page.rows]
    assert names.index("left of") < names.index("inside")
    assert bars(page, "left of") == ["left of", "2,000", "0.70"]
    assert bars(page, "all relations") == ["all relations", "9,000", "0.80"]


# What may be missing, and hostile names


def test_sections_without_content_are_left_out(tmp_path):
    result = make_result()
    result["systems"] = [system("other_system", "images")]
    _, page = read(tmp_path, result, {"Best by IoU": []})
    for title in ("Best by IoU", "Objects by category", "Relations by predicate", "Notes"):
        assert title not in page.texts
    assert not page.all("img")
    assert "Checkpoints generate" not in page.text


def test_a_picture_that_is_missing_leaves_its_place_empty(tmp_path):
    examples = make_examples()
    del examples["A sample of the split"][1].images["true layout"]
    _, page = read(tmp_path, examples=examples)
    cells = [a for a in page.all("div") if a.get("class", "").startswith("cell")]
    assert len(cells) == 15 and len(page.all("img")) == 14


def test_systems_are_named_where_there_are_several(tmp_path):
    result = make_result()
    result["systems"].append(system("second.pt", "checkpoint"))
    _, page = read(tmp_path, result, {"Best": make_examples("second.pt")["Best by IoU"]})
    assert [a for a in page.all("span") if a.get("class") == "system"]
    rows = make_examples("second.pt")["Best by IoU"]
    _, page = read(tmp_path, result, {"Best: second.pt": rows})
    assert not [a for a in page.all("span") if a.get("class") == "system"]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title><b>",
    "&lt;b&gt;&amp;",
    "--><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "a\x00b\x1b[31m\u202ec\udc80",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_injects_html(tmp_path, name):
    def structure(page):
        return [
            (tag, sorted(attributes), attributes.get("href"), attributes.get("style"))
            for tag, attributes in page.elements
        ]

    pages = []
    for text in ("plain", name):
        result = make_result()
        result |= {"command": text, "sg2im_pyg": text, "date": text}
        result["data"] |= {"file": text, "source": text}
        result["settings"] |= {"boxes": text, "other": [text, {text: text}], text: text}
        result["network"] |= {"name": text, "file": text, "sha256": text, text: text}
        for entry in result["systems"]:
            entry |= {"name": text, "source": text, "notes": [text]}
            for row in [*entry["categories"], *entry["predicates"]]:
                row["name"] = text
        row = Example(text, 0.5, text, {text: picture(0)})
        pages.append(read(tmp_path, result, {text: [row]})[1])
    assert structure(pages[0]) == structure(pages[1])
    if name.isprintable():
        assert name in pages[1].texts


def test_a_report_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "report.html").write_text("old", encoding="utf-8")
    broken = make_result()
    del broken["network"]
    with pytest.raises(KeyError):
        read(tmp_path, broken)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "old"
    read(tmp_path)
