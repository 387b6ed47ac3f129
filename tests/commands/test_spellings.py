"""Options as they were spelled in all versions, with underscores and with hyphens."""

from pathlib import Path

import pytest

from sg2im_pyg.commands.convert import ConvertOptions
from sg2im_pyg.commands.fetch import FetchOptions
from sg2im_pyg.commands.generate import GenerateOptions
from sg2im_pyg.commands.prepare import parse_options as parse_prepare
from sg2im_pyg.system.command_line import parse_options
from sg2im_pyg.training.command_line import parse_command


def value_of(options, name):
    for part in name.split("."):
        options = getattr(options, part)
    return options


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--config train/configs/coco64.yaml", "losses.mask", 0.1),
        ("--config coco64 --config no_gconv", "model.gconv_num_layers", 0),
        ("--config=coco64.yaml --losses.mask=0.2", "losses.mask", 0.2),
        ("--model.image_size [32,48] --model.refinement_dims=[8,4]", "model.image_size", (32, 48)),
        ("--optimizer.warmup-steps 7", "optimizer.warmup_steps", 7),
        ("--optimizer.lr 2e-4 --optimizer.lr=1", "optimizer.lr", 1.0),
        ("--optimizer {lr: 0.5}", "optimizer.lr", 0.5),
        ("--data.relationships false", "data.relationships", False),
        ("--data.relationships", "data.relationships", True),
        ("--data.limit null", "data.limit", None),
        ("--batch-size 4", "batch_size", 4),
    ],
)
def test_of_training(words, name, value, tmp_path):
    words = words.replace("{lr: 0.5}", "{lr:_0.5}").split(" ")
    command = parse_command([word.replace(":_", ": ") for word in words], tmp_path, None)
    assert value_of(command.config, name) == value


@pytest.mark.parametrize("spelled", ["--run_dir", "--run-dir"])
def test_of_a_run_s_folder(spelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = parse_command([spelled, "a run", "--steps=3"], tmp_path, None)
    assert (command.run_dir, command.folder) == (tmp_path / "a run", "new")
    named = parse_command(["--config", "landscapes", "--config", "no_gconv"], tmp_path, None)
    assert named.run_dir.name.startswith("landscapes-no_gconv-") and named.folder == "numbered"
    assert named.config.data.root == str(tmp_path / "datasets" / "landscapes")


@pytest.mark.parametrize(
    ("kind", "words", "expected"),
    [
        (GenerateOptions, "--checkpoint FILE graphs.json --grow", {"checkpoint": "FILE"}),
        (GenerateOptions, "--grow graphs.json", {"graphs": "graphs.json", "grow": True}),
        (GenerateOptions, "--stretch --seed -3", {"graphs": "landscapes", "seed": -3}),
        (GenerateOptions, "--output null a --device=cpu", {"output": None, "graphs": "a"}),
        (ConvertOptions, "a b --to released", {"file": "a", "output": "b", "to": "released"}),
        (ConvertOptions, "--overwrite a b", {"overwrite": True, "to": None, "output": "b"}),
        (FetchOptions, "coco64 vg64 --full", {"names": ["coco64", "vg64"], "full": True}),
        (FetchOptions, "coco64 --list --cache DIR", {"cache": "DIR", "list": True}),
        (FetchOptions, "--mirror URL", {"names": [], "mirror": "URL", "full": False}),
    ],
)
def test_of_other_programs(kind, words, expected):
    options = vars(parse_options(kind, words.split(), "program", None))
    assert expected.items() <= options.items()


@pytest.mark.parametrize("hyphens", [False, True])
def test_of_the_preparation(hyphens):
    words = "--image_size 64 48x64 --things car person --stuff null --min_object_size 0.1"
    words = f"coco {words} --all_images --download_only --workers null --progress false"
    if hyphens:
        words = words.replace("_", "-")
    source, options = parse_prepare(words.split(), Path("base"))
    assert source.name == "coco" and options.sizes == [(64, 64), (48, 64)]
    assert (options.things, options.stuff, options.workers) == (["car", "person"], None, None)
    assert options.all_images and options.download_only and not options.progress
    assert options.min_object_size == 0.1
