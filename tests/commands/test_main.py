"""The console command, and where its files lie."""

import json
import sys
from pathlib import Path

import pytest

import sg2im_pyg
from sg2im_pyg import __main__, commands
from sg2im_pyg.commands.generate import GRAPHS, find_graphs
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system import places
from sg2im_pyg.system.program import COMMANDS
from sg2im_pyg.training.command_line import CONFIGURATIONS, find_config

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def sg2im(monkeypatch, capsys):
    """The console command in this process: its status, and what it says."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["sg2im", *words])
        try:
            __main__.main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        return status, "".join(capsys.readouterr())

    return call


def test_the_commands_are_listed(sg2im):
    for words in (["--help"], ["-h"]):
        status, said = sg2im(*words)
        assert status == 0
        assert all(f"  {name} " in said and text in said for name, (_, text) in COMMANDS.items())


def test_commands_are_the_programs_of_the_repository():
    for name, (program, _) in COMMANDS.items():
        assert (REPOSITORY / program).is_file()
        assert (Path(commands.__file__).parent / f"{name}.py").is_file()


def test_a_command_that_there_is_not(sg2im):
    assert sg2im("trian") == (2, "error: There is no COMMAND 'trian': did you mean 'train'?\n")
    status, said = sg2im()
    assert status == 2 and said.startswith("error: COMMAND must be given: one of prepare, train,")
    status, said = sg2im("zebra")
    assert status == 2 and "give one of prepare, train," in said


def test_a_command_gets_the_words_after_its_name(sg2im, monkeypatch):
    status, said = sg2im("fetch", "--list", "vg64")
    assert status == 0 and said.startswith("vg64 ")
    status, said = sg2im("generate", "--help")
    assert status == 0 and "usage: sg2im generate" in said
    assert "    sg2im generate --grow graphs.json" in said and "eval/generate.py " not in said


def test_data_and_runs_lie_in_the_repository_or_in_the_current_folder(tmp_path, monkeypatch):
    assert places.base_folder() == REPOSITORY
    monkeypatch.setattr(places, "__file__", str(tmp_path / "sg2im_pyg" / "system" / "places.py"))
    monkeypatch.chdir(tmp_path)
    assert places.base_folder() == tmp_path


def test_configurations_have_a_name_and_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = CONFIGURATIONS / "coco64.yaml"
    for name in ("coco64", "coco64.yaml", "train/configs/coco64.yaml"):
        assert find_config(name, tmp_path) == expected
    inside = REPOSITORY / "train" / "configs" / "coco64.yaml"
    assert find_config(str(inside), REPOSITORY) == expected
    for name in ("mine/coco64.yaml", "coco65"):
        with pytest.raises(sg2im_pyg.Sg2ImError, match="There is no configuration"):
            find_config(name, tmp_path)
    (tmp_path / "coco64").write_text("steps: 1")  # a file of that name is what is meant
    assert find_config("coco64", tmp_path / "elsewhere") == Path("coco64")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.yaml").write_text("steps: 1")
    assert find_config("a.yaml", tmp_path / "own") == tmp_path / "own" / "a.yaml"
    for wrong in (tmp_path / "train" / "configs" / "coco64.yaml", "notrain/configs/coco64.yaml"):
        with pytest.raises(Sg2ImError, match="There is no configuration"):
            find_config(str(wrong), REPOSITORY)
    monkeypatch.chdir(REPOSITORY / "train")  # as an IDE starts programs
    assert find_config("configs/vg64.yaml", REPOSITORY).name == "vg64.yaml"


def test_example_graphs_have_a_name_and_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "coco",
        "eval/graphs/coco.json",
        str(REPOSITORY / "eval" / "graphs" / "coco.json"),
    ):
        assert find_graphs(name, REPOSITORY) == GRAPHS / "coco.json"
    for name in ("coco.json", "other/coco.json", "myeval/graphs/coco.json"):
        assert find_graphs(name, REPOSITORY) == tmp_path / name  # somebody's own, not there
    (tmp_path / "coco").write_text("{}")
    assert find_graphs("coco", REPOSITORY) == tmp_path / "coco"
    monkeypatch.chdir(REPOSITORY / "eval")  # as an IDE starts programs
    assert find_graphs("graphs/coco.json", REPOSITORY) == GRAPHS / "coco.json"
    assert all(json.loads(path.read_text("utf-8")) for path in GRAPHS.iterdir())
