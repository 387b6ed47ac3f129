"""Checkpoints of the 2018 release: the same numbers from them, and a sentence for every bad file.

``golden/full.official.pt`` is a small checkpoint in the release's format with random weights;
``golden/full.cases.pt`` holds inputs and what the release's code gives for them.
"""

import builtins
import codecs
import collections
import copy
import io
import os
import pickle
import pickletools
import struct
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn import LeakyReLU

from sg2im_pyg import Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import load_players, load_released, save_checkpoint, save_released
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator, compose_layout, crop_objects
from sg2im_pyg.nn.discriminators import SegmentingDiscriminator
from sg2im_pyg.training.criteria import discriminator_loss, generator_loss

GOLDEN = Path(__file__).parents[1] / "golden"
OFFICIAL = GOLDEN / "full.official.pt"


@pytest.fixture(scope="module")
def cases():
    return torch.load(GOLDEN / "full.cases.pt", weights_only=True)


@pytest.fixture(scope="module")
def entries():
    with torch.serialization.safe_globals([collections.defaultdict, list]):
        return torch.load(OFFICIAL, weights_only=True)


@torch.no_grad()
def largest_differences(cases) -> dict[str, float]:
    """Largest absolute difference to the release's output, part by part."""
    model, object_discriminator, image_discriminator = three_of(OFFICIAL)
    boxes, masks, real = cases["boxes"], cases["masks"], cases["real"]
    batch, expected = cases["obj_to_img"], cases["expected"]
    graphs = model.to_batch(cases["graphs"])
    noise = cases["noise"]
    found, wanted = {}, {}

    predicted = model(graphs, noise=noise)
    for name in ("images", "boxes", "masks"):
        found[f"predicted {name}"] = getattr(predicted, name)
        wanted[f"predicted {name}"] = expected["predicted"][name]
    found["images from given boxes"] = model(graphs, boxes=boxes, noise=noise).images
    wanted["images from given boxes"] = expected["given_boxes"]["images"]
    found["images from given boxes and masks"] = model(graphs, boxes, masks, noise).images
    wanted["images from given boxes and masks"] = expected["given_boxes_masks"]["images"]

    layout = expected["layout"]
    for name, given in (("masks", masks), ("boxes", None)):
        found[f"layout from {name}"] = compose_layout(
            layout["vectors"], boxes, given, batch, (32, 32)
        )
        wanted[f"layout from {name}"] = layout[f"from_{name}"]
    found["crops"] = crop_objects(real, boxes, batch, 16)
    wanted["crops"] = expected["crops"]

    scores, logits = object_discriminator(real, boxes, batch)
    found["object scores"], wanted["object scores"] = scores, expected["d_obj"]["real_scores"]
    found["auxiliary loss"] = F.cross_entropy(logits, cases["objs"])
    wanted["auxiliary loss"] = expected["d_obj"]["ac_loss"]
    found["image scores"], wanted["image scores"] = image_discriminator(real), expected["d_img"]

    # The file's generator losses are those of its first scores, which are also its real ones.
    real_scores, fake_scores = expected["scores"]
    for kind in ("gan", "lsgan", "wgan"):
        found[f"{kind} generator"] = generator_loss(kind, real_scores)
        found[f"{kind} discriminator"] = discriminator_loss(kind, real_scores, fake_scores)
        wanted[f"{kind} generator"] = expected["gan"][kind]["g"]
        wanted[f"{kind} discriminator"] = expected["gan"][kind]["d"]
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert value.shape == wanted[name].shape, name
    return {name: (found[name] - wanted[name]).abs().max().item() for name in found}


def test_every_part_of_the_release_is_reproduced(cases):
    differences = largest_differences(cases)
    print()
    for name, difference in differences.items():
        print(f"{name:<36} {difference:.1e}")
    assert max(differences.values()) < 1e-5, differences


def test_json_graphs_give_the_release_s_objects_and_triples(cases):
    graphs = load_released(OFFICIAL).model.to_batch(cases["graphs"])
    assert torch.equal(graphs.x, cases["objs"])
    assert torch.equal(graphs.batch, cases["obj_to_img"])
    triples = torch.stack([graphs.edge_index[0], graphs.edge_attr, graphs.edge_index[1]], dim=1)
    assert torch.equal(sort_rows(triples), sort_rows(cases["triples"]))


def sort_rows(rows):
    return torch.tensor(sorted(rows.tolist()))


def test_models_come_in_eval_mode_with_vocabulary_and_options():
    model, object_discriminator, image_discriminator = three_of(OFFICIAL)
    assert not any(m.training for m in (model, object_discriminator, image_discriminator))
    assert model.vocabulary.objects[:3] == ("__image__", "sky", "grass")
    assert model.vocabulary.predicates[-1] == "surrounding"
    assert model.config.image_size == (32, 32)
    assert model.config.gconv_pooling == "mean"
    assert model.config.layout_noise_dim == 4
    assert object_discriminator.object_size == 16
    assert object_discriminator.layers == image_discriminator.layers == ((4, 8, 2), (4, 16, 2))
    assert [image.size for image in model.generate([{"objects": ["boat"]}], seed=1)] == [(32, 32)]


# --- Other options -----------------------------------------------------------------------------
# A checkpoint is made key by key from the format's description, and the release's forward pass is
# computed straight from those keys.

VOCAB = {
    "object_idx_to_name": ["__image__", "sky", "NONE", "NONE", "grass"],
    "pred_idx_to_name": ["__in_image__", "above"],
}
OBJECTS = torch.tensor([1, 4, 4, 0, 1, 0])
IMAGES = torch.tensor([0, 0, 0, 0, 1, 1])
TRIPLES = torch.tensor([[0, 1, 1], [0, 1, 2], [0, 0, 3], [1, 0, 3], [2, 0, 3], [4, 0, 5]])
GRAPHS = [
    {"objects": ["sky", "grass", "grass"], "relationships": [[0, "above", 1], [0, "above", 2]]},
    {"objects": ["sky"], "relationships": []},
]
SMALL = {
    "vocab": VOCAB,
    "image_size": (8, 16),
    "embedding_dim": 5,
    "gconv_dim": 6,
    "gconv_hidden_dim": 7,
    "gconv_num_layers": 2,
    "refinement_dims": (6, 4),
    "mask_size": 4,
    "layout_noise_dim": 3,
}


def make_state(options) -> dict[str, torch.Tensor]:
    options = {"gconv_num_layers": 5, "mask_size": None, "layout_noise_dim": 0, **options}
    dim, hidden = options["gconv_dim"], options["gconv_hidden_dim"]
    generator = torch.Generator().manual_seed(5)
    state: dict[str, torch.Tensor] = {}

    def add(key, *shape):
        state[key] = torch.randn(shape, generator=generator) / max(shape[-1], 1) ** 0.5

    def linear(key, *shape):
        add(f"{key}.weight", *shape)
        add(f"{key}.bias", shape[0])

    def norm(key, channels):
        linear(key, channels)
        add(f"{key}.running_mean", channels)
        state[f"{key}.running_var"] = torch.rand(channels, generator=generator) + 0.5

    def mlp(key, *dims):
        position = 0
        for fan_in, fan_out in zip(dims, dims[1:], strict=False):
            linear(f"{key}.{position}", fan_out, fan_in)
            position += 1
            if options.get("mlp_normalization") == "batch":
                norm(f"{key}.{position}", fan_out)
                position += 1
            position += 1

    add("obj_embeddings.weight", len(VOCAB["object_idx_to_name"]) + 1, options["embedding_dim"])
    add("pred_embeddings.weight", len(VOCAB["pred_idx_to_name"]), options["embedding_dim"])
    if options["gconv_num_layers"] == 0:
        linear("gconv", dim, options["embedding_dim"])
    for i in range(options["gconv_num_layers"]):
        key = f"gconv_net.gconvs.{i - 1}" if i else "gconv"
        width = dim if i else options["embedding_dim"]
        mlp(f"{key}.net1", 3 * width, hidden, 2 * hidden + dim)
        mlp(f"{key}.net2", hidden, hidden, dim)
    mlp("box_net", dim, hidden, 4)
    # Boxes with a width and a height: the release divides by them.
    last = "4" if options.get("mlp_normalization") == "batch" else "2"
    for key in state:
        if key.startswith(f"box_net.{last}"):
            state[key] = torch.ones_like(state[key]) if "running" in key else state[key] / 20
    state[f"box_net.{last}.bias"] += torch.tensor([0.1, 0.2, 0.7, 0.9])
    for i in range(int(options["mask_size"] or 1).bit_length() - 1):
        norm(f"mask_net.{4 * i + 1}", dim)
        linear(f"mask_net.{4 * i + 2}", dim, dim, 3, 3)
    if options["mask_size"]:
        last = 4 * (options["mask_size"].bit_length() - 1)
        linear(f"mask_net.{last}", 1, dim, 1, 1)
    linear("rel_aux_net.0", 4, 2 * dim + 8)
    fan_in = 1
    normalization = options.get("normalization", "batch")
    for i, width in enumerate(options["refinement_dims"]):
        key = f"refinement_net.refinement_modules.{i}.net"
        second = 2 if normalization == "none" else 3
        linear(f"{key}.0", width, dim + options["layout_noise_dim"] + fan_in, 3, 3)
        linear(f"{key}.{second}", width, width, 3, 3)
        if normalization == "batch":
            norm(f"{key}.1", width)
            norm(f"{key}.4", width)
        fan_in = width
    linear("refinement_net.output_conv.0", fan_in, fan_in, 3, 3)
    linear("refinement_net.output_conv.2", 3, fan_in, 1, 1)
    return state


def direct_forward(state, options, noise):
    """The release's forward pass, from its own keys (eval mode), in the precision of the noise."""

    def linear(key, x):
        return x @ state[f"{key}.weight"].T + state[f"{key}.bias"]

    def norm(key, x):
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (
            state[f"{key}.{name}"].view(-1, *[1] * (x.dim() - 2)) for name in names
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def mlp(key, x):
        indices = (0, 3) if options.get("mlp_normalization") == "batch" else (0, 2)
        for i in indices:
            x = linear(f"{key}.{i}", x)
            if options.get("mlp_normalization") == "batch":
                x = norm(f"{key}.{i + 1}", x)
            x = x.relu()
        return x

    def conv(key, x):
        weight = state[f"{key}.weight"]
        return F.conv2d(x, weight, state[f"{key}.bias"], padding=weight.size(2) // 2)

    hidden, dim = options["gconv_hidden_dim"], options["gconv_dim"]
    x = state["obj_embeddings.weight"][OBJECTS]
    p = state["pred_embeddings.weight"][TRIPLES[:, 1]]
    layers = options.get("gconv_num_layers", 5)
    if layers == 0:
        x = linear("gconv", x)
    for i in range(layers):
        key = f"gconv_net.gconvs.{i - 1}" if i else "gconv"
        new = mlp(f"{key}.net1", torch.cat([x[TRIPLES[:, 0]], p, x[TRIPLES[:, 2]]], dim=1))
        pooled = noise.new_zeros(len(OBJECTS), hidden)
        count = noise.new_zeros(len(OBJECTS), 1)
        for (s, _, o), row in zip(TRIPLES.tolist(), new, strict=True):
            pooled[s] += row[:hidden]
            pooled[o] += row[hidden + dim :]
            count[s] += 1
            count[o] += 1
        if options.get("gconv_pooling", "avg") == "avg":
            pooled = pooled / count.clamp(min=1)
        x, p = mlp(f"{key}.net2", pooled), new[:, hidden : hidden + dim]
    boxes = mlp("box_net", x)
    masks = noise.new_ones(len(x), 8, 8)
    mask_size = options.get("mask_size")
    if mask_size:
        features = x.view(*x.shape, 1, 1)
        for i in range(mask_size.bit_length() - 1):
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = conv(f"mask_net.{4 * i + 2}", norm(f"mask_net.{4 * i + 1}", features)).relu()
        last = 4 * (mask_size.bit_length() - 1)
        masks = conv(f"mask_net.{last}", features).sigmoid()[:, 0]
    height, width = options["image_size"]
    grid = noise.new_zeros(len(x), height, width, 2)
    x0, y0, x1, y1 = (boxes[:, i].view(-1, 1, 1) for i in range(4))
    across, down = (torch.linspace(0, 1, side, dtype=noise.dtype) for side in (width, height))
    grid[..., 0] = 2 * (across.view(1, 1, -1) - x0) / (x1 - x0) - 1
    grid[..., 1] = 2 * (down.view(1, -1, 1) - y0) / (y1 - y0) - 1
    spread = x.view(*x.shape, 1, 1) * masks.unsqueeze(1)
    warped = F.grid_sample(spread, grid, align_corners=True)
    layout = torch.stack([warped[i == IMAGES].sum(0) for i in range(2)])
    layout = torch.cat([layout, noise], dim=1)

    name = options.get("activation", "leakyrelu-0.2").lower()
    slope = float(name.split("-")[1]) if name.startswith("leakyrelu-") else 0.01
    modules = len(options["refinement_dims"])
    features = noise.new_zeros(2, 1, height // 2**modules, width // 2**modules)
    normalization = options.get("normalization", "batch")
    for i in range(modules):
        features = F.interpolate(features, scale_factor=2, mode="nearest")
        pooled = F.avg_pool2d(layout, height // features.size(2))
        features = torch.cat([pooled, features], dim=1)
        for j in (0, 2 if normalization == "none" else 3):
            key = f"refinement_net.refinement_modules.{i}.net"
            features = conv(f"{key}.{j}", features)
            if normalization == "batch":
                features = norm(f"{key}.{j + 1}", features)
            elif normalization == "instance":
                features = F.instance_norm(features)
            features = F.leaky_relu(features, slope)
    features = F.leaky_relu(conv("refinement_net.output_conv.0", features), slope)
    return conv("refinement_net.output_conv.2", features), boxes, masks


def opponents(players):
    """The release's discriminators, of objects and of pictures; none where a file lacks one."""
    return [players.discriminators.get(f"{kind}_discriminator") for kind in ("object", "image")]


def three_of(path):
    players = load_released(path)
    return players.model, *opponents(players)


def by_name(players):
    """The discriminators behind a generator."""
    pairs = zip(("object_discriminator", "image_discriminator"), players[1:])
    return {name: network for name, network in pairs if network is not None}


def save(path, **contents):
    torch.save(contents, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gconv_num_layers": 0},
        {"gconv_num_layers": 1},
        {"gconv_num_layers": 3},
        {"gconv_pooling": "sum"},
        {"mask_size": None},
        {"mask_size": 0},
        {"mask_size": 1},
        {"mask_size": 8},
        {"mlp_normalization": "batch"},
        {"mlp_normalization": "batch", "gconv_num_layers": 0},
        {"normalization": "instance"},
        {"normalization": "none"},
        {"activation": "relu"},
        {"activation": "leakyrelu-0.1"},
        {"layout_noise_dim": 0},
        {"activation": "leakyrelu"},
        {"activation": "LeakyReLU-0.3"},
        {"image_size": (16, 16), "refinement_dims": [3, 4, 5]},
        {"image_size": [12, 20], "refinement_dims": (9,)},
        {"aux_classifier": {"a": [1]}, "attribute_dim": 7},
        {
            "image_size": (24, 40),
            "embedding_dim": 16,
            "gconv_dim": 24,
            "gconv_hidden_dim": 40,
            "gconv_num_layers": 4,
            "gconv_pooling": "sum",
            "mlp_normalization": "batch",
            "mask_size": 8,
            "layout_noise_dim": 5,
            "refinement_dims": (20, 7, 11),
            "activation": "leakyrelu-0.15",
        },
    ],
    ids=str,
)
def test_every_option_gives_the_release_s_pictures(changes, tmp_path):
    options = {**SMALL, **changes}
    state = make_state(options)
    path = save(tmp_path / "released.pt", model_kwargs=options, model_state=state)
    model, object_discriminator, image_discriminator = three_of(path)
    assert object_discriminator is None and image_discriminator is None
    # In double precision: without normalization these weights give pictures of up to a thousand,
    # in which single precision leaves no digit of what cancels out.
    double = load_released(path).model.double()
    weights = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
    shape = (2, options["layout_noise_dim"], *options["image_size"])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    with torch.no_grad():
        found = double(double.to_batch(GRAPHS), noise=noise)
    images, boxes, masks = direct_forward(weights, options, noise)
    torch.testing.assert_close(found.boxes, boxes, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.images, images, rtol=1e-9, atol=1e-9)
    if options["mask_size"]:
        torch.testing.assert_close(found.masks, masks, rtol=1e-10, atol=1e-10)
    else:
        assert found.masks is None
    # And back: the same file, but for what was given up.
    save_released(tmp_path / "again.pt", model)
    again = read(tmp_path / "again.pt")["model_state"]
    assert {k for k in again if not k.endswith("num_batches_tracked")} == (
        set(state) - {"rel_aux_net.0.weight", "rel_aux_net.0.bias"}
        | {k for k in again if k.startswith("rel_aux_net.") and "tracked" not in k}
    )
    assert all(torch.equal(again[k], state[k]) for k in state if not k.startswith("rel_aux"))
    assert three_of(tmp_path / "again.pt")[0].config == model.config


def direct_crop(image, box, size):
    """Bilinear, corner pixels at the box's corners, zero outside; one pixel after the other."""
    channels, height, width = image.shape
    crop = np.zeros((channels, size, size))
    for row in range(size):
        for column in range(size):
            x = (box[0] + (box[2] - box[0]) * column / (size - 1)) * (width - 1)
            y = (box[1] + (box[3] - box[1]) * row / (size - 1)) * (height - 1)
            left, top = int(np.floor(x)), int(np.floor(y))
            for i, j in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
                if 0 <= i < width and 0 <= j < height:
                    share = (1 - abs(x - i)) * (1 - abs(y - j))
                    crop[:, row, column] += share * image[:, j, i]
    return crop


def direct_convolutions(state, prefix, strides, images, normalization, slope):
    position = 0
    for i, stride in enumerate(strides):
        if i:
            if normalization == "batch":
                names = ("running_mean", "running_var", "weight", "bias")
                values = [state[f"{prefix}{position}.{n}"].view(-1, 1, 1) for n in names]
                images = (images - values[0]) / (values[1] + 1e-5).sqrt() * values[2] + values[3]
            elif normalization == "instance":
                mean = images.mean((2, 3), keepdim=True)
                var = images.var((2, 3), keepdim=True, unbiased=False)
                images = (images - mean) / (var + 1e-5).sqrt()
            position += normalization != "none"
            images = torch.where(images > 0, images, slope * images)
            position += 1
        key = f"{prefix}{position}"
        images = F.conv2d(images, state[f"{key}.weight"], state[f"{key}.bias"], stride)
        position += 1
    return images


@pytest.mark.parametrize("normalization", ["batch", "instance", "none"])
@pytest.mark.parametrize("own_vocabulary", [True, False])
def test_discriminators_give_the_release_s_scores(normalization, own_vocabulary, tmp_path):
    generator = torch.Generator().manual_seed(11)
    convolutions = ((3, 7, 1), (4, 5, 2), (2, 9, 1))
    arch = "C3-7,C4-5-2,C2-9-1"
    strides = [stride for *_, stride in convolutions]

    def random(*shape):
        return torch.randn(shape, generator=generator) / max(shape[-1], 1) ** 0.5

    def conv_state(prefix):
        state, position, fan_in = {}, 0, 3
        for i, (kernel, channels, _) in enumerate(convolutions):
            if i and normalization == "batch":
                for name in ("weight", "bias", "running_mean"):
                    state[f"{prefix}{position}.{name}"] = random(fan_in)
                state[f"{prefix}{position}.running_var"] = random(fan_in).abs() + 0.5
            position += (i > 0) * (1 + (normalization != "none"))
            state[f"{prefix}{position}.weight"] = random(channels, fan_in, kernel, kernel)
            state[f"{prefix}{position}.bias"] = random(channels)
            position, fan_in = position + 1, channels
        return state

    objects = conv_state("discriminator.cnn.0.")
    for name, shape in (
        ("cnn.2", (1024, 9)),
        ("real_classifier", (1, 1024)),
        ("obj_classifier", (5, 1024)),
    ):
        objects[f"discriminator.{name}.weight"] = random(*shape)
        objects[f"discriminator.{name}.bias"] = random(shape[0])
    pictures = {**conv_state("cnn."), "classifier.weight": random(1, 9, 1, 1)}
    options = {"arch": arch, "normalization": normalization, "activation": "leakyrelu-0.1"}
    options |= {"padding": "valid", "pooling": "avg"}
    path = save(
        tmp_path / "released.pt",
        model_kwargs=SMALL,
        model_state=make_state(SMALL),
        d_obj_kwargs={**options, "object_size": 13, **({"vocab": VOCAB} if own_vocabulary else {})},
        d_obj_state={f"module.{key}": value for key, value in objects.items()},
        d_img_kwargs=options,
        d_img_state=pictures,
    )
    _, object_discriminator, image_discriminator = three_of(path)
    images = torch.randn(2, 3, 15, 19, generator=generator)
    boxes = torch.rand(len(IMAGES), 4, generator=generator) * 0.5
    boxes[:, 2:] += 0.45
    crops = torch.stack(
        [
            torch.from_numpy(direct_crop(images[i].numpy(), box, 13))
            for i, box in zip(IMAGES.tolist(), boxes.double().numpy(), strict=True)
        ]
    ).float()
    features = direct_convolutions(
        objects, "discriminator.cnn.0.", strides, crops, normalization, 0.1
    )
    hidden = features.mean(dim=(2, 3)) @ objects["discriminator.cnn.2.weight"].T
    hidden += objects["discriminator.cnn.2.bias"]

    def head(name):
        key = f"discriminator.{name}"
        return hidden @ objects[f"{key}.weight"].T + objects[f"{key}.bias"]

    with torch.no_grad():
        scores, logits = object_discriminator(images, boxes, IMAGES)
        found = image_discriminator(images)
    expected = direct_convolutions(pictures, "cnn.", strides, images, normalization, 0.1)
    torch.testing.assert_close(scores, head("real_classifier"), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, head("obj_classifier"), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def read(path):
    with torch.serialization.safe_globals([collections.defaultdict, list]):
        return torch.load(path, weights_only=True)


def test_missing_options_have_the_release_s_defaults(tmp_path):
    options = {key: SMALL[key] for key in ("vocab", "gconv_hidden_dim", "image_size")}
    full = {
        **options,
        "embedding_dim": 64,
        "gconv_dim": 128,
        "refinement_dims": (1024, 512, 256, 128, 64),
        "image_size": (32, 32),
    }
    options["image_size"] = (32, 32)
    path = save(tmp_path / "released.pt", model_kwargs=options, model_state=make_state(full))
    config = three_of(path)[0].config
    assert (config.embedding_dim, config.gconv_dim, config.gconv_num_layers) == (64, 128, 5)
    assert config.refinement_dims == (1024, 512, 256, 128, 64)
    assert (config.mask_size, config.layout_noise_dim) == (0, 0)
    assert (config.gconv_pooling, config.normalization) == ("mean", "batch")
    assert config.mlp_normalization == "none"


@pytest.mark.parametrize("size", [16, (16, 16), [16, 16], np.int64(16), (np.int32(16), 16)])
def test_sizes_come_as_numbers_and_as_pairs(size, tmp_path):
    options = {**SMALL, "image_size": (16, 16)}
    contents = {"model_kwargs": {**options, "image_size": size}, "model_state": make_state(options)}
    config = three_of(save(tmp_path / "released.pt", **contents))[0].config
    assert config.image_size == (16, 16) and {type(n) for n in config.image_size} == {int}


def test_numpy_numbers_and_filled_histories_are_read(entries, tmp_path):
    """As a program of 2018 would have left them, under numpy's name of then and of now."""
    history = collections.defaultdict(list)
    kinds = (np.float32(0.5), np.float64(-2), np.int64(3), np.uint8(4), np.bool_(True))
    history["total_loss"] = [1.25, *kinds, np.dtype(">i4").type(7)]
    changed = {**entries, "losses": history, "best_t": [np.float64(1)]}
    changed["model_kwargs"] = {**entries["model_kwargs"], "gconv_dim": np.int64(16)}
    for zipped in (False, True):
        path = tmp_path / f"{zipped}.pt"
        torch.save(changed, path, _use_new_zipfile_serialization=zipped)
        again = three_of(path)
        for model, expected in zip(again, three_of(OFFICIAL), strict=True):
            assert all(
                map(torch.equal, model.state_dict().values(), expected.state_dict().values())
            )
        assert type(again[0].config.gconv_dim) is int
    old = (tmp_path / "False.pt").read_bytes()
    names = (b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert sum(map(old.count, names)) == 1
    for before, after in (names, names[::-1]):
        (tmp_path / "other.pt").write_bytes(old.replace(before, after))
        assert three_of(tmp_path / "other.pt")[2] is not None


def test_names_come_from_their_indices_where_the_list_is_missing(entries, tmp_path):
    changed = copy.deepcopy(entries)
    vocab = changed["model_kwargs"]["vocab"]
    wanted = tuple(vocab.pop("object_idx_to_name")), tuple(vocab.pop("pred_idx_to_name"))
    del vocab["object_name_to_idx"]["grass"]
    changed["d_obj_kwargs"].pop("vocab")
    model, object_discriminator, _ = three_of(save(tmp_path / "released.pt", **changed))
    assert model.vocabulary.objects == ("__image__", "sky", "NONE", *wanted[0][3:])
    assert model.vocabulary.predicates == wanted[1]
    assert object_discriminator.category_head.out_features == len(wanted[0])


def test_weights_of_other_kinds_and_from_gpus_are_read(entries, tmp_path):
    changed = copy.deepcopy(entries)
    state = changed["model_state"]
    state["box_net.0.weight"] = state["box_net.0.weight"].half()
    state["box_net.0.bias"] = state["box_net.0.bias"].double()
    state["box_net.2.bias"] = torch.tensor([0, 1, 2, 3])
    state["box_net.2.weight"] = state["box_net.2.weight"].T.contiguous().T  # other strides
    path = save(tmp_path / "mixed.pt", **changed)
    model = three_of(path)[0]
    for i, name in ((0, "weight"), (0, "bias"), (2, "weight"), (2, "bias")):
        found = model.box_head.layers[i].get_parameter(name)
        assert torch.equal(found, state[f"box_net.{i}.{name}"].float())
    raw = path.read_bytes()
    assert b"ctorch\nFloatStorage\n" in raw and b"X\x03\x00\x00\x00cpu" in raw
    raw = raw.replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n")
    raw = raw.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:1")
    path.write_bytes(raw)
    from_gpu = three_of(path)[0]
    assert {value.device.type for value in from_gpu.state_dict().values()} == {"cpu"}
    assert all(map(torch.equal, from_gpu.state_dict().values(), model.state_dict().values()))


def test_names_pickled_by_python_2_are_read(entries, tmp_path):
    """There a plain string is a string of bytes."""
    path = save(tmp_path / "released.pt", **entries)
    raw, text = path.read_bytes(), "obj_embeddings.weight"
    new = b"X" + struct.pack("<I", len(text)) + text.encode()
    assert raw.count(new) >= 1
    path.write_bytes(raw.replace(new, b"U" + bytes([len(text)]) + text.encode()))
    model = three_of(path)[0]
    assert torch.equal(model.object_embedding.weight, entries["model_state"][text])


def test_categories_keep_their_indices_where_the_vocabulary_has_holes(tmp_path):
    path = save(tmp_path / "released.pt", model_kwargs=SMALL, model_state=make_state(SMALL))
    vocabulary = three_of(path)[0].vocabulary
    assert vocabulary.object_index("grass") == 4
    with pytest.raises(Sg2ImError, match="NONE"):
        vocabulary.object_index("NONE")


def test_prefixes_missing_counters_and_stripped_files_change_nothing(entries, cases, tmp_path):
    def old(state):
        kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        return {f"module.{key}": value for key, value in kept.items()}

    changed = {
        **entries,
        **{key: old(entries[key]) for key in ("model_state", "d_obj_state", "d_img_state")},
    }
    loaded = three_of(save(tmp_path / "old.pt", **changed))
    for model, expected in zip(loaded, three_of(OFFICIAL), strict=True):
        for key, value in expected.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                assert torch.equal(model.state_dict()[key], value), key
    kept = {key: changed[key] for key in ("model_kwargs", "model_state")}
    stripped = three_of(save(tmp_path / "stripped.pt", **kept))
    assert isinstance(stripped[0], Sg2Im) and stripped[1:] == (None, None)


def test_files_in_the_new_format_are_read_too(entries, tmp_path):
    torch.save(entries, tmp_path / "new.pt")
    assert three_of(tmp_path / "new.pt")[2] is not None


def test_lists_of_layers_and_strides_of_one_are_read(entries, tmp_path):
    changed = copy.deepcopy(entries)
    changed["d_img_kwargs"]["arch"] = ["I3", "C4-8", "C4-16-2"]
    image_discriminator = three_of(save(tmp_path / "a.pt", **changed))[2]
    assert image_discriminator.layers == ((4, 8, 1), (4, 16, 2))


# --- Files that cannot be loaded ---------------------------------------------------------------


class Reduced:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


class Restored:
    """Runs code when its state is put back."""

    def __setstate__(self, state):
        Path(state["canary"]).mkdir()

    def __reduce__(self):
        return Restored, (), {"canary": "ran"}


def opened():
    Path("ran").mkdir()


NUMPY_SCALAR = np.float32(0).__reduce__()[0]
HOSTILE = {
    "system": lambda: Reduced(os.system, "mkdir ran"),
    "mkdir": lambda: Reduced(os.mkdir, "ran"),
    "eval": lambda: Reduced(builtins.eval, "__import__('os').mkdir('ran')"),
    "exec": lambda: Reduced(builtins.exec, "import os; os.mkdir('ran')"),
    "getattr": lambda: Reduced(getattr, Reduced(__import__, "os"), "mkdir"),
    "nested load": lambda: Reduced(partial(torch.load, weights_only=False), "inner.pt"),
    "factory": lambda: collections.defaultdict(opened, {"a": 1}),
    "factory of os": lambda: Reduced(collections.defaultdict, os.getcwd),
    "state": lambda: Restored(),
    "state of a dict": lambda: Reduced(collections.OrderedDict, state={"a": Reduced(opened)}),
    "class": lambda: Restored,
    "path": lambda: Path("ran"),
    "module": lambda: torch.nn.Linear(1, 1),
    "numpy array": lambda: np.zeros(3),
    "numpy objects": lambda: Reduced(NUMPY_SCALAR, np.dtype("O"), Reduced(opened)),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", HOSTILE)
def test_code_in_a_file_is_refused_and_not_run(kind, zipped, entries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "inner.pt", a=Reduced(os.mkdir, "ran"))
    contents = {**entries, "args": {"nothing": HOSTILE[kind]()}}
    torch.save(contents, "evil.pt", _use_new_zipfile_serialization=zipped)
    for load in (load_released, load_players, Sg2Im.from_pretrained):
        with pytest.raises(Sg2ImError, match=r"evil\.pt (holds pickled code|can not be)") as caught:
            load("evil.pt")
        assert "\n" not in str(caught.value)
    assert not Path("ran").exists()
    Path("plain.pt").write_bytes(pickle.dumps(HOSTILE[kind]()))
    with pytest.raises(Sg2ImError, match=r"plain\.pt"):
        load_released("plain.pt")
    assert not Path("ran").exists()


def test_the_hostile_files_would_run_their_code(tmp_path, monkeypatch):
    """So that the test above tests something."""
    monkeypatch.chdir(tmp_path)
    for kind in ("system", "mkdir", "eval", "exec", "nested load", "state", "state of a dict"):
        save(tmp_path / "inner.pt", a=Reduced(os.mkdir, "ran"))
        torch.save([HOSTILE[kind]()], "evil.pt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                torch.load("evil.pt", weights_only=False)
            except TypeError:  # what a call gave is no state
                pass
        assert Path("ran").is_dir(), kind
        Path("ran").rmdir()


def test_built_in_types_are_names_only_and_can_not_be_called(entries, tmp_path):
    for kind in (list, int, str):
        path = save(tmp_path / "called.pt", **{**entries, "args": Reduced(kind, "1")})
        with pytest.raises(Sg2ImError, match=r"called\.pt can not be read"):
            load_released(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_what_could_take_memory_without_end_is_refused_before_it_is_made(zipped, entries, tmp_path):
    """All are among what torch.load(weights_only=True) calls."""
    endless = {
        "bytearray": Reduced(bytearray, 10**15),
        "tensor": Reduced(torch.FloatTensor, 10**15),
        "hex": Reduced(codecs.encode, Reduced(codecs.encode, "ab", "hex"), "hex"),
    }
    for name, value in endless.items():
        path = tmp_path / f"{name}.pt"
        torch.save({**entries, "args": value}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(Sg2ImError, match=f"{name}.pt holds pickled code"):
            load_released(path)


def test_bytes_and_counters_of_python_2_in_a_history_are_read(entries, tmp_path):
    history = {
        "log": b"\x00\xffab" * 9,
        "kinds": [int, str],
        "counts": collections.defaultdict(int),
    }
    for zipped in (False, True):
        torch.save(
            {**entries, "history": history},
            tmp_path / "a.pt",
            _use_new_zipfile_serialization=zipped,
        )
        assert three_of(tmp_path / "a.pt")[1] is not None


def test_tensors_must_be_in_the_file(entries, tmp_path):
    """A file of the old format may say at its end that no tensor follows."""
    whole = save(tmp_path / "whole.pt", **entries).read_bytes()
    stream = io.BytesIO(whole)
    for _ in range(4):
        collections.deque(pickletools.genops(stream), maxlen=0)
    (tmp_path / "cut.pt").write_bytes(whole[: stream.tell()] + pickle.dumps([], protocol=2))
    with pytest.raises(Sg2ImError, match=r"cut\.pt has [\d,]+ bytes, fewer than its tensors"):
        load_released(tmp_path / "cut.pt")


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [
        ("model_kwargs", "refinement_dims", [["x" * 999] * 999] * 999),  # a GB to show, in 20 kB
        ("model_kwargs", "refinement_dims", [["x" * 999] * 900]),
        ("model_kwargs", "gconv_pooling", ["x" * 999] * 900),
        ("d_img_kwargs", "arch", "x" * 1000),
    ],
    ids=["lists of lists", "a list", "a choice", "a layer"],
)
def test_wrong_options_are_shown_in_part(part, option, value, entries, tmp_path):
    changed = {**entries, part: {**entries[part], option: value}}
    with pytest.raises(Sg2ImError, match=r"wrong\.pt") as caught:
        load_released(save(tmp_path / "wrong.pt", **changed))
    assert len(str(caught.value)) < 800


def test_attributes_of_a_dict_do_not_hide_its_methods(entries, tmp_path):
    class Hidden:
        def __reduce__(self):
            state = {"items": 7, "keys": 7, "get": 7}
            return collections.OrderedDict, (), state, None, iter(entries["model_state"].items())

    hidden = Hidden()
    path = save(tmp_path / "a.pt", **{**entries, "model_state": hidden})
    model = three_of(path)[0]
    assert torch.equal(model.box_head.layers[0].bias, entries["model_state"]["box_net.0.bias"])


def test_weights_that_no_training_gives_are_refused(entries, tmp_path):
    variance = next(key for key in entries["model_state"] if key.endswith("running_var"))
    below = {**entries["model_state"], variance: -torch.ones_like(entries["model_state"][variance])}
    with pytest.raises(Sg2ImError, match="holds variances below zero"):
        load_released(save(tmp_path / "a.pt", **{**entries, "model_state": below}))
    bias = "box_net.0.bias"
    large = entries["model_state"][bias].double() + 1e300
    beyond = {**entries["model_state"], bias: large}
    with pytest.raises(Sg2ImError, match="not finite"):
        load_released(save(tmp_path / "b.pt", **{**entries, "model_state": beyond}))
    twice = {**entries["model_state"], f"module.{bias}": entries["model_state"][bias]}
    with pytest.raises(Sg2ImError, match="twice, with and without 'module.'"):
        load_released(save(tmp_path / "d.pt", **{**entries, "model_state": twice}))


def test_allowing_the_containers_leaves_torch_as_it_was():
    before = set(torch.serialization.get_safe_globals())
    load_released(OFFICIAL)
    assert set(torch.serialization.get_safe_globals()) == before


def nested(depth, kind):
    value = kind()
    for _ in range(depth):
        value = {"a": value} if kind is dict else [value]
    return value


def laughs():
    """Ten lists of ten lists and so on: small in a file, endless when it is shown."""
    value = [1] * 10
    for _ in range(50):
        value = [value] * 10
    return value


def deep_pickle(depth):
    """A dict nested in itself, which Python's own pickle could not write."""
    return b"\x80\x02" + b"}X\x01\x00\x00\x00a" * depth + b"}" + b"s" * depth + b"."


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("model_kwargs", "gconv_dim", 65_536),  # 50 GB, with the next
        ("model_kwargs", "gconv_hidden_dim", 65_536),
        ("model_kwargs", "gconv_dim", 10**30),
        ("model_kwargs", "gconv_num_layers", 900),
        ("model_kwargs", "layout_noise_dim", 60_000),
        ("model_kwargs", "image_size", (2**40, 2**40)),
        ("model_kwargs", "refinement_dims", [65_536] * 5),
        ("model_kwargs", "refinement_dims", laughs()),
        ("model_kwargs", "gconv_pooling", laughs()),
        ("model_kwargs", "activation", laughs()),
        ("model_kwargs", "activation", "leakyrelu-nan"),
        ("model_kwargs", "activation", nested(200, dict)),
        ("model_kwargs", "vocab", laughs()),
        ("model_kwargs", "vocab", {"object_idx_to_name": laughs(), "pred_idx_to_name": ["a"]}),
        ("model_kwargs", "vocab", {"object_name_to_idx": {"a": 10**15}}),
        ("d_obj_kwargs", "arch", "C9999999999-8-2"),
        ("d_obj_kwargs", "arch", "C4-60000-1,C60000-60000-1"),
        ("d_obj_kwargs", "arch", ["C4-8"] * 500),
        ("d_obj_kwargs", "object_size", 10**9),
        ("d_obj_kwargs", "object_size", 3),
        ("d_img_kwargs", "activation", "leakyrelu-x"),
        ("model_state", "box_net.0.bias", torch.zeros(1).expand(24)),
        ("model_state", "box_net.0.bias", torch.zeros(24, dtype=torch.complex64)),
        ("model_state", "box_net.0.bias", torch.zeros(24).to_sparse()),
        ("model_state", "box_net.0.bias", torch.zeros(24, device="meta")),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else type(value).__name__,
)
def test_absurd_options_and_weights_get_a_sentence(part, name, value, entries, tmp_path):
    changed = {**entries, part: {**entries[part], name: value}}
    path = save(tmp_path / "absurd.pt", **changed)
    with pytest.raises(Sg2ImError, match=r"absurd\.pt") as caught:
        load_released(path)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_weights_larger_than_the_file_get_a_sentence(entries, tmp_path):
    """The pickle claims a storage of 2^30 numbers, and a tensor of them."""
    claimed = b"J" + struct.pack("<i", 2**30)
    torch.save({**entries, "x": torch.arange(199.0)}, tmp_path / "new.pt")
    path = save(tmp_path / "old.pt", **entries, x=torch.arange(199.0))
    raw = path.read_bytes()
    assert raw.count(b"K\xc7") >= 2
    path.write_bytes(raw.replace(b"K\xc7", claimed))
    with pytest.raises(Sg2ImError, match=r"old\.pt can not be read"):
        load_released(path)
    with zipfile.ZipFile(tmp_path / "new.pt") as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(tmp_path / "changed.pt", "w") as archive:
        for part, content in parts.items():
            is_pickle = part.endswith("data.pkl")
            archive.writestr(part, content.replace(b"K\xc7", claimed) if is_pickle else content)
    with pytest.raises(Sg2ImError, match=r"changed\.pt can not be read"):
        load_released(tmp_path / "changed.pt")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
        archive.writestr("new/data/9999", bytes(2**24))
    with pytest.raises(Sg2ImError, match=r"bomb\.pt is refused.* claims to hold"):
        load_released(tmp_path / "bomb.pt")


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_deeply_nested_files_get_a_sentence(depth, tmp_path):
    path = save(tmp_path / "deep.pt", a={})
    raw, inner = path.read_bytes(), deep_pickle(depth)
    header = raw[: raw.index(b"\x80\x02", raw.index(b"protocol_version"))]
    path.write_bytes(header + inner + b"\x80\x02]q\x00.")
    with pytest.raises(Sg2ImError, match=r"deep\.pt"):
        load_released(path)
    with pytest.raises(Sg2ImError, match=r"deep\.pt"):
        Sg2Im.from_pretrained(path)


@pytest.mark.parametrize("contents", [b"", b"not a checkpoint", b"PK\x03\x04", b"\x80\x02}q."])
def test_files_of_another_kind_get_a_sentence(contents, tmp_path):
    path = tmp_path / "other.pt"
    path.write_bytes(contents)
    with pytest.raises(Sg2ImError, match=r"other\.pt"):
        load_released(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_get_a_sentence(share, tmp_path):
    whole = OFFICIAL.read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(Sg2ImError, match=r"cut\.pt can not be read"):
        load_released(tmp_path / "cut.pt")


def test_missing_files_and_other_checkpoints_get_a_sentence(tmp_path):
    with pytest.raises(Sg2ImError, match=r"There is no checkpoint .*none\.pt"):
        load_released(tmp_path / "none.pt")
    with pytest.raises(Sg2ImError, match="There is no checkpoint"):
        load_released(tmp_path)
    for other in ({"model": {}}, [1, 2], torch.zeros(2)):
        torch.save(other, tmp_path / "ours.pt")
        with pytest.raises(Sg2ImError, match=r"no checkpoint of the 2018 release"):
            load_released(tmp_path / "ours.pt")


def change_vocab(entries, **changes):
    entries["model_kwargs"]["vocab"] = {**entries["model_kwargs"]["vocab"], **changes}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e: e["model_state"].pop("box_net.0.weight"), "lacks parameters"),
        (lambda e: e["model_state"].update(extra=torch.zeros(1)), "'extra'"),
        (lambda e: e["model_state"].update({"box_net.0.bias": torch.zeros(3)}), "box_net.0.bias"),
        (lambda e: e["model_state"].update({"box_net.0.bias": 3}), "box_net.0.bias"),
        (lambda e: e["model_state"].update({7: torch.zeros(1)}), "do not fit together"),
        (lambda e: e["model_state"]["box_net.0.bias"].fill_(torch.inf), "not finite"),
        (lambda e: e["d_img_kwargs"].update(arch=5), "do not fit together"),
        (lambda e: e["d_img_kwargs"].update(arch=[5]), "do not fit together"),
        (lambda e: e["d_obj_kwargs"].update(object_size="x"), "object_size from 10 to"),
        (lambda e: e.update(d_obj_state=[1]), "do not fit together"),
        (lambda e: e["model_kwargs"].update(gconv_pooling="wmean"), "wmean"),
        (lambda e: e["model_kwargs"].update(normalization="group"), "group"),
        (lambda e: e["model_kwargs"].update(image_size=(33, 32)), "image_size is 33 x 32"),
        (lambda e: e["model_kwargs"].update(image_size=None), "wrong option"),
        (lambda e: e["model_kwargs"].update(gconv_dim="wide"), "wrong option"),
        (lambda e: e["model_kwargs"].update(mlp_normalization="layer"), "layer"),
        (lambda e: e["model_kwargs"].update(vocab=3), "no vocabulary"),
        (lambda e: change_vocab(e, object_idx_to_name=["sky"]), "does not begin with"),
        (lambda e: change_vocab(e, object_idx_to_name=["__image__", 3]), "object name"),
        (lambda e: e["d_img_kwargs"].update(arch="C4-8-2,R3"), "'R3'"),
        (lambda e: e["d_img_kwargs"].update(padding="same"), "'same'"),
        (lambda e: e["d_obj_kwargs"].update(normalization="group"), "group"),
        (lambda e: e.pop("d_obj_kwargs"), "'d_obj_kwargs'"),
    ],
)
def test_contents_that_do_not_fit_get_a_sentence(change, sentence, entries, tmp_path):
    changed = copy.deepcopy(entries)
    change(changed)
    path = save(tmp_path / "changed.pt", **changed)
    with pytest.raises(Sg2ImError, match=rf"changed\.pt.*{sentence}|{sentence}.*changed\.pt"):
        load_released(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_is_told_by_its_contents_and_survives_our_own_format(entries, tmp_path, zipped):
    entries = copy.deepcopy(entries)
    entries["model_kwargs"]["activation"] = "leakyrelu-0.05"
    torch.save(entries, tmp_path / "again.pt", _use_new_zipfile_serialization=zipped)
    first = Sg2Im.from_pretrained(tmp_path / "again.pt")
    assert {m.negative_slope for m in first.modules() if isinstance(m, LeakyReLU)} == {0.05}
    save_checkpoint(tmp_path / "ours.pt", first)
    second = Sg2Im.from_pretrained(tmp_path / "ours.pt")
    graph = {"objects": first.vocabulary.objects[1:3]}
    found, expected = (np.asarray(m.generate([graph], seed=3)[0]) for m in (first, second))
    assert np.array_equal(found, expected)


# --- Writing the release's format --------------------------------------------------------------

GIVEN_UP = ("rel_aux_net.", "classifier.")


def test_a_file_of_the_release_comes_out_as_it_went_in(entries, tmp_path):
    save_released(tmp_path / "again.pt", *load_released(OFFICIAL))
    assert (tmp_path / "again.pt").read_bytes()[:4] == OFFICIAL.read_bytes()[:4]  # no zip
    again = read(tmp_path / "again.pt")
    assert list(again) == list(entries)
    for name in ("model_kwargs", "d_obj_kwargs", "d_img_kwargs", "vocab", "model_best_state"):
        assert again[name] == entries[name]
        assert str(again[name]) == str(entries[name])  # kinds of containers and order as well
    for name in ("losses", "d_losses"):
        assert type(again[name]) is type(entries[name])
    for name in ("model_state", "d_obj_state", "d_img_state"):
        assert list(again[name]) == list(entries[name]) or name == "d_img_state"
        assert set(again[name]) == set(entries[name])
        for key, value in again[name].items():
            wanted = entries[name][key]
            assert (value.shape, value.dtype) == (wanted.shape, wanted.dtype)
            if key.startswith(GIVEN_UP):
                assert not value.any()
            else:
                assert torch.equal(value, wanted)


def make_players(**changes):
    torch.manual_seed(3)
    options = {"image_size": (8, 16), "refinement_dims": (6, 4), "gconv_hidden_dim": 9}
    options |= {"gconv_num_layers": 2, "mask_size": 4, "negative_slope": 1e-5, **changes}
    vocabulary = Sg2Im.from_pretrained(OFFICIAL).vocabulary
    layers = ((3, 5, 2), (3, 6, 1))
    players = (
        Sg2Im(vocabulary, **options),
        ObjectDiscriminator(len(vocabulary.objects), layers, "instance", 12, negative_slope=0.3),
        PatchDiscriminator(layers, "none", negative_slope=1 / 3),
    )
    for player in players:
        for name, value in player.state_dict().items():
            if "running" in name or "tracked" in name:
                value += 3
    return players


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gconv_num_layers": 0, "gconv_pooling": "sum"},
        {"mlp_normalization": "batch", "normalization": "instance"},
        {"mask_size": 0, "layout_noise_dim": 0, "negative_slope": 0.0},
        {"mlp_normalization": "batch", "gconv_num_layers": 0, "normalization": "none"},
    ],
    ids=str,
)
def test_our_models_come_back_from_the_release_s_format(changes, tmp_path):
    players = make_players(**changes)
    save_released(tmp_path / "released.pt", players[0], by_name(players))
    save_checkpoint(tmp_path / "ours.pt", players[0], None, by_name(players))
    for path in (tmp_path / "released.pt", tmp_path / "ours.pt"):
        found = load_players(path)
        assert found.model.config == players[0].config
        assert found.model.vocabulary == players[0].vocabulary
        for before, after in zip(players, [found.model, *opponents(found)], strict=True):
            assert before.state_dict().keys() == after.state_dict().keys()
            for key, value in before.state_dict().items():
                assert torch.equal(value, after.state_dict()[key]), key
            assert str(list(before.modules())) == str(list(after.modules()))  # with their slopes
            assert slopes(before) == slopes(after)
        assert found.discriminators["object_discriminator"].object_size == 12
        graph = {"objects": ["sky", "boat"], "relationships": [[0, "above", 1]]}
        pictures = [
            np.asarray(model.generate([graph], seed=2)[0]) for model in (players[0], found.model)
        ]
        assert np.array_equal(*pictures)


def released_networks(entries):
    """The networks that the release's code makes of the options in a file, as empty modules with
    its names, written from their description."""
    options = entries["model_kwargs"]
    objects, predicates = (
        len(options["vocab"][f"{kind}_idx_to_name"]) for kind in ("object", "pred")
    )
    embedding, dim, hidden = (
        options[name] for name in ("embedding_dim", "gconv_dim", "gconv_hidden_dim")
    )

    def mlp(*widths):
        layers = []
        for fan_in, fan_out in zip(widths, widths[1:], strict=False):
            layers.append(nn.Linear(fan_in, fan_out))
            if options["mlp_normalization"] == "batch":
                layers.append(nn.BatchNorm1d(fan_out))
            layers.append(nn.ReLU())
        return nn.Sequential(*layers)

    def layer(width):
        module = nn.Module()
        module.net1 = mlp(3 * width, hidden, 2 * hidden + dim)
        module.net2 = mlp(hidden, hidden, dim)
        return module

    def normalized(kind, *layers):
        norms = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
        made = [norms[kind](each) if isinstance(each, int) and kind in norms else each
                for each in layers]  # fmt: skip
        return nn.Sequential(*(each for each in made if isinstance(each, nn.Module)))

    model = nn.Module()
    model.obj_embeddings = nn.Embedding(objects + 1, embedding)
    model.pred_embeddings = nn.Embedding(predicates, embedding)
    count = options["gconv_num_layers"]
    model.gconv = layer(embedding) if count else nn.Linear(embedding, dim)
    if count > 1:
        model.gconv_net = nn.Module()
        model.gconv_net.gconvs = nn.ModuleList(layer(dim) for _ in range(count - 1))
    model.box_net = mlp(dim, hidden, 4)
    if options["mask_size"]:
        layers, side = [], 1
        while side < options["mask_size"]:
            side *= 2
            layers += [nn.Upsample(scale_factor=2), nn.BatchNorm2d(dim)]
            layers += [nn.Conv2d(dim, dim, 3, padding=1), nn.ReLU()]
        model.mask_net = nn.Sequential(*layers, nn.Conv2d(dim, 1, 1))
    model.rel_aux_net = mlp(2 * embedding + 8, hidden, predicates)
    # The sum of tuples as in the release, which fails on a list.
    widths = (dim + options["layout_noise_dim"],) + options["refinement_dims"]  # noqa: RUF005
    model.refinement_net, modules, before = nn.Module(), nn.ModuleList(), 1
    for width in widths[1:]:
        module = nn.Module()
        first = nn.Conv2d(widths[0] + before, width, 3)
        second, kind = nn.Conv2d(width, width, 3), options["normalization"]
        module.net = normalized(kind, first, width, nn.LeakyReLU(), second, width, nn.LeakyReLU())
        modules.append(module)
        before = width
    model.refinement_net.refinement_modules = modules
    model.refinement_net.output_conv = nn.Sequential(
        nn.Conv2d(before, before, 3), nn.LeakyReLU(), nn.Conv2d(before, 3, 1)
    )

    def convolutions(given):
        layers, before = [], 3
        for name in given["arch"].split(","):
            kernel, width, *stride = map(int, name[1:].split("-"))
            if layers:
                layers += [before, nn.LeakyReLU()]
            layers.append(nn.Conv2d(before, width, kernel, *stride))
            before = width
        return normalized(given["normalization"], *layers), before

    objects_judge, pictures_judge = nn.Module(), nn.Module()
    body, width = convolutions(entries["d_obj_kwargs"])
    objects_judge.discriminator = nn.Module()
    objects_judge.discriminator.cnn = nn.Sequential(body, nn.Identity(), nn.Linear(width, 1024))
    objects_judge.discriminator.real_classifier = nn.Linear(1024, 1)
    objects_judge.discriminator.obj_classifier = nn.Linear(1024, objects)
    pictures_judge.cnn, width = convolutions(entries["d_img_kwargs"])
    pictures_judge.classifier = nn.Conv2d(width, 1, 1)
    return {"model_state": model, "d_obj_state": objects_judge, "d_img_state": pictures_judge}


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding_dim": 12, "gconv_dim": 20},
        {"embedding_dim": 20, "gconv_dim": 12, "mlp_normalization": "batch"},
        {"embedding_dim": 7, "gconv_dim": 9, "gconv_num_layers": 0, "normalization": "none"},
        {"embedding_dim": 3, "gconv_dim": 5, "gconv_num_layers": 1, "normalization": "instance"},
        {"gconv_num_layers": 4, "mask_size": 0, "layout_noise_dim": 0},
        {"mask_size": 1, "gconv_pooling": "sum"},
    ],
    ids=str,
)
def test_what_is_written_fits_the_networks_that_the_release_makes_of_it(changes, tmp_path):
    path = tmp_path / "released.pt"
    players = make_players(**changes)
    save_released(path, players[0], by_name(players))
    written = read(path)
    for name, network in released_networks(written).items():
        network.load_state_dict(written[name])  # strict: all names and shapes, and no others


@torch.no_grad()
def test_an_exported_model_of_two_widths_gives_the_release_s_pictures(tmp_path):
    torch.manual_seed(2)
    names = Vocabulary(VOCAB["object_idx_to_name"], VOCAB["pred_idx_to_name"])
    chosen = {name: SMALL[name] for name in SMALL.keys() - {"vocab"}}
    model = Sg2Im(names, **chosen | {"embedding_dim": 11, "gconv_dim": 4}).eval()
    path = tmp_path / "released.pt"
    save_released(path, model)
    written = read(path)
    noise = torch.randn(2, SMALL["layout_noise_dim"], *SMALL["image_size"])
    images, boxes, masks = direct_forward(written["model_state"], written["model_kwargs"], noise)
    found = model(model.to_batch(GRAPHS), noise=noise)
    for ours, theirs in ((found.images, images), (found.boxes, boxes), (found.masks, masks)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_release_s_sampling_program_finds_its_arguments(tmp_path):
    """What it reads of a checkpoint's ``args`` to open COCO or Visual Genome; by .get or by []."""
    for predicates, dataset in ((GEOMETRIC_PREDICATES, "coco"), (("on", "near"), "vg")):
        names = Vocabulary(["sky", "grass"], predicates)
        sizes = {"image_size": (8, 16), "refinement_dims": (6, 4), "mask_size": 8}
        save_released(tmp_path / "released.pt", Sg2Im(names, gconv_hidden_dim=8, **sizes))
        args = read(tmp_path / "released.pt")["args"]
        assert args["dataset"] == dataset
        assert args["image_size"] == (8, 16)
        of_coco = "coco_stuff_only mask_size min_object_size min_objects_per_image "
        of_coco += "instance_whitelist stuff_whitelist coco_include_other"
        assert [args[name] for name in of_coco.split()] == [True, 8, 0.02, 3, None, None, False]
        of_visual_genome = "max_objects_per_image vg_use_orphaned_objects"
        assert [args[name] for name in of_visual_genome.split()] == [10, True]
        assert args["refinement_network_dims"] == (6, 4)
        assert args["activation"] == "leakyrelu-0.2"


def slopes(module):
    return [m.negative_slope for m in module.modules() if isinstance(m, LeakyReLU)]


def test_names_of_unused_indices_survive(tmp_path):
    path = save(tmp_path / "released.pt", model_kwargs=SMALL, model_state=make_state(SMALL))
    save_released(tmp_path / "again.pt", three_of(path)[0])
    vocab = read(tmp_path / "again.pt")["vocab"]
    assert vocab["object_idx_to_name"] == VOCAB["object_idx_to_name"]
    assert vocab["object_name_to_idx"] == {"__image__": 0, "sky": 1, "grass": 4}
    assert not load_released(tmp_path / "again.pt").discriminators


@pytest.mark.parametrize(
    ("players", "option"),
    [
        (lambda p: [make_players(mask_head="transposed")[0]], "mask_head 'transposed'"),
        (lambda p: [make_players(generator="spade")[0]], "generator 'spade'"),
        (lambda p: [make_players(mask_head="linear")[0]], "mask_head 'linear'"),
        (lambda p: [make_players(appearance_dim=2)[0]], "appearance_dim 2"),
        (lambda p: [make_players(box_flow_dim=4)[0]], "box_flow_dim 4"),
        (lambda p: [make_players(mask_sharpness=3.0)[0]], "mask_sharpness 3.0"),
        (lambda p: [make_players(layout_dim=3)[0]], "layout_dim 3"),
        (lambda p: [make_players(layout_coordinates=True)[0]], "layout_coordinates True"),
        (lambda p: [make_players(overlap="front")[0]], "overlap 'front'"),
        (lambda p: [make_players(snap=0.1)[0]], "snap 0.1"),
        (lambda p: [p[0], None, PatchDiscriminator(scales=2)], "scales 2"),
        (lambda p: [p[0], None, PatchDiscriminator(num_labels=2)], "num_labels 2"),
        (
            lambda p: [p[0], None, PatchDiscriminator(normalization="spectral")],
            "normalization 'spectral'",
        ),
        (
            lambda p: [p[0], ObjectDiscriminator(10, normalization="spectral")],
            "normalization 'spectral'",
        ),
        (lambda p: [p[0], None, PatchDiscriminator(patch_scores=True)], "patch_scores True"),
        (lambda p: [p[0], None, PatchDiscriminator(in_channels=4)], "in_channels 4"),
        (lambda p: [p[0], ObjectDiscriminator(10, hidden_channels=8)], "hidden_channels 8"),
        (lambda p: [p[0], ObjectDiscriminator(12)], "num_categories 12"),
    ],
)
def test_what_the_release_can_not_say_is_named(players, option, tmp_path):
    with pytest.raises(Sg2ImError, match=f"no place for {option}, only for"):
        given = players(make_players())
        save_released(tmp_path / "released.pt", given[0], by_name(given))


def test_a_discriminator_that_the_release_has_not_is_named(tmp_path):
    with pytest.raises(Sg2ImError, match="no place for a segmenting discriminator"):
        save_released(
            tmp_path / "released.pt",
            make_players()[0],
            {"segmenting_discriminator": SegmentingDiscriminator(10, 4)},
        )
    assert not (tmp_path / "released.pt").exists()
    assert not list(tmp_path.iterdir())
