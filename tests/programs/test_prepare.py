import inspect
import shlex
import shutil
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from sg2im_pyg.commands import run_command
from sg2im_pyg.commands.prepare import parse_options
from sg2im_pyg.data import SceneReader
from sg2im_pyg.sources.coco import downloads as download_module
from sg2im_pyg.sources.landscapes.source import prepare_landscapes
from tests.sources.coco.test_source import small_coco
from tests.sources.visual_genome.test_source import GOLDEN, add_pictures, released_visual_genome

PROGRAM = Path(__file__).resolve().parents[2] / "datasets" / "prepare.py"


@pytest.fixture
def prepare(monkeypatch):
    """The program with a command line, in this process."""
    monkeypatch.setattr(sys, "argv", [str(PROGRAM)])
    return lambda *arguments: run_command("prepare", list(map(str, arguments)))


def table(output):
    """Pictures, objects and path of each split, from what the program prints."""
    rows = {}
    for line in output.splitlines():
        words = line.split()
        if words and words[0] in ("train", "val", "test"):
            rows[words[0]] = (int(words[1].replace(",", "")), int(words[2].replace(",", "")))
        if line.startswith("written: "):
            path = line.removeprefix("written: ")
            rows[Path(path).stem] = (*rows[Path(path).stem][:2], path)
    return rows


@pytest.mark.slow
def test_coco_as_a_person_runs_it(tmp_path):
    """From another folder, with relative paths; a second run finds everything there."""
    small_coco(tmp_path / "coco")
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, PROGRAM, "coco", "--source", "../coco", "--root", "../out"]
    for _ in range(2):
        done = subprocess.run(
            command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (0, "")
        folder = tmp_path.resolve() / "out" / "64x64"
        assert table(done.stdout) == {
            "train": (6, 18, str(folder / "train.h5")),
            "val": (5, 15, str(folder / "val.h5")),
            "test": (0, 0, str(folder / "test.h5")),
        }
        assert Image.open(folder / "preview.png").width > 500
        assert (folder / "summary.txt").read_text(encoding="utf-8") in done.stdout
    (tmp_path / "out" / "64x64" / "val.h5").unlink()
    (tmp_path / "coco" / "images" / "val2017" / f"{3:012}.jpg").unlink()
    done = subprocess.run(
        command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: The picture ")
    assert done.stderr.count("\n") == 1


def test_options_of_coco(prepare, tmp_path, capsys):
    small_coco(tmp_path / "coco")
    prepare(
        *("coco", "--source", tmp_path / "coco", "--root", tmp_path / "out"),
        *("--image-size", "16x24", 8, "--mask-size", 4, "--min-object-size", 0.1),
        *("--min-objects", 1, "--max-objects", 5, "--things", "car", "person"),
        *("--stuff", "grass", "--all-images", "--include-other", "--val-images", 2),
    )
    output = capsys.readouterr().out
    rows = table(output)
    assert {split: row[:2] for split, row in rows.items()} == {
        "train": (6, 12),
        "val": (2, 4),
        "test": (3, 6),
    }
    assert rows["val"][2] == str(tmp_path.resolve() / "out" / "8x8" / "val.h5")
    store = SceneReader(tmp_path / "out" / "16x24" / "val.h5")
    assert (store.image_size, store.mask_size) == ((16, 24), 4)
    expected = {
        "min_object_size": 0.1,
        "min_objects": 1,
        "max_objects": 5,
        "things": ["car", "person"],
        "stuff": ["grass"],
        "use_stuff": True,
        "all_images": True,
        "include_other": True,
        "val_images": 2,
    }
    assert expected.items() <= store.settings.items()
    command = shlex.split(output.splitlines()[-1].split(": ", 1)[1].replace("\\", "/"))
    assert command[0] in ("python", sys.executable)
    assert command[1] == (PROGRAM.parents[1] / "train" / "run.py").as_posix()
    assert command[2:] == [
        *("--config", "coco64", "--data.root", (tmp_path.resolve() / "out").as_posix()),
        *("--model.image_size", "[16, 24]", "--model.mask_size", "4"),
    ]


def test_things_only(prepare, tmp_path, capsys):
    coco = small_coco(tmp_path / "coco")
    coco.path("stuff").unlink()
    options = ("coco", "--root", coco.folder, "--min-objects", 2)
    with pytest.raises(SystemExit) as end:
        prepare(*options, "--source", coco.folder)
    assert end.value.code == 1
    assert "or leave stuff out (--things_only)" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        prepare(*options, "--no-download")
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert "lacks annotations/stuff_train2017.json, and downloading is switched off" in error
    assert "http://images.cocodataset.org/annotations/stuff_annotations_trainval2017.zip" in error
    prepare(*options, "--no-download", "--things-only")  # prepared data beside the raw
    assert table(capsys.readouterr().out)["train"][:2] == (6, 12)
    assert (coco.folder / "64x64" / "train.h5").is_file()
    # The raw data is not needed any more, and nothing asks for it.
    shutil.rmtree(coco.folder / "annotations")
    shutil.rmtree(coco.folder / "images")
    prepare(*options, "--no-download", "--things-only")
    assert table(capsys.readouterr().out)["train"][:2] == (6, 12)
    with pytest.raises(SystemExit):  # other masks than those of the store
        prepare(*options, "--no-download", "--things-only", "--mask-size", 8)
    assert "lacks " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        prepare("visual_genome", "--root", coco.folder, "--no-download")
    assert "lacks " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        prepare(*options[:-1], 3, "--no-download", "--things-only")
    assert "lacks " in capsys.readouterr().err


THRESHOLDS = (
    *("--min-object-instances", 20, "--min-attribute-instances", 20),
    *("--min-relationship-instances", 8),
)


def raw_visual_genome(folder):
    with zipfile.ZipFile(GOLDEN) as archive:
        names = [name for name in archive.namelist() if not name.startswith("expected/")]
        archive.extractall(folder, names)
    return add_pictures(folder)


def test_visual_genome(prepare, tmp_path, capsys):
    folder = raw_visual_genome(tmp_path / "vg")
    options = ("visual_genome", "--source", folder, "--image-size", 8, "--workers", 1)
    prepare(*options, "--root", tmp_path / "out", *THRESHOLDS)
    output = capsys.readouterr().out
    assert {split: row[:2] for split, row in table(output).items()} == {
        "train": (45, 496),
        "val": (5, 72),
        "test": (10, 176),
    }
    assert f"Splits: {folder.resolve() / 'vg_splits.json'}" in output
    for part in ("most frequent in train: tree", "rarest in train: ", "attributes: 7 names"):
        assert part in output
    assert "pictures left out: a side under 200 pixels" in output
    command = shlex.split(output.splitlines()[-1].split(": ", 1)[1].replace("\\", "/"))
    assert command[2:4] == ["--config", "vg64"]

    prepare(*options, "--root", tmp_path / "seeded", *THRESHOLDS, "--split-seed", 3)
    output = capsys.readouterr().out
    assert "at random, seed 3: results are not comparable" in output
    assert SceneReader(table(output)["train"][2]).settings["splits"] == "seed 3"
    with pytest.raises(SystemExit) as end:
        prepare(*options, "--root", tmp_path / "x", "--split-seed", 3, "--splits", "a.json")
    assert end.value.code == 1
    assert "exclude each other" in capsys.readouterr().err


def test_the_release_s_files(prepare, tmp_path, capsys):
    folder = released_visual_genome(tmp_path / "released")
    prepare("visual_genome", "--root", folder, "--image-size", 8, "--workers", 1)
    output = capsys.readouterr().out
    assert "holds the files of the release's preprocessing" in output
    assert table(output)["train"][:2] == (45, 496)


def served_archives(folder):
    """COCO's archives, small, with the tables' names."""
    coco = small_coco(folder / "coco")
    served = folder / "served"
    served.mkdir()
    for name, files in {
        "annotations_trainval2017.zip": coco.folder.glob("annotations/instances_*"),
        "stuff_annotations_trainval2017.zip": coco.folder.glob("annotations/stuff_*"),
        "train2017.zip": coco.folder.glob("images/train2017/*"),
        "val2017.zip": coco.folder.glob("images/val2017/*"),
    }.items():
        with zipfile.ZipFile(served / name, "w") as archive:
            for file in files:
                archive.write(file, f"{file.parent.name}/{file.name}")
    return served


def test_download_only_and_then_the_rest(prepare, tmp_path, capsys, monkeypatch):
    served = served_archives(tmp_path)
    # The tables hold the real sizes: here none are known.
    for name in ("COCO", "COCO_STUFF"):
        files = getattr(download_module, name)
        unknown = {"size": None, "sha256": None, "unpacked_size": 0, "addresses": ()}
        changed = (
            replace(files, **unknown)
            if name == "COCO_STUFF"
            else tuple(replace(file, **unknown) for file in files)
        )
        monkeypatch.setattr(download_module, name, changed)
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}/"
        options = ("coco", "--root", tmp_path / "data", "--mirror", mirror, "--image-size", 8)
        prepare(*options, "--download-only")
        output = capsys.readouterr().out
        assert "downloaded train2017.zip" in output and "unpacked images/val2017" in output
        assert not list((tmp_path / "data").rglob("*.h5"))
        server.shutdown()
    prepare(*options, "--no-download")
    assert table(capsys.readouterr().out)["train"][:2] == (6, 18)
    with pytest.raises(SystemExit):
        prepare(*options, "--no-download", "--download-only")
    assert "leave one of them out" in capsys.readouterr().err


def test_landscapes(prepare, tmp_path, capsys):
    prepare(
        *("landscapes", "--root", tmp_path, "--image-size", 32, "--mask-size", 8),
        *("--train", 3, "--val", 2, "--test", 1, "--seed", 5, "--workers", 1),
    )
    rows = table(capsys.readouterr().out)
    assert {split: row[0] for split, row in rows.items()} == {"train": 3, "val": 2, "test": 1}
    for _, objects, path in rows.values():
        store = SceneReader(path)
        assert (store.image_size, store.mask_size) == ((32, 32), 8)
        assert len(store.categories) == objects
        assert store.settings["seed"] == 5


def test_defaults_are_those_of_the_library():
    _, options = parse_options(["landscapes"], PROGRAM.parents[1])
    assert options.root == str(PROGRAM.parent / "landscapes")
    assert options.sizes == [(64, 64)]
    parameters = inspect.signature(prepare_landscapes).parameters
    for name in ("mask_size", "train", "val", "test", "seed", "workers", "progress"):
        assert getattr(options, name) == parameters[name].default, name


@pytest.mark.parametrize("source", ["landscapes", "coco", "visual_genome"])
def test_help_explains_every_option(prepare, source, capsys):
    with pytest.raises(SystemExit) as end:
        prepare(source, "--help")
    assert end.value.code == 0
    output = capsys.readouterr().out
    options = output.split("\noptions:\n")[1]
    entries = [entry for entry in options.split("\n  -") if entry.strip()]
    assert len(entries) > 8
    for entry in entries:
        explanation = " ".join(entry.split("(type")[0].split("(default")[0].split()[1:])
        assert len(explanation.split()) >= 4, entry


@pytest.mark.parametrize(
    "arguments, status, sentence",
    [
        (("coco", "--source", "nowhere"), 1, "Error: There is no folder "),
        (("coco", "--image-size", "64x"), 1, "Error: --image_size takes sizes in pixels"),
        (("coco", "--image-size", "0"), 1, "Error: --image_size takes sizes in pixels"),
        (("visual_genome", "--source", "nowhere"), 1, "Error: There is no folder "),
        (("visual_genome", "--predicates", "never"), 1, "Error: Predicates are rewritten"),
        (("coco", "--min-objects", 9), 1, "Error: The number of objects a picture"),
        (("coco", "--image-size", "large"), 1, "Error: --image_size takes sizes in pixels"),
        (("coco", "--pictures", 3), 2, "error: "),
        (("moon",), 2, "error: "),
        ((), 2, "error: "),
    ],
)
def test_wrong_command_lines(prepare, tmp_path, capsys, arguments, status, sentence):
    root = ("--root", tmp_path / "out") if arguments[1:] and arguments[0] != "moon" else ()
    with pytest.raises(SystemExit) as end:
        prepare(*arguments, *root)
    assert end.value.code == status
    output = capsys.readouterr()
    assert output.out == ""
    assert any(line.startswith(sentence) for line in output.err.splitlines())
    assert not (tmp_path / "out").exists()
