"""Our checkpoints: what is written comes back, and a sentence for every file that is no good."""

import copy
import errno
import os
from dataclasses import asdict

import pytest
import torch

from sg2im_pyg import Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import load_players, save_checkpoint, save_released
from sg2im_pyg.formats import torch_file
from sg2im_pyg.formats.native import VERSION, open_checkpoint, read_checkpoint
from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator
from sg2im_pyg.nn.discriminators import SegmentingDiscriminator
from sg2im_pyg.training.config import (
    ImageDiscriminatorConfig,
    ObjectDiscriminatorConfig,
    SegmentingDiscriminatorConfig,
    plain_options,
)


@pytest.fixture
def model():
    return Sg2Im(
        Vocabulary(["sky", "grass"], ["above"]),
        image_size=(8, 16),
        refinement_dims=(4, 4),
        gconv_hidden_dim=8,
        mask_size=4,
    )


def test_a_model_comes_back_whole(model, tmp_path):
    path = tmp_path / "a folder" / "model.pt"
    save_checkpoint(path, model)
    loaded = Sg2Im.from_pretrained(path)
    assert not loaded.training
    assert loaded.vocabulary == model.vocabulary and loaded.config == model.config
    for key, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key])
    assert [p.name for p in path.parent.iterdir()] == ["model.pt"]


def test_a_missing_file(tmp_path):
    with pytest.raises(Sg2ImError, match="no checkpoint"):
        Sg2Im.from_pretrained(tmp_path / "nothing.pt")


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_a_truncated_file(model, tmp_path, kept):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    with pytest.raises(Sg2ImError, match=r"model\.pt"):
        Sg2Im.from_pretrained(path)


@pytest.mark.parametrize("entries", [{"weights": torch.zeros(2)}, [1, 2], torch.zeros(3)])
def test_a_foreign_file(tmp_path, entries):
    path = tmp_path / "foreign.pt"
    torch.save(entries, path)
    with pytest.raises(Sg2ImError, match="no checkpoint of sg2im_pyg"):
        Sg2Im.from_pretrained(path)


def test_a_newer_version(model, tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    torch.save({**read_checkpoint(path), "version": 99}, path)
    with pytest.raises(Sg2ImError, match="version 99"):
        Sg2Im.from_pretrained(path)


@pytest.mark.parametrize(
    "change",
    [
        {"model_config": {"colour": 1}},
        {"model_config": {"generator": "of a later version"}},
        {"generator": {}},
        {"vocabulary": {"objects": ["sky"]}},
        {"vocabulary": {"objects": ["sky"] * 2, "predicates": []}},
        {"vocabulary": None},
        {"version": "1"},
        {"version": None},
        {"version": -1},
        {"version": 10**500},
        {"model_config": {"gconv_dim": [["x" * 999] * 999] * 999}},
        {"vocabulary": {"objects": [["x" * 999] * 999], "predicates": []}},
        {"model_config": {"negative_slope": "x"}},
        {"training": 3},
        {"discriminators": 3},
        {"vocabulary": {"objects": [["sky"] * 9], "predicates": []}},
        {"model_config": {"gconv_hidden_dim": 65_536, "gconv_dim": 65_536}},  # more than 50 GB
        {"model_config": {"image_size": [2**40, 2**40]}},
        {"model_config": {"gconv_num_layers": 1000}},
        {"model_config": {"gconv_dim": [[[]]]}},
        {"generator": {"box_head.layers.0.bias": "x"}},
    ],
)
def test_parts_that_do_not_fit(model, tmp_path, change):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    torch.save({**read_checkpoint(path), **change}, path)
    with pytest.raises(Sg2ImError, match=r"model\.pt") as caught:
        Sg2Im.from_pretrained(path)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(("place", "count"), [(0, 513), (1, 129), (2, -1), (1, 2**40)])
def test_a_bank_of_appearances_that_has_no_room_for_what_it_holds(tmp_path, place, count):
    model = Sg2Im(
        Vocabulary(["sky", "grass"], ["above"]),
        image_size=(8, 16),
        refinement_dims=(4, 4),
        gconv_hidden_dim=8,
        appearance_dim=2,
    )
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    entries = read_checkpoint(path)
    entries["generator"]["appearance_bank.counts"][place] = count
    torch.save(entries, path)
    with pytest.raises(Sg2ImError, match=r"model\.pt do not fit together .*counts"):
        Sg2Im.from_pretrained(path)


@pytest.mark.parametrize(
    ("settled", "sentence"),
    [
        (torch.ones(3), r"model\.pt do not fit together .*settled .* torch.float32, not bool"),
        (torch.ones(3).long(), r"model\.pt do not fit together .*settled .* torch.int64, not bool"),
        (torch.ones(4, dtype=torch.bool), r"'box_flow.settled' .*model\.pt has the shape \(4,\)"),
    ],
)
def test_settled_categories_of_another_type_or_number(tmp_path, settled, sentence):
    model = Sg2Im(
        Vocabulary(["sky", "grass"], ["above"]),
        image_size=(8, 16),
        refinement_dims=(4, 4),
        gconv_hidden_dim=8,
        box_flow_dim=4,
    )
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    entries = read_checkpoint(path)
    entries["generator"]["box_flow.settled"] = settled
    torch.save(entries, path)
    with pytest.raises(Sg2ImError, match=sentence):
        Sg2Im.from_pretrained(path)


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.ENOSPC, "No space left"), (errno.EIO, "Input/output error")]
)
@pytest.mark.parametrize("released", [False, True])
def test_what_the_system_refuses_is_said_and_the_older_file_stays(
    model, tmp_path, monkeypatch, number, sentence, released
):
    path = tmp_path / "model.pt"
    save = save_released if released else save_checkpoint
    save(path, model)
    before, written = path.read_bytes(), []
    of_torch = torch_file._Target

    class Refusing:
        def write(self, content):
            written.append(len(content))
            if sum(written) > 2000:
                raise OSError(number, os.strerror(number))
            return len(content)

        def flush(self):
            pass

    monkeypatch.setattr(torch_file, "_Target", lambda file: of_torch(Refusing()))
    with pytest.raises(OSError, match=sentence) as refused:
        save(path, model)
    assert refused.value.errno == number
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_what_torch_itself_refuses_is_not_taken_for_a_full_disk(model, tmp_path, monkeypatch):
    def wrong(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch, "save", wrong)
    with pytest.raises(RuntimeError, match="out of memory"):
        save_checkpoint(tmp_path / "model.pt", model)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_refused(model, tmp_path):
    path = tmp_path / "model.pt"
    with torch.no_grad():
        model.box_head.layers[0].weight[0, 0] = torch.nan
    save_checkpoint(path, model)
    with pytest.raises(Sg2ImError, match="not finite"):
        Sg2Im.from_pretrained(path)


LAYERS = ((3, 4, 2), (3, 5, 1))


@pytest.mark.parametrize("released", [False, True])
def test_long_names_come_back(released, tmp_path):
    vocabulary = Vocabulary(["x" * 5000, "NONE", "größe", "NONE"], ["y" * 5000])
    model = Sg2Im(vocabulary, image_size=(8, 8), refinement_dims=(4,), gconv_hidden_dim=8)
    (save_released if released else save_checkpoint)(tmp_path / "model.pt", model)
    assert Sg2Im.from_pretrained(tmp_path / "model.pt").vocabulary == vocabulary


@pytest.fixture
def opponents(model):
    return {
        "object_discriminator": ObjectDiscriminator(
            len(model.vocabulary.objects), LAYERS, "instance", 14, 7, negative_slope=0.3
        ),
        "image_discriminator": PatchDiscriminator(
            LAYERS, "none", 4, patch_scores=True, negative_slope=0.1
        ),
    }


def assert_same_network(found, expected):
    assert type(found) is type(expected) and not found.training
    assert found.state_dict().keys() == expected.state_dict().keys()
    for key, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key
    structure = [str(module) for module in expected.modules()]
    assert [str(module) for module in found.modules()] == structure


@pytest.mark.parametrize("kept", [(True, True), (True, False), (False, True), (False, False)])
def test_discriminators_come_back_without_a_training(model, opponents, tmp_path, kept):
    given = {name: each for (name, each), keep in zip(opponents.items(), kept, strict=True) if keep}
    save_checkpoint(tmp_path / "model.pt", model, None, given)
    entries = read_checkpoint(tmp_path / "model.pt")
    assert entries["version"] == VERSION == 1 and ("discriminators" in entries) == any(kept)
    found = load_players(tmp_path / "model.pt")
    assert_same_network(found.model, model)
    assert set(found.discriminators) == set(given)
    for name, network in given.items():
        assert_same_network(found.discriminators[name], network)
    assert_same_network(Sg2Im.from_pretrained(tmp_path / "model.pt"), model)


def test_discriminators_of_a_training_are_made_from_its_options(model, tmp_path):
    objects = ObjectDiscriminator(len(model.vocabulary.objects), LAYERS, object_size=20)
    pictures = PatchDiscriminator(LAYERS, "instance", patch_scores=True)
    for as_stored in (asdict, lambda config: plain_options(asdict(config))):
        training = {
            "config": {
                "object_discriminator": as_stored(
                    ObjectDiscriminatorConfig(layers=LAYERS, object_size=20)
                ),
                "image_discriminator": as_stored(
                    ImageDiscriminatorConfig(
                        layers=LAYERS, normalization="instance", patch_scores=True
                    )
                ),
            },
            "discriminators": {
                "object_discriminator": objects.state_dict(),
                "image_discriminator": pictures.state_dict(),
            },
        }
        save_checkpoint(tmp_path / "model.pt", model, training)
        found = load_players(tmp_path / "model.pt")
        assert_same_network(found.discriminators["object_discriminator"], objects)
        assert_same_network(found.discriminators["image_discriminator"], pictures)
        assert found.discriminators["object_discriminator"].object_size == 20


NEW_DISCRIMINATORS = {
    "object_discriminator": lambda: ObjectDiscriminator(3, LAYERS, "spectral", 14, 7),
    "image_discriminator": lambda: PatchDiscriminator(
        LAYERS, "spectral", patch_scores=True, scales=2, num_labels=3
    ),
    "segmenting_discriminator": lambda: SegmentingDiscriminator(3, 4),
}


@pytest.mark.parametrize("name", NEW_DISCRIMINATORS)
def test_bounded_and_segmenting_discriminators_come_back(model, name, tmp_path):
    network = NEW_DISCRIMINATORS[name]()
    save_checkpoint(tmp_path / "model.pt", model, discriminators={name: network})
    [(kept, found)] = load_players(tmp_path / "model.pt").discriminators.items()
    assert kept == name
    assert_same_network(found, network)
    assert found.options == network.options
    arguments = {
        "object_discriminator": (torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0])),
        "image_discriminator": (torch.rand(1, 3, 16, 16),),
        "segmenting_discriminator": (),
    }[name]
    images = torch.randn(1, 3, 16, 16)
    for one, other in zip(found(images, *arguments), network.eval()(images, *arguments)):
        assert torch.equal(one, other)


def test_such_discriminators_of_a_training_are_made_from_its_options(model, tmp_path):
    options = {
        "object_discriminator": ObjectDiscriminatorConfig(
            layers=LAYERS, normalization="spectral", object_size=14
        ),
        "image_discriminator": ImageDiscriminatorConfig(
            layers=LAYERS, normalization="spectral", patch_scores=True, scales=2, conditional=True
        ),
        "segmenting_discriminator": SegmentingDiscriminatorConfig(enabled=True, channels=4),
    }
    networks = {name: make() for name, make in NEW_DISCRIMINATORS.items()}
    networks["object_discriminator"] = ObjectDiscriminator(3, LAYERS, "spectral", 14)
    training = {
        "config": {name: plain_options(asdict(config)) for name, config in options.items()},
        "discriminators": {name: network.state_dict() for name, network in networks.items()},
    }
    save_checkpoint(tmp_path / "model.pt", model, training)
    file = open_checkpoint(tmp_path / "model.pt")
    for name, network in networks.items():
        assert_same_network(file.discriminator(name), network)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("image", {"scales": 0}, "has the scales 0, which is no whole number from 1 to 8"),
        ("image", {"scales": 10**9}, "has the scales 10"),
        ("image", {"scales": True}, "has the scales True"),
        ("image", {"num_labels": -1}, "has the num_labels -1, which is no whole number from 0"),
        ("image", {"num_labels": "x" * 900}, "has the num_labels 'xxx"),
        ("image", {"scales": 1}, "which a model with its options does not have"),
        ("image", {"scales": 3}, "lacks parameters"),
        ("image", {"num_labels": 2}, "has the shape"),
        ("image", {"normalization": "batch"}, "which a model with its options does not have"),
        ("object", {"normalization": "of a later version"}, "normalization must be"),
        ("segmenting", {"channels": 0}, "has the channels 0, which is no whole number from 1"),
        ("segmenting", {"channels": 2**30}, "has the channels 1073741824"),
        ("segmenting", {"channels": 65_536}, "has the shape"),
        ("segmenting", {"num_categories": 10**9}, "has the shape"),
        ("segmenting", {"normalization": "batch"}, "normalization must be"),
        ("segmenting", {"layers": [[3, 4, 1]]}, "do not fit together"),
        ("segmenting", {"object_size": 32}, "do not fit together"),
    ],
)
def test_wrong_options_of_such_discriminators(model, name, changes, sentence, tmp_path):
    network = NEW_DISCRIMINATORS[f"{name}_discriminator"]()
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    kept = {"options": {**network.options, **changes}, "weights": network.state_dict()}
    entries = read_checkpoint(path)
    torch.save({**entries, "discriminators": {f"{name}_discriminator": kept}}, path)
    with pytest.raises(Sg2ImError, match=sentence) as caught:
        open_checkpoint(path).discriminator(f"{name}_discriminator")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("object", lambda e: e["options"].update(layers=[[3, 60_000, 1], [60_000, 60_000, 1]])),
        ("object", lambda e: e["options"].update(layers=[[3, 4]])),
        ("object", lambda e: e["options"].update(layers=[[3, 4, 1]] * 1000)),
        ("object", lambda e: e["options"].update(layers="C4-8")),
        ("object", lambda e: e["options"].update(object_size=10**9)),
        ("object", lambda e: e["options"].update(num_categories=10**12)),
        ("object", lambda e: e["options"].update(colour=1)),
        ("image", lambda e: e["options"].update(normalization="group")),
        ("image", lambda e: e["options"].update(negative_slope="x")),
        ("image", lambda e: e["options"].pop("layers")),
        ("image", lambda e: e["weights"].pop("convs.0.bias")),
        ("image", lambda e: e["weights"].update({7: 3})),
        ("image", lambda e: e["weights"]["convs.0.bias"].fill_(torch.nan)),
        ("image", lambda e: e.pop("options")),
    ],
)
def test_discriminators_that_do_not_fit(model, opponents, tmp_path, part, change):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model, None, opponents)
    entries = copy.deepcopy(read_checkpoint(path))
    change(entries["discriminators"][f"{part}_discriminator"])
    torch.save(entries, path)
    with pytest.raises(Sg2ImError, match=r"model\.pt") as caught:
        load_players(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    Sg2Im.from_pretrained(path)  # does not need them
