"""Networks made by the builders: their defaults, options and what they refuse."""

from __future__ import annotations

import pytest
import torch

import snnsim as sn
from snnsim.errors import ConfigError, ShapeError
from snnsim.networks.sequential import split_state
from snnsim.surrogate import ATan

SMALL = {"dt": 2.0, "tau_mem": 7.0, "max_delay_ms": 8.0, "dropout": 0.3}


def test_a_built_network_hands_its_options_on():
    net = sn.delay_network(
        (5, 6, 7, 3), **SMALL, kernel_count=2, granularity="dendritic", padding="causal",
        delays="fixed", backend="reference",
    )  # fmt: skip
    kinds = [sn.Delayed, sn.BatchNorm, sn.LIF, sn.Dropout]
    assert [type(layer) for layer in net] == [*kinds * 2, sn.Delayed, sn.LI]
    assert [(c.n_in, c.n_out) for c in (net[0], net[4], net[8])] == [(5, 6), (6, 7), (7, 3)]
    for connection in (net[0], net[4], net[8]):
        assert (connection.dt, connection.length, connection.granularity) == (2.0, 5, "dendritic")
        assert (connection.padding, connection.learn_delay) == ("causal", False)
        assert connection.backend == "reference" and connection.weight.shape[2] == 2
    assert [net[1].n, net[5].n, net[3].p, net[7].p] == [6, 7, 0.3, 0.3]
    for neurons, n in ((net[2], 6), (net[6], 7), (net[9], 3)):
        assert (neurons.n, neurons.dt, float(neurons.tau_mem)) == (n, 2.0, 7.0)
        assert (neurons.discretization, neurons.backend) == ("euler", "reference")
    for lif in (net[2], net[6]):
        assert (lif.reset.mode, lif.surrogate) == ("zero", ATan(alpha=5.0))


def test_a_built_network_has_the_stated_defaults():
    net = sn.delay_network((5, 6, 3), **SMALL)
    assert (net[0].granularity, net[0].padding, net[0].learn_delay) == (
        "synaptic",
        "lengthen",
        True,
    )
    assert (net[0].backend, net[2].backend, net[5].backend) == ("auto", "auto", "auto")
    assert net[0].weight.shape == (6, 5, 1) and type(net[2]) is sn.LIF
    compiled = sn.delay_network((5, 6, 3), **SMALL, backend="cpu")
    assert (compiled[0].backend, compiled[2].backend, compiled[5].backend) == ("auto", "cpu", "cpu")
    shallow = sn.delay_network((5, 3), **SMALL)
    assert [type(layer) for layer in shallow] == [sn.Delayed, sn.LI]
    dense = sn.delay_network((5, 6, 3), **SMALL, delays="none")
    assert [type(layer) for layer in dense][::4] == [sn.Dense, sn.Dense]
    assert dense[0].bias is None and (dense[4].n_in, dense[4].n_out) == (6, 3)
    recurrent = sn.delay_network((5, 6, 3), **SMALL, recurrent=True)
    assert type(recurrent[2]) is sn.Recurrent and type(recurrent[2].neuron) is sn.LIF
    assert bool((recurrent[2].w_rec.diagonal() != 0).all())


@pytest.mark.parametrize("tau_adapt", [None, 40.0])
def test_adaptive_neurons_start_with_couplings_of_their_own(tau_adapt):
    torch.manual_seed(0)
    options = {} if tau_adapt is None else {"tau_adapt": tau_adapt}
    net = sn.delay_network((2, 2000, 3), **SMALL, delays="none", neuron="adlif", **options)
    cell = net[2]
    assert type(cell) is sn.AdLIF and (cell.dt, cell.backend) == (2.0, "auto")
    assert (cell.discretization, cell.surrogate) == ("exponential", ATan(alpha=5.0))
    assert cell.reset.mode == "subtract"
    assert {n for n, s in cell.declared.items() if s.learnable} == {
        "a",
        "b",
        "tau_mem",
        "tau_adapt",
    }
    for value, most in ((cell.a, 1.0), (cell.b, 2.0)):
        assert value.shape == (2000,)
        assert 0 <= float(value.min()) < 0.02 * most and 0.98 * most < float(value.max()) <= most
        assert float(value.mean()) == pytest.approx(most / 2, rel=0.05)
    wanted = 150.0 if tau_adapt is None else tau_adapt
    torch.testing.assert_close(cell.tau_mem, torch.full((2000,), 7.0))
    torch.testing.assert_close(cell.tau_adapt, torch.full((2000,), wanted), rtol=1e-5, atol=0)
    assert type(net[-1]) is sn.LI and net[-1].discretization == "euler"
    given = sn.delay_network((2, 4, 3), **SMALL, neuron="adlif", backend="reference")
    assert given[2].backend == "reference"


def test_sizes_and_names_that_make_no_network_are_refused():
    for sizes in ((5,), (), (5, 0, 3), (5, -1), (0, 3)):
        with pytest.raises(ConfigError, match=r"sizes is \(.* must be input, hidden"):
            sn.delay_network(sizes, **SMALL)
    for options, text in (
        ({"delays": "learnt"}, "delays is 'learnt'.*did you mean 'learned'"),
        ({"neuron": "adlf"}, "neuron is 'adlf'.*did you mean 'adlif'"),
        ({"backend": "gpu"}, "backend is 'gpu'"),
        ({"tau_mem": 1.0}, "forward Euler needs tau_mem >= dt"),
    ):
        with pytest.raises(ConfigError, match=text):
            sn.delay_network((5, 6, 3), **{**SMALL, **options})


@pytest.mark.parametrize(
    ("build", "classes", "layers", "width", "tau", "taps", "dropout"),
    [
        (sn.shd_network, 20, 2, 256, 10.05, 25, 0.4),
        (sn.ssc_network, 35, 3, 512, 15.0, 31, 0.25),
        (sn.gsc_network, 35, 3, 512, 15.0, 31, 0.25),
    ],
)
def test_published_networks_take_changes(build, classes, layers, width, tau, taps, dropout):
    net = build(delays="fixed")
    assert (net[0].n_in, net[0].n_out, net[0].length, net[0].dt) == (140, width, taps, 10.0)
    assert (len(net), net[-1].n, net[3].p) == (4 * layers + 2, classes, dropout)
    assert float(net[2].tau_mem) == float(net[-1].tau_mem) == pytest.approx(tau)
    changes = {"dt": 5.0, "tau_mem": 30.0, "max_delay_ms": 20.0, "dropout": 0.1, "neuron": "adlif"}
    net = build(4, **changes, delays="learned")
    assert (net[0].dt, net[0].length, net[3].p, net[-1].n) == (5.0, 5, 0.1, 4)
    assert type(net[2]) is sn.AdLIF and float(net[-1].tau_mem) == 30.0
    if build is not sn.shd_network:
        one = build(4, 1, delays="none")
        assert [layer.n_out for layer in one if isinstance(layer, sn.Dense)] == [512, 4]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_state_of_another_number_of_layers_is_refused(count):

    assert split_state((1, 2, 3), 3) == (1, 2, 3)
    with pytest.raises(ShapeError, match="3 entries"):
        split_state((1, 2, 3), count)
