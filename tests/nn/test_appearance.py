"""Appearance vectors: the encoder, its distributions, and drawing from what a bank has kept."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import BatchNorm2d, Conv2d, Linear

from sg2im_pyg.nn import AppearanceBank, AppearanceEncoder, crop_objects
from sg2im_pyg.nn.appearance import Appearance

BOXES = torch.tensor(
    [[0.0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], [0.5, 0.5, 1, 1], [0.0, 0, 1, 1]], dtype=torch.float64
)
BATCH, CATEGORIES = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 0])


def make_encoder():
    return AppearanceEncoder(3, channels=2, hidden_channels=3).double()


def encode(encoder, images, masks):
    return encoder(images, BOXES, masks, BATCH, CATEGORIES)


def test_the_encoder_equals_its_description():
    encoder = make_encoder()
    images = torch.randn(2, 3, 12, 16, dtype=torch.float64)
    masks = torch.rand(4, 32, 32, dtype=torch.float64)
    crops = crop_objects(images, BOXES, BATCH, 32)
    features = torch.cat([crops, masks.unsqueeze(1)], dim=1)
    convs = [layer for layer in encoder.convs if isinstance(layer, Conv2d)]
    assert [tuple(conv.weight.shape) for conv in convs] == [
        (3, 4, 4, 4), (6, 3, 4, 4), (6, 6, 4, 4),
    ]  # fmt: skip
    for i, conv in enumerate(convs):
        windows = torch.nn.functional.pad(features, (1, 1, 1, 1)).unfold(2, 4, 2).unfold(3, 4, 2)
        features = torch.einsum("ocijhw,dchw->odij", windows, conv.weight)
        features = features + conv.bias.view(-1, 1, 1)
        if i:
            mean = features.mean((0, 2, 3), keepdim=True)
            variance = (features - mean).square().mean((0, 2, 3), keepdim=True)
            features = (features - mean) / (variance + 1e-5).sqrt()
        features = torch.where(features > 0, features, 0.2 * features)
    rows = torch.cat([features.flatten(1), encoder.embedding.weight[CATEGORIES]], dim=1)
    first, second = (layer for layer in encoder.linears if isinstance(layer, Linear))
    hidden = rows @ first.weight.T + first.bias
    both = torch.where(hidden > 0, hidden, 0.2 * hidden) @ second.weight.T + second.bias
    found = encode(encoder, images, masks)
    torch.testing.assert_close(found.mean, both[:, :2])
    torch.testing.assert_close(found.log_variance, both[:, 2:])


def test_masks_of_another_size_and_type_are_seen():
    encoder = make_encoder().eval()
    images = torch.randn(2, 3, 12, 16, dtype=torch.float64)
    full = encode(encoder, images, torch.ones(4, 32, 32))
    for masks in (torch.ones(4, 1, 1), torch.ones(4, 16, 16, dtype=torch.uint8)):
        torch.testing.assert_close(encode(encoder, images, masks), full)
    halves = torch.zeros(4, 64, 64, dtype=torch.bool)
    halves[:, :32] = True
    assert not torch.allclose(encode(encoder, images, halves).mean, full.mean)


def test_an_object_s_vector_is_that_of_its_own_crop_mask_and_category():
    encoder = make_encoder().eval()
    images = torch.randn(2, 3, 12, 16, dtype=torch.float64)
    masks = torch.rand(4, 8, 8, dtype=torch.float64)
    together = encode(encoder, images, masks).mean
    for i in range(4):
        one = slice(i, i + 1)
        arguments = BOXES[one], masks[one], BATCH[one], CATEGORIES[one]
        torch.testing.assert_close(encoder(images, *arguments).mean, together[one])
        other = encoder(images, *arguments[:3], (CATEGORIES[one] + 1) % 3).mean
        assert not torch.allclose(other, together[one])


def test_gradients_reset_and_repr():
    encoder = AppearanceEncoder(3, channels=2, hidden_channels=3)
    images = torch.randn(2, 3, 12, 16, requires_grad=True)
    arguments = BOXES.float(), torch.rand(4, 8, 8), BATCH, CATEGORIES
    found = encoder(images, *arguments)
    (found.sample(torch.randn(4, 2)).square().sum() + found.divergence().sum()).backward()
    assert images.grad.abs().sum() > 0
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    before = copy.deepcopy(encoder.state_dict())
    encoder.reset_parameters()
    for key, value in encoder.state_dict().items():
        if value.dim() > 1:
            assert not torch.equal(value, before[key]), key
    norms = [module for module in encoder.modules() if isinstance(module, BatchNorm2d)]
    assert all(not norm.running_mean.any() for norm in norms)
    none = encoder.eval()(images, BOXES[:0].float(), torch.ones(0, 4, 4), BATCH[:0], BATCH[:0])
    assert none.mean.shape == none.log_variance.shape == (0, 2)
    assert repr(encoder) == "AppearanceEncoder(3, 2)"


@pytest.mark.parametrize(("mean", "log_variance"), [(0, 0), (1.5, -1), (-0.3, 0.8), (2, 0.1)])
def test_the_divergence_is_the_integral(mean, log_variance):
    """The integral of p log(p / q), by the midpoint rule."""
    deviation = math.exp(log_variance / 2)
    steps = np.linspace(mean - 12 * deviation, mean + 12 * deviation, 20_001)
    steps, width = (steps[1:] + steps[:-1]) / 2, steps[1] - steps[0]
    log_p = -(((steps - mean) / deviation) ** 2) / 2 - math.log(deviation)
    integral = (np.exp(log_p) / math.sqrt(2 * math.pi) * (log_p + steps**2 / 2)).sum() * width
    entries = (torch.full((1, 1), float(value)).double() for value in (mean, log_variance))
    assert Appearance(*entries).divergence().item() == pytest.approx(integral, abs=1e-6)


def test_the_divergence_of_several_entries_and_samples():
    mean, log_variance, noise = torch.randn(3, 4, 5, dtype=torch.float64)
    appearance = Appearance(mean, log_variance)
    apart = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(appearance.divergence(), apart.sum(1))
    expected = mean + noise * torch.exp(log_variance).sqrt()
    torch.testing.assert_close(appearance.sample(noise), expected)


# --- The bank -----------------------------------------------------------------------------------


def make_kept(seed=0, pictures=6):
    """Vectors of pictures with two to five objects of four categories each, image nodes last."""
    generator = torch.Generator().manual_seed(seed)
    categories, batch = [], []
    for picture in range(pictures):
        count = int(torch.randint(2, 6, (1,), generator=generator))
        categories += [*torch.randint(1, 4, (count,), generator=generator).tolist(), 0]
        batch += [picture] * (count + 1)
    vectors = torch.randn(len(batch), 3, generator=generator)
    return vectors, torch.tensor(categories), torch.tensor(batch)


def direct_draw(kept, noise, categories, batch, most_pictures, most_objects, alike):
    """What the bank's docstring says, object by object."""
    vectors, of_category, pictures = (values.tolist() for values in kept)
    of_picture = {p: v for v, c, p in zip(vectors, of_category, pictures, strict=True) if c == 0}
    first = list(of_picture.values())[:most_pictures]
    uniform = [0.5 * (1 + math.erf(row[0] / math.sqrt(2))) for row in noise.tolist()]
    own = {}
    for u, category, picture in zip(uniform, categories.tolist(), batch.tolist(), strict=True):
        if category == 0:
            own[picture] = first[int(u * len(first))]
    result = []
    objects = zip(uniform, noise.tolist(), categories.tolist(), batch.tolist(), strict=True)
    for u, given, category, picture in objects:
        if category == 0:
            result.append(own[picture])
            continue
        candidates = [
            (math.dist(of_picture[p], own[picture]), v)
            for v, c, p in zip(vectors, of_category, pictures, strict=True)
            if c == category
        ][:most_objects]
        nearest = sorted(candidates, key=lambda pair: pair[0])[:alike]
        result.append(nearest[int(u * len(nearest))][1] if nearest else given)
    return torch.tensor(result)


NEW = torch.tensor([1, 2, 0, 3, 1, 1, 0]), torch.tensor([0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("most_pictures", "most_objects", "alike"), [(8, 20, 4), (3, 20, 1), (8, 2, 2), (8, 20, 20)]
)
@pytest.mark.parametrize("seed", range(3))
def test_a_draw_equals_the_loop_over_objects(seed, most_pictures, most_objects, alike):
    vectors, categories, batch = make_kept(seed)
    # Two objects of one picture are alike: which comes first is left open. Here all are apart.
    chosen = [
        i
        for i, pair in enumerate(zip(batch.tolist(), categories.tolist(), strict=True))
        if pair not in list(zip(batch.tolist(), categories.tolist(), strict=True))[:i]
    ]
    kept = vectors[chosen], categories[chosen], batch[chosen]
    bank = AppearanceBank(5, 3, most_pictures, most_objects, alike)
    bank.keep(*kept)
    noise = torch.randn(7, 3, generator=torch.Generator().manual_seed(seed))
    new = NEW[0].clone()
    new[3] = 4  # a category of which nothing is kept
    found = bank(noise, new, NEW[1], 2)
    expected = direct_draw(kept, noise, new, NEW[1], most_pictures, most_objects, alike)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert torch.equal(found[3], noise[3])
    assert torch.equal(found, bank(noise, new, NEW[1], 2))


def test_objects_get_vectors_of_their_category_and_all_of_them_in_turn():
    vectors, categories, batch = make_kept()
    bank = AppearanceBank(4, 3, alike=128)
    bank.keep(vectors, categories, batch)
    drawn = torch.arange(4).repeat(500)  # each picture has one object of each category
    pictures = torch.arange(500).repeat_interleave(4)
    found = bank(torch.randn(2000, 3), drawn, pictures, 500)
    for category in range(4):
        rows = {tuple(row) for row in found[drawn == category].tolist()}
        assert rows == {tuple(row) for row in vectors[categories == category].tolist()}


def test_extreme_noise_stays_among_what_is_kept():
    bank = AppearanceBank(4, 3)
    kept = make_kept()
    bank.keep(*kept)
    for value in (-40.0, 40.0):
        found = bank(torch.full((7, 3), value), *NEW, 2)
        assert all(row in kept[0].tolist() for row in found.tolist())


def test_an_empty_bank_gives_the_noise_and_keeping_forgets_what_was_before():
    bank = AppearanceBank(4, 3)
    noise = torch.randn(7, 3)
    assert torch.equal(bank(noise, *NEW, 2), noise)
    bank.keep(*make_kept(1, pictures=30))
    other, expected = AppearanceBank(4, 3), make_kept(2, pictures=2)
    bank.keep(*expected)
    other.keep(*expected)
    for name, values in other.state_dict().items():
        assert torch.equal(values, bank.state_dict()[name]), name
    bank.reset_parameters()
    assert torch.equal(bank(noise, *NEW, 2), noise)
    assert repr(bank) == "AppearanceBank(512, 128)"


def test_wrong_sizes_and_counts_raise():
    for alike in (0, 5):
        with pytest.raises(ValueError, match=f"alike must be from 1 to 4.*got {alike}"):
            AppearanceBank(4, 3, objects=4, alike=alike)
    bank = AppearanceBank(4, 3, pictures=5, objects=8)
    state = copy.deepcopy(bank.state_dict())
    for place, count in ((0, 6), (1, 9), (2, -1)):
        wrong = copy.deepcopy(state)
        wrong["counts"][place] = count
        with pytest.raises(ValueError, match="counts do not fit"):
            copy.deepcopy(bank).load_state_dict(wrong)
    state["counts"][:2] = torch.tensor([5, 8])
    bank.load_state_dict(state)
