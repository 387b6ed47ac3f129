"""A training that starts from a checkpoint's weights: what is taken, by which name, and that it is
an ordinary training from there on."""

import copy
from dataclasses import asdict

import pytest
import torch

from sg2im_pyg import Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import load_players, save_checkpoint, save_released, save_safetensors
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator
from sg2im_pyg.nn.discriminators import SegmentingDiscriminator
from sg2im_pyg.sources.landscapes.options import LandscapesOptions
from sg2im_pyg.training import trainer
from sg2im_pyg.training.command_line import parse_command
from sg2im_pyg.training.config import options_to_yaml
from sg2im_pyg.training.data import open_split
from sg2im_pyg.training.initial import start_from
from sg2im_pyg.training.players import build_players
from sg2im_pyg.training.processes import launch_fabric
from sg2im_pyg.training.trainer import train
from tests.training.conftest import LAYERS
from tests.training.test_trainer import Killed, assert_same, stopping_after

pytestmark = pytest.mark.filterwarnings("ignore")
CODE_OF_COCO = Vocabulary(
    ["__image__", "sheep", "NONE", "sky", "zebra", "NONE", "boat"],
    ["above", "riding", "left of"],
)


@pytest.fixture
def vocabulary(config):
    return open_split(config, "train", augment=False).vocabulary


def make_networks(config, vocabulary, seed=77):
    """A generator and its discriminators with weights that no seed of a run gives."""
    torch.manual_seed(seed)
    networks = (
        Sg2Im(vocabulary, config.model),
        ObjectDiscriminator(len(vocabulary.objects), LAYERS, object_size=12),
        PatchDiscriminator(LAYERS),
    )
    for network in networks:
        for name, value in network.state_dict().items():
            if "running" in name or "tracked" in name:
                value += 5
    return networks


def by_name(networks):
    """The discriminators behind a generator."""
    return dict(zip(("object_discriminator", "image_discriminator"), networks[1:], strict=True))


def fresh_players(config, vocabulary):
    torch.manual_seed(1)
    return build_players(launch_fabric(config), config, vocabulary)


def states(players):
    found = {name: player.bare.state_dict() for name, player in players.named()}
    return copy.deepcopy(found)


def before_the_first_step(monkeypatch, config, run_dir, checkpoint=None):
    """The weights with which a run begins its first step."""
    found = {}

    def dying(fabric, players, *_):
        found.update(states(players))
        assert not any(player.optimizer.state for _, player in players.named())
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "training_step", dying)
        with pytest.raises(Killed):
            train(config, run_dir, checkpoint)
    return found


@pytest.mark.parametrize("released", [False, True])
def test_with_everything_equal_a_run_begins_with_the_file_s_weights(
    config, vocabulary, tmp_path, monkeypatch, capsys, released
):
    networks = make_networks(config, vocabulary)
    if released:
        save_released(tmp_path / "first.pt", networks[0], by_name(networks))
    else:
        save_checkpoint(tmp_path / "first.pt", networks[0], None, by_name(networks))
    config.init = str(tmp_path / "first.pt")
    found = before_the_first_step(monkeypatch, config, tmp_path / "run")
    names = ("generator", "object_discriminator", "image_discriminator")
    for name, network in zip(names, networks, strict=True):
        assert_same(found[name], dict(network.state_dict()), name)
    printed = capsys.readouterr().out
    assert f"Starts from the weights of {config.init}: generator, image discriminator" in printed
    assert "fresh" not in printed


def test_a_safetensors_file_starts_the_generator(config, vocabulary, tmp_path):
    generator = make_networks(config, vocabulary)[0]
    save_safetensors(tmp_path / "first.safetensors", generator)
    players = fresh_players(config, vocabulary)
    fresh = states(players)
    printed = start_from(tmp_path / "first.safetensors", players, config, vocabulary)
    assert ": generator; fresh: " in printed
    found = states(players)
    assert_same(found.pop("generator"), dict(generator.state_dict()))
    assert_same(found, {name: fresh[name] for name in found})


@pytest.mark.slow
def test_a_run_s_own_checkpoint_is_a_start_too(config, tmp_path, monkeypatch):
    config.steps = 2
    train(config, tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last.pt"
    config.init = str(last)
    found = before_the_first_step(monkeypatch, config, tmp_path / "run")
    entries = read_checkpoint(last)
    assert_same(found.pop("generator"), entries["generator"])
    assert_same(found, entries["training"]["discriminators"])


def test_names_of_another_vocabulary_are_matched(config, vocabulary, tmp_path):
    networks = make_networks(config, CODE_OF_COCO)
    save_released(tmp_path / "coco.pt", networks[0], by_name(networks))
    players = fresh_players(config, vocabulary)
    fresh = states(players)
    printed = start_from(tmp_path / "coco.pt", players, config, vocabulary)
    found, source = states(players), {"generator": networks[0].state_dict()}
    source["object_discriminator"] = networks[1].state_dict()
    rows = [
        ("generator", "object_embedding.weight", "objects"),
        ("generator", "predicate_embedding.weight", "predicates"),
        ("object_discriminator", "category_head.weight", "objects"),
        ("object_discriminator", "category_head.bias", "objects"),
    ]
    copied = 0
    for network, key, kind in rows:
        for row, name in enumerate(getattr(vocabulary, kind)):
            value, expected = found[network].get(key)[row], fresh[network][key][row]
            if name in getattr(CODE_OF_COCO, kind):
                index = getattr(CODE_OF_COCO, kind).index(name)
                expected = source[network][key][index]
                copied += 1
            assert torch.equal(value, expected), (key, name)
    # __image__, sheep, sky and boat three times; __in_image__, above and left of.
    assert copied == 3 * 4 + 3
    last = found["generator"]["object_embedding.weight"][-1]  # never looked up
    assert torch.equal(last, networks[0].object_embedding.weight[-1])
    special = {key for _, key, _ in rows}
    for network, weights in source.items():
        for key, value in weights.items():
            assert key in special or torch.equal(found[network][key], value), key
    names = [n for n in vocabulary.objects[1:] if n not in ("sheep", "sky", "boat")]
    names += [n for n in vocabulary.predicates[1:] if n not in ("above", "left of")]
    total = len(vocabulary.objects) + len(vocabulary.predicates) - 2
    assert f"lacks, with fresh weights: {len(names)} of {total} ({', '.join(names[:5])}, ...)" in (
        printed
    )


def test_what_things_look_like_follows_their_names(config, vocabulary, tmp_path):
    config.model.appearance_dim, config.model.box_flow_dim = 2, 4
    config.segmenting_discriminator.enabled = True
    other = Vocabulary(vocabulary.objects[:0:-1], vocabulary.predicates[:0:-1])
    model, objects, pictures = make_networks(config, other)
    count = len(other.objects)
    model.appearance_bank.keep(
        torch.randn(count, 2), torch.arange(count), torch.zeros(count, dtype=torch.long)
    )
    model.appearance_bank.counts[2] = 0
    model.box_flow.settled.copy_(torch.arange(count) % 2 == 1)
    save_checkpoint(tmp_path / "first.pt", model, None, by_name((model, objects, pictures)))
    players = fresh_players(config, vocabulary)
    printed = start_from(tmp_path / "first.pt", players, config, vocabulary)
    assert printed.endswith("object discriminator; fresh: segmenting discriminator")
    found = players.generator.bare
    for row, name in enumerate(vocabulary.objects):
        index = other.objects.index(name)
        pairs = [
            (found.appearance_encoder.embedding.weight, model.appearance_encoder.embedding.weight)
        ]
        for kept in ("vectors", "of_pictures", "counts"):
            pairs.append(
                (getattr(found.appearance_bank, kept), getattr(model.appearance_bank, kept))
            )
        for part in (
            "object_embedding",
            "relation_head.subject_embedding",
            "relation_head.object_embedding",
        ):
            part = f"box_flow.{part}.weight"
            pairs.append((found.get_parameter(part), model.get_parameter(part)))
        pairs.append((found.box_flow.settled, model.box_flow.settled))
        assert all(torch.equal(after[row], before[index]) for after, before in pairs), name
    assert torch.equal(found.appearance_bank.picture_vectors, model.appearance_bank.picture_vectors)
    for row, name in enumerate(vocabulary.predicates):
        index = other.predicates.index(name)
        for part in (
            "predicate_embedding.weight",
            "relation_head.layers.3.weight",
            "relation_head.layers.3.bias",
        ):
            after, before = (m.get_parameter(f"box_flow.{part}") for m in (found, model))
            assert torch.equal(after[row], before[index]), (part, name)


@pytest.mark.parametrize("normalization", ["spectral", "none"])
def test_a_segmenting_discriminator_follows_its_names(config, vocabulary, tmp_path, normalization):
    judge = config.segmenting_discriminator
    judge.enabled, judge.channels, judge.normalization = True, 4, normalization
    other = Vocabulary(["motor", *vocabulary.objects[:0:-1]], vocabulary.predicates[:0:-1])
    network = SegmentingDiscriminator(len(other.objects), 4, normalization)
    save_checkpoint(
        tmp_path / "first.pt",
        make_networks(config, other)[0],
        discriminators={"segmenting_discriminator": network},
    )
    players = fresh_players(config, vocabulary)
    printed = start_from(tmp_path / "first.pt", players, config, vocabulary)
    assert ": generator, segmenting discriminator; fresh: " in printed
    found = players.discriminators["segmenting_discriminator"].bare
    network.eval(), found.eval()
    images = torch.randn(2, 3, 16, 16)
    order = [other.objects.index(name) for name in vocabulary.objects]
    if normalization == "none":
        expected = network(images)[:, [*order, -1]]  # the last one is that of generated pixels
        torch.testing.assert_close(found(images), expected)
    else:  # the largest singular value of fewer rows may be another
        kept = network.output.parametrizations.weight.original
        assert torch.equal(found.output.parametrizations.weight.original, kept[[*order, -1]])
        assert torch.equal(found.output.bias, network.output.bias[[*order, -1]])


def test_sharper_masks_need_no_other_weights(config, vocabulary, tmp_path):
    save_checkpoint(tmp_path / "first.pt", make_networks(config, vocabulary)[0])
    config.model.mask_sharpness = 3.0
    players = fresh_players(config, vocabulary)
    assert "Starts from the weights" in start_from(
        tmp_path / "first.pt", players, config, vocabulary
    )


def test_a_discriminator_that_one_side_lacks_is_fresh_or_left(config, vocabulary, tmp_path):
    model, objects, pictures = make_networks(config, vocabulary)
    save_checkpoint(tmp_path / "first.pt", model, discriminators={"image_discriminator": pictures})
    players = fresh_players(config, vocabulary)
    fresh = states(players)
    printed = start_from(tmp_path / "first.pt", players, config, vocabulary)
    assert printed.endswith("generator, image discriminator; fresh: object discriminator")
    assert_same(states(players)["object_discriminator"], fresh["object_discriminator"])
    config.image_discriminator.enabled = False
    save_checkpoint(tmp_path / "all.pt", model, None, by_name((model, objects, pictures)))
    players = fresh_players(config, vocabulary)
    printed = start_from(tmp_path / "all.pt", players, config, vocabulary)
    assert printed.endswith("all.pt: generator, object discriminator")


def test_size_of_pictures_and_crops_may_differ(config, vocabulary, tmp_path):
    networks = make_networks(config, vocabulary)
    config.model.image_size, config.object_discriminator.object_size = (32, 24), 16
    save_checkpoint(tmp_path / "first.pt", networks[0], None, by_name(networks))
    players = fresh_players(config, vocabulary)
    networks[0].config.image_size = (16, 16)
    start_from(tmp_path / "first.pt", players, config, vocabulary)
    assert_same(states(players)["generator"], dict(networks[0].state_dict()))


def test_other_options_are_named_with_what_to_pass(config, vocabulary, tmp_path):
    networks = make_networks(config, vocabulary)
    save_checkpoint(tmp_path / "first.pt", networks[0], None, by_name(networks))
    other = copy.deepcopy(config)
    other.model.gconv_dim, other.model.refinement_dims = 16, (8, 5)
    other.model.negative_slope = 0.1  # of the same shape, but not the same network
    other.image_discriminator.layers = ((4, 4, 2), (4, 9, 2))
    other.object_discriminator.normalization = "none"
    with pytest.raises(Sg2ImError) as caught:
        start_from(tmp_path / "first.pt", fresh_players(other, vocabulary), other, vocabulary)
    sentence = str(caught.value)
    assert "model.gconv_dim: 8 there, 16 here" in sentence
    passed = sentence.partition("pass ")[2].rstrip(".").split()
    assert passed == [
        "--model.gconv_dim=8",
        "--model.refinement_dims=[8,4]",
        "--model.negative_slope=0.2",
        "--image_discriminator.layers=[[4,4,2],[4,8,2]]",
        "--object_discriminator.normalization=batch",
    ]


def test_an_opponent_that_no_option_makes_can_be_switched_off(config, vocabulary, tmp_path):
    model, objects, _ = make_networks(config, vocabulary)
    steep = PatchDiscriminator(LAYERS, negative_slope=0.5)
    save_checkpoint(tmp_path / "first.pt", model, None, by_name((model, objects, steep)))
    with pytest.raises(Sg2ImError, match=r"0.5 there, 0.2 here.* --image_discriminator.enabled=f"):
        start_from(tmp_path / "first.pt", fresh_players(config, vocabulary), config, vocabulary)


def test_files_that_are_no_start(config, vocabulary, tmp_path):
    players = fresh_players(config, vocabulary)
    with pytest.raises(Sg2ImError, match=r"There is no checkpoint .*none\.pt"):
        start_from(tmp_path / "none.pt", players, config, vocabulary)
    strange = Sg2Im(Vocabulary(["above", "motor"], ["sky"]), config.model)
    save_checkpoint(tmp_path / "strange.pt", strange)
    with pytest.raises(Sg2ImError, match=r"strange\.pt .*no name in common \(above, motor there"):
        start_from(tmp_path / "strange.pt", players, config, vocabulary)


def test_the_start_changes_no_random_number(config, vocabulary, tmp_path, monkeypatch):
    """Noise and data of a run are the same whatever its weights start from."""
    networks = make_networks(config, vocabulary)
    save_checkpoint(tmp_path / "first.pt", networks[0])
    drawn = []

    def drawing(*_):
        drawn.append(torch.rand(3))
        raise Killed

    monkeypatch.setattr(trainer, "training_step", drawing)
    for init in (None, str(tmp_path / "first.pt")):
        config.init = init
        with pytest.raises(Killed):
            train(config, tmp_path / f"run {init is None}")
    assert torch.equal(*drawn)


@pytest.mark.slow
def test_a_run_goes_on_when_the_file_is_gone(config, vocabulary, tmp_path, monkeypatch, capsys):
    networks = make_networks(config, vocabulary)
    save_released(tmp_path / "first.pt", networks[0], by_name(networks))
    config.init, config.steps = str(tmp_path / "first.pt"), 6
    assert train(config, tmp_path / "unbroken")
    with stopping_after(monkeypatch, 4):
        assert not train(config, tmp_path / "broken")
    monkeypatch.undo()
    monkeypatch.setattr(LandscapesOptions, "prepare", lambda _: None)
    (tmp_path / "first.pt").unlink()
    torch.rand(7)
    capsys.readouterr()
    assert train(config, tmp_path / "broken", tmp_path / "broken" / "checkpoints" / "last.pt")
    assert "Starts from" not in capsys.readouterr().out
    ends = [
        read_checkpoint(tmp_path / run / "checkpoints" / "last.pt")
        for run in ("unbroken", "broken")
    ]
    assert_same(*ends)
    assert ends[0]["training"]["config"]["init"] == config.init
    last = load_players(tmp_path / "broken" / "checkpoints" / "last.pt")
    assert set(last.discriminators) == {"object_discriminator", "image_discriminator"}


def test_a_run_cut_off_before_its_first_checkpoint_begins_with_the_file_again(
    config, vocabulary, tmp_path, monkeypatch
):
    networks = make_networks(config, vocabulary)
    save_released(tmp_path / "first.pt", networks[0], by_name(networks))
    config.init = str(tmp_path / "first.pt")
    run = tmp_path / "run"
    first = before_the_first_step(monkeypatch, config, run)  # ended by an exception
    assert not (run / "checkpoints").exists()
    again = parse_command(["--resume", str(run)], tmp_path, "")
    assert again.checkpoint is None and again.config.init == config.init
    second = before_the_first_step(monkeypatch, again.config, run)
    expected = load_players(tmp_path / "first.pt")
    for found in (first, second):
        for key, value in expected.model.state_dict().items():
            assert torch.equal(found["generator"][key], value)


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def parse(*arguments):
        return parse_command(list(arguments), tmp_path, "")

    (tmp_path / "train" / "configs").mkdir(parents=True)
    (tmp_path / "train" / "configs" / "landscapes.yaml").write_text("steps: 5\n")
    return parse


def test_the_path_is_an_option_like_others(command, tmp_path):
    assert command("--init", "a/first.pt").config.init == str(tmp_path / "a" / "first.pt")
    (tmp_path / "own.yaml").write_text("init: first.pt\n")
    assert command("--config", "own.yaml").config.init == str(tmp_path / "first.pt")
    assert command().config.init is None


@pytest.mark.parametrize("init", [None, "first.pt"])
def test_a_resumed_run_keeps_the_path_and_takes_no_other(command, tmp_path, init):
    started = command(*(["--init", init] if init else []))
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(options_to_yaml(asdict(started.config)))
    assert command("--resume", str(run)).config.init == started.config.init
    for arguments in (["--init", "first.pt"], ["--init=other.pt"], ["--config", "own.yaml"]):
        (tmp_path / "own.yaml").write_text("init: third.pt\n")
        with pytest.raises(Sg2ImError, match="--init starts a new training and --resume goes on"):
            command("--resume", str(run), *arguments)
