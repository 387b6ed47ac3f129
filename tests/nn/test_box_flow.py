"""Boxes drawn by flow matching: its parts by hand, what it is trained by, and what it draws."""

import copy
import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sg2im_pyg.nn.box_flow import (
    NOISE_CHANNELS,
    TRAINING_NOISE_CHANNELS,
    BoxFlow,
    SceneObjects,
    denormalize_boxes,
    normalize_boxes,
)

WHOLE = torch.tensor([0.0, 0.0, 1.0, 1.0])
PICTURES = [
    ([1, 2, 3, 0], [(0, 1, 1), (2, 2, 1), (0, 0, 3), (1, 0, 3), (2, 0, 3)]),
    ([0], []),  # an image node alone
    ([2, 0], [(0, 0, 1)]),
    ([3, 3, 1, 2, 0], []),  # no relationship at all
]
"""Categories of each picture, the image node last, and (subject, predicate, object)."""
SETTINGS = [[0], [1], [2], [3], [1, 1], [0, 1, 2, 3], [3, 2, 0]]


def scene(pictures=PICTURES):
    """The graphs in one batch."""
    categories, edges, predicates, batch = [], [], [], []
    for i, (own, triples) in enumerate(pictures):
        for subject, predicate, other in triples:
            edges.append((len(categories) + subject, len(categories) + other))
            predicates.append(predicate)
        categories += own
        batch += [i] * len(own)
    return SceneObjects(
        torch.tensor(categories),
        torch.tensor(edges, dtype=torch.long).view(-1, 2).T.contiguous(),
        torch.tensor(predicates, dtype=torch.long),
        torch.tensor(batch),
        len(pictures),
        max(len(own) for own, _ in pictures),
    )


def make_flow(seed=0, channels=8, **options):
    """One whose velocities are not zero, as they are at first."""
    torch.manual_seed(seed)
    flow = BoxFlow(4, 3, channels, **options).double().eval()
    torch.nn.init.normal_(flow.output[1].weight, std=0.3)
    return flow


def make_boxes(count, seed=0):
    values = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).double()
    corner, opposite = values.amin(1).clamp(max=0.97), values.amax(1)
    return torch.cat([corner, torch.maximum(opposite, corner + 0.02)], dim=1)


def make_noise(count, channels=NOISE_CHANNELS, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, generator=generator, dtype=torch.float64)


# --- Boxes and numbers ----------------------------------------------------------------------------


def test_normalised_boxes_are_scaled_centres_and_logarithms_of_sides():
    boxes = make_boxes(20)
    rows = []
    for x0, y0, x1, y1 in boxes.tolist():
        rows.append(
            [3.5 * ((x0 + x1) / 2 - 0.5), 3.5 * ((y0 + y1) / 2 - 0.5)]
            + [math.log(x1 - x0) + 1.2, math.log(y1 - y0) + 1.2]
        )
    torch.testing.assert_close(normalize_boxes(boxes), torch.tensor(rows, dtype=torch.float64))


def test_denormalising_is_the_inverse_within_the_picture():
    boxes = torch.cat([make_boxes(200), WHOLE.double().view(1, 4)])
    torch.testing.assert_close(denormalize_boxes(normalize_boxes(boxes)), boxes)


def test_all_numbers_become_boxes_in_the_picture_that_cover_something():
    values = torch.cat([torch.randn(2000, 4) * 3, torch.randn(200, 4) * 1000])
    boxes = denormalize_boxes(values)
    assert boxes.min() >= 0 and boxes.max() <= 1
    assert (boxes[:, 2:] - boxes[:, :2]).min() > 0.0099


def test_boxes_that_reach_out_of_the_picture_are_moved_into_it():
    side = math.exp(-1.2)
    values = torch.tensor([[-20.0, 0, 0, 0], [3.0, 0, 0, 0], [0, 0.1, 5, 0]])
    rows = [[0, side], [1 - side, 1], [0, 1]]  # the last one is larger than the picture
    torch.testing.assert_close(denormalize_boxes(values)[:, [0, 2]], torch.tensor(rows))


def test_boxes_without_extent_have_finite_numbers_and_gradients():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.8, 0.2, 0.3, 0.1]], requires_grad=True)
    values = normalize_boxes(boxes)
    values.sum().backward()
    assert values.isfinite().all() and boxes.grad.isfinite().all()


def test_repeated_pictures_are_those_several_times():
    found, expected = scene().repeated(3), scene(PICTURES * 3)
    for mine, other in zip(found, expected, strict=True):
        same = torch.equal(mine, other) if isinstance(mine, torch.Tensor) else mine == other
        assert same


# --- The network ----------------------------------------------------------------------------------


def plain_velocities(flow, boxes, times, picture, given):
    """The network for one picture, object by object where that is simple."""
    categories, triples = picture
    features = []
    for box, time, category, known in zip(boxes, times, categories, given, strict=True):
        angles = [math.pi * k * float(time) for k in range(1, 9)]
        row = [*box.tolist(), *map(math.sin, angles), *map(math.cos, angles)]
        row = flow.input.weight @ torch.tensor(row, dtype=torch.float64) + flow.input.bias
        row = row + flow.object_embedding.weight[category]
        features.append(row + flow.given_embedding.weight[int(known)])
    x = torch.stack(features)
    channels, heads = flow.channels, 4
    for layer in flow.layers:
        rows, hidden = layer.norms[0](x), layer.conv.hidden_channels
        sums, counts = x.new_zeros(len(x), hidden), [0] * len(x)
        for subject, predicate, other in triples:
            edge = flow.predicate_embedding.weight[predicate]
            out = layer.conv.net1(torch.cat([rows[subject], edge, rows[other]]).view(1, -1))[0]
            for node, candidate in ((subject, out[:hidden]), (other, out[-hidden:])):
                sums[node] += candidate
                counts[node] += 1
        pooled = sums / torch.tensor(counts).clamp(min=1).view(-1, 1)
        x = x + layer.mix(layer.conv.net2(pooled))
        rows, attention = layer.norms[1](x), layer.attention
        queries, keys, values = (rows @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(
            3, dim=1
        )
        seen = []
        for head in range(heads):
            part = slice(head * channels // heads, (head + 1) * channels // heads)
            scores = queries[:, part] @ keys[:, part].T / math.sqrt(channels // heads)
            seen.append(scores.softmax(dim=1) @ values[:, part])
        x = x + attention.out_proj(torch.cat(seen, dim=1))
        x = x + layer.mlp(layer.norms[2](x))
    return flow.output(x)


def plain_logits(flow, boxes, picture):
    """The predicates' logits of one picture's relationships, from normalised boxes."""
    categories, triples = picture
    head, rows = flow.relation_head, []
    for subject, _, other in triples:
        features, corners = [], []
        for node in (subject, other):
            x, y, width, height = boxes[node]
            sides = [(side - 1.2).exp().clamp(0.01, 1.5) for side in (width, height)]
            centre = [value / 3.5 + 0.5 for value in (x, y)]
            corners.append(
                [c - s / 2 for c, s in zip(centre, sides, strict=True)]
                + [c + s / 2 for c, s in zip(centre, sides, strict=True)]
            )
            features += corners[-1]
        first, second = corners
        features += [5 * (a - b) for a, b in zip(first, second, strict=True)]
        features += [
            5 * ((first[i] + first[i + 2]) / 2 - (second[i] + second[i + 2]) / 2) for i in (0, 1)
        ]
        features += [5 * (first[i + 2] - second[i]) for i in (0, 1)]
        row = head.input(torch.stack(features)) + head.subject_embedding.weight[categories[subject]]
        rows.append(head.layers(row + head.object_embedding.weight[categories[other]]))
    return torch.stack(rows) if rows else boxes.new_zeros(0, 3)


@pytest.mark.parametrize("training", [False, True])
def test_velocities_equal_the_network_written_out(training):
    flow, objects = make_flow().train(training), scene()
    count = len(objects.categories)
    boxes, times = make_noise(count), torch.rand(count).double()
    given = torch.rand(count) < 0.5
    with torch.set_grad_enabled(training):  # attention has another computation without gradients
        found = flow(boxes, times, objects, given)
    for i, picture in enumerate(PICTURES):
        own = objects.batch == i
        expected = plain_velocities(flow, boxes[own], times[own], picture, given[own])
        torch.testing.assert_close(found[own], expected, msg=str(picture))


def test_a_fresh_network_is_at_rest():
    flow, objects = BoxFlow(4, 3, 8), scene()
    count = len(objects.categories)
    boxes, given = torch.randn(count, 4), torch.zeros(count, dtype=torch.bool)
    found = flow(boxes, torch.rand(count), objects, given)
    torch.testing.assert_close(found, flow.output[1].bias.expand(count, -1))


# --- Errors ---------------------------------------------------------------------------------------


def plain_errors(flow, objects, boxes, noise):
    """Velocity errors and cross-entropies, picture by picture and object by object."""
    velocity, relations = [], []
    for i, picture in enumerate(PICTURES):
        own = (objects.batch == i).nonzero().view(-1).tolist()
        categories, triples = picture
        image_node = own[categories.index(0)]
        ends = [normalize_boxes(boxes[o].view(1, 4))[0] for o in own]
        sums, counts = [0.0] * len(own), [0] * len(own)
        for draw in range(4):
            numbers = noise[:, 6 * draw : 6 * draw + 6]
            uniform = torch.distributions.Normal(0.0, 1.0).cdf(numbers)
            time, share = float(uniform[image_node, 4]), float(uniform[image_node, 5])
            given = [
                c == 0 or float(uniform[o, 5]) < 2 * share - 1
                for o, c in zip(own, categories, strict=True)
            ]
            start = [numbers[o, :4] for o in own]
            between = [
                end if known else (1 - time) * begin + time * end
                for begin, end, known in zip(start, ends, given, strict=True)
            ]
            times = [time] * len(own)
            found = plain_velocities(flow, torch.stack(between), times, picture, given)
            for k, known in enumerate(given):
                if not known:
                    sums[k] += float((found[k] - (ends[k] - start[k])).square().mean())
                    counts[k] += 1
        velocity += [s / max(c, 1) for s, c in zip(sums, counts, strict=True)]
        logits = plain_logits(flow, torch.stack(ends), picture)
        for row, (subject, predicate, other) in zip(logits, triples, strict=True):
            apart = categories[subject] and categories[other]
            relations.append(-float(row.log_softmax(0)[predicate]) if apart else 0.0)
    return (torch.tensor(values, dtype=torch.float64) for values in (velocity, relations))


@torch.no_grad()
def test_errors_equal_a_loop_over_pictures_objects_and_draws():
    flow, objects = make_flow(), scene()
    count = len(objects.categories)
    boxes, seen_given = make_boxes(count), 0
    boxes[objects.categories == 0] = WHOLE.double()
    for seed in range(6):
        noise = make_noise(count, TRAINING_NOISE_CHANNELS, seed)
        found = flow.errors(objects, boxes, noise)
        velocity, relations = plain_errors(flow, objects, boxes, noise)
        torch.testing.assert_close(found.velocity, velocity)
        torch.testing.assert_close(found.relations, relations)
        seen_given += int((velocity == 0).sum()) - 4  # but for the image nodes
    assert seen_given >= 0
    assert TRAINING_NOISE_CHANNELS == 4 * (NOISE_CHANNELS + 2)


def test_all_weights_learn_from_finite_errors():
    flow, objects = make_flow().train(), scene()
    count = len(objects.categories)
    found = flow.errors(objects, make_boxes(count), make_noise(count, TRAINING_NOISE_CHANNELS))
    (found.velocity.mean() + found.relations.sum()).backward()
    for name, weight in flow.named_parameters():
        assert weight.grad.isfinite().all() and weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("numbers", SETTINGS)
def test_errors_of_few_pictures_are_finite(numbers):
    objects = scene([PICTURES[i] for i in numbers])
    count = len(objects.categories)
    flow = make_flow().train()
    noise = make_noise(count, TRAINING_NOISE_CHANNELS)
    found = flow.errors(objects, make_boxes(count), noise)
    total = found.velocity.sum() + found.relations.sum()
    total.backward()
    assert total.isfinite()
    assert found.velocity.shape == (count,) and found.relations.shape == objects.predicates.shape
    assert all(p.grad is None or p.grad.isfinite().all() for p in flow.parameters())


def test_errors_are_the_same_under_autocast():
    flow, objects = make_flow().float(), scene()
    count = len(objects.categories)
    given = make_boxes(count).float(), make_noise(count, TRAINING_NOISE_CHANNELS).float()
    expected = flow.errors(objects, *given)
    with torch.autocast("cpu", torch.bfloat16):
        found = flow.errors(objects, given[0].bfloat16().float(), given[1])
        again = flow.errors(objects, *given)
    assert found.velocity.dtype == torch.float32
    for mine, other in zip(again, expected, strict=True):
        assert torch.equal(mine, other)


# --- Drawing --------------------------------------------------------------------------------------


def plain_draw(flow, picture, noise):
    """Heun's method and guidance for one picture without given boxes."""
    categories, triples = picture
    image_node = categories.index(0)
    whole = normalize_boxes(WHOLE.double().view(1, 4))[0]
    given = [c == 0 for c in categories]
    chosen = [i for i, (s, _, o) in enumerate(triples) if categories[s] and categories[o]]

    def pinned(values):
        values = values.clone()
        values[image_node] = whole
        return values

    def velocities(values, time):
        with torch.no_grad():
            found = plain_velocities(flow, values, [time] * len(categories), picture, given)
        found[image_node] = 0
        return found

    now = pinned(noise)
    for number in range(12):
        time, after = number / 12, (number + 1) / 12
        velocity = velocities(now, time)
        reached = now + velocity / 12
        if number < 11:
            reached = now + (velocity + velocities(reached, after)) / 24
        boxes = reached.clone().requires_grad_()
        if chosen:
            logits = plain_logits(flow, boxes + (1 - after) * velocity, picture)
            right = torch.tensor([predicate for _, predicate, _ in triples])
            likelihood = -F.cross_entropy(logits[chosen], right[chosen], reduction="sum")
            (ascent,) = torch.autograd.grad(likelihood, boxes)
            for o, row in enumerate(3.0 / 12 * after * ascent):
                length = float(row.norm())
                reached[o] = reached[o] + row * min(1.0, 0.3 / max(length, 1e-30))
        now = pinned(reached)
    boxes = denormalize_boxes(now)
    boxes[image_node] = WHOLE.double()
    return boxes


def test_boxes_equal_the_integration_written_out():
    flow, objects = make_flow(), scene()
    for weight in flow.relation_head.parameters():
        torch.nn.init.normal_(weight, std=0.5)  # so that some moves are cut and others are not
    noise = make_noise(len(objects.categories))
    found = flow.draw(objects, noise)
    for i, picture in enumerate(PICTURES):
        own = objects.batch == i
        torch.testing.assert_close(found[own], plain_draw(flow, picture, noise[own]))


@pytest.mark.parametrize("numbers", SETTINGS)
def test_a_picture_s_boxes_do_not_depend_on_the_batch(numbers):
    flow, whole = make_flow(), scene()
    noise = make_noise(len(whole.categories))
    together = flow.draw(whole, noise)
    own = torch.cat([(whole.batch == i).nonzero().view(-1) for i in numbers])
    found = flow.draw(scene([PICTURES[i] for i in numbers]), noise[own])
    torch.testing.assert_close(found, together[own])
    assert found.min() >= 0 and found.max() <= 1
    assert (found[:, 2:] - found[:, :2]).min() > 0.0099


def test_given_boxes_stay_bit_for_bit_and_move_the_others():
    flow, objects = make_flow().float(), scene()
    count = len(objects.categories)
    noise, boxes = make_noise(count).float(), make_boxes(count).float()
    boxes[0] = torch.tensor([-0.2, 0.3, 1.4, 0.3])  # also what the flow itself would not draw
    given = torch.zeros(count, dtype=torch.bool)
    given[[0, 8]] = True
    before = [values.clone() for values in (noise, boxes, given)]
    found = flow.draw(objects, noise, boxes, given)
    is_picture = objects.categories == 0
    assert torch.equal(found[given], boxes[given])
    assert torch.equal(found[is_picture], WHOLE.expand(4, -1))
    assert not torch.isclose(found[[1, 2, 5]], boxes[[1, 2, 5]]).all(1).any()
    without = flow.draw(objects, noise)
    assert not torch.isclose(found[[1, 2, 7, 9]], without[[1, 2, 7, 9]]).all()  # of those pictures
    torch.testing.assert_close(found[5], without[5])  # of another one
    assert torch.equal(flow.draw(objects, noise, boxes), without)  # none said to be given
    for values, kept in zip((noise, boxes, given), before, strict=True):
        assert torch.equal(values, kept)


@pytest.mark.parametrize("training", [False, True])
def test_it_draws_wherever_gradients_are_switched_off(training):
    flow, objects = make_flow().float().train(training).requires_grad_(training), scene()
    noise = make_noise(len(objects.categories)).float()
    boxes, given = torch.rand(len(noise), 4), objects.categories == 3
    expected = flow.draw(objects, noise, boxes, given)
    assert not expected.requires_grad
    assert torch.equal(flow.draw(objects, noise, boxes, given), expected)
    with torch.no_grad():
        assert torch.equal(flow.draw(objects, noise, boxes, given), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(flow.draw(objects, noise, boxes, given), expected)
    with torch.inference_mode():
        inner = scene()
        moved = inner._replace(categories=inner.categories + 0, predicates=inner.predicates + 0)
        found = flow.draw(moved, noise + 0, boxes + 0, given & True)
        assert torch.equal(found, expected)
    assert all(p.grad is None for p in flow.parameters())


def test_places_are_found_once_a_draw(monkeypatch):
    calls = []
    places = SceneObjects.places
    monkeypatch.setattr(SceneObjects, "places", lambda own: calls.append(1) or places(own))
    make_flow().draw(scene(), make_noise(len(scene().batch)))
    assert len(calls) == 1


def test_objects_need_not_be_sorted_by_picture():
    flow, objects = make_flow(), scene()
    noise = make_noise(len(objects.batch))
    order = torch.randperm(len(noise), generator=torch.Generator().manual_seed(3))
    mixed = objects._replace(
        categories=objects.categories[order],
        edge_index=order.argsort()[objects.edge_index],
        batch=objects.batch[order],
    )
    found = flow.draw(mixed, noise[order])
    torch.testing.assert_close(found, flow.draw(objects, noise)[order], rtol=1e-9, atol=1e-9)


def test_a_network_made_in_inference_mode_draws():
    flow, objects = make_flow(), scene()
    noise = make_noise(len(objects.categories))
    with torch.inference_mode():
        other = copy.deepcopy(flow)
        assert torch.equal(other.draw(objects, noise), flow.draw(objects, noise))
    assert torch.equal(other.draw(objects, noise), flow.draw(objects, noise))


def test_noise_decides_alone():
    flow, objects = make_flow(), scene()
    first, other = make_noise(len(objects.categories)), make_noise(12, seed=2)
    found = flow.draw(objects, first)
    torch.manual_seed(99)
    assert torch.equal(flow.draw(objects, first), found)
    drawn = objects.categories != 0
    moved = ~torch.isclose(flow.draw(objects, other)[drawn], found[drawn]).all(1)
    assert moved.double().mean() > 0.5  # some may fill the picture each time
    single = copy.deepcopy(flow).float().draw(objects, first.float())
    assert single.dtype == torch.float32 and found.dtype == torch.float64
    torch.testing.assert_close(single.double(), found, rtol=1e-3, atol=1e-3)


# --- What it learns -------------------------------------------------------------------------------


def train(flow, steps, make, lr=3e-3):
    optimizer = torch.optim.Adam(flow.parameters(), lr=lr)
    for _ in range(steps):
        objects, boxes = make()
        found = flow.errors(objects, boxes, torch.randn(len(boxes), TRAINING_NOISE_CHANNELS))
        optimizer.zero_grad()
        (found.velocity.mean() + found.relations.mean()).backward()
        optimizer.step()
    return flow.eval()


TOY = ([1, 2, 0], [(0, 1, 1), (0, 0, 2), (1, 0, 2)])


def toy(pictures=64):
    """The first object lies left or right of the middle, never there; the second one beside it on
    the other side if the predicate is 1, on the same if it is 2."""
    predicate = torch.randint(1, 3, (pictures,))
    side = torch.randint(0, 2, (pictures,)).float()
    other = torch.where(predicate == 1, 1 - side, side)
    boxes = []
    for centre in (side, other):
        x = 0.2 + 0.6 * centre + 0.02 * torch.randn(pictures)
        size = 0.2 + 0.01 * torch.randn(pictures)
        boxes.append(torch.stack([x - size / 2, 0.5 - size / 2, x + size / 2, 0.5 + size / 2], 1))
    boxes.append(WHOLE.expand(pictures, -1))
    categories, _ = TOY
    triples = [(categories, [(0, int(p), 1), (0, 0, 2), (1, 0, 2)]) for p in predicate]
    return scene(triples), torch.stack(boxes, dim=1).view(-1, 4)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return train(BoxFlow(3, 3, 16, num_layers=2), 400, toy)


def centres(boxes):
    """Those of the two objects of each picture."""
    return ((boxes[:, 0] + boxes[:, 2]) / 2).view(-1, 3)[:, :2]


def test_it_draws_both_modes_and_not_their_mean(trained):
    objects, true = toy(200)
    boxes = trained.draw(objects, torch.randn(len(true), NOISE_CHANNELS))
    found = centres(boxes)
    near = ((found - 0.2).abs() < 0.12) | ((found - 0.8).abs() < 0.12)
    assert near.double().mean() > 0.9
    left = (found[:, 0] < 0.5).double().mean()
    assert 0.3 < left < 0.7
    sides = (boxes[:, 2] - boxes[:, 0]).view(-1, 3)[:, :2]
    assert (sides - 0.2).abs().mean() < 0.05
    # The relationship holds between the two, whichever mode they are of.
    predicates = objects.predicates.view(-1, 3)[:, 0]
    same = (found[:, 0] < 0.5) == (found[:, 1] < 0.5)
    assert (same == (predicates == 2)).double().mean() > 0.9


def test_boxes_are_drawn_around_those_that_are_given(trained):
    objects, true = toy(200)
    given = (objects.categories == 1).clone()
    boxes = trained.draw(objects, torch.randn(len(true), NOISE_CHANNELS), true, given)
    assert torch.equal(boxes[given], true[given])
    assert (centres(boxes)[:, 1] - centres(true)[:, 1]).abs().lt(0.15).double().mean() > 0.9


def test_guidance_raises_the_likelihood_of_relationships(trained, monkeypatch):
    objects, true = toy(200)
    noise = torch.randn(len(true), NOISE_CHANNELS)

    def likelihood(boxes):
        logits = trained.relation_head(normalize_boxes(boxes), objects)
        values = -F.cross_entropy(logits, objects.predicates, reduction="none")
        return values.view(-1, 3)[:, 0].mean()  # that between objects

    with torch.no_grad():
        guided = likelihood(trained.draw(objects, noise))
        monkeypatch.setattr("sg2im_pyg.nn.box_flow._GUIDANCE", 0.0)
        unguided = likelihood(trained.draw(objects, noise))
    assert guided > unguided


# --- As a module ----------------------------------------------------------------------------------


def test_categories_whose_boxes_are_met_often_enough_are_settled():
    flow = BoxFlow(6, 2, 8)
    categories = torch.tensor([0] * 3 + [1] * 10 + [2] * 10 + [3] * 5 + [4])
    meets = torch.tensor([True] * 3 + [True] * 2 + [False] * 8 + [True] + [False] * 9)
    meets = torch.cat([meets, torch.tensor([False] * 5 + [True])])
    order = torch.randperm(len(meets))
    flow.settle(meets[order], categories[order])
    met = Counter(categories[meets].tolist())
    expected = [met[c] >= 0.2 * max((categories == c).sum().item(), 1) for c in range(6)]
    assert flow.settled.tolist() == expected == [True, True, False, False, True, False]
    assert flow.settled.dtype == torch.bool
    flow.settle(meets[:0], categories[:0])  # of no objects
    assert not flow.settled.any()


def test_reset_parameters_draws_all_weights_anew_and_settles_nothing():
    flow = make_flow()
    flow.settled.fill_(True)
    before = copy.deepcopy(flow.state_dict())
    flow.reset_parameters()
    assert not flow.settled.any() and not flow.output[1].weight.any()
    for name, value in flow.named_parameters():
        assert value.dim() < 2 or not torch.equal(value, before[name]), name
    fresh = BoxFlow(4, 3, 8).double()
    for (name, value), other in zip(flow.named_parameters(), fresh.parameters(), strict=True):
        if value.numel() > 200:  # of the same distribution
            assert 0.8 < value.std() / other.std() < 1.25, name


def test_wrong_channels_raise_and_repr_is_short():
    with pytest.raises(ValueError, match="channels must be a multiple of 4, got 6"):
        BoxFlow(4, 3, 6)
    assert repr(BoxFlow(4, 3, 8)) == "BoxFlow(4, 8)"


def test_weights_say_true_or_false_of_each_category():
    flow = BoxFlow(4, 3, 8)
    weights = flow.state_dict()
    weights["settled"] = torch.tensor([True, False, True, False])
    flow.load_state_dict(weights)
    assert flow.settled.tolist() == [True, False, True, False]
    weights["settled"] = torch.zeros(4)
    with pytest.raises(ValueError, match="settled categories are of type torch.float32, not bool"):
        flow.load_state_dict(weights)


class Largest(TorchDispatchMode):
    """The most numbers that any tensor has."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.most = max(self.most, leaf.numel())
        return result


def test_memory_of_a_picture_with_many_objects_is_that_of_its_pairs():
    objects = 300
    triples = [(i, 1, (7 * i + 1) % objects) for i in range(objects)]
    many = scene([([1] * objects + [0], triples)])
    flow = make_flow()
    with Largest() as seen:
        flow.draw(many, make_noise(objects + 1))
    assert seen.most <= 4 * (objects + 1) ** 2  # a number a head and pair
    with Largest() as seen:
        flow.errors(many, make_boxes(objects + 1), make_noise(objects + 1, 24)).velocity.sum()
    assert seen.most <= 4 * 4 * (objects + 1) ** 2  # of four draws
