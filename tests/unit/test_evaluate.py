"""What is evaluated: the steps that belong to a sample, and the spikes of every layer."""

from __future__ import annotations

import pytest
import torch

from snnsim.networks import Sequential, delay_network
from snnsim.neurons import LI, LIF
from snnsim.synapses import Dense, Recurrent
from snnsim.training.evaluate import counting_spikes, predict, run_padded


def delayed(padding: str) -> Sequential:
    torch.manual_seed(0)
    options = {"dt": 1.0, "tau_mem": 2.0, "max_delay_ms": 8, "dropout": 0.0}
    return delay_network((3, 4, 2), padding=padding, **options)


def test_outputs_that_delays_put_behind_a_sample_belong_to_it():
    lengths = torch.tensor([6, 10])
    for padding, tail in (("lengthen", 8), ("causal", 0)):  # two connections, each half of 8 steps
        y, ends = run_padded(delayed(padding), torch.ones(10, 2, 3), lengths)
        assert y.shape[0] == 10 + tail
        assert ends.tolist() == [6 + tail, 10 + tail]


def test_a_masked_score_of_a_delayed_network_does_not_depend_on_the_padding():
    net, x = delayed("lengthen").double(), torch.rand(6, 1, 3, dtype=torch.float64)
    longer = torch.cat([x, torch.zeros(5, 1, 3, dtype=torch.float64)])
    alone = predict(net, x, "sum_softmax", torch.tensor([6]))
    padded = predict(net, longer, "sum_softmax", torch.tensor([6]))
    torch.testing.assert_close(padded, alone)
    assert not torch.allclose(predict(net, longer, "sum_softmax"), alone)


@pytest.mark.parametrize("recurrent", [False, True])
def test_spikes_are_counted_in_every_layer_but_the_integrators(recurrent):
    neurons = LIF(5, dt=1.0, tau_mem=2.0)
    layer = Recurrent(neurons) if recurrent else neurons
    net = Sequential(Dense(3, 5), layer, Dense(5, 2), LI(2, dt=1.0, tau_mem=2.0))
    x = 10 * torch.rand(7, 2, 3)
    with torch.no_grad():
        net[0].weight.abs_()
        spikes = layer(net[0](x)[0])[0]
        with counting_spikes(net) as totals:
            net(x)
    assert totals == [float(spikes.sum()), spikes.numel()]
    assert totals[0] > 0


def test_an_integrator_that_is_recurrent_is_none_the_less_one():
    net = Recurrent(LI(5, dt=1.0, tau_mem=2.0))
    with torch.no_grad(), counting_spikes(net) as totals:
        net(torch.ones(7, 2, 5))
    assert totals == [0, 0]
