"""The generator: every option, what is given and what is predicted, and generating from JSON."""

import copy
import math
import pickle
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

import sg2im_pyg.model
from sg2im_pyg import ModelConfig, SceneGraph, Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import save_checkpoint, save_safetensors
from sg2im_pyg.data.batching import most_objects
from sg2im_pyg.data.draws import draw_keys
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
ALL_NEW = {
    "appearance_dim": 4,
    "layout_dim": 5,
    "layout_coordinates": True,
    "overlap": "front",
    "mask_head": "linear",
    "snap": 0.05,
    "generator": "spade",
    "modulation_dim": 4,
}
"""All that the published models do not have."""


def make_model(seed=0, **options) -> Sg2Im:
    torch.manual_seed(seed)
    model = Sg2Im(VOCABULARY, **{**SMALL, **options})
    # Boxes that cover something, so that layouts depend on all that comes before.
    with torch.no_grad():
        list(model.box_head.parameters())[-1].add_(torch.tensor([0.1, 0.2, 0.8, 0.9]))
    return model


def make_seeing_model(seed=0, **options) -> Sg2Im:
    """One with appearance vectors, which has seen pictures."""
    model = make_model(seed, **{**ALL_NEW, **options})
    categories = torch.tensor([1, 2, 3, 3, 0]).repeat(6)
    looks = torch.randn(30, model.config.appearance_dim)
    model.appearance_bank.keep(looks, categories, torch.arange(6).repeat_interleave(5))
    with torch.no_grad():  # so that it makes a difference what objects look like
        model.to_layout.weight.mul_(3)
    return model


def make_drawing_model(seed=0, **options) -> Sg2Im:
    """One that draws boxes, but those of the sky, and sharpens masks."""
    model = make_seeing_model(seed, **{"box_flow_dim": 8, "mask_sharpness": 3.0, **options})
    torch.nn.init.normal_(model.box_flow.output[1].weight)  # fresh velocities are all the same
    model.box_flow.settled[1] = True
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
        {"generator": "spade"},
        {"generator": "spade", "modulation_kernel": 1, "image_size": (6, 10)},
        {"mask_head": "linear", "mask_size": 8},
        {"appearance_dim": 4},
        {"appearance_dim": 4, "mask_size": 0},
        {"layout_dim": 5},
        {"overlap": "front"},
        {"overlap": "front", "mask_size": 0},
        {"overlap": "front", "layout_coordinates": True},
        {"layout_coordinates": True, "layout_dim": 64},
        {"texture_dim": 2, "texture_size": 5, "mask_size": 0},
        {"texture_dim": 3, "overlap": "front", "layout_coordinates": True, "appearance_dim": 4},
        {"snap": 0.1},
        {"box_flow_dim": 4},
        {"box_flow_dim": 8, "gconv_num_layers": 0, "mask_size": 0},
        {"mask_sharpness": 2.5},
        ALL_NEW,
        {**ALL_NEW, "box_flow_dim": 4, "mask_sharpness": 3.0},
        {**ALL_NEW, "generator": "crn", "mask_size": 0},
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


@pytest.mark.parametrize("make", [make_model, make_seeing_model])
def test_a_seed_fixes_the_pictures_however_they_are_split_into_batches(make, monkeypatch):
    model = make()
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


# --- Beyond the published models ----------------------------------------------------------------


def warped(box, mask, size):
    """One object's mask in its box."""
    return compose_layout(torch.ones(1, 1), box[None], mask[None], torch.tensor([0]), size)[0, 0]


@torch.no_grad()
def test_layouts_equal_objects_painted_one_over_the_other():
    model = make_model(**ALL_NEW).eval()
    graphs, noise, looks = model.to_batch(GRAPHS), make_noise(model), torch.randn(9, 4)
    output = model(graphs, noise=noise, appearance=looks)
    vectors = model.object_vectors(graphs)
    predicted = model.box_head(vectors)
    boxes, height, width = predicted.clone(), *model.config.image_size
    for o in range(9):
        for side, value in enumerate(predicted[o].tolist()):
            if side < 2 and value < 0.05:
                boxes[o, side] = 0
            if side >= 2 and value > 0.95:
                boxes[o, side] = 1
    assert torch.equal(output.boxes, boxes)
    pictures = {int(graphs.batch[o]): looks[o] for o in range(9) if graphs.x[o] == 0}
    rows = [[vectors[o], looks[o], pictures[int(graphs.batch[o])]] for o in range(9)]
    vectors = torch.stack([torch.cat(row) for row in rows])
    masks = model.mask_head(vectors)
    assert torch.equal(output.masks, masks)
    vectors = vectors @ model.to_layout.weight.T + model.to_layout.bias
    layout = torch.zeros(3, 5, height, width)
    factors = torch.zeros(3, 4, height, width)
    inside = boxes.clamp(0, 1)
    areas = (inside[:, 2:] - inside[:, :2]).prod(1).abs().tolist()
    order = sorted((o for o in range(9) if graphs.x[o] > 0), key=lambda o: -areas[o])
    for o in [o for o in range(9) if graphs.x[o] == 0] + order:
        box, mask = boxes[o], masks[o]
        if graphs.x[o] == 0:  # fills the picture
            box, mask = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.ones(4, 4)
        cover, picture = warped(box, mask, (height, width)), graphs.batch[o]
        extent = box[2:] - box[:2]
        linear = torch.cat([2 / extent, -2 * box[:2] / extent - 1])
        for planes, own in ((layout, vectors[o]), (factors, linear)):
            planes[picture] = planes[picture] * (1 - cover) + own.view(-1, 1, 1) * cover
    across, down = torch.linspace(0, 1, width), torch.linspace(0, 1, height).view(-1, 1)
    places = torch.stack(
        [factors[:, 0] * across + factors[:, 2], factors[:, 1] * down + factors[:, 3]], dim=1
    ).clamp(-1.2, 1.2)
    angles = np.pi * places
    planes = torch.cat([layout, places, angles.sin(), angles.cos(), noise], dim=1)
    expected = model.refinement(planes)
    torch.testing.assert_close(output.images, expected, rtol=0, atol=1e-4)


def test_gradients_reach_all_weights_through_what_true_pictures_look_like():
    model = make_model(**ALL_NEW)
    graphs = model.to_batch(GRAPHS)
    graphs.boxes = torch.tensor([[0.1, 0.2, 0.8, 0.9]]).expand(9, 4)
    true = model.encode_appearance(torch.randn(3, 3, 16, 16), graphs)
    assert true.mean.shape == true.log_variance.shape == (9, 4)
    output = model(graphs, noise=make_noise(model), appearance=true.sample(torch.randn(9, 4)))
    images, masks = output.images.square().mean(), output.masks.square().mean()
    (images + masks + output.boxes.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # A bias before batch norm changes nothing.
        assert parameter.grad.abs().sum() > 0 or name.endswith("bias"), name
    assert make_model().encode_appearance(torch.randn(3, 3, 16, 16), graphs) is None


def looks_of(model, *arguments, name="appearance", **named):
    """The appearance vectors that pictures are generated with, or another one of what is drawn."""
    seen = []

    def see(_, arguments, given):
        seen.append(given[name])

    hook = model.register_forward_pre_hook(see, with_kwargs=True)
    model.generate(*arguments, **named)
    hook.remove()
    return torch.cat(seen)


def test_seeds_change_what_things_look_like_among_what_was_seen():
    model = make_seeing_model()
    kept = model.appearance_bank
    found = [looks_of(model, GRAPHS, seed=seed) for seed in range(8)]
    categories = model.to_batch(GRAPHS).x.tolist()
    for looks in found:
        for row, category in zip(looks.tolist(), categories, strict=True):
            among = kept.vectors[category] if category else kept.picture_vectors
            assert row in among.tolist()
    assert len({str(looks) for looks in found}) > 4
    pictures = [arrays(model.generate(GRAPHS, seed=seed)) for seed in range(8)]
    assert np.mean([np.abs(a - b).mean() for a in pictures for b in pictures]) > 1
    assert torch.equal(found[3], looks_of(model, GRAPHS, seed=3))


def test_appearance_given_for_one_object_leaves_the_others_drawn():
    model = make_seeing_model()
    drawn = looks_of(model, GRAPHS, seed=4)
    own = torch.full((3, 4), torch.nan)  # without the image node
    own[1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = looks_of(model, GRAPHS, seed=4, appearance=[own, None, None])
    expected = drawn.clone()
    expected[1] = own[1]
    assert torch.equal(found, expected) and own[0].isnan().all()
    whole = torch.randn(3, 4, dtype=torch.float64)  # with it, which is the last one
    found = looks_of(model, GRAPHS, seed=4, appearance=[None, None, whole])
    expected = drawn.clone()
    expected[6:] = whole.float()
    assert torch.equal(found, expected)
    given = arrays(model.generate(GRAPHS, 4, appearance=[own, None, None]))
    plain = arrays(model.generate(GRAPHS, 4))
    assert np.array_equal(given[1:], plain[1:]) and not np.array_equal(given[0], plain[0])


FLOCK = {"objects": ["sky", "sheep", "grass", "sheep"], "relationships": [[0, "above", 2]]}


def with_seeds(*seeds):
    return {**FLOCK, "seeds": list(seeds)}


def test_an_object_s_own_seed_fixes_its_look_and_leaves_the_others():
    model = make_seeing_model()
    categories, pictures = torch.tensor([1, 2, 3, 0]).repeat(12), torch.arange(12)
    model.appearance_bank.keep(torch.randn(48, 4), categories, pictures.repeat_interleave(4))
    plain = looks_of(model, [FLOCK], seed=4)
    assert torch.equal(looks_of(model, [with_seeds(*[None] * 4)], seed=4), plain)
    found = [looks_of(model, [with_seeds(None, 7, None, own)], seed=4) for own in range(12)]
    for looks in found:
        assert torch.equal(looks[[0, 2, 4]], plain[[0, 2, 4]])  # bit for bit, the picture's too
        assert torch.equal(looks[1], found[0][1])
    # What the bank gives for a seed alone: of its first number the share of the looks that go with
    # the picture's, the nearest first.
    bank, picture = model.appearance_bank, plain[4]
    distances = (bank.of_pictures[3, :12] - picture).square().sum(1).tolist()
    nearest = sorted(range(12), key=lambda kept: distances[kept])[:8]
    for own, looks in enumerate(found):
        key = int(draw_keys(own + 2**54, 0, [0])[0])
        first = torch.randn(1, 16, generator=torch.Generator().manual_seed(key))[0, 0].item()
        share = 0.5 * (1 + math.erf(first / math.sqrt(2)))
        assert torch.equal(looks[3], bank.vectors[3, nearest[int(8 * share)]])
    assert len({tuple(looks[3].tolist()) for looks in found}) > 3
    assert torch.equal(found[7][1], found[7][3])  # one seed, one look


def test_an_object_s_own_seed_gives_the_same_look_in_another_graph_of_the_picture_s_look():
    model = make_seeing_model()
    alone = {"objects": ["sheep"], "seeds": [7]}
    one, many = looks_of(model, [alone], seed=4), looks_of(model, [with_seeds(1, 2, 7, 7)], seed=4)
    assert torch.equal(one[1], many[4])  # that of the picture
    assert torch.equal(one[0], many[3]) and not torch.equal(one[0], many[2])
    # Nor do other graphs of a batch make a difference, some of which have no seeds.
    graphs = [alone, with_seeds(None, 7, None, 3), FLOCK]
    both = looks_of(model, graphs, seed=4)
    bare = looks_of(model, [{"objects": ["sheep"]}, FLOCK, FLOCK], seed=4)
    assert torch.equal(both[0], one[0]) and torch.equal(both[[1, 2, 4]], bare[[1, 2, 4]])
    assert torch.equal(both[7:], bare[7:])


def test_an_object_s_own_seed_comes_from_json_and_from_tensors_alike():
    model = make_seeing_model()
    entries = with_seeds(None, 7, None, 3)
    graph = SceneGraph.from_json(entries, VOCABULARY)
    bare = SceneGraph(
        torch.tensor([1, 3, 2, 3]),
        torch.tensor([[0], [2]]),
        torch.tensor([1]),
        seeds=torch.tensor([-1, 7, -1, 3]),
    )
    found = [arrays(model.generate(g, seed=2)) for g in ([entries], [graph], [bare], [FLOCK])]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[3])
    assert "image" not in bare and bare.num_nodes == 4  # as it was
    bare.seeds = torch.tensor([1, 2])
    with pytest.raises(Sg2ImError, match=r"Scene graph 0 must have seeds of shape \(4,\)"):
        model.generate([bare])


def test_an_object_s_own_seed_gives_way_to_a_given_look_and_is_nothing_to_a_model_without():
    model = make_seeing_model()
    given = torch.full((4, 4), torch.nan)
    given[1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    looks = looks_of(model, [with_seeds(None, 7, None, 7)], seed=4, appearance=[given])
    assert torch.equal(looks[1], given[1])
    assert torch.equal(looks[3], looks_of(model, [with_seeds(None, 7, None, 7)], seed=4)[3])
    model = make_model()
    found = [arrays(model.generate([graph], seed=2)) for graph in (FLOCK, with_seeds(1, 2, 3, 4))]
    assert np.array_equal(*found)


def test_an_object_s_own_seed_fixes_what_its_box_is_drawn_from():
    model = make_model(box_flow_dim=8)
    plain, own, other, alone = (
        looks_of(model, [graph], seed=4, name="box_noise")
        for graph in (
            FLOCK,
            with_seeds(None, 7, None, None),
            with_seeds(None, 7, None, 8),
            {"objects": ["sheep"], "seeds": [7]},
        )
    )
    assert plain.shape == (5, 4)
    assert torch.equal(own[[0, 2, 3, 4]], plain[[0, 2, 3, 4]])
    assert not torch.equal(own[1], plain[1]) and torch.equal(own[1], alone[0])
    assert torch.equal(other[:3], own[:3]) and not torch.equal(other[3], own[3])
    # They are not the numbers that looks are drawn from.
    model = make_model(box_flow_dim=8, appearance_dim=4)
    model.draw_appearance = lambda graphs, noise: noise
    for graph in (FLOCK, with_seeds(1, 2, 3, 4)):
        looks, boxes = (
            looks_of(model, [graph], seed=4, name=name) for name in ("appearance", "box_noise")
        )
        assert not set(looks.flatten().tolist()) & set(boxes.flatten().tolist())


def test_what_boxes_are_drawn_from_stays_as_a_graph_grows():
    model = make_model(box_flow_dim=8)
    drawn = [
        looks_of(model, [{"objects": ["sheep"] * count}], seed=4, name="box_noise")
        for count in range(1, 9)
    ]
    for fewer, more in zip(drawn, drawn[1:], strict=False):
        assert torch.equal(more[: len(fewer)], fewer)


@pytest.mark.parametrize(
    ("appearance", "sentence"),
    [
        ([None], "There are 1 entries of appearance for 3 graphs"),
        ([torch.zeros(2, 4), None, None], r"must have the shape \(4, 4\).*got \(2, 4\)"),
        ([None, torch.zeros(2, 5), None], r"must have the shape \(2, 4\).*got \(2, 5\)"),
        (torch.zeros(3, 4), r"must have the shape \(4, 4\).*got \(4,\)"),
    ],
)
def test_wrong_appearance_raises_a_sentence(appearance, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        make_seeing_model().generate(GRAPHS, appearance=appearance)
    with pytest.raises(Sg2ImError, match="has no appearance vectors"):
        make_model().generate(GRAPHS, appearance=[None] * 3)
    model = make_seeing_model()
    with pytest.raises(ValueError, match=r"appearance must have the shape \(9, 4\)"):
        model(model.to_batch(GRAPHS), appearance=torch.zeros(8, 4))


@pytest.mark.parametrize("make", [make_model, make_seeing_model])
def test_other_sizes(make):
    model = make()
    for size in ((32, 32), (16, 24)):
        images = model.generate(GRAPHS, seed=1, size=size)
        assert [image.size for image in images] == [size[::-1]] * 3
    whole = arrays(model.generate(GRAPHS, seed=1))
    assert np.array_equal(whole, arrays(model.generate(GRAPHS, seed=1, size=(16, 16))))
    multiple = 2 if model.config.generator == "spade" else 4
    for size, sentence in (
        ((16, 17), f"16 x 17, but .* multiples of {multiple}"),
        ((0, 16), "0 x 16"),
        (32, "list of 2 whole numbers, each at most 4,096, got 32"),
    ):
        with pytest.raises(Sg2ImError, match=sentence):
            model.generate(GRAPHS, size=size)
    assert model.config.image_size == (16, 16)


def test_a_seed_gives_a_graph_the_same_look_at_all_sizes():
    model = make_seeing_model()
    found = [looks_of(model, GRAPHS[:1], seed=2, size=size) for size in ((16, 16), (32, 48))]
    assert torch.equal(*found)


@torch.no_grad()
def test_unmasked_objects_get_predicted_masks():
    model = make_model(mask_head="linear").eval()
    graphs, noise = model.to_batch(GRAPHS), make_noise(model)
    unmasked = torch.arange(9) % 3 == 0
    predicted = model(graphs, noise=noise)
    for masks, same_size in (
        (torch.rand(9, 4, 4), None),
        (torch.ones(9, 16, 16, dtype=torch.bool), torch.ones(9, 4, 4)),
        (torch.zeros(9, 3, 3, dtype=torch.uint8), torch.zeros(9, 4, 4)),
    ):
        mixed = (masks if same_size is None else same_size).clone()
        mixed[unmasked] = predicted.masks[unmasked]
        found = model(graphs, masks=masks, noise=noise, unmasked=unmasked).images
        expected = model(graphs, masks=mixed, noise=noise).images
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    alone = model(graphs, noise=noise, unmasked=unmasked).images
    assert torch.equal(alone, predicted.images)


def test_boxes_snap_to_the_border_only_when_pictures_are_generated():
    boxes = torch.tensor([[0.04, 0.06, 0.96, 0.94], [0.01, 0.97, 0.03, 0.99], [0.0, 0.0, 1.3, 1.0]])
    expected = [[0, 0.06, 1, 0.94], [0, 0.97, 0.03, 1], [0, 0, 1, 1]]
    model = make_model(snap=0.05)
    model.box_head.forward = lambda vectors: boxes
    graphs = model.to_batch(GRAPHS[2:])
    assert torch.equal(model(graphs).boxes, boxes)
    torch.testing.assert_close(model.eval()(graphs).boxes, torch.tensor(expected))


@torch.no_grad()
def test_places_within_boxes_keep_their_digits_under_autocast():
    model = make_model(overlap="front", layout_coordinates=True).eval()
    graphs, seen = model.to_batch(GRAPHS[1:2]), []
    boxes = torch.tensor([[0.40, 0.62, 0.52, 0.71], [0, 0, 1, 1]])
    model.refinement.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model(graphs, boxes, torch.ones(2, 4, 4), make_noise(model, 1))
    with torch.autocast("cpu", torch.bfloat16):
        model(graphs, boxes, torch.ones(2, 4, 4), make_noise(model, 1))
    exact, rough = (layout[:, -6:].float() for layout in seen)
    torch.testing.assert_close(rough, exact, rtol=0, atol=1e-4)


@torch.no_grad()
def test_textures_are_channels_of_the_layout_in_their_boxes(monkeypatch):
    model, seen = make_model(texture_dim=2, overlap="front", layout_noise_dim=0), []
    monkeypatch.setattr(model.eval().refinement, "forward", lambda *given: seen.append(given[0]))
    graphs = model.to_batch(GRAPHS[1:2])
    boxes = torch.tensor([[0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    model(graphs, boxes, torch.ones(2, 4, 4))
    vectors = model.object_vectors(graphs)
    maps, [[layout]] = model.texture_head(vectors), seen
    assert layout.shape[0] == 2 + vectors.size(1)
    # The corners of a map lie on those of its box; the image node is behind.
    corners = layout[:2, (8, -1)][:, :, (0, -1)], layout[:2, 0, (0, -1)]
    torch.testing.assert_close(corners[0][:, 1], maps[0][:, -1, (0, -1)])
    torch.testing.assert_close(corners[1], maps[1][:, 0, (0, -1)])
    torch.testing.assert_close(layout[2:, -1, 0], vectors[0])


@torch.no_grad()
@pytest.mark.parametrize("save", [save_checkpoint, save_safetensors])
@pytest.mark.parametrize("generator", ["spade", "crn"])
def test_with_all_options_it_is_saved_loaded_and_folded(save, generator, tmp_path):
    model = make_seeing_model(generator=generator, texture_dim=2)
    for _ in range(3):
        model(model.to_batch(GRAPHS))  # running statistics that are not the fresh ones
    expected = arrays(model.generate(GRAPHS, seed=1))
    save(tmp_path / "model", model)
    loaded = Sg2Im.from_pretrained(tmp_path / "model")
    assert loaded.config == model.config
    assert np.array_equal(arrays(loaded.generate(GRAPHS, seed=1)), expected)
    folded = loaded.for_generation()
    assert np.abs(arrays(folded.generate(GRAPHS, seed=1)) - expected).max() <= 1
    assert len(model.double().generate(GRAPHS, seed=1)) == 3


def test_with_all_options_one_graph_needs_no_batch():
    model = make_seeing_model().eval()
    graph, looks = SceneGraph.from_json(GRAPHS[1], VOCABULARY), torch.randn(2, 4)
    noise, batched = make_noise(model, 1), model.to_batch(GRAPHS[1:2])
    alone = model(graph, noise=noise, appearance=looks)
    for found, expected in zip(alone, model(batched, noise=noise, appearance=looks), strict=True):
        assert torch.equal(found, expected)
    drawn = torch.randn(2, 4)
    assert torch.equal(model.draw_appearance(graph, drawn), model.draw_appearance(batched, drawn))


# --- Boxes that are drawn and masks that are sharpened --------------------------------------------


def boxes_of(model, *arguments, **named):
    return torch.cat([output.boxes for _, output in model.generate_outputs(*arguments, **named)])


def test_seeds_decide_where_things_are():
    model = make_drawing_model()
    first, again, other = (boxes_of(model, GRAPHS, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    graphs = model.to_batch(GRAPHS)
    with torch.no_grad():
        regressed = model.box_head(model.eval().object_vectors(graphs))
    is_sky, is_picture = graphs.x == 1, graphs.x == 0
    corner, opposite = regressed[is_sky][0].view(2, 2)
    snapped = [torch.where(corner < 0.05, 0, corner), torch.where(opposite > 0.95, 1, opposite)]
    for boxes in (first, other):
        torch.testing.assert_close(boxes[is_sky][0], torch.cat(snapped))
        assert torch.equal(boxes[is_picture], torch.tensor([[0.0, 0, 1, 1]]).expand(3, 4))
        assert boxes.min() >= 0 and boxes.max() <= 1
    drawn = ~(is_sky | is_picture)
    assert not (first[drawn] == other[drawn]).all(1).all()
    pictures = [arrays(model.generate(GRAPHS, seed=seed)) for seed in (0, 0, 1)]
    assert np.array_equal(*pictures[:2]) and not np.array_equal(*pictures[1:])
    # Those of the first graph do not depend on the others.
    torch.testing.assert_close(boxes_of(model, GRAPHS[:1], seed=0), first[:4])
    with torch.inference_mode():
        torch.testing.assert_close(boxes_of(model, GRAPHS, seed=0), first)


def test_boxes_are_drawn_only_where_they_are_wanted():
    model, given = make_drawing_model(snap=0.0), torch.tensor([[0.1, 0.2, 0.8, 0.9]]).expand(9, 4)
    graphs, noise, looks = model.to_batch(GRAPHS), make_noise(model), torch.randn(9, 4)
    starts = torch.randn(9, 4)
    for training in (True, False):
        model.train(training)
        regressed = model.box_head(model.object_vectors(graphs))
        for boxes in (None, given) if training else (given,):
            output = model(graphs, boxes, None, noise, looks, box_noise=starts)
            torch.testing.assert_close(output.boxes, regressed)
            assert output.boxes.requires_grad
    with torch.no_grad():
        assert torch.equal(model(graphs, given, None, noise, looks).boxes, regressed)
        drawn = model(graphs, None, None, noise, looks, box_noise=starts).boxes
        scored = model(graphs, given, None, noise, looks, box_noise=starts)
    assert not torch.isclose(drawn, regressed).all(1)[graphs.x > 1].any()
    assert torch.equal(scored.boxes, drawn)
    with pytest.raises(ValueError, match=r"box_noise must have the shape \(9, 4\)"):
        model(graphs, box_noise=starts[1:])


@torch.no_grad()
def test_masks_are_sharpened_where_pictures_are_made_of_them():
    plain, sharp = (make_seeing_model(mask_sharpness=s).eval() for s in (1.0, 3.0))
    graphs, noise, looks = plain.to_batch(GRAPHS), make_noise(plain), torch.randn(9, 4)
    before = plain(graphs, noise=noise, appearance=looks)
    output = sharp(graphs, noise=noise, appearance=looks)
    odds = (before.masks.double() / (1 - before.masks.double())) ** 3
    torch.testing.assert_close(output.masks.double(), odds / (1 + odds), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(output.masks, before.masks, atol=1e-3)
    assert not torch.equal(output.images, before.images)
    # True masks are what predicted ones are compared with: those that a training sees.
    given = sharp(graphs, before.boxes, torch.ones(9, 4, 4), noise, looks)
    assert torch.equal(given.masks, before.masks)
    assert torch.equal(sharp.train()(graphs, appearance=looks).masks, before.masks)


@torch.no_grad()
def test_a_model_that_draws_no_boxes_is_what_it_was():
    model = make_model().eval()
    assert not any("flow" in name or "settled" in name for name in model.state_dict())
    graphs, noise = model.to_batch(GRAPHS), make_noise(model)
    found = model(graphs, noise=noise, box_noise=torch.randn(9, 4))
    for mine, other in zip(found, model(graphs, noise=noise), strict=True):
        assert torch.equal(mine, other)
    assert model.box_flow_errors(graphs) is None


def test_only_errors_of_the_flow_teach_it():
    model = make_drawing_model().train()
    graphs = model.to_batch(GRAPHS)
    graphs.boxes = torch.tensor([[0.1, 0.2, 0.8, 0.9]]).expand(9, 4)
    model(graphs, graphs.boxes).images.square().mean().backward()
    assert all(p.grad is None for p in model.box_flow.parameters())
    model.zero_grad()
    torch.manual_seed(0)
    found = model.box_flow_errors(graphs)
    torch.manual_seed(0)
    again = model.box_flow_errors(graphs, torch.randn(9, 24))
    assert all(torch.equal(*pair) for pair in zip(found, again, strict=True))
    (found.velocity.mean() + found.relations.sum()).backward()
    for name, weight in model.named_parameters():
        assert (weight.grad is not None) == name.startswith("box_flow."), name


@torch.no_grad()
@pytest.mark.parametrize("save", [save_checkpoint, save_safetensors])
def test_what_boxes_are_drawn_from_is_saved_and_loaded(save, tmp_path):
    model = make_drawing_model().eval()
    save(tmp_path / "model", model)
    loaded = Sg2Im.from_pretrained(tmp_path / "model")
    assert loaded.box_flow.settled.tolist() == [False, True, False, False]
    expected = boxes_of(model, GRAPHS, seed=1)
    for other in (loaded, loaded.for_generation(), copy.deepcopy(model)):
        assert torch.equal(boxes_of(other, GRAPHS, seed=1), expected)
    double = boxes_of(model.double(), GRAPHS, seed=1)
    torch.testing.assert_close(double.float(), expected, rtol=0, atol=1e-3)


# --- As a module --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_give_the_same_pictures(clone):
    model = make_seeing_model(mlp_normalization="batch").eval()
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
    for model in (make_model(), make_seeing_model()):
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
        ({"mask_head": "linear", "mask_size": 2}, "mask_size is 2, but the linear .* at least 4"),
        ({"generator": "spade", "image_size": (40, 64)}, "40 x 64.*5 blocks .* multiples of 16"),
        ({"box_flow_dim": 6}, "box_flow_dim must be a multiple of 4, got 6"),
        ({"box_flow_dim": -4}, "box_flow_dim must be a whole number, at least 0 and"),
        ({"mask_sharpness": 0.5}, "mask_sharpness must be a number, at least 1"),
        ({"mask_sharpness": float("inf")}, "mask_sharpness must be a number, at least 1"),
        ({"appearance_dim": -1}, "appearance_dim must be a whole number, at least 0 and"),
        ({"layout_dim": 0.5}, "layout_dim must be a whole number, at least 0 and"),
        ({"layout_coordinates": "yes"}, "layout_coordinates must be"),
        ({"overlap": "back"}, "overlap must be one of sum, front, got 'back'"),
        ({"texture_size": 0}, "texture_size must be a whole number, at least 1 and"),
        ({"texture_dim": -1}, "texture_dim must be a whole number, at least 0 and"),
        ({"snap": 0.5}, "snap must be a number, at least 0 and"),
        ({"modulation_kernel": 2}, "modulation_kernel must be one of 1, 3, got 2"),
        ({"modulation_dim": 0}, "modulation_dim must be a whole number, at least 1 and"),
        ({"normalization": None}, "normalization must be one of batch, instance, none"),
        ({"gconv_dim": 0}, "gconv_dim must be a whole number, at least 1 and"),
        ({"gconv_hidden_dim": 10**12}, "gconv_hidden_dim must be a whole number, at least 1 and"),
        (
            {"refinement_dims": (8, 0)},
            "refinement_dims must be a list of whole numbers, each at least 1",
        ),
        ({"embedding_dim": "4"}, "embedding_dim must be a whole number, at least 1 .* got '4'"),
        ({"negative_slope": float("nan")}, "negative_slope must be a number, at least 0"),
        (
            {"image_size": 7},
            "image_size must be a list of 2 whole numbers, each at most 4,096, got 7",
        ),
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


def test_the_look_of_the_picture_and_of_what_is_there_stays_as_a_graph_grows():
    model = make_model(appearance_dim=4)
    drawn = []
    model.draw_appearance = lambda graphs, noise: drawn.append(noise) or noise
    small = {"objects": VOCABULARY.objects[1:2], "relationships": []}
    large = {"objects": VOCABULARY.objects[1:3], "relationships": []}
    for graph in (small, large):
        model.generate([graph], seed=5)
    assert torch.equal(drawn[0][-1], drawn[1][-1])  # the picture's, whose node is the last one
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[1][0], drawn[1][1])
