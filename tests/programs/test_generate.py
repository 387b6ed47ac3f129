import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sg2im_pyg import SceneGraph, Sg2Im, Vocabulary, drawing
from sg2im_pyg.checkpoint import save_checkpoint, save_released
from sg2im_pyg.commands import generate as program
from sg2im_pyg.commands import run_command
from sg2im_pyg.data import graph_files
from sg2im_pyg.data.graph_files import count_steps, grow
from sg2im_pyg.data.vocabulary import UNUSED
from sg2im_pyg.drawing import render_graph
from sg2im_pyg.formats import published as pretrained
from sg2im_pyg.formats.published import SHIPPED
from sg2im_pyg.images import IMAGENET_MEAN, IMAGENET_STD
from sg2im_pyg.sources.landscapes.source import landscape_vocabulary
from tests.system import server as serving

server = serving.server

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "eval" / "generate.py"
GRAPHS = REPOSITORY / "sg2im_pyg" / "commands" / "graphs"
MEADOW = {"objects": ["sky", "grass"], "relationships": [[0, "above", 1]]}
SHEEP = {
    "objects": ["sky", "grass", "sheep"],
    "relationships": [[0, "above", 1], [2, "inside", 1]],
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "untrained.pt"
    save_checkpoint(
        path, Sg2Im(landscape_vocabulary(), image_size=(32, 48), refinement_dims=(16, 8, 4))
    )
    return path


@pytest.fixture
def generate():
    """The command, in this process."""

    def call(*arguments, base=None):
        run_command("generate", list(map(str, arguments)), base)

    return call


@pytest.fixture
def fails(generate, capsys):
    """The one sentence with which the program ends."""

    def call(*arguments, base=None):
        with pytest.raises(SystemExit) as ended:
            generate(*arguments, base=base)
        assert ended.value.code == 1
        error = capsys.readouterr().err
        assert error.startswith("Error: ") and error.count("\n") == 1
        return error

    return call


def write(path, content):
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def picture(folder, number):
    return np.asarray(Image.open(folder / f"{number:03}_image.png"))


@pytest.mark.slow
def test_as_a_person_runs_it(checkpoint, tmp_path):
    """From another folder, with the default graphs; -I leaves out PYTHONPATH and that folder, so
    that the program must find sg2im_pyg by itself."""
    command = [sys.executable, "-I", PROGRAM, "--checkpoint", checkpoint, "--output", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path.resolve() / "out"
    count = len(json.loads((GRAPHS / "landscapes.json").read_text("utf-8")))
    assert len(list(out.iterdir())) == 3 * count + 2
    for name in (
        "000_image.png",
        "000_layout.png",
        "000_graph.png",
        "contact_sheet.png",
        "figure.png",
    ):
        assert str(out / name) in done.stdout


def test_writes_pictures_layouts_graphs_and_a_sheet(checkpoint, generate, tmp_path, capsys):
    graphs = write(tmp_path / "graphs.json", [MEADOW, SHEEP])
    generate("--checkpoint", checkpoint, graphs, "--output", tmp_path / "out")
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "out").iterdir()}
    assert len(sizes) == 8  # nothing temporary is left
    assert sizes["001_image.png"] == (48, 32)
    assert sizes["001_layout.png"] == (384, 256)
    assert sizes["001_graph.png"][0] >= 384
    assert sizes["contact_sheet.png"][1] > 2 * 256
    # Graphs over pictures of 256 pixels, and both graphs side by side.
    assert sizes["figure.png"][0] > 2 * 384 and 256 < sizes["figure.png"][1] < 2 * 256 + 300
    output = capsys.readouterr().out
    assert str(checkpoint) in output and str(graphs) in output


def test_the_names_that_a_checkpoint_knows(generate, tmp_path, capsys):
    vocabulary = Vocabulary(["sky", UNUSED, "fir tree"], ["above"], ["red", "tall"])
    save_checkpoint(tmp_path / "a.pt", Sg2Im(vocabulary, image_size=(16, 16), refinement_dims=(8,)))
    generate("--names", "--checkpoint", tmp_path / "a.pt", base=tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        *("objects (2)", "  sky", "  fir tree"),
        *("predicates (1)", "  above"),
        *("attributes (2)", "  red", "  tall"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_pictures_are_those_of_the_model(checkpoint, generate, tmp_path):
    graphs = write(tmp_path / "graphs.json", SHEEP)
    generate("--checkpoint", checkpoint, graphs, "--output", tmp_path, "--seed", 3)
    expected = Sg2Im.from_pretrained(checkpoint).generate([SHEEP], seed=3)[0]
    np.testing.assert_array_equal(picture(tmp_path, 0), np.asarray(expected))


def test_seed_fixes_pictures_whatever_else_is_in_the_file(checkpoint, generate, tmp_path):
    def run(name, graphs, seed):
        path = write(tmp_path / f"{name}.json", graphs)
        generate("--checkpoint", checkpoint, path, "--output", tmp_path / name, "--seed", seed)
        return tmp_path / name

    alone, third = run("alone", SHEEP, 5), run("third", [MEADOW, MEADOW, SHEEP], 5)
    np.testing.assert_array_equal(picture(alone, 0), picture(third, 2))
    np.testing.assert_array_equal(picture(third, 0), picture(third, 1))
    assert (picture(run("other", SHEEP, 6), 0) != picture(alone, 0)).any()


def test_an_object_may_have_a_seed_of_its_own(checkpoint, generate, tmp_path, capsys):
    own = {**SHEEP, "seeds": [None, None, 7]}
    graphs = write(tmp_path / "graphs.json", [SHEEP, own, {**SHEEP, "seeds": [None, None, None]}])
    generate("--checkpoint", "landscapes", graphs, "--output", tmp_path / "out", "--seed", 3)
    assert "no effect" not in capsys.readouterr().out
    plain, other, same = (picture(tmp_path / "out", number).astype(int) for number in range(3))
    np.testing.assert_array_equal(plain, same)
    model = Sg2Im.from_pretrained("landscapes").for_generation()
    expected = np.asarray(model.generate([own], seed=3)[0])
    np.testing.assert_array_equal(other, expected)
    assert not np.array_equal(plain, other)
    # A model of before has nothing to draw for it, and says so.
    generate("--checkpoint", checkpoint, graphs, "--output", tmp_path / "out")
    assert "seeds          of objects have no effect" in capsys.readouterr().out
    plain, other = (picture(tmp_path / "out", number) for number in range(2))
    np.testing.assert_array_equal(plain, other)


def test_layout_does_not_depend_on_the_seed(checkpoint, generate, tmp_path):
    graphs = write(tmp_path / "graphs.json", SHEEP)
    layouts = []
    for seed in (0, 1):
        generate("--checkpoint", checkpoint, graphs, "--output", tmp_path, "--seed", seed)
        layouts.append((tmp_path / "000_layout.png").read_bytes())
    assert layouts[0] == layouts[1]


def test_ugly_but_valid_graphs(checkpoint, generate, tmp_path):
    graphs = [
        {"objects": ["sheep"], "relationships": []},
        {"objects": ["sheep"]},
        {"objects": ["sheep"], "relationships": [[0, "above", 0]] * 3},
        {"objects": ["sheep"] * 70, "relationships": [[i, "above", 0] for i in range(70)]},
    ]
    path = tmp_path / "graphs.json"
    path.write_text(json.dumps(graphs), encoding="utf-8-sig")  # as Windows editors save it
    generate("--checkpoint", checkpoint, path, "--output", tmp_path / "out")
    assert (tmp_path / "out" / "003_graph.png").is_file()


def test_long_files_get_a_sheet_of_their_first_graphs(
    checkpoint, generate, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(program, "ROWS_OF_SHEET", 2)
    monkeypatch.setattr(program, "COLUMNS_OF_FIGURE", 3)
    graphs = write(tmp_path / "graphs.json", [MEADOW] * 4)
    generate("--checkpoint", checkpoint, graphs, "--output", tmp_path)
    printed = capsys.readouterr().out
    assert "contact_sheet.png (the first 2 graphs)" in printed
    assert "figure.png (the first 3 graphs)" in printed
    assert Image.open(tmp_path / "contact_sheet.png").height < 3 * 256
    assert (tmp_path / "003_image.png").is_file()


@pytest.mark.parametrize(
    "content, words",
    [
        ([MEADOW, {"objects": ["sky"], "relationships": [[0, "above", 9]]}], "graph 1: Relat"),
        ([MEADOW, {"objects": ["sky"], "relationships": [[0, "above", 9]]}], "[0, 'above', 9]"),
        ([{"objects": ["shep"], "relationships": []}], "'sheep'"),
        ([MEADOW, {**MEADOW, "seeds": [1]}], "graph 1: 'seeds'"),
        ([MEADOW, {**MEADOW, "seeds": [None, -7]}], "graph 1: Object 1: its seed"),
        ([{"objects": ["sky"], "relationships": [[0, "abov", 0]]}], "'above'"),
        ({"objects": [], "relationships": []}, "graphs.json: 'objects'"),
        ({}, "at least one name"),
        ([{"objects": ["__image__"]}], "graph 0: Object 0"),
        ([], "empty list"),
        ([[]], "graph 0: A scene graph must be a JSON object"),
        (3, "must be a JSON object"),
        ('[{"objects": ["sky"],\n "relationships": [}]', "line 2, column 20"),
        ("", "line 1, column 1"),
        ("[" * 100_000, "brackets"),
        ('{"objects": [' + "9" * 5000 + "]}", "digits"),
    ],
)
def test_wrong_graphs_are_named_with_their_place(checkpoint, fails, tmp_path, content, words):
    graphs = write(tmp_path / "graphs.json", content)
    error = fails("--checkpoint", checkpoint, graphs, "--output", tmp_path / "out")
    assert str(graphs) in error and words in error
    assert not (tmp_path / "out").exists()  # nothing is written before all is checked


def test_files_that_are_no_graphs(checkpoint, fails, monkeypatch, tmp_path):
    def error(path):
        return fails("--checkpoint", checkpoint, path, "--output", tmp_path / "out")

    assert "There is no graph file" in error(tmp_path / "missing.json")
    assert "is a folder" in error(tmp_path)
    latin = tmp_path / "latin.json"
    latin.write_bytes('{"objects": ["Bäume"]}'.encode("latin-1"))
    assert "no UTF-8 text (byte 15)" in error(latin)
    monkeypatch.setattr(graph_files, "MOST_BYTES", 2**20)
    assert "2 MiB, more than the 1 MiB" in error(write(tmp_path / "huge.json", " " * 2**21))


def test_wrong_output_device_and_seed(checkpoint, fails, tmp_path):
    graphs = write(tmp_path / "graphs.json", MEADOW)
    given = ("--checkpoint", checkpoint, graphs, "--output")
    assert "is a file" in fails(*given, graphs)
    assert "is a file" in fails(*given, graphs / "below")
    assert "'gpu3'" in fails(*given, tmp_path, "--device", "gpu3")
    assert "'cuda:99'" in fails(*given, tmp_path, "--device", "cuda:99")
    assert "64 bits" in fails(*given, tmp_path, "--seed", 2**64)


def test_wrong_checkpoints(fails, tmp_path):
    graphs = write(tmp_path / "graphs.json", MEADOW)

    def error(path):
        return fails("--checkpoint", path, graphs, "--output", tmp_path / "out")

    assert "no checkpoint" in error(tmp_path / "missing.pt")
    assert str(graphs) in error(graphs)  # a text
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    assert "other.pt" in error(tmp_path / "other.pt")


def test_checkpoint_of_the_newest_run_is_found(checkpoint, generate, tmp_path, capsys):
    graphs = write(tmp_path / "graphs.json", MEADOW)
    generate(graphs, base=tmp_path)  # without a run the model that comes with the library paints
    said = capsys.readouterr().out
    assert f"checkpoint     {SHIPPED['landscapes']} (comes with the library)" in said
    painted = Image.open(tmp_path / "runs" / "generated" / "graphs" / "000_image.png")
    expected = Sg2Im.from_pretrained("landscapes").for_generation().generate([MEADOW], seed=0)[0]
    np.testing.assert_array_equal(np.asarray(painted), np.asarray(expected))
    moments = {"a/last": 5, "a/best": 1, "b/last": 4, "b/best": 3, "c/last": 2}
    for name, moment in moments.items():
        run, kind = name.split("/")
        path = tmp_path / "runs" / run / "checkpoints" / f"{kind}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(checkpoint.read_bytes())
        os.utime(path, (moment, moment))
    newest = tmp_path / "runs" / "{}" / "checkpoints" / "{}.pt"
    generate(graphs, base=tmp_path)
    # The run in which something was written last, and its best checkpoint.
    said = capsys.readouterr().out
    assert str(newest).format("a", "best") in said and "comes with the library" not in said
    assert (tmp_path / "runs" / "generated" / "graphs" / "contact_sheet.png").is_file()
    (tmp_path / "runs" / "a" / "checkpoints" / "best.pt").unlink()
    generate(graphs, base=tmp_path)
    assert str(newest).format("a", "last") in capsys.readouterr().out


def test_an_earlier_run_leaves_nothing_in_the_folder(checkpoint, generate, tmp_path):
    out = tmp_path / "out"
    graphs = write(tmp_path / "graphs.json", [MEADOW] * 3)
    generate("--checkpoint", checkpoint, graphs, "--output", out, "--grow")
    assert (out / "002_02_image.png").is_file()
    (out / "1000_layout.png").touch()  # of a run of many graphs
    kept = ["01_image.png", "000_image.jpg", "000_image.png.txt", "a000_image.png"]
    kept += ["000_0_image.png", "000_00_mask.png", "000_IMAGE_.png", "notes.txt", "٣٣٣_image.png"]
    for name in kept:
        (out / name).write_text("somebody's own", encoding="utf-8")
    (out / "004_image.png").mkdir()  # no file of ours
    generate("--checkpoint", checkpoint, write(tmp_path / "one.json", MEADOW), "--output", out)
    written = {f"000_{kind}.png" for kind in ("image", "layout", "graph")}
    found = {path.name for path in out.iterdir()}
    assert found == {*written, *kept, "004_image.png", "contact_sheet.png", "figure.png"}


def test_stretched_pictures_reach_black_and_white(checkpoint, generate, tmp_path):
    graphs = write(tmp_path / "graphs.json", [SHEEP])
    generate("--checkpoint", checkpoint, graphs, "--output", tmp_path, "--stretch")
    [(_, output)] = Sg2Im.from_pretrained(checkpoint).generate_outputs([SHEEP], seed=0)
    painted = output.images[0].double().permute(1, 2, 0).numpy()
    painted = painted * IMAGENET_STD + IMAGENET_MEAN  # with what is beyond black and white
    expected = 255 * (painted - painted.min()) / (painted.max() - painted.min())
    found = picture(tmp_path, 0)
    assert (found.min(), found.max()) == (0, 255)
    assert np.abs(found - expected).max() <= 0.51


# ---- growing graphs


def test_graphs_grow_by_an_object_or_a_relationship_at_a_time():
    entries = {
        "objects": ["sky", "grass", "sheep"],
        "relationships": [[2, "inside", 1], [0, "above", 1], [1, "below", 0], [0, "above", 0]],
    }
    steps = [(len(step["objects"]), step["relationships"]) for step in grow(entries)]
    itself, above, below, inside = (
        [0, "above", 0],
        [0, "above", 1],
        [1, "below", 0],
        [2, "inside", 1],
    )
    assert steps == [
        (1, []),
        (1, [itself]),
        (2, [itself]),
        (2, [itself, above]),
        (2, [itself, above, below]),
        (3, [itself, above, below]),
        (3, [itself, above, below, inside]),
    ]
    assert len(steps) == count_steps(entries)
    assert list(grow({"objects": ["sky"]})) == [{"objects": ["sky"], "relationships": []}]


def test_each_step_is_painted_with_the_same_noise(checkpoint, generate, tmp_path, capsys):
    graphs = write(tmp_path / "graphs.json", [MEADOW, SHEEP])
    out = tmp_path / "out"
    generate("--checkpoint", checkpoint, graphs, "--output", out, "--grow", "--seed", 2)
    names = sorted(path.name for path in out.glob("*_image.png"))
    assert names == [f"000_{k:02}_image.png" for k in range(3)] + [
        f"001_{k:02}_image.png" for k in range(5)
    ]
    assert len(list(out.iterdir())) == 3 * len(names) + 2
    model = Sg2Im.from_pretrained(checkpoint).for_generation()
    for k, step in enumerate(grow(SHEEP)):
        expected = model.generate([step], seed=2)[0]  # as if it were alone in its file
        np.testing.assert_array_equal(
            np.asarray(Image.open(out / f"001_{k:02}_image.png")), np.asarray(expected)
        )
        drawn = render_graph(step, model.vocabulary, min_size=(256, 384))
        np.testing.assert_array_equal(
            np.asarray(Image.open(out / f"001_{k:02}_graph.png")), np.asarray(drawn)
        )
    printed = capsys.readouterr().out
    assert f"{out / '000_00_image.png'} ... 001_04_image.png" in printed


def test_attributes_grow_with_their_objects():
    entries = {"objects": ["sky", "boat"], "attributes": [[], ["red"]]}
    assert [step["attributes"] for step in grow(entries)] == [[[]], [[], ["red"]]]


def test_seeds_grow_with_their_objects():
    entries = {"objects": ["sky", "boat"], "seeds": [None, 7]}
    assert [step["seeds"] for step in grow(entries)] == [[None], [None, 7]]
    assert "seeds" not in next(grow({**entries, "seeds": None}))


def test_long_growth_is_named_with_enough_digits():
    entries = [{"objects": ["sky"] * 101}]
    names = [name for name, _, _ in program.number_steps(entries, landscape_vocabulary())]
    assert names[0] == "000_000" and names[-1] == "000_100" and names == sorted(names)
    assert all(program.WRITTEN.fullmatch(f"{name}_image.png") for name in names)


def test_figure_of_grown_graphs_has_a_double_row_for_each(
    checkpoint, generate, monkeypatch, tmp_path
):
    shown = []
    monkeypatch.setattr(
        drawing, "figure", lambda groups, height: shown.append(groups) or Image.new("RGB", (1, 1))
    )
    graphs = write(tmp_path / "graphs.json", [MEADOW, SHEEP])
    generate("--checkpoint", checkpoint, graphs, "--output", tmp_path, "--grow")
    generate("--checkpoint", checkpoint, graphs, "--output", tmp_path)
    assert [[len(group) for group in groups] for groups in shown] == [[3, 5], [2]]


# ---- the model that comes with the library


def test_the_library_s_model_has_a_name(generate, fails, checkpoint, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    graphs = write(tmp_path / "graphs.json", MEADOW)
    Path("landscapes").mkdir()  # a folder can not be meant
    generate("--checkpoint", "landscapes", graphs, "--output", "out")
    shipped = f"checkpoint     {SHIPPED['landscapes']} (comes with the library)"
    assert shipped in capsys.readouterr().out
    expected = Sg2Im.from_pretrained("landscapes").for_generation().generate([MEADOW], seed=0)[0]
    np.testing.assert_array_equal(picture(tmp_path / "out", 0), np.asarray(expected))
    assert "did you mean 'landscapes'?" in fails("--checkpoint", "landscape", graphs)
    assert "There is no checkpoint" in fails("--checkpoint", "./landscapes.pt", graphs)
    Path("landscapes").rmdir()
    Path("landscapes").write_bytes(checkpoint.read_bytes())  # a file of that name is what is meant
    generate("--checkpoint", "landscapes", graphs, "--output", "out")
    assert f"checkpoint     {tmp_path / 'landscapes'}\n" in capsys.readouterr().out
    assert Sg2Im.from_pretrained("landscapes").config.image_size == (32, 48)


# ---- models of the 2018 release


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A file in the release's format with names as its COCO vocabulary has them."""
    torch.manual_seed(0)
    coco = json.loads((GRAPHS / "coco.json").read_text("utf-8"))
    names = dict.fromkeys(name for graph in coco for name in graph["objects"])
    predicates = dict.fromkeys(p for graph in coco for _, p, _ in graph["relationships"])
    vocabulary = Vocabulary([*list(names)[:2], UNUSED, *list(names)[2:], UNUSED], predicates)
    path = tmp_path_factory.mktemp("released") / "released.pt"
    save_released(
        path,
        Sg2Im(vocabulary, image_size=(16, 16), refinement_dims=(8, 4), gconv_hidden_dim=16),
    )
    return path


def test_files_of_the_release_paint_graphs_with_its_names(released, generate, tmp_path):
    graphs = GRAPHS / "coco.json"
    generate("--checkpoint", released, graphs, "--output", tmp_path, "--stretch")
    count = len(json.loads(graphs.read_text("utf-8")))
    assert len(list(tmp_path.glob("*_image.png"))) == count
    assert picture(tmp_path, 0).max() == 255


def test_a_released_model_is_fetched_by_its_name_once(
    released, generate, fails, server, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(pretrained, "RELEASE_ADDRESS", server.address)
    monkeypatch.setenv("SG2IM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    server.put("/small/coco64.pt", released.read_bytes())
    graphs = GRAPHS / "coco.json"
    arguments = ("--checkpoint", "coco64", graphs, "--output", tmp_path / "out")
    generate(*arguments)
    printed = capsys.readouterr().out
    assert "no file coco64 here: it is fetched" in printed
    assert f"checkpoint     {tmp_path / 'cache' / 'coco64.pt'}" in printed
    Path("coco64").mkdir()  # a folder is no checkpoint
    generate(*arguments)
    assert "fetched" not in capsys.readouterr().out
    assert len(server.requests) == 1
    (tmp_path / "cache" / "coco64.pt").write_bytes(b"damaged")
    assert "no longer the file that came" in fails(*arguments)
    Path("coco64").rmdir()
    Path("coco64").write_bytes(released.read_bytes())  # a file of that name is what is meant
    generate(*arguments)
    assert f"checkpoint     {tmp_path / 'coco64'}" in capsys.readouterr().out
    assert len(server.requests) == 1


def test_what_looks_like_a_path_is_never_taken_for_a_name(fails, server, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "RELEASE_ADDRESS", server.address)
    monkeypatch.setenv("SG2IM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    graphs = write(tmp_path / "graphs.json", MEADOW)
    for path in ("coco64.pt", "./coco64", "models/coco64", "coco64.best"):
        assert "There is no checkpoint" in fails("--checkpoint", path, graphs)
    sentence = fails("--checkpoint", "coco46", graphs)
    assert "neither a file" in sentence and "did you mean 'coco64'?" in sentence
    Path("mine").mkdir()
    assert "'mine' is no file" in fails("--checkpoint", "mine", graphs)
    assert "'' is no file" in fails("--checkpoint", "", graphs)
    assert server.requests == []


def test_graphs_for_visual_genome_are_whole():
    graphs = json.loads((GRAPHS / "visual_genome.json").read_text("utf-8"))
    for graph in graphs:
        vocabulary = Vocabulary(
            dict.fromkeys(graph["objects"]), dict.fromkeys(p for _, p, _ in graph["relationships"])
        )
        assert SceneGraph.from_json(graph, vocabulary).to_json(vocabulary) == graph


def test_default_graphs_are_made_for_the_landscapes():
    graphs = json.loads((GRAPHS / "landscapes.json").read_text("utf-8"))
    vocabulary = landscape_vocabulary()
    for graph in graphs:
        assert SceneGraph.from_json(graph, vocabulary).to_json(vocabulary) == graph
        assert graph["objects"][0] == "sky" and 2 <= len(graph["objects"]) <= 8
    assert 8 <= len(graphs) <= 14


# ---- graphs in words


def test_a_graph_in_words_is_painted_as_its_json_is(checkpoint, generate, tmp_path, capsys):
    text = "Sky above grass, and two sheep inside the grass"
    generate("--checkpoint", checkpoint, text, base=tmp_path)
    folder = tmp_path / "runs" / "generated" / "sky-above-grass-and-two-sheep-inside-the-grass"
    read = "sky above grass; sheep 1 inside grass; sheep 2 inside grass"
    assert f"read as        {read}\n" in capsys.readouterr().out
    entries = {
        "objects": ["sky", "grass", "sheep", "sheep"],
        "relationships": [[0, "above", 1], [2, "inside", 1], [3, "inside", 1]],
    }
    model = Sg2Im.from_pretrained(checkpoint).for_generation()
    for given in (entries, text, [read], [SceneGraph.from_text(text, model.vocabulary)]):
        [expected] = model.generate(given, seed=0)
        np.testing.assert_array_equal(picture(folder, 0), np.asarray(expected))
    graphs = write(tmp_path / "graphs.json", [MEADOW, text])
    generate("--checkpoint", checkpoint, graphs, "--output", tmp_path / "out", "--grow")
    assert f"read as        {read}\n" in capsys.readouterr().out
    assert (tmp_path / "out" / "001_06_image.png").is_file()


def test_all_that_is_wrong_in_a_file_is_told_at_once(checkpoint, fails, tmp_path):
    def error(content):
        graphs = write(tmp_path / "graphs.json", content)
        return fails("--checkpoint", checkpoint, graphs, "--output", tmp_path / "out")

    wrong = [{"objects": ["chair", "sky"], "relationships": [[0, "on", 1]]}, MEADOW]
    told = error([*wrong, {"objects": ["chair", "clouds"]}, "a zebra"])
    assert "graphs.json: 3 names are not in the vocabulary: object 'chair' (graph 0 and 1" in told
    assert "object 'clouds' (graph 2; did you mean 'cloud'" in told and "predicate 'on' (" in told
    assert "graph 3: Not understood: 'zebra'" in told
    assert "graphs.json: Not understood: 'zebra'" in error('"a zebra"')
    assert "The graph in words: Not understood: 'on'" in fails("a house on the grass")


def test_words_and_files_are_told_apart(fails, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert not program.is_text("my graphs.json") and not program.is_text("landscapes")
    assert all(map(program.is_text, ("sky above grass", "sky;", "a " * 9999)))
    (tmp_path / "sky above grass").mkdir()
    assert not program.is_text("sky above grass")
    assert not program.is_text(str(tmp_path / "my graphs"))
    assert program.slug("Sky; über allem") == "sky-ber-allem" and program.slug("…") == "in-words"
