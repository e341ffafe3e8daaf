"""Numbers that are not finite are named, and nothing good is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import (
    RECIPE,
    Tiny,
    differences,
    everything,
    network,
    run_whole,
    trainer,
    without_seconds,
)
from torch import Tensor

from snnsim.errors import NonFiniteError
from snnsim.training import Watcher


class Poison(Watcher):
    """Makes one weight infinite after a given step; remembers the weights and checkpoint before."""

    def __init__(self, net, name: str, epoch: int, step: int, last: Path | None = None):
        self.net, self.name, self.when, self.last = net, name, (epoch, step), last
        self.weights: dict[str, Tensor] = {}
        self.good = b""

    def step_done(self, epoch, step, loss):
        if (epoch, step) != self.when:
            return
        parameters = dict(self.net.named_parameters())
        with torch.no_grad():
            parameters[self.name].view(-1)[0] = torch.inf
        self.weights = {n: p.detach().clone() for n, p in parameters.items()}
        self.good = self.last.read_bytes() if self.last else b""


@pytest.mark.parametrize("layer", [0, 1, 4])
def test_infinite_weight_names_step_layer_and_last_good_checkpoint(tmp_path, layer):
    net, last = network(0), tmp_path / "last.safetensors"
    poison = Poison(net, f"layers.{layer}.weight", 1, 2, last)
    with pytest.raises(NonFiniteError) as caught:
        trainer(net=net, out=tmp_path, watcher=poison).run()
    assert last.read_bytes() == poison.good
    text = str(caught.value)
    assert "epoch 1, step 3" in text
    assert str(last) in text
    assert f"parameter 'weight' of layer 'layers.{layer}' ({type(net[layer]).__name__})" in text


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_input_that_is_not_finite_is_named_as_such(tmp_path, value):
    bad = Tiny(22, seed=1)
    bad.spikes[4, 0, 2] = value
    t = trainer(train=bad, out=tmp_path)
    with pytest.raises(NonFiniteError, match=r"the input of layer 'layers\.0'.*none yet"):
        t.run()
    assert not (tmp_path / "last.safetensors").exists()


def test_weights_are_not_stepped_by_gradients_that_are_not_finite():
    net = network(0)
    poison = Poison(net, "layers.0.weight", 0, 1)
    with pytest.raises(NonFiniteError):
        trainer(net=net, watcher=poison).run()
    assert differences(dict(net.named_parameters()), poison.weights) == []


def test_run_that_met_an_infinity_can_be_resumed_and_ends_as_an_untroubled_one(tmp_path):
    state, rows = run_whole(RECIPE)
    net = network(5)
    watcher = Poison(net, "layers.4.weight", 2, 1)
    t = trainer(net=net, seed=5, out=tmp_path, watcher=watcher)
    with pytest.raises(NonFiniteError):
        t.run()
    t = trainer(net=network(6), seed=5, out=tmp_path)
    assert t.resume()
    t.run()
    assert differences(everything(t), state) == []
    assert without_seconds(t.rows) == rows
