"""YAML from elsewhere: nothing in it is made, imported or multiplied."""

import sys
from pathlib import Path

import jsonargparse._util
import pytest
import yaml

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.command_line import CommandLine
from sg2im_pyg.system.plain_yaml import PlainYamlError, load_yaml
from sg2im_pyg.training.command_line import RunOptions, parse_command
from sg2im_pyg.training.config import TrainingConfig

LAUGHS = "[&a [x,x,x,x,x,x,x,x,x,x]" + "".join(
    f",&{new} [{','.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi")
)
DEEP = {
    "brackets": "[" * 50_000,
    "closed": "[" * 400 + "]" * 400,
    "braces": "{a: " * 10_000,
    "dashes": "- " * 50_000 + "1",
    "laughs": f"{LAUGHS}]",
    "itself": "&a [1, *a]",
}


@pytest.fixture(scope="module")
def line():
    return CommandLine(RunOptions, TrainingConfig, program="program")


@pytest.mark.parametrize("name", DEEP)
def test_what_grows_is_refused_in_files_and_in_single_values(name, line):
    with pytest.raises(PlainYamlError, match="levels|alias"):
        load_yaml(DEEP[name])
    for option in ("steps", "optimizer.betas", "image_discriminator.layers"):
        for content in ({option: DEEP[name]}, {option: [DEEP[name], 1]}):
            with pytest.raises(Sg2ImError, match=f"{option} must be .*, got ") as refused:
                line.fill({}, [("file.yaml", content)])
            assert len(str(refused.value)) < 400
        with pytest.raises(Sg2ImError, match=f"--{option} must be "):
            line.fill(line.read([f"--{option}={DEEP[name]}"]))


def test_plain_texts_that_look_like_it_stay_texts(line):
    for folder in ("R&D", "*.h5", "[1]", "a: b", "- x", "100%", "{x}"):
        run, _ = line.fill({}, [("file.yaml", {"run_dir": folder})])
        assert run.run_dir == folder


def test_no_value_of_any_option_imports_or_makes_anything(line, monkeypatch):
    imported = []
    true_import = jsonargparse._util.import_object

    def noted(name):
        imported.append(name)
        return true_import(name)

    modules = [m for name, m in sys.modules.items() if name.startswith("jsonargparse")]
    for module in modules:
        for name, value in list(vars(module).items()):
            if value is true_import:
                monkeypatch.setattr(module, name, noted)
    made = {"class_path": "calendar.Calendar", "init_args": {"firstweekday": 1}}
    for name in line.hints:
        for value in (made, [made, made], "calendar.Calendar", {"init_args": {}}, str(made)):
            try:
                _, config = line.fill({}, [("file.yaml", {name: value})])
            except Sg2ImError:
                continue
            assert isinstance(value, str) or "calendar" not in str(config)
    assert not imported


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("losses:\n  mask:\n", "names 'losses.mask' without a value"),
        ("optimizer: {gradient_clip: }", "names 'optimizer.gradient_clip' without a value"),
        ("image_discriminator:\n  enabled:\n", "'image_discriminator.enabled' without a value"),
        ("image_discriminator:\n  layers:\n    -\n", "'image_discriminator.layers' without"),
        ("model:\n  normalization: null\n", "model.normalization must be one of .*, got null"),
        ("object_discriminator: {enabled: ~}", "enabled must be true or false, got null"),
        ("model: {class_path: os.system}", "There is no option model.class_path"),
        ("steps: !!python/name:os.system", "this is no YAML"),
        ("? [1, 2]\n: 3", "this is no YAML"),
        ("steps: 2001-99-99", "this is no YAML"),
        ("steps: 1\n" * 40_000, "is no file of options: it has 360,000 bytes"),
    ],
)
def test_a_file_of_options_that_is_wrong_gets_a_sentence(text, sentence, tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Sg2ImError, match=sentence):
        parse_command(["--config", str(path)], tmp_path, "")


def test_none_is_taken_where_it_is_a_value(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("optimizer: {gradient_clip: null, ema_decay: ~}\n", encoding="utf-8")
    config = parse_command(["--config", str(path)], Path(tmp_path), "").config
    assert config.optimizer.gradient_clip is config.optimizer.ema_decay is None


def test_what_options_are_written_as_is_read_back():
    text = yaml.safe_dump({"a": {"b": [1, 2.5, "x", None, True]}, "c": ""}, sort_keys=False)
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("value", [10**400, -(10**400), "1" * 400, [10**400, 0]])
def test_a_number_beyond_all_is_refused(value, line):
    for option in ("optimizer.lr", "optimizer.betas", "steps", "losses.box"):
        with pytest.raises(Sg2ImError, match=f"{option} must be "):
            line.fill({}, [("file.yaml", {option: value})])
