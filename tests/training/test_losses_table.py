"""A loss of the generator that comes from outside the library: this file holds all of it."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sg2im_pyg import Sg2ImError
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.training import register_loss, train
from sg2im_pyg.training.command_line import parse_command
from sg2im_pyg.training.losses import LOSSES, LossConfig, unregister_loss
from sg2im_pyg.training.run_folder import find_run

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def toy():
    @register_loss("toy", label="toy", mean_over="pictures", weight=0.25)
    def _toy(given):
        """The brightness of generated pictures, which should be
        that of the true ones.

        The rest is not shown.
        """
        return (given.output.images.mean() - given.images.mean()).square()

    yield
    unregister_loss("toy")


def weights_after(config, run_dir):
    assert train(config, run_dir)
    return read_checkpoint(run_dir / "checkpoints" / "last.pt")["generator"]


def test_a_loss_from_outside_trains_is_drawn_and_is_an_option(config, toy, tmp_path, capsys):
    config.steps = 2
    config.losses = LossConfig(mask=0.1, toy=0.0)
    without = weights_after(config, tmp_path / "without")
    config.losses.toy = 5.0
    run = tmp_path / "run"
    assert any(not torch.equal(v, without[name]) for name, v in weights_after(config, run).items())

    # ---- Its curves
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    values = [point.value for point in events.Scalars("generator/toy")]
    assert len(values) == 2 and min(values) > 0
    known = [name for name in LOSSES if f"generator/{name}" in events.Tags()["scalars"]]
    by_weight = {name: events.Scalars(f"generator/{name}")[0].value for name in known}
    total = sum(getattr(config.losses, name) * value for name, value in by_weight.items())
    assert events.Scalars("generator/total")[0].value == pytest.approx(total, rel=1e-5)
    assert events.Scalars("validation/toy")[-1].value > 0
    assert "toy" in capsys.readouterr().out  # in the line of the validation

    # ---- Its weight in the run's options, which are read again
    stored = find_run(str(run), tmp_path)[2]
    assert yaml.safe_load(stored)["losses"]["toy"] == 5.0
    command = parse_command(["--resume", str(run), "--losses.box=3"], REPOSITORY, "")
    assert (command.config.losses.toy, command.config.losses.box) == (5.0, 3.0)
    command = parse_command(["--losses.toy=2"], REPOSITORY, "")
    assert command.config.losses.toy == 2.0

    # ---- And in the help
    with pytest.raises(SystemExit):
        parse_command(["--help"], REPOSITORY, "")
    printed = " ".join(capsys.readouterr().out.split())
    wanted = "Weight of the brightness of generated pictures, which should be that of the true ones"
    assert re.search(rf"--losses\.toy \S+ {wanted}\.? \(.*?default: 0\.25\)", printed)
    assert "rest is not shown" not in printed


def test_options_without_it_are_read_too_and_its_range_is_checked(toy):
    assert LossConfig(box=1.0).toy == 0.25  # as of a run before there was such a loss
    with pytest.raises(Sg2ImError, match="losses.toy must be a number, at least 0, got -1"):
        LossConfig(toy=-1)


def test_it_is_taken_out_again():
    with pytest.raises(TypeError):
        LossConfig(toy=1.0)
    assert not hasattr(LossConfig(), "toy") and "toy" not in LossConfig.__doc__


@pytest.mark.parametrize("name", ["two words", "adversarial_kind", "total"])
def test_a_name_that_can_not_be_an_option(name):
    with pytest.raises(Sg2ImError, match=f"can not be called '{name}'"):
        register_loss(name, label="", mean_over="objects", weight=1.0)
