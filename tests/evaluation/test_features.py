import hashlib
import sys
import warnings
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.features import BATCH, resize_images
from sg2im_pyg.evaluation.landscape_classifier import load_classifier
from sg2im_pyg.evaluation.network_files import INCEPTION, load_feature_network

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def pictures(count, height=16, width=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, height, width)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def means(images):
    """What the small networks below start from, in float64: each channel's mean."""
    return images.double().mean((2, 3))


class Inception(nn.Module):
    """The interface of the 2015 network's file, with outputs that say how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(12.0).view(3, 4) / 500)

    def forward(
        self,
        img: Tensor,
        return_features: bool = False,
        use_fp16: bool = False,
        no_output_bias: bool = False,
    ):
        features = img.float().mean([2, 3])
        if return_features:
            return features
        logits = features @ self.weight
        if not no_output_bias:
            logits = logits + 5.0 * torch.arange(4.0, device=logits.device)
        return logits.softmax(1)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(12.0).view(3, 4) / 500 - 0.01)

    def forward(self, images: Tensor):
        return images.float().mean([2, 3]) @ self.weight


class Flat(nn.Module):
    def forward(self, images: Tensor):
        return images.float().mean([2, 3], keepdim=True)


class Two(nn.Module):
    def forward(self, images: Tensor):
        features = images.float().mean([2, 3])
        return features, 2 * features


class Softmax(nn.Module):
    def forward(self, images: Tensor):
        return (images.float().mean([2, 3]) / 10).softmax(1)


class Certain(nn.Module):
    """All probability on the first class."""

    def forward(self, images: Tensor):
        rows = torch.zeros(images.shape[0], 3)
        rows[:, 0] = 1.0
        return rows


class Integers(nn.Module):
    def forward(self, images: Tensor):
        return images.long().sum([2, 3])


class Maps(nn.Module):
    def forward(self, images: Tensor):
        return images.float()


class Sum(nn.Module):
    def forward(self, images: Tensor):
        return images.float().mean([0, 2, 3]).unsqueeze(0)


class Infinite(nn.Module):
    def forward(self, images: Tensor):
        return images.float().mean([2, 3]) / 0.0


class Three(nn.Module):
    def forward(self, images: Tensor):
        features = images.float().mean([2, 3])
        return features, features, features


class Only20(nn.Module):
    def forward(self, images: Tensor):
        assert images.shape[2] == 20, "only 20 pixels"
        return images.float().mean([2, 3])


class Growing(nn.Module):
    def forward(self, images: Tensor):
        return images.float().mean([1, 2])


class Saves(nn.Module):
    def forward(self, images: Tensor):
        torch.save(images, "stolen.bin")
        return images.float().mean([2, 3])


class MapsFile(nn.Module):
    def forward(self, images: Tensor):
        return torch.from_file("secret.bin", size=8).view(1, 8)


def script(module, path):
    torch.jit.script(module).save(path)
    return path


@pytest.fixture
def scripted(tmp_path):
    return lambda module: script(module, tmp_path / f"{type(module).__name__}.pt")


def refused(source, **options):
    """The one sentence with which loading, or the use on four pictures, ends."""
    with pytest.raises(Sg2ImError) as caught:
        load_feature_network(source, **options)(pictures(4))
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


# TorchScript


def test_inception_is_known_by_its_arguments_and_asked_for_features_and_unbiased_classes(scripted):
    path = scripted(Inception()).rename(scripted(Inception()).with_name("anything.bin"))
    network = load_feature_network(path)
    images = pictures(5)
    features, logits = network(images)
    expected = means(images)
    torch.testing.assert_close(features.double(), expected, rtol=1e-5, atol=1e-4)
    unbiased = (expected @ (torch.arange(12.0).view(3, 4) / 500).double()).softmax(1)
    torch.testing.assert_close(logits.double().softmax(1), unbiased, rtol=1e-5, atol=1e-6)
    assert network.name == "Inception 2015 (TorchScript)"
    assert network.description() == {
        "name": network.name,
        "file": "anything.bin",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "features": 3,
        "classes": 4,
    }


def test_inception_without_classes_runs_once(scripted):
    features, logits = load_feature_network(scripted(Inception()), output="features")(pictures(3))
    assert features.shape == (3, 3) and logits is None


def test_inception_is_fetched_when_it_is_asked_for(scripted, monkeypatch):
    path, asked = scripted(Inception()), []
    fetch = "sg2im_pyg.evaluation.network_files.fetch_file"
    monkeypatch.setattr(fetch, lambda file: asked.append(file) or path)
    assert load_feature_network("inception").path == path
    assert asked == [INCEPTION]


@pytest.mark.parametrize("output", ["auto", "logits"])
def test_one_output_is_features_and_logits(scripted, output):
    network = load_feature_network(scripted(Linear()), output=output)
    images = pictures(6)
    features, logits = network(images)
    expected = means(images) @ Linear().weight.detach().double()
    torch.testing.assert_close(features.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(features, logits)
    assert features.dtype == torch.float32
    assert network.name == "TorchScript file Linear.pt"


def test_features_alone_have_no_logits(scripted):
    network = load_feature_network(scripted(Linear()), output="features")
    assert network(pictures(2)).logits is None
    assert network.description()["classes"] is None


def test_maps_of_one_pixel_are_features(scripted):
    images = pictures(3)
    features = load_feature_network(scripted(Flat()))(images).features
    torch.testing.assert_close(features.double(), means(images), rtol=1e-5, atol=1e-4)


def test_of_two_outputs_the_first_are_the_features(scripted):
    images = pictures(3)
    features, logits = load_feature_network(scripted(Two()))(images)
    torch.testing.assert_close(features.double(), means(images), rtol=1e-5, atol=1e-4)
    assert torch.equal(logits, 2 * features)


def test_softmax_of_the_logits_of_probabilities_are_the_probabilities(scripted):
    images = pictures(4)
    logits = load_feature_network(scripted(Softmax()), output="probabilities")(images).logits
    expected = (means(images) / 10).softmax(1)
    torch.testing.assert_close(logits.double().softmax(1), expected, rtol=1e-5, atol=1e-6)


def test_a_probability_of_zero_has_a_finite_logit(scripted):
    logits = load_feature_network(scripted(Certain()), output="probabilities")(pictures(4)).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits.softmax(1)[0], torch.tensor([1.0, 0.0, 0.0]))


def test_probabilities_are_not_taken_for_logits_unasked(scripted):
    path = scripted(Softmax())
    assert "probabilities" in refused(path)
    assert load_feature_network(path, output="logits")(pictures(4)).logits is not None


def test_results_do_not_depend_on_batches(scripted):
    network = load_feature_network(scripted(Linear()))
    images = pictures(2 * BATCH + 3)
    together = network(images).features
    single = torch.cat([network(image[None]).features for image in images])
    torch.testing.assert_close(together, single)


def test_network_never_gets_more_pictures_than_a_batch(scripted):
    network = load_feature_network(scripted(Linear()))
    run, sizes = network.run, []
    network.run = lambda images: (sizes.append(len(images)), run(images))[1]
    network(pictures(100))
    assert sizes == [32, 32, 32, 4]


def test_pictures_are_resized_to_the_size_given(scripted):
    path = scripted(Only20())
    images = pictures(3, 33, 47)
    features = load_feature_network(path, size=20)(images).features
    expected = means(resize_images(images, (20, 20)))
    torch.testing.assert_close(features.double(), expected, rtol=1e-5, atol=1e-4)
    assert "only 20 pixels" in refused(path)


def test_resizing_keeps_a_flat_picture_and_averages_an_even_shrink():
    flat = torch.full((1, 3, 30, 50), 77, dtype=torch.uint8)
    assert torch.equal(resize_images(flat, (17, 64)), flat[:, :, :1, :1].expand(1, 3, 17, 64))
    checks = (
        torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).repeat(16, 16).expand(1, 3, -1, -1)
    )
    # Far from the border each new pixel is a weighted mean of as many black as white ones.
    assert set(resize_images(checks, (8, 8))[0, 0, 1:-1, 1:-1].unique().tolist()) <= {127, 128}


@pytest.mark.parametrize(
    "module, said",
    [
        (Integers(), "torch.int64"),
        (Maps(), "(4, 3, 16, 16)"),
        (Sum(), "(1, 3) for 4 pictures"),
        (Infinite(), "not finite"),
        (Three(), "3 outputs"),
    ],
)
def test_outputs_that_are_no_features_are_refused(scripted, module, said):
    assert said in refused(scripted(module))


def test_what_are_no_probabilities_is_refused(scripted):
    assert "no probabilities" in refused(scripted(Linear()), output="probabilities")


def test_features_must_have_one_width(scripted):
    network = load_feature_network(scripted(Growing()))
    network(pictures(2, 16, 16))
    with pytest.raises(Sg2ImError, match="do not depend on the pictures' size"):
        network(pictures(2, 16, 24))


def test_description_without_a_picture_that_fits(scripted):
    description = load_feature_network(scripted(Only20())).description()
    assert description["features"] is None and description["name"] == "TorchScript file Only20.pt"


@pytest.mark.parametrize(
    "images",
    [
        pictures(2).float(),
        pictures(2)[0],
        pictures(2)[:, :2],
        pictures(2)[:0],
    ],
)
def test_other_things_than_pictures_are_refused(scripted, images):
    with pytest.raises(Sg2ImError, match="feature network takes"):
        load_feature_network(scripted(Linear()))(images)


def test_nothing_is_said_about_torchscript_being_deprecated(scripted):
    path = scripted(Linear())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_feature_network(path)(pictures(2))
    assert not caught


def test_global_generator_and_gradients_are_left_alone(scripted):
    state = torch.random.get_rng_state()
    result = load_feature_network(scripted(Linear()))(pictures(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not result.features.requires_grad


@pytest.mark.parametrize("module, word", [(Saves(), "save"), (MapsFile(), "from_file")])
def test_torchscript_that_reaches_the_disk_is_refused(
    scripted, monkeypatch, tmp_path, module, word
):
    monkeypatch.chdir(tmp_path)
    assert f"'{word}'" in refused(scripted(module))
    assert not (tmp_path / "stolen.bin").exists()


# Files that are refused


class Malice:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('ran').touch()",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("content", [Malice(), nn.Linear(2, 2), {"weights": torch.zeros(3)}])
def test_pickled_objects_are_never_loaded(tmp_path, monkeypatch, content, zipped):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "network.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "no TorchScript file" in refused(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_files_that_were_cut_off_are_refused(scripted, tmp_path, kind, kept):
    whole = scripted(Linear()) if kind == "torchscript" else linear_onnx(tmp_path)
    path = tmp_path / "cut.bin"
    content = whole.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert str(path) in refused(path)


def test_torchscript_with_damaged_bytes_is_refused(scripted, tmp_path):
    path = scripted(Linear())
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        [code] = [entry for entry in archive.infolist() if entry.filename.endswith(".py")]
    content[code.header_offset + 200 : code.header_offset + 250] = bytes(50)
    path.write_bytes(content)
    assert "damaged" in refused(path)


def test_torchscript_whose_code_does_not_compile_is_refused(scripted, tmp_path):
    path = tmp_path / "changed.pt"
    with zipfile.ZipFile(scripted(Linear())) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b"torch.matmul", b"torch.no_such_thing"))
    assert "damaged or from a newer torch" in refused(path)


def test_missing_files_folders_and_foreign_files_are_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.pt")
    assert "is a folder" in refused(tmp_path)
    text = tmp_path / "text.onnx"
    text.write_text("not a network\n", encoding="utf-8")
    assert "neither a TorchScript file nor an ONNX file" in refused(text)
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "nothing")
    assert "no TorchScript file" in refused(archive)


def test_options_out_of_range_are_refused(scripted):
    path = scripted(Linear())
    assert "between 8 and 4096" in refused(path, size=4)
    assert "classes" in refused(path, output="classes")
    assert "unknown or can not be used" in refused(path, device="abacus")


# ONNX

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4) / 500


def save_onnx(path, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def linear_onnx(folder, kind=TensorProto.FLOAT, shape=("n", 3, "h", "w"), outputs=1, rows="n"):
    """Each channel's mean times WEIGHT; as a second output, twice that."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["features"]),
        helper.make_node("Add", ["features", "features"], ["logits"]),
    ][: 3 if outputs == 1 else 4]
    names = ["features", "logits", "means"][:outputs]
    return save_onnx(
        folder / "linear.onnx",
        nodes,
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (rows, None)) for name in names],
        [helper.make_tensor("weight", TensorProto.FLOAT, WEIGHT.shape, WEIGHT.ravel())],
    )


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8, TensorProto.DOUBLE])
def test_onnx_gets_pictures_from_0_to_255(tmp_path, kind):
    network = load_feature_network(linear_onnx(tmp_path, kind))
    images = pictures(5)
    features, logits = network(images)
    expected = means(images) @ torch.from_numpy(WEIGHT).double()
    torch.testing.assert_close(features.double(), expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(features, logits)
    assert network.name == "ONNX file linear.onnx"
    assert network.description()["features"] == 4


def test_onnx_with_two_outputs_gives_features_and_logits(tmp_path):
    features, logits = load_feature_network(linear_onnx(tmp_path, outputs=2))(pictures(3))
    assert torch.equal(logits, 2 * features)


@pytest.mark.parametrize("count", [1, 4, 50])
@pytest.mark.parametrize("given", [1, 7, 40])
def test_onnx_with_a_fixed_number_of_pictures(tmp_path, count, given):
    path = linear_onnx(tmp_path, shape=(count, 3, "h", "w"), rows=count)
    images = pictures(given)
    features = load_feature_network(path)(images).features
    expected = means(images) @ torch.from_numpy(WEIGHT).double()
    torch.testing.assert_close(features.double(), expected, rtol=1e-5, atol=1e-4)


def test_onnx_with_a_fixed_size_gets_resized_pictures(tmp_path):
    path = linear_onnx(tmp_path, shape=("n", 3, 20, 24))
    images = pictures(3, 50, 31)
    features = load_feature_network(path)(images).features
    expected = means(resize_images(images, (20, 24))) @ torch.from_numpy(WEIGHT).double()
    torch.testing.assert_close(features.double(), expected, rtol=1e-5, atol=1e-4)
    assert "20 x 24" in refused(path, size=32)


def test_onnx_that_takes_no_pictures_is_refused(tmp_path):
    assert "3 outputs" in refused(linear_onnx(tmp_path, outputs=3))
    assert "takes tensor(int64)" in refused(linear_onnx(tmp_path, TensorProto.INT64))
    channels_last = save_onnx(
        tmp_path / "last.onnx",
        [helper.make_node("ReduceMean", ["images"], ["means"], axes=[1, 2], keepdims=0)],
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("n", 20, 20, 3))],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, ("n", 3))],
    )
    assert "not pictures" in refused(channels_last)
    assert "1 GiB" in refused(linear_onnx(tmp_path, shape=(100_000, 3, 200, 200)))


def test_onnx_without_onnxruntime_names_the_command(tmp_path, monkeypatch):
    path = linear_onnx(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in refused(path)


# The classifier of landscapes


def test_shipped_classifier_is_named_as_what_it_is():
    network = load_feature_network("landscapes")
    images = pictures(3, 64, 64)
    features, logits = network(images)
    with torch.no_grad():
        said = load_classifier()[0](images)
    assert torch.equal(features, said.features) and torch.equal(logits, said.classes)
    description = network.description()
    assert description["name"] == "landscape classifier of sg2im_pyg"
    assert (description["features"], description["classes"]) == (64, 21)
    assert len(description["sha256"]) == 64


def test_a_file_of_a_trained_classifier_is_taken(tmp_path):
    shipped = load_feature_network("landscapes")
    path = tmp_path / "mine.pt"
    path.write_bytes(shipped.path.read_bytes())
    network = load_feature_network(path)
    assert network.name == "landscape classifier mine.pt"
    assert network.sha256 == shipped.sha256
    assert torch.equal(network(pictures(2)).features, shipped(pictures(2)).features)
