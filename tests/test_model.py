"""The generator: every option, what is given and what is predicted, and generating from JSON."""

import copy
import pickle
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

import sg2im_pyg.model
from sg2im_pyg import ModelConfig, SceneGraph, Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.data.batching import most_objects
from sg2im_pyg.model_config import config_from_dict
from sg2im_pyg.nn import compose_layout
from sg2im_pyg.nn.layout import pays_to_factor

VOCABULARY = Vocabulary(["sky", "grass", "sheep"], ["above", "left of"])
GRAPHS = [
    {"objects": ["sky", "grass", "sheep"], "relationships": [[0, "above", 1], [2, "above", 1]]},
    {"objects": ["sheep"], "relationships": []},
    {"objects": ["sheep", "sheep"], "relationships": [[1, "left of", 0]]},
]
SMALL = {
    "image_size": (16, 16),
    "embedding_dim": 6,
    "gconv_dim": 8,
    "gconv_hidden_dim": 12,
    "gconv_num_layers": 2,
    "mask_size": 4,
    "layout_noise_dim": 3,
    "refinement_dims": (6, 4),
}


def make_model(seed=0, **options) -> Sg2Im:
    torch.manual_seed(seed)
    model = Sg2Im(VOCABULARY, **{**SMALL, **options})
    # Boxes that cover something, so that layouts depend on all that comes before.
    with torch.no_grad():
        list(model.box_head.parameters())[-1].add_(torch.tensor([0.1, 0.2, 0.8, 0.9]))
    return model


def make_noise(model, images=3):
    config = model.config
    return torch.randn(
        (images, config.layout_noise_dim, *config.image_size),
        generator=torch.Generator().manual_seed(1),
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gconv_num_layers": 0},
        {"gconv_num_layers": 1},
        {"gconv_num_layers": 5},
        {"gconv_pooling": "sum"},
        {"mlp_normalization": "batch"},
        {"mlp_normalization": "batch", "gconv_num_layers": 0},
        {"mask_size": 0},
        {"mask_size": 1},
        {"mask_size": 16},
        {"mask_head": "transposed"},
        {"layout_noise_dim": 0},
        {"normalization": "instance"},
        {"normalization": "none"},
        {"image_size": (32, 32)},
        {"image_size": (64, 96), "refinement_dims": (5, 4, 3)},
        {"image_size": (32, 128), "refinement_dims": (5, 4, 3, 3, 2)},
        {"image_size": (256, 256), "refinement_dims": (4, 3)},
        {"image_size": (4, 4), "refinement_dims": (4,)},
        {"gconv_dim": 6, "embedding_dim": 6},
    ],
    ids=str,
)
def test_every_option_trains_and_generates(options):
    model = make_model(**options)
    config = model.config
    graphs = model.to_batch(GRAPHS)
    output = model(graphs)
    assert output.images.shape == (3, 3, *config.image_size)
    assert output.boxes.shape == (9, 4)
    if config.mask_size:
        assert output.masks.shape == (9, config.mask_size, config.mask_size)
        assert output.masks.min() >= 0 and output.masks.max() <= 1
    else:
        assert output.masks is None
    (output.images.square().mean() + output.boxes.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for part in ("object_embedding", "box_head", "refinement", "graph_network"):
        gradients = [p.grad for p in getattr(model, part).parameters() if p.grad is not None]
        assert any(gradient.abs().sum() > 0 for gradient in gradients), part
    used = model.predicate_embedding.weight.grad
    assert (used is None) == (config.gconv_num_layers == 0)
    images = model.generate(GRAPHS, seed=0)
    assert [image.size for image in images] == [config.image_size[::-1]] * 3


def test_published_options_are_the_default():
    config = ModelConfig()
    assert config.image_size == (64, 64)
    assert (config.embedding_dim, config.gconv_dim, config.gconv_hidden_dim) == (128, 128, 512)
    assert (config.gconv_num_layers, config.mask_size, config.layout_noise_dim) == (5, 16, 32)
    assert config.refinement_dims == (1024, 512, 256, 128, 64)


def test_the_object_table_has_one_row_more_than_there_are_categories():
    assert make_model().object_embedding.weight.shape == (5, 6)
    assert make_model().predicate_embedding.weight.shape == (3, 6)


def test_a_batch_equals_its_graphs_one_by_one():
    model = make_model().eval()
    noise = make_noise(model)
    graphs = [SceneGraph.from_json(graph, VOCABULARY) for graph in GRAPHS]
    (batch,) = DataLoader(graphs, batch_size=3)
    with torch.no_grad():
        together = model(batch, noise=noise)
        single = [
            model(next(iter(DataLoader([graph]))), noise=noise[i : i + 1])
            for i, graph in enumerate(graphs)
        ]
    for name in ("images", "boxes", "masks"):
        joined = torch.cat([getattr(output, name) for output in single])
        torch.testing.assert_close(getattr(together, name), joined, rtol=0, atol=1e-5)


@torch.no_grad()
def test_given_boxes_and_masks_replace_the_predicted_ones_in_the_layout():
    model = make_model().eval()
    graphs, noise = model.to_batch(GRAPHS), make_noise(model)
    predicted = model(graphs, noise=noise)
    corner = torch.rand(9, 2) * 0.5
    boxes = torch.cat([corner, corner + 0.4], dim=1)
    masks = torch.rand(9, 5, 5)
    vectors = model.object_vectors(graphs)
    for given in ({}, {"boxes": boxes}, {"masks": masks}, {"boxes": boxes, "masks": masks}):
        output = model(graphs, noise=noise, **given)
        layout = compose_layout(
            vectors,
            given.get("boxes", predicted.boxes),
            given.get("masks", predicted.masks),
            graphs.batch,
            (16, 16),
        )
        expected = model.refinement(torch.cat([layout, noise], dim=1))
        torch.testing.assert_close(output.images, expected, rtol=0, atol=1e-5)
        assert torch.equal(output.boxes, predicted.boxes)
        assert torch.equal(output.masks, predicted.masks)
        assert not given or not torch.allclose(output.images, predicted.images)
    repeated = model(graphs, predicted.boxes, predicted.masks, noise)
    assert torch.equal(repeated.images, predicted.images)


def test_with_given_boxes_and_masks_the_pictures_do_not_train_the_heads():
    model = make_model()
    graphs = model.to_batch(GRAPHS)
    boxes, masks = torch.tensor([[0.1, 0.1, 0.9, 0.9]]).expand(9, 4), torch.ones(9, 4, 4)
    model(graphs, boxes, masks).images.sum().backward()
    heads = [*model.box_head.parameters(), *model.mask_head.parameters()]
    assert all(parameter.grad is None for parameter in heads)
    assert model.object_embedding.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_noise_makes_a_picture_deterministic():
    model = make_model().eval()
    graphs, noise = model.to_batch(GRAPHS), make_noise(model)
    assert torch.equal(model(graphs, noise=noise).images, model(graphs, noise=noise).images)
    assert not torch.equal(model(graphs).images, model(graphs).images)
    torch.manual_seed(3)
    first = model(graphs).images
    torch.manual_seed(3)
    assert torch.equal(first, model(graphs).images)


def test_noise_of_another_shape_raises():
    model = make_model()
    with pytest.raises(ValueError, match=r"noise must have the shape \(3, 3, 16, 16\), got \(1, "):
        model(model.to_batch(GRAPHS), noise=torch.randn(1, 3, 16, 16))


def test_relationships_change_the_picture_and_without_convolution_they_do_not():
    turned = [{**GRAPHS[0], "relationships": [[1, "above", 0], [2, "left of", 1]]}]
    for layers, same in ((2, False), (0, True)):
        model = make_model(gconv_num_layers=layers).eval()
        noise = make_noise(model, 1)
        with torch.no_grad():
            images = [
                model(model.to_batch(graphs), noise=noise).images for graphs in (GRAPHS[:1], turned)
            ]
        assert torch.equal(*images) == same


# --- Generating ---------------------------------------------------------------------------------


def arrays(images):
    return np.stack([np.asarray(image) for image in images]).astype(int)


def test_a_seed_fixes_the_pictures_however_they_are_split_into_batches(monkeypatch):
    model = make_model()
    graphs = GRAPHS * 3
    whole = arrays(model.generate(graphs, seed=5))
    assert whole.shape == (9, 16, 16, 3)
    torch.manual_seed(99)  # the global state plays no part
    assert np.array_equal(whole, arrays(model.generate(graphs, seed=5)))
    monkeypatch.setattr(sg2im_pyg.model, "_GENERATED_AT_ONCE", 2)
    assert np.abs(whole - arrays(model.generate(graphs, seed=5))).max() <= 1  # rounding
    assert np.abs(whole[:4] - arrays(model.generate(graphs[:4], seed=5))).max() <= 1
    assert not np.array_equal(whole, arrays(model.generate(graphs, seed=6)))
    assert not np.array_equal(arrays(model.generate(graphs)), arrays(model.generate(graphs)))


def test_generating_leaves_the_global_random_state_alone():
    model = make_model()
    before = torch.get_rng_state()
    model.generate(GRAPHS, seed=1)
    model.generate(GRAPHS)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("training", [True, False])
def test_generating_is_in_eval_mode_and_restores_the_mode(training):
    model = make_model().train(training)
    before = copy.deepcopy(model.state_dict())
    model.generate(GRAPHS, seed=1)
    with pytest.raises(Sg2ImError):
        model.generate([{"objects": ["sheeep"]}])
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_scene_graphs_and_json_give_the_same_pictures():
    model = make_model()
    graphs = [SceneGraph.from_json(graph, VOCABULARY) for graph in GRAPHS]
    graphs[0].boxes = torch.rand(4, 4)  # what only some graphs hold does no harm
    stored = SceneGraph(
        torch.tensor([3]), torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    )  # as stored, without the image's node
    graphs[1] = stored
    found, expected = (arrays(model.generate(g, seed=2)) for g in (graphs, GRAPHS))
    assert np.array_equal(found, expected)
    assert len(stored.x) == 1  # the caller's graph is not changed


@pytest.mark.parametrize(
    ("graphs", "sentence"),
    [
        ([], "no scene graph"),
        ([{"objects": []}], "at least one name"),
        ([{"objects": ["sheeep"]}], "did you mean 'sheep'"),
        ([{"objects": ["sheep"], "relationships": [[0, "above", 1]]}], "0 to 0, got 1"),
    ],
)
def test_wrong_graphs_raise_a_sentence(graphs, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        make_model().generate(graphs)


LOOSE = {
    "category": ([1, 99], [[0], [1]], [1], "Scene graph 1 names the category 99, but there are"),
    "negative": ([-1, 1], [[0], [1]], [1], "names the category -1"),
    "predicate": ([1, 2], [[0], [1]], [77], "names the predicate 77"),
    "object": ([1, 2], [[0], [2]], [1], "names the object 2, but there are 2: use 0 to 1"),
    "empty": ([], [[], []], [], "at least one object"),
    "lengths": ([1, 2], [[0, 1], [1, 0]], [1], "must have x of shape"),
    "type": ([1.0, 2.0], [[0], [1]], [1], "use int64"),
}


@pytest.mark.parametrize("name", LOOSE)
def test_scene_graphs_of_another_vocabulary_raise_a_sentence(name):
    x, edge_index, edge_attr, sentence = LOOSE[name]
    graph = SceneGraph(torch.tensor(x), torch.tensor(edge_index), torch.tensor(edge_attr))
    with pytest.raises(Sg2ImError, match=sentence):
        make_model().generate([GRAPHS[0], graph])
    with pytest.raises(Sg2ImError, match="Scene graph 0 must have x"):
        make_model().generate([SceneGraph()])


@pytest.mark.parametrize("factored", [True, False])
def test_the_form_of_the_layout_does_not_change_the_pictures(factored, monkeypatch):
    model = make_model().eval()
    graphs, noise = model.to_batch(GRAPHS), make_noise(model)
    vectors = model.object_vectors(graphs)
    layout = compose_layout(
        vectors,
        model.box_head(vectors),
        model.mask_head(vectors),
        graphs.batch,
        model.config.image_size,
    )
    expected = model.refinement(torch.cat([layout, noise], dim=1))
    monkeypatch.setattr("sg2im_pyg.model.pays_to_factor", lambda *_: factored)
    torch.testing.assert_close(model(graphs, noise=noise).images, expected)


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"normalization": "none"}, {"layout_noise_dim": 0}])
def test_a_copy_for_generation_gives_the_same_pictures(options, tmp_path):
    model = make_model(**options)
    for _ in range(3):
        model(model.to_batch(GRAPHS))  # running statistics that are not the fresh ones
    copied, noise = model.for_generation(), make_noise(model)
    model.eval()
    graphs = model.to_batch(GRAPHS)
    for found, expected in zip(
        copied(graphs, noise=noise), model(graphs, noise=noise), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert np.abs(arrays(copied.generate(GRAPHS, 1)) - arrays(model.generate(GRAPHS, 1))).max() <= 1
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="can not be trained"):
        copied.train()
    with pytest.raises(Sg2ImError, match="save the model that it was made of"):
        save_checkpoint(tmp_path / "copy.pt", copied)
    fresh = model.for_generation()
    with torch.autocast("cpu", torch.bfloat16):
        rough = fresh(graphs, noise=noise).images.float()
    assert (rough - model(graphs, noise=noise).images).abs().max() < 0.1
    assert torch.equal(fresh(graphs, noise=noise).images, copied(graphs, noise=noise).images)
    copied.train(False)


@torch.no_grad()
def test_the_plain_network_gives_the_same_pictures():
    model = make_model().eval()
    graphs, noise = model.to_batch(GRAPHS), make_noise(model)
    found = model(graphs, noise=noise).images
    model.refinement.economical = False
    torch.testing.assert_close(found, model(graphs, noise=noise).images, rtol=0, atol=1e-5)


def test_the_most_objects_are_known_without_asking_the_device():
    model = make_model()
    graphs = model.to_batch(GRAPHS)
    assert most_objects(graphs) == 4
    graphs.ptr = None
    assert most_objects(graphs) == 4
    del graphs._slice_dict
    graphs.ptr = torch.tensor([0, 4, 6, 9])
    assert most_objects(graphs) == 4
    assert most_objects(SceneGraph(x=torch.zeros(3).long())) == 3


def test_many_objects_are_not_factored():
    assert pays_to_factor(9, 128) and not pays_to_factor(200, 128)


def test_one_graph_needs_no_batch():
    model = make_model().eval()
    graph = SceneGraph.from_json(GRAPHS[0], VOCABULARY)
    noise = make_noise(model)[:1]
    alone, batched = model(graph, noise=noise), model(model.to_batch(GRAPHS[:1]), noise=noise)
    for found, expected in zip(alone, batched, strict=True):
        assert torch.equal(found, expected)


# --- As a module --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_give_the_same_pictures(clone):
    model = make_model(mlp_normalization="batch").eval()
    other = clone(model)
    assert other.vocabulary == model.vocabulary and other.config == model.config
    assert np.array_equal(*(arrays(m.generate(GRAPHS, seed=1)) for m in (model, other)))


@torch.no_grad()
def test_double_precision_gives_the_same_pictures():
    model = make_model().eval()
    graphs, noise = model.to_batch(GRAPHS), make_noise(model)
    boxes, masks = torch.tensor([[0.1, 0.2, 0.9, 0.8]]).expand(9, 4), torch.rand(9, 4, 4)
    single, single_given = model(graphs, noise=noise), model(graphs, boxes, masks, noise)
    model.double()
    double, double_given = model(graphs, noise=noise), model(graphs, boxes, masks, noise)
    for found, expected in ((double, single), (double_given, single_given)):
        assert found.images.dtype == torch.float64
        torch.testing.assert_close(found.images.float(), expected.images, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.boxes.float(), expected.boxes, rtol=1e-4, atol=1e-5)
    assert len(model.generate(GRAPHS, seed=1)) == 3


def test_autocast_to_bfloat16_trains():
    model = make_model()
    graphs, noise = model.to_batch(GRAPHS), make_noise(model)
    boxes, masks = torch.tensor([[0.1, 0.2, 0.9, 0.8]]).expand(9, 4), torch.rand(9, 4, 4)
    for given in ((), (boxes, masks)):
        expected = model(graphs, *given, noise=noise)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(graphs, *given, noise=noise)
        assert output.boxes.dtype == torch.float32
        torch.testing.assert_close(output.boxes, expected.boxes, rtol=0.05, atol=0.05)
        difference = (output.images.float() - expected.images).detach()
        assert difference.square().mean() < 0.05 * expected.images.detach().var()
        output.images.float().square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_reset_parameters_draws_all_weights_anew():
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    model.reset_parameters()
    for key, value in model.state_dict().items():
        if value.dim() > 1:
            assert not torch.equal(value, before[key]), key


def test_seeded_construction_is_reproducible_and_repr_is_short():
    first, second = make_model(3).state_dict(), make_model(3).state_dict()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    expected = "Sg2Im(Vocabulary(objects=4, predicates=3), image_size=(16, 16))"
    assert repr(make_model()) == expected


# --- Options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image_size": (30, 32), "refinement_dims": (4, 4)}, "30 x 32.*multiples of 4"),
        ({"image_size": (0, 4)}, "0 x 4"),
        ({"image_size": (48, 64)}, "48 x 64.*multiples of 32"),
        ({"refinement_dims": ()}, "at least one"),
        ({"mask_size": 12}, "power of two"),
        ({"mask_size": -1}, "mask_size must be a whole number, at least 0 and"),
        ({"layout_noise_dim": -1}, "layout_noise_dim must be a whole number, at least 0 and"),
        ({"gconv_num_layers": -1}, "gconv_num_layers must be a whole number, at least 0 and"),
        ({"gconv_pooling": "avg"}, "gconv_pooling must be one of mean, sum, got 'avg'"),
        ({"mlp_normalization": "layer"}, "mlp_normalization must be one of none, batch"),
        ({"mask_head": "bilinear"}, "mask_head must be one of upsample, transposed"),
        ({"normalization": None}, "normalization must be one of batch, instance, none"),
        ({"gconv_dim": 0}, "gconv_dim must be a whole number, at least 1 and"),
        ({"gconv_hidden_dim": 10**12}, "gconv_hidden_dim must be a whole number, at least 1 and"),
        (
            {"refinement_dims": (8, 0)},
            "refinement_dims must be a list of whole numbers, each at least 1",
        ),
        ({"embedding_dim": "4"}, "embedding_dim must be a whole number, at least 1 .* got '4'"),
        ({"negative_slope": float("nan")}, "negative_slope must be a number, at least 0"),
        ({"image_size": 7}, "image_size must be a list of 2 whole numbers, got 7"),
        ({"image_size": (8, 8, 8)}, "image_size must be a list of 2 whole numbers"),
    ],
)
def test_wrong_options_raise_a_sentence(options, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        ModelConfig(**options)


def test_options_come_as_config_or_by_name_and_survive_a_round_trip():
    config = ModelConfig(**SMALL)
    assert Sg2Im(VOCABULARY, config).config is config
    assert config_from_dict(asdict(config)) == config
    listed = {**asdict(config), "image_size": [16, 16], "refinement_dims": [6, 4]}
    assert config_from_dict(listed) == config
    with pytest.raises(ValueError, match="not both"):
        Sg2Im(VOCABULARY, config, mask_size=4)
    with pytest.raises(Sg2ImError, match="'colour' is unknown"):
        config_from_dict({"colour": 3})
