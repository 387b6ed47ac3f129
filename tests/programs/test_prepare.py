import importlib.util
import inspect
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sg2im_pyg.data import SceneReader
from sg2im_pyg.data.landscapes import prepare_landscapes
from tests.data.test_coco import small_coco

PROGRAM = Path(__file__).resolve().parents[2] / "datasets" / "prepare.py"


@pytest.fixture
def prepare(monkeypatch):
    """The program's main function with a command line, in this process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    specification = importlib.util.spec_from_file_location("prepare", PROGRAM)
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, arguments)])
        program.run_program(program.main)

    call.program = program
    return call


def table(output):
    """Pictures, objects and path of each split, from what the program prints."""
    rows = {}
    for line in output.splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[2] == "pictures" and words[4] == "objects":
            rows[words[0]] = (int(words[1]), int(words[3]), words[5])
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
        assert "test is empty" in done.stdout
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
        *("--image-size", 16, 24, "--mask-size", 4, "--min-object-size", 0.1),
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
    store = SceneReader(rows["val"][2])
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
    assert command[:2] == ["python", (PROGRAM.parents[1] / "train" / "run.py").as_posix()]
    assert command[2:] == [
        *("--config", "coco64", "--data.root", (tmp_path.resolve() / "out").as_posix()),
        *("--model.image_size", "[16, 24]", "--model.mask_size", "4"),
    ]


def test_things_only(prepare, tmp_path, capsys):
    coco = small_coco(tmp_path / "coco")
    coco.path("stuff").unlink()
    options = ("coco", "--root", coco.folder, "--min-objects", 2)
    with pytest.raises(SystemExit) as end:
        prepare(*options)
    assert end.value.code == 1
    assert "or leave stuff out (--things-only)" in capsys.readouterr().err
    prepare(*options, "--things-only")  # the prepared data go beside the raw ones
    assert table(capsys.readouterr().out)["train"][:2] == (6, 12)
    assert (coco.folder / "64x64" / "train.h5").is_file()


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


def test_defaults_are_those_of_the_library(prepare, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prepare.py", "landscapes"])
    options = prepare.program.parse_options()["landscapes"]
    assert options.root == str(PROGRAM.parent / "landscapes")
    assert prepare.program.height_and_width(options.image_size) == (64, 64)
    parameters = inspect.signature(prepare_landscapes).parameters
    for name in ("mask_size", "train", "val", "test", "seed", "workers", "progress"):
        assert options[name] == parameters[name].default, name


@pytest.mark.parametrize("source", ["landscapes", "coco"])
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
        (("coco", "--image-size", 64, 64, 3), 1, "Error: --image-size takes one number"),
        (("coco", "--min-objects", 9), 1, "Error: The number of objects a picture"),
        (("coco", "--image-size", "large"), 2, "error: "),
        (("coco", "--pictures", 3), 2, "error: "),
        (("moon",), 2, "error: "),
        ((), 2, "error: "),
    ],
)
def test_wrong_command_lines(prepare, tmp_path, capsys, arguments, status, sentence):
    root = ("--root", tmp_path / "out") if arguments[:1] == ("coco",) else ()
    with pytest.raises(SystemExit) as end:
        prepare(*arguments, *root)
    assert end.value.code == status
    output = capsys.readouterr()
    assert output.out == ""
    assert any(line.startswith(sentence) for line in output.err.splitlines())
    assert not (tmp_path / "out").exists()
