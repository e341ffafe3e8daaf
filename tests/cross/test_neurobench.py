"""NeuroBench's own metrics of our networks, to the integer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from costed_networks import KINDS, LIF, NETWORKS, SAMPLES, drive, network
from torch import nn

import snnsim as sn
from snnsim.baselines import models
from snnsim.interop import for_neurobench

pytest.importorskip("neurobench")
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
from neurobench.models import TorchModel
from torch.utils.data import DataLoader, TensorDataset

METRICS = [[Footprint, ConnectionSparsity], [ActivationSparsity, SynapticOperations]]


def measured(model, x, batch_size=SAMPLES):
    data = TensorDataset(x.transpose(0, 1), torch.zeros(x.shape[1]))
    loader = DataLoader(data, batch_size=batch_size)
    return Benchmark(model, loader, [], [], METRICS).run(quiet=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_neurobench_counts_what_we_count(name, kind):
    net, x = network(name), drive(kind, name)
    theirs, cost = measured(for_neurobench(net), x), sn.cost(net, x)
    ours = cost.neurobench()
    assert ours.keys() == theirs.keys()
    assert ours["Footprint"] == theirs["Footprint"]
    assert ours["SynapticOperations"] == theirs["SynapticOperations"]
    outputs = sum(each.outputs for each in cost.neurons)
    zeros = theirs["ActivationSparsity"] * outputs  # a mean over batches there, so not yet whole
    assert zeros == pytest.approx(round(zeros), abs=1e-9)
    assert outputs - sum(each.nonzero for each in cost.neurons) == round(zeros)
    assert ours["ConnectionSparsity"] == pytest.approx(theirs["ConnectionSparsity"], abs=5.1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_batches_add_up_as_there(name):
    net, x = network(name), drive("counts", name)
    theirs = measured(for_neurobench(net), x, 2)
    ours = sn.cost(net, x, batch_size=2).neurobench()
    assert ours["SynapticOperations"] == theirs["SynapticOperations"]
    assert ours["ActivationSparsity"] == pytest.approx(theirs["ActivationSparsity"], rel=1e-12)
    whole = sn.cost(net, x).neurobench()["SynapticOperations"]
    assert whole["Dense"] == ours["SynapticOperations"]["Dense"]


def test_activation_functions_and_layers_of_torch_count_as_there():
    torch.manual_seed(0)
    net = sn.Sequential(
        nn.Linear(5, 6), nn.ReLU(), sn.TimeDistributed(nn.Linear(6, 3)), nn.Sigmoid()
    )
    x = drive("counts", "dense")
    theirs, ours = measured(for_neurobench(net), x), sn.cost(net, x).neurobench()
    assert ours["SynapticOperations"] == theirs["SynapticOperations"]
    assert ours["ActivationSparsity"] == pytest.approx(theirs["ActivationSparsity"], rel=1e-12)


def test_the_answers_are_those_of_the_network_and_nothing_is_left_in_it():
    net, x = network("delayed").train(), drive("binary", "delayed")
    y = for_neurobench(net)(x.transpose(0, 1))
    assert net.training and not any(m._forward_hooks for m in net.modules())
    assert torch.equal(y.transpose(0, 1), net.eval()(x)[0])


class ByHand(nn.Module):
    """The dense network in torch alone, with nothing of ours: one step after another."""

    class Spikes(nn.Module):
        def __init__(self, decay):
            super().__init__()
            self.decay, self.v = decay, 0.0

        def forward(self, x):
            u = self.decay * self.v + x
            z = (u >= LIF["v_threshold"]).to(x)
            self.v = u - LIF["v_threshold"] * z
            return z

    def __init__(self, net):
        super().__init__()
        first, _, second, _ = net
        decay = torch.exp(torch.tensor(-LIF["dt"] / LIF["tau_mem"]))
        self.first, self.second = nn.Linear(5, 6, bias=False), nn.Linear(6, 3)
        self.first.weight, self.second.weight = first.weight, second.weight
        self.second.bias = second.bias
        self.inner, self.outer = self.Spikes(decay), self.Spikes(decay)

    def forward(self, x):
        self.inner.v = self.outer.v = 0.0
        steps = (self.outer(self.second(self.inner(self.first(step)))) for step in x.unbind(1))
        return torch.stack(list(steps), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_network_in_torch_alone_has_the_same_figures(kind):
    net, x = network("dense"), drive(kind, "dense")
    model = TorchModel(ByHand(net))
    model.add_activation_module(ByHand.Spikes)
    theirs, ours = measured(model, x), sn.cost(net, x).neurobench()
    assert torch.equal(model(x.transpose(0, 1)).transpose(0, 1), net(x)[0])
    assert ours["SynapticOperations"] == theirs["SynapticOperations"]
    assert ours["ActivationSparsity"] == pytest.approx(theirs["ActivationSparsity"], rel=1e-12)
    assert ours["ConnectionSparsity"] == pytest.approx(theirs["ConnectionSparsity"], abs=5.1e-5)


def test_weights_that_neurobench_does_not_see_are_named():
    with pytest.warns(UserWarning, match=r"module.weight_ih_l0, module.weight_hh_l0.*leave out"):
        for_neurobench(models.get("gru")(6, 8))


def test_without_the_wrapper_neurobench_sees_nothing():
    """So that the tests above can fail."""

    class Naive(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x.transpose(0, 1))[0].transpose(0, 1)

    found = measured(TorchModel(Naive(network("recurrent"))), drive("binary", "recurrent"))
    assert found["SynapticOperations"]["Dense"] == 0


def test_a_network_is_converted_with_the_layers_beside_it():
    net, x = network("dense"), drive("graded", "dense").double()
    single = sn.cost(net, x.float()).footprint
    model = for_neurobench(net)
    model.__net__().double()
    assert net[0].weight.dtype == torch.float64
    x = drive("graded", "dense").double()
    theirs = measured(model, x)
    assert theirs["Footprint"] == sn.cost(net, x).footprint == 2 * single
    assert theirs["SynapticOperations"] == sn.cost(net, x).neurobench()["SynapticOperations"]


def test_the_page_shows_how_to_measure_a_network(capsys):
    page = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
    blocks = re.findall(r"^```py(?:thon)?\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    space: dict = {}
    exec("\n".join(blocks), space)
    shown = capsys.readouterr().out.splitlines()[-1]
    found = space["found"].neurobench()
    assert str(found["SynapticOperations"]) in shown and str(found["Footprint"]) in shown
