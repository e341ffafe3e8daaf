"""Composition, batch normalisation, dropout, recurrence, convolution; the published networks."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from toolbox import assert_same, named
from torch import nn

import snnsim as sn
from snnsim.errors import ConfigError, ShapeError


@pytest.mark.parametrize(
    ("build", "options", "count"),
    [
        (sn.shd_network, {"delays": "none"}, 107_520),
        (sn.shd_network, {}, 214_016),
        (sn.shd_network, {"kernel_count": 2}, 427_008),
        (sn.ssc_network, {"hidden_layers": 2, "delays": "none"}, 353_792),
        (sn.ssc_network, {"hidden_layers": 2}, 705_536),
        (sn.gsc_network, {"hidden_layers": 2, "kernel_count": 2}, 1_409_024),
        (sn.ssc_network, {"delays": "none"}, 616_960),
        (sn.gsc_network, {}, 1_230_848),
        (sn.ssc_network, {"kernel_count": 2}, 2_458_624),
    ],
)
def test_published_parameter_counts(build, options, count):
    net = build(**options)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == count


def test_fixed_delays_train_half_the_parameters():
    net = sn.shd_network(delays="fixed")
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 107_520


def test_each_delay_layer_lengthens_by_half_the_largest_delay():
    assert sn.shd_network()(torch.zeros(50, 2, 140))[0].shape == (50 + 36, 2, 20)
    assert sn.ssc_network()(torch.zeros(9, 1, 140))[0].shape == (9 + 60, 1, 35)
    assert sn.shd_network(delays="none")(torch.zeros(50, 2, 140))[0].shape == (50, 2, 20)


def test_published_lif_trace():
    """tau 1.005 steps, threshold 1, reset to zero."""
    lif = sn.LIF(1, tau_mem=10.05, dt=10.0, discretization="euler", reset="zero").double()
    x = torch.tensor([0.5, 0, 0.6, 2, 0.9, 1]).double().view(6, 1, 1)
    z, states = lif.trace(x)
    assert z.flatten().tolist() == [0, 0, 0, 1, 0, 1]
    expected = torch.tensor([0.5, 0.002488, 0.600012, 0, 0.9, 0]).double()
    assert torch.allclose(states["v"].flatten(), expected, atol=5e-7)


def network(seed=0):
    torch.manual_seed(seed)
    return sn.Sequential(
        sn.Delayed(5, 6, dt=1.0, max_delay_ms=4),
        sn.BatchNorm(6),
        sn.Recurrent(sn.AdLIF(6, dt=1.0, tau_mem=3.0)),
        sn.Dropout(0.3),
        sn.Skip(sn.Sequential(sn.Dense(6, 6), sn.LIF(6, dt=1.0))),
        nn.Linear(6, 3),
        sn.LI(3, dt=1.0),
    ).double()


@pytest.mark.parametrize("cuts", [[4, 8], [1, 1, 10], [11, 1]])
def test_a_network_fed_in_chunks_gives_the_whole(cuts):
    net = network().eval()
    x = torch.rand(12, 2, 5, generator=torch.Generator().manual_seed(1)).double() * 3
    whole, final = net(x)
    state, pieces = None, []
    for part in x.split(cuts):
        y, state = net(part, state)
        pieces.append(y)
    assert torch.allclose(torch.cat(pieces), whole, atol=1e-12)
    assert all(torch.allclose(final[2][key], state[2][key], atol=1e-12) for key in ("v", "w", "z"))


def test_nothing_is_remembered_and_copies_are_free():
    net = network().eval()
    x = torch.rand(8, 2, 5, generator=torch.Generator().manual_seed(2)).double() * 3
    first, _ = net(x)
    net(torch.rand(8, 7, 5).double())
    assert torch.equal(net(x)[0], first)
    assert torch.equal(copy.deepcopy(net)(x)[0], first)
    other = network(seed=5).eval()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x)[0], first)


def test_two_backward_passes_in_a_row_need_no_reset():
    net = network().train()
    for _ in range(2):
        y, _ = net(torch.rand(6, 3, 5).double())
        y.sum().backward()


def test_detached_state_truncates_the_gradient():
    net = network().eval()
    first = torch.rand(4, 1, 5).double().requires_grad_()
    second = torch.rand(4, 1, 5).double().requires_grad_()
    _, state = net(first)
    y, _ = net(second, sn.detach_state(state))
    gradients = torch.autograd.grad(y.sum(), [first, second], allow_unused=True)
    assert gradients[0] is None
    assert float(gradients[1].abs().sum()) > 0


def test_batch_norm_is_torchs_over_time_and_batch():
    torch.manual_seed(0)
    ours, theirs = sn.BatchNorm(4).double(), nn.BatchNorm1d(4).double()
    for _ in range(3):
        x = torch.randn(7, 5, 4).double() * 3 + 1
        expected = theirs(x.flatten(0, 1)).view_as(x)
        assert torch.allclose(ours(x)[0], expected, atol=1e-12)
    assert torch.allclose(ours.running_mean, theirs.running_mean)
    assert torch.allclose(ours.running_var, theirs.running_var)
    assert torch.allclose(ours.eval()(x)[0], theirs.eval()(x.flatten(0, 1)).view_as(x), atol=1e-12)


def test_batch_norm_keeps_a_batch_of_one():
    assert sn.BatchNorm(4)(torch.randn(7, 1, 4))[0].shape == (7, 1, 4)
    with pytest.raises(ShapeError, match="more than one value"):
        sn.BatchNorm(4)(torch.randn(1, 1, 4))
    with pytest.raises(ShapeError, match=r"\[T, B, 4"):
        sn.BatchNorm(4)(torch.randn(2, 2, 5))


def test_dropout_is_one_mask_per_sample_over_time():
    torch.manual_seed(0)
    layer = sn.Dropout(0.4).train()
    y, state = layer(torch.ones(6, 500, 40))
    assert bool((y == y[0]).all())
    assert sorted(y.unique().tolist()) == pytest.approx([0.0, 1 / 0.6])
    assert float(y.mean()) == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(y[0, 0], y[0, 1])
    again, _ = layer(torch.ones(2, 500, 40), state)
    assert torch.equal(again[0], y[0])
    assert torch.equal(layer.eval()(torch.ones(2, 3, 4))[0], torch.ones(2, 3, 4))
    with pytest.raises(ConfigError, match="0 .. 1"):
        sn.Dropout(1.0)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_recurrence_against_an_explicit_loop(backend):
    torch.manual_seed(0)
    layer = sn.Recurrent(sn.LIF(6, dt=1.0, backend=backend), gain=2.0).double()
    x = torch.rand(9, 3, 6).double().requires_grad_()
    y, state = layer(x)
    lif = sn.LIF(6, dt=1.0, backend="reference").double()
    z, inner, outputs = torch.zeros(3, 6).double(), None, []
    for t in range(9):
        z, inner = lif((x[t] + z @ layer.w_rec.t()).unsqueeze(0), inner)
        z = z[0]
        outputs.append(z)
    expected = torch.stack(outputs)
    assert torch.equal(y, expected)
    assert torch.equal(state["z"], expected[-1])
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).double()
    found, wanted = (torch.autograd.grad(each, [x, layer.w_rec], g) for each in (y, expected))
    assert_same(named("x w_rec", found), named("x w_rec", wanted), rtol=1e-5, atol=1e-10)


def test_recurrence_without_self_connections():
    layer = sn.Recurrent(sn.LIF(4, dt=1.0), self_connections=False)
    layer(torch.rand(5, 2, 4) * 3)[0].sum().backward()
    assert float(layer.w_rec.grad.diagonal().abs().max()) == 0


def test_a_convolutional_spiking_network_with_one_parameter_per_channel():
    threshold = torch.linspace(0.5, 1.5, 4).view(4, 1, 1)
    net = sn.Sequential(
        sn.Conv2d(2, 4, 3, padding=1),
        sn.BatchNorm(4),
        sn.LIF((4, 8, 8), dt=1.0, v_threshold=threshold, learn=["v_threshold"]),
        sn.SumPool2d(2),
        sn.MaxPool2d(2),
        nn.Flatten(2),
        sn.Dense(16, 10),
        sn.LI(10, dt=1.0),
    )
    y, state = net(torch.rand(5, 3, 2, 8, 8))
    assert y.shape == (5, 3, 10)
    assert state[2]["v"].shape == (3, 4, 8, 8)
    y.sum().backward()
    assert net[2].raw_v_threshold.grad.shape == (4, 1, 1)
    line = sn.Sequential(
        sn.Conv1d(2, 3, 3), sn.AvgPool1d(2), sn.LIF((3, 4), dt=1.0), sn.MaxPool1d(2)
    )
    assert line(torch.rand(5, 2, 2, 10))[0].shape == (5, 2, 3, 2)


def test_wrong_states_and_shapes_are_refused():
    net = network()
    with pytest.raises(ShapeError, match="2 entries but the network 7 layers"):
        net(torch.zeros(3, 1, 5).double(), (None, None))
    with pytest.raises(ShapeError, match="skip"):
        sn.Skip(sn.Dense(3, 4))(torch.zeros(2, 1, 3))
    with pytest.raises(ConfigError, match="sizes"):
        sn.delay_network((3,), dt=1.0, tau_mem=2.0, max_delay_ms=2, dropout=0.0)
    with pytest.raises(ConfigError, match="did you mean 'learned'"):
        sn.shd_network(delays="learnt")


@pytest.mark.parametrize("build", [sn.shd_network, sn.ssc_network, sn.gsc_network])
def test_an_unknown_argument_of_a_builder_is_refused_with_the_known_ones(build):
    with pytest.raises(TypeError, match="'kernel_cnt'; did you mean 'kernel_count'.*dropout.*pad"):
        build(kernel_cnt=2)
    with pytest.raises(TypeError, match="has no argument 'sigma'"):
        build(sigma=2.0)


def test_connections_are_made_with_what_is_passed_on_to_them():
    options = {"dt": 1.0, "tau_mem": 2.0, "max_delay_ms": 4, "dropout": 0.0}
    shown = inspect.signature(sn.delay_network).parameters
    assert {n: shown[n].default for n in ("kernel_count", "granularity", "padding")} == {
        "kernel_count": 1, "granularity": "synaptic", "padding": "lengthen"
    }  # fmt: skip
    plain = sn.delay_network((6, 8, 3), **options)
    assert (plain[0].granularity, plain[0].padding) == ("synaptic", "lengthen")
    net = sn.delay_network(
        (6, 8, 3), kernel_count=2, granularity="axonal", padding="causal", **options
    )
    for layer in (net[0], net[4]):
        assert (layer.granularity, layer.padding, layer.delay.shape[-1]) == ("axonal", "causal", 2)
    with pytest.raises(ConfigError, match="granularity is 'axon'"):
        sn.delay_network((6, 8, 3), granularity="axon", **options)


@pytest.mark.parametrize("recurrent", [False, True])
def test_adaptive_neurons_learn_their_time_constants_and_couplings(recurrent):
    torch.manual_seed(0)
    options = {"dt": 10.0, "tau_mem": 20.0, "max_delay_ms": 40, "dropout": 0.0}
    net = sn.delay_network((6, 8, 3), delays="none", neuron="adlif", recurrent=recurrent, **options)
    x = (torch.rand(20, 4, 6) < 0.3).float()
    y, _ = net(x)
    y.square().sum().backward()
    neurons = net[2].neuron if recurrent else net[2]
    assert isinstance(neurons, sn.AdLIF) and isinstance(net[2], sn.Recurrent) == recurrent
    learnt = [p for p in neurons.parameters() if p.requires_grad]
    assert len(learnt) == 4 and all(float(p.grad.abs().sum()) > 0 for p in learnt)
    assert all(p.shape == (8,) for p in learnt)
    assert bool((neurons.a >= 0).all())  # or membrane and adaptation drive each other
    with pytest.raises(ConfigError, match="'adlif'"):
        sn.delay_network((6, 8, 3), neuron="adlf", **options)
