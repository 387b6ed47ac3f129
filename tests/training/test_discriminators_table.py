"""A discriminator from this file, without touching the library: an opponent more, which trains, is
kept in checkpoints, and whose judgement the generator minimises."""

from dataclasses import asdict, dataclass, field

import pytest
import torch
from torch.nn import Linear, Module

from sg2im_pyg.checkpoint import load_players, save_checkpoint
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.nn.discriminators import DISCRIMINATORS, DiscriminatorKind
from sg2im_pyg.training import TrainingConfig, train
from sg2im_pyg.training.criteria import generator_loss
from sg2im_pyg.training.losses import LossConfig, register_loss, unregister_loss
from tests.training.test_trainer import curves


class ColourDiscriminator(Module):
    """Judges a picture by its mean colour."""

    def __init__(self, gain):
        super().__init__()
        self.options = {"gain": gain}
        self.score = Linear(3, 1)

    def forward(self, images):
        return self.options["gain"] * self.score(images.mean(dim=(2, 3)))


@dataclass
class ColourConfig:
    """Options of the discriminator."""

    enabled: bool = True
    gain: float = 2.0


@dataclass
class OwnConfig(TrainingConfig):
    """A training with it."""

    colour_discriminator: ColourConfig = field(default_factory=ColourConfig)


@pytest.fixture
def own(config):
    DISCRIMINATORS["colour_discriminator"] = DiscriminatorKind(ColourDiscriminator, "pictures")

    @register_loss("colour", label="col", mean_over="pictures", weight=0.5)
    def colour(given):
        """The colour discriminator's judgement."""
        scores = given.scores("colour_discriminator")
        return None if scores is None else generator_loss("gan", scores)

    groups = {name: getattr(config, name) for name in asdict(config)}
    weights = {name: value for name, value in asdict(config.losses).items() if name != "colour"}
    yield OwnConfig(**{**groups, "losses": LossConfig(**weights)})
    unregister_loss("colour")
    del DISCRIMINATORS["colour_discriminator"]


def weights_of(run):
    training = read_checkpoint(run / "checkpoints" / "last.pt")["training"]
    return {**training["discriminators"]["colour_discriminator"], **training["discriminators"]}


def test_an_opponent_from_outside_trains_is_kept_and_resumed(own, tmp_path):
    own.steps = 4
    assert train(own, tmp_path / "whole")
    scalars, _ = curves(tmp_path / "whole")
    assert {"generator/colour", "colour_discriminator/adversarial"} <= set(scalars)
    assert "gradient_norm/colour_discriminator" in scalars
    torch.manual_seed(0)
    kept = weights_of(tmp_path / "whole")
    assert not torch.equal(kept["score.weight"], ColourDiscriminator(2.0).score.weight)

    own.steps = 2
    train(own, tmp_path / "parts")
    own.steps = 4
    train(own, tmp_path / "parts", tmp_path / "parts" / "checkpoints" / "last.pt")
    assert torch.equal(weights_of(tmp_path / "parts")["score.weight"], kept["score.weight"])


def test_its_weights_are_loaded_and_kept_without_a_training_and_a_run_starts_from_them(
    own, tmp_path, capsys
):
    own.steps = 2
    assert train(own, tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last.pt"
    kept = weights_of(tmp_path / "first")["score.weight"]
    players = load_players(last)
    assert torch.equal(players.discriminators["colour_discriminator"].score.weight, kept)
    save_checkpoint(tmp_path / "alone.pt", players.model, None, players.discriminators)
    again = load_players(tmp_path / "alone.pt").discriminators["colour_discriminator"]
    assert again.options == {"gain": 2.0} and torch.equal(again.score.weight, kept)
    own.init = str(tmp_path / "alone.pt")
    assert train(own, tmp_path / "second")
    assert "colour discriminator" in capsys.readouterr().out.partition("Starts from")[2]


def test_one_that_is_switched_off_is_absent(own, tmp_path):
    own.colour_discriminator.enabled = False
    own.steps = 2
    assert train(own, tmp_path / "run")
    scalars, _ = curves(tmp_path / "run")
    assert "generator/colour" not in scalars and "generator/pixel" in scalars
