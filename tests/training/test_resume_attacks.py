"""Checkpoints that a run is to go on from, with anything in the place of each entry."""

import copy
import math

import pytest
import torch
from lightning_fabric import Fabric
from torch.nn import Linear
from torch.optim import Adam

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.torch_file import load_entries, save_entries
from sg2im_pyg.training.resume import _bytes, _load_weights, _progress, _restore_optimizer
from sg2im_pyg.training.run_folder import begin_folder, find_run

GOOD = {
    "step": 3,
    "best_loss": math.inf,
    "best_step": 0,
    "validations_since_best": 0,
    "skipped_steps": 0,
    "skipped_in_a_row": 0,
    "validation": {"loss": 1.0},
}
BAD = (None, "x", -1, 2**80, [], {}, math.nan, torch.zeros(3), True, {"a": "b"})


@pytest.mark.parametrize("name", GOOD)
def test_where_a_run_stood_is_checked_entry_by_entry(name):
    assert _progress(GOOD).step == 3
    for value in BAD:
        if name == "validation" and value == {}:
            continue
        if name == "best_loss" and type(value) is not float and isinstance(value, int):
            continue
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            _progress({**GOOD, name: value})
    with pytest.raises(TypeError):
        _progress({**GOOD, "another": 1})


def trained():
    torch.manual_seed(0)
    network = Linear(3, 2)
    optimizer = Adam(network.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    return network, optimizer


def test_an_optimizer_takes_its_moments_and_nothing_else():
    network, optimizer = trained()
    state = copy.deepcopy(optimizer.state_dict())
    fresh = Adam(network.parameters(), lr=0.3, fused=True)
    state["param_groups"][0] |= {"maximize": True, "eps": math.nan, "class_path": "os.system"}
    _restore_optimizer(fresh, state)
    assert not fresh.param_groups[0]["maximize"] and fresh.param_groups[0]["lr"] == 0.3
    for parameter in network.parameters():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(fresh.state[parameter][key], optimizer.state[parameter][key])

    def changed(key, value):
        other = copy.deepcopy(optimizer.state_dict())
        other["state"][0][key] = value
        return other

    wrong = [
        changed("exp_avg", torch.zeros(5)),
        changed("exp_avg", torch.zeros(()).expand(2, 3)),
        changed("exp_avg_sq", torch.full((2, 3), -1.0)),
        changed("exp_avg_sq", "x"),
        changed("step", torch.tensor(-1.0)),
        changed("step", torch.zeros(3)),
        changed("another", torch.zeros(3)),
        {"state": {7: {}}, "param_groups": state["param_groups"]},
        {"state": {}, "param_groups": [{"params": [0]}]},
        {"state": {}, "param_groups": []},
    ]
    for other in wrong:
        with pytest.raises((ValueError, KeyError)):
            _restore_optimizer(Adam(network.parameters(), fused=True), other)


def test_weights_and_random_states_are_checked():
    network = Linear(3, 2)
    whole = network.state_dict()
    for value in (torch.zeros(9), torch.full((2,), math.inf), "x", torch.zeros(2) + 0j):
        with pytest.raises(ValueError, match="the parameter bias"):
            _load_weights(network, {**whole, "bias": value})
    for weights in ([], {}, {**whole, "more": torch.zeros(1)}):
        with pytest.raises((TypeError, RuntimeError)):
            _load_weights(network, weights)
    now = torch.get_rng_state()
    assert _bytes(now, now) is now
    for state in (now[:-1], now.float(), None, "x", 3):
        with pytest.raises(ValueError, match="a random state that"):
            _bytes(state, now)


def test_options_in_a_checkpoint_may_be_anything(tmp_path):
    doubled = [1]
    for _ in range(60):
        doubled = [doubled, doubled]
    path = tmp_path / "file.pt"
    base = {"format": "sg2im_pyg.checkpoint", "version": 1, "vocabulary": {}, "model_config": {}}
    for config in (
        {"steps": torch.zeros(3)},
        {"steps": doubled},
        {"model": {"image_size": doubled}},
        {"model": {"a": {"b": {"c": 1}}}},
        {7: {}, "x" * 10**5: 1},
        {"data": {"root": "x" * 10**6}},
    ):
        save_entries(path, {**base, "generator": {}, "training": {"config": config}}, zipped=True)
        with pytest.raises(Sg2ImError, match=r"file\.pt") as refused:
            find_run(str(path), tmp_path)
        assert len(str(refused.value)) < 600


def test_containers_that_do_not_end_are_refused(tmp_path):
    endless: list = []
    endless.append(endless)
    save_entries(tmp_path / "endless.pt", {"a": endless}, zipped=True)
    with pytest.raises(Sg2ImError, match="fewer than its lists have entries"):
        load_entries(tmp_path / "endless.pt")


def test_one_process_alone_trains_in_a_folder(config, tmp_path):
    with begin_folder(config, tmp_path / "run", "new") as folder:
        assert (folder / "config.yaml").is_file()
        before = (folder / "config.yaml").stat().st_mtime_ns
        with (
            pytest.raises(Sg2ImError, match="Another process is training in"),
            begin_folder(config, folder, "existing"),
        ):
            pass
        assert (folder / "config.yaml").stat().st_mtime_ns == before
    with begin_folder(config, folder, "existing"):
        pass
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_an_optimizer_set_up_by_fabric_is_restored_as_well():
    network, optimizer = trained()
    wrapped = Fabric(accelerator="cpu").setup_optimizers(Adam(network.parameters(), fused=True))
    _restore_optimizer(wrapped, optimizer.state_dict())
    assert wrapped.optimizer.state[network.weight]["step"] == 2
