"""Checkpoints of the 2018 release: the same numbers from them, and a sentence for every bad file.

``golden/full.official.pt`` is a small checkpoint in the release's format with random weights;
``golden/full.cases.pt`` holds inputs and what the release's code gives for them.
"""

import collections
import copy
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn import LeakyReLU

from sg2im_pyg import Sg2Im, Sg2ImError
from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.nn import compose_layout, crop_objects
from sg2im_pyg.released import load_released, released_generator
from sg2im_pyg.training.losses import discriminator_loss, generator_loss

GOLDEN = Path(__file__).parent / "golden"
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
    model, object_discriminator, image_discriminator = load_released(OFFICIAL)
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


def test_json_graphs_give_the_release_s_objects_and_triples(cases, entries):
    graphs = released_generator(entries, OFFICIAL).to_batch(cases["graphs"])
    assert torch.equal(graphs.x, cases["objs"])
    assert torch.equal(graphs.batch, cases["obj_to_img"])
    triples = torch.stack([graphs.edge_index[0], graphs.edge_attr, graphs.edge_index[1]], dim=1)
    assert torch.equal(sort_rows(triples), sort_rows(cases["triples"]))


def sort_rows(rows):
    return torch.tensor(sorted(rows.tolist()))


def test_models_come_in_eval_mode_with_vocabulary_and_options():
    model, object_discriminator, image_discriminator = load_released(OFFICIAL)
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
    """The release's forward pass, from its own keys (eval mode)."""

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
        pooled = torch.zeros(len(OBJECTS), hidden)
        count = torch.zeros(len(OBJECTS), 1)
        for (s, _, o), row in zip(TRIPLES.tolist(), new, strict=True):
            pooled[s] += row[:hidden]
            pooled[o] += row[hidden + dim :]
            count[s] += 1
            count[o] += 1
        if options.get("gconv_pooling", "avg") == "avg":
            pooled = pooled / count.clamp(min=1)
        x, p = mlp(f"{key}.net2", pooled), new[:, hidden : hidden + dim]
    boxes = mlp("box_net", x)
    masks = torch.ones(len(x), 8, 8)
    mask_size = options.get("mask_size")
    if mask_size:
        features = x.view(*x.shape, 1, 1)
        for i in range(mask_size.bit_length() - 1):
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = conv(f"mask_net.{4 * i + 2}", norm(f"mask_net.{4 * i + 1}", features)).relu()
        last = 4 * (mask_size.bit_length() - 1)
        masks = conv(f"mask_net.{last}", features).sigmoid()[:, 0]
    height, width = options["image_size"]
    grid = torch.zeros(len(x), height, width, 2)
    x0, y0, x1, y1 = (boxes[:, i].view(-1, 1, 1) for i in range(4))
    grid[..., 0] = 2 * (torch.linspace(0, 1, width).view(1, 1, -1) - x0) / (x1 - x0) - 1
    grid[..., 1] = 2 * (torch.linspace(0, 1, height).view(1, -1, 1) - y0) / (y1 - y0) - 1
    spread = x.view(*x.shape, 1, 1) * masks.unsqueeze(1)
    warped = F.grid_sample(spread, grid, align_corners=True)
    layout = torch.stack([warped[i == IMAGES].sum(0) for i in range(2)])
    layout = torch.cat([layout, noise], dim=1)

    name = options.get("activation", "leakyrelu-0.2")
    slope = float(name.split("-")[1]) if name.startswith("leakyrelu-") else 0.01
    modules = len(options["refinement_dims"])
    features = torch.zeros(2, 1, height // 2**modules, width // 2**modules)
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
        {"image_size": (16, 16), "refinement_dims": [3, 4, 5]},
    ],
    ids=str,
)
def test_every_option_gives_the_release_s_pictures(changes, tmp_path):
    options = {**SMALL, **changes}
    state = make_state(options)
    path = save(tmp_path / "released.pt", model_kwargs=options, model_state=state)
    model, object_discriminator, image_discriminator = load_released(path)
    assert object_discriminator is None and image_discriminator is None
    noise = torch.randn(2, options["layout_noise_dim"], *options["image_size"])
    with torch.no_grad():
        found = model(model.to_batch(GRAPHS), noise=noise)
    images, boxes, masks = direct_forward(state, options, noise)
    torch.testing.assert_close(found.boxes, boxes, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.images, images, rtol=1e-4, atol=1e-4)
    if options["mask_size"]:
        torch.testing.assert_close(found.masks, masks, rtol=1e-5, atol=1e-5)
    else:
        assert found.masks is None


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
    config = load_released(path)[0].config
    assert (config.embedding_dim, config.gconv_dim, config.gconv_num_layers) == (64, 128, 5)
    assert config.refinement_dims == (1024, 512, 256, 128, 64)
    assert (config.mask_size, config.layout_noise_dim) == (0, 0)
    assert (config.gconv_pooling, config.normalization) == ("mean", "batch")
    assert config.mlp_normalization == "none"


def test_categories_keep_their_indices_where_the_vocabulary_has_holes(tmp_path):
    path = save(tmp_path / "released.pt", model_kwargs=SMALL, model_state=make_state(SMALL))
    vocabulary = load_released(path)[0].vocabulary
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
    loaded = load_released(save(tmp_path / "old.pt", **changed))
    for model, expected in zip(loaded, load_released(OFFICIAL), strict=True):
        for key, value in expected.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                assert torch.equal(model.state_dict()[key], value), key
    kept = {key: changed[key] for key in ("model_kwargs", "model_state")}
    stripped = load_released(save(tmp_path / "stripped.pt", **kept))
    assert isinstance(stripped[0], Sg2Im) and stripped[1:] == (None, None)


def test_files_in_the_new_format_are_read_too(entries, tmp_path):
    torch.save(entries, tmp_path / "new.pt")
    assert load_released(tmp_path / "new.pt")[2] is not None


def test_lists_of_layers_and_strides_of_one_are_read(entries, tmp_path):
    changed = copy.deepcopy(entries)
    changed["d_img_kwargs"]["arch"] = ["I3", "C4-8", "C4-16-2"]
    image_discriminator = load_released(save(tmp_path / "a.pt", **changed))[2]
    assert image_discriminator.layers == ((4, 8, 1), (4, 16, 2))


# --- Files that cannot be loaded ---------------------------------------------------------------


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_code_in_a_file_is_refused_and_not_run(entries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for zipped in (False, True):
        contents = {**entries, "args": Malicious()}
        torch.save(contents, "evil.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(Sg2ImError, match=r"evil.pt holds pickled code \(\w+.mkdir\)"):
            load_released("evil.pt")
    Path("plain.pt").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(Sg2ImError, match=r"plain.pt"):
        load_released("plain.pt")
    assert not Path("ran").exists()


def test_allowing_the_containers_leaves_torch_as_it_was():
    before = set(torch.serialization.get_safe_globals())
    load_released(OFFICIAL)
    assert set(torch.serialization.get_safe_globals()) == before


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
        (lambda e: e["d_obj_kwargs"].update(object_size="x"), "do not fit together"),
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
