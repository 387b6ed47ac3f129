"""A generator from this file, without touching the library: it trains, is saved and loaded, folded,
resumed and compiled like the library's own."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import BatchNorm2d, Conv2d, Module
from torch.nn.utils import fuse_conv_bn_eval

from sg2im_pyg import Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import load_players, save_released
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.nn.compiled_part import CompiledPart
from sg2im_pyg.nn.generators import GENERATORS, register_generator
from sg2im_pyg.nn.layout import FactoredLayout
from sg2im_pyg.training.compilation import compile_players
from sg2im_pyg.training.players import build_players
from sg2im_pyg.training.processes import launch_fabric
from sg2im_pyg.training.trainer import train
from tests.training import conftest as training

landscapes, config = training.landscapes, training.config  # fixtures
GRAPH = {"objects": ["sky", "grass"], "relationships": [[0, "above", 1]]}


class ToyGenerator(Module):
    """Each pixel by itself."""

    def __init__(self, channels, hidden, takes_factored=False):
        super().__init__()
        self.takes_factored = takes_factored
        self.conv, self.norm = Conv2d(channels, hidden, 1), BatchNorm2d(hidden)
        self.colours = Conv2d(hidden, 3, 1)
        self.forms = set()

    def forward(self, layout, noise=None):
        self.forms.add(type(layout))
        if isinstance(layout, FactoredLayout):
            layout = layout.multiply()
        planes = layout if noise is None else torch.cat([layout, noise], dim=1)
        return self.colours(self.norm(self.conv(planes)).relu())

    def reset_parameters(self):
        for layer in self.children():
            layer.reset_parameters()

    def fold(self):
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), torch.nn.Identity()

    def parts_to_compile(self):
        return [CompiledPart(self.colours)]


def check_toy(options):
    if options.image_size[0] != options.image_size[1]:
        raise Sg2ImError("toys are square.")


@pytest.fixture(autouse=True)
def toys():
    def make(channels, options):
        return ToyGenerator(channels, options.refinement_dims[0])

    register_generator("toy", make, check_toy)
    register_generator("factored_toy", lambda channels, _: ToyGenerator(channels, 4, True))
    yield
    del GENERATORS["toy"], GENERATORS["factored_toy"]


def pictures(model):
    return np.asarray(model.generate([GRAPH], seed=3)[0]).astype(int)


def test_it_trains_and_is_saved_loaded_folded_and_resumed(config, tmp_path):
    config.model.generator, config.steps = "toy", 4
    assert train(config, tmp_path / "whole")
    last = tmp_path / "whole" / "checkpoints" / "last.pt"
    model = Sg2Im.from_pretrained(last)
    assert isinstance(model.refinement, ToyGenerator) and model.config.generator == "toy"
    assert "image_discriminator" in load_players(last).discriminators
    torch.manual_seed(config.seed)
    fresh = Sg2Im(model.vocabulary, config.model)
    moved = [not torch.equal(*pair) for pair in zip(model.parameters(), fresh.parameters())]
    assert all(moved[-6:])
    folded = model.for_generation()
    assert isinstance(folded.refinement.norm, torch.nn.Identity)
    assert np.abs(pictures(folded) - pictures(model)).max() <= 1

    config.steps = 2
    train(config, tmp_path / "parts")
    config.steps = 4
    last_of_parts = tmp_path / "parts" / "checkpoints" / "last.pt"
    train(config, tmp_path / "parts", last_of_parts)
    found, expected = (read_checkpoint(path)["generator"] for path in (last_of_parts, last))
    assert all(torch.equal(found[key], expected[key]) for key in expected | found)


def test_it_gets_layouts_in_the_form_that_it_takes():
    for name, form in (("toy", torch.Tensor), ("factored_toy", FactoredLayout)):
        model = Sg2Im(Vocabulary(["sky", "grass"], ["above"]), generator=name)
        model.generate([GRAPH])
        assert model.refinement.forms == {form}


def test_its_parts_are_compiled(config, monkeypatch):
    config.model.generator = "toy"
    compiled = []

    def compile_one(function, **options):
        compiled.append((function, options))
        return function

    monkeypatch.setattr(torch, "compile", compile_one)
    vocabulary = Vocabulary(["sky"], ["above"])
    players = build_players(launch_fabric(config), config, vocabulary)
    forward = copy.copy(players.generator.bare.refinement.colours.forward)
    compile_players(players, "reduce-overhead")
    assert compiled[0] == (forward, {"backend": "inductor", "mode": "reduce-overhead"})
    assert len(compiled) == 6  # graph network, two heads, and the two discriminators


def test_its_row_checks_options():
    assert ModelConfig(generator="toy", image_size=(30, 30))
    with pytest.raises(Sg2ImError, match="toys are square"):
        ModelConfig(generator="toy", image_size=(30, 32))
    with pytest.raises(Sg2ImError, match="image_size is 0 x 0"):
        ModelConfig(generator="toy", image_size=(0, 0))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tyo", "There is no generator 'tyo': did you mean 'toy'"),
        ("CRN.", "did you mean 'crn'"),
        ("diffusion", "give one of crn, sharp_crn, spade, toy, factored_toy"),
        (["toy"], "generator"),
        ("x" * 10_000, "There is no generator 'x"),
    ],
)
def test_an_unknown_name_gets_a_sentence(name, sentence):
    with pytest.raises(Sg2ImError, match=sentence) as caught:
        ModelConfig(generator=name)
    assert len(str(caught.value)) < 300


def test_the_release_s_format_has_no_place_for_it(tmp_path):
    model = Sg2Im(Vocabulary(["sky"], ["above"]), generator="toy")
    with pytest.raises(Sg2ImError, match="no place for generator 'toy', only for 'crn'"):
        save_released(tmp_path / "released.pt", model)
    assert not list(tmp_path.iterdir())
