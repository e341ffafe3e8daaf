"""The event-driven engine against the network that it was made of."""

import pytest
import torch
from toolbox import assert_same, named

import snnsim as sn
from snnsim.errors import ConfigError, ShapeError
from snnsim.kernels.event_scan import cpu, reference
from snnsim.kernels.event_scan.reference import Connections

DELAYED = {"dt": 1.0, "max_delay_ms": 6}


def trained(*layers, steps=3):
    """A network in evaluation mode whose running averages are not the initial ones."""
    net = sn.Sequential(*layers).double()
    for _ in range(steps):
        net(torch.rand(12, 4, 5, dtype=torch.float64))
    return net.eval()


def delayed_net(padding="causal", granularity="synaptic", count=1):
    torch.manual_seed(0)
    options = {**DELAYED, "padding": padding, "granularity": granularity, "kernel_count": count}
    return trained(
        sn.Delayed(5, 8, **options), sn.BatchNorm(8), sn.LIF(8, dt=1.0), sn.Dropout(0.4),
        sn.Sequential(sn.Delayed(8, 3, **options), sn.LI(3, dt=1.0)),
    )  # fmt: skip


NETWORKS = {
    "causal": delayed_net,
    "lengthen": lambda: delayed_net("lengthen"),
    "axonal": lambda: delayed_net(granularity="axonal", count=2),
    "dendritic": lambda: delayed_net(granularity="dendritic", count=2),
    "two per pair": lambda: delayed_net(count=2),
    "dense": lambda: trained(
        sn.Dense(5, 6, bias=True), sn.BatchNorm(6), sn.AdLIF(6, dt=1.0, v_threshold=0.1),
        sn.Dense(6, 2), sn.LI(2, dt=1.0),
    ),
    "recurrent": lambda: trained(
        sn.Delayed(5, 6, **DELAYED), sn.BatchNorm(6), sn.Recurrent(sn.LIF(6, dt=1.0)),
        sn.Dense(6, 2), sn.LI(2, dt=1.0),
    ),
}  # fmt: skip


def spikes(steps, rate=0.3, batch=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, 5, generator=generator) < rate).double()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("steps", [0, 1, 5, 40, 600])
def test_same_answers_as_the_network(name, steps):
    net = NETWORKS[name]()
    x = spikes(steps) * 1.5
    expected, _ = net(x)
    assert steps < 40 or float(expected.detach().abs().max()) > 0.1  # or nothing was compared
    found, _ = sn.compile(net)(x)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "lengthen"])
def test_pieces_and_single_steps_give_the_whole(name):
    fast = sn.compile(NETWORKS[name]())
    x = spikes(30)
    whole, _ = fast(x)
    first, state = fast(x[:11])
    second, state = fast(x[11:14], state)
    third, _ = fast(x[14:], state)
    assert torch.allclose(torch.cat([first, second, third]), whole, atol=1e-12)
    state, streamed = None, []
    for t in range(len(x)):
        y, state = fast.step(x[t], state)
        streamed.append(y)
    assert torch.allclose(torch.stack(streamed), whole, atol=1e-12)


def test_a_stream_leaves_the_states_it_was_given_alone():
    fast = sn.compile(delayed_net())
    _, state = fast.step(spikes(1)[0])
    kept = [{name: value.clone() for name, value in layer.items()} for layer in state]
    fast.step(spikes(1, seed=2)[0], state)
    for layer, before in zip(state, kept, strict=True):
        assert_same(layer, before)


def test_a_stream_of_a_lengthening_network_is_the_sequence_as_far_as_it_goes():
    net = delayed_net("lengthen")
    x, fast = spikes(20), sn.compile(net)
    state, streamed = None, []
    for t in range(len(x)):
        y, state = fast.step(x[t], state)
        streamed.append(y)
    assert torch.allclose(torch.stack(streamed), net(x)[0][:20], atol=1e-9)
    with pytest.raises(ConfigError, match="step"):
        fast(x, state)


def test_the_compiled_network_is_a_copy():
    net = delayed_net()
    fast = sn.compile(net)
    before, _ = fast(spikes(10))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1.0)
    assert torch.equal(fast(spikes(10))[0], before)


def test_the_report_counts_what_happened():
    net = delayed_net("lengthen")
    x = spikes(20)
    report = sn.compile(net).report(x)
    hidden, _ = sn.Sequential(*list(net)[:4]).eval()(x)
    first, second = report.layers
    assert first.input_events == int(x.count_nonzero())
    assert first.synaptic_operations == first.input_events * 8
    assert first.dense_operations == 20 * 3 * 5 * 8
    assert first.spikes == second.input_events == int(hidden.count_nonzero())
    assert first.firing_rate == pytest.approx(hidden.count_nonzero().item() / hidden.numel())
    assert report.steps == 20 and report.samples == 3 and report.seconds_per_step > 0
    assert "layer 0 LIF" in str(report)


def test_what_cannot_be_compiled_is_named():
    with pytest.raises(ConfigError, match=r"layer 0 \(Skip\)"):
        sn.compile(sn.Sequential(sn.Skip(sn.Dense(3, 3)), sn.LIF(3, dt=1.0)))
    with pytest.raises(ConfigError, match=r"layer 0 \(LIF\)"):
        sn.compile(sn.Sequential(sn.LIF(3, dt=1.0)))
    with pytest.raises(ConfigError, match="no layers"):
        sn.compile(sn.Sequential())
    fast = sn.compile(delayed_net())
    with pytest.raises(ShapeError, match="needs"):
        fast(torch.zeros(4, 2, 6).double())
    with pytest.raises(ShapeError, match="float32"):
        fast(torch.zeros(4, 2, 5))
    with pytest.raises(ShapeError, match="state"):
        fast(torch.zeros(4, 2, 5).double(), (None,))


@pytest.mark.parametrize("recurrent", [False, True])
def test_event_kernel_equals_its_reference(recurrent):
    generator = torch.Generator().manual_seed(3)
    n, inputs, rows, copies = 6, 4, 3, 2
    neuron = sn.AdLIF(n, dt=1.0).double()
    x = spikes(9)[..., :inputs]
    weight = 3 * torch.rand(inputs, copies * n, generator=generator).double()
    delay = torch.randint(0, rows + 1, (inputs, copies, 1), generator=generator)
    target = (delay * n + torch.arange(n)).flatten(1)
    w_rec = torch.randn(n if recurrent else 0, n, generator=generator).double()
    pending = torch.randn(3, rows, n, generator=generator).double()
    state = torch.rand(2, 3, n, generator=generator).double()
    connections = Connections(weight, target, w_rec)
    tensors = (neuron.packed_parameters(x).detach(), torch.rand(n).double(), connections)
    prepared = cpu.prepare(neuron.equations, *tensors, pending.shape[1])
    found = cpu.forward(prepared, x.contiguous(), pending, state)
    expected = reference.forward(neuron.equations, x, pending, state, *tensors)
    results = [named("y pending state", each) for each in (found, expected)]
    assert_same(*results, rtol=1e-5, atol=1e-12)
    assert found[0].count_nonzero() > 0  # or nothing was compared


def test_a_recurrent_layer_must_keep_one_step_of_currents():
    """They are under way from one step to the next; with no row they would be written outside."""
    neuron, n = sn.LIF(4, dt=1.0), 4
    tensors = (neuron.packed_parameters(torch.zeros(1)).detach(), torch.zeros(n))
    target = torch.arange(n).expand(3, n)
    connections = Connections(torch.ones(3, n), target, torch.ones(n, n))
    with pytest.raises(ShapeError, match="rows is 0"):
        cpu.prepare(neuron.equations, *tensors, connections, 0)
    cpu.prepare(neuron.equations, *tensors, connections, 1)
    alone = Connections(torch.ones(3, n), target, torch.ones(0, n))
    cpu.prepare(neuron.equations, *tensors, alone, 0)
