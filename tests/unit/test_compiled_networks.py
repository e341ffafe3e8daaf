"""Compiled networks where their parts meet: biases under normalisation, blocks of samples and of
steps with a state carried over, and what recurrence adds to the report."""

from __future__ import annotations

import pytest
import torch

import snnsim as sn
from snnsim import inference
from snnsim.inference import SAMPLES, STEPS

INPUTS = 5


def with_statistics(net: sn.Sequential, seed: int) -> sn.Sequential:
    """In evaluation, with biases and statistics of normalisation that are nowhere 0 or 1."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor, low, high):
        return low + (high - low) * torch.rand(tensor.shape, generator=generator).double()

    net = net.double().eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, sn.BatchNorm):
                module.weight.copy_(draw(module.weight, 0.5, 2.0))
                module.bias.copy_(draw(module.bias, 0.1, 0.6))
                module.running_mean.copy_(draw(module.running_mean, -0.7, 0.7))
                module.running_var.copy_(draw(module.running_var, 0.2, 2.0))
            if isinstance(module, sn.Dense) and module.bias is not None:
                module.bias.copy_(draw(module.bias, -0.8, 0.8))
    return net


def delayed(n_in, n_out, padding="causal", granularity="synaptic"):
    return sn.Delayed(
        n_in, n_out, dt=1.0, max_delay_ms=6, padding=padding, granularity=granularity,
        kernel_count=2,
    )  # fmt: skip


def build(kind: str, seed: int = 0) -> sn.Sequential:
    torch.manual_seed(seed)
    padding = "lengthen" if kind == "lengthen" else "causal"
    dense = kind.startswith("dense")
    lif = sn.LIF(8, dt=1.0, tau_mem=3.0)
    adaptive = sn.AdLIF(8, dt=1.0, tau_mem=3.0, tau_adapt=20.0, b=0.3, v_threshold=0.2)
    neurons = {"recurrent": sn.Recurrent(lif), "dense recurrent": sn.Recurrent(adaptive)}
    first = sn.Dense(INPUTS, 8, bias=True) if dense else delayed(INPUTS, 8, padding)
    last = sn.Dense(8, 3, bias=True) if dense else delayed(8, 3, padding)
    middle = neurons.get(kind, lif if dense else adaptive)
    readout = sn.LI(3, dt=1.0, tau_mem=4.0)
    return with_statistics(sn.Sequential(first, sn.BatchNorm(8), middle, last, readout), seed)


def answers(net: sn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """What the network itself says; its neurons fire, but not always."""
    with torch.no_grad():
        hidden, _ = sn.Sequential(*list(net)[:-2]).eval()(x)
        assert 0.02 < float(hidden.mean()) < 0.9
        return net(x)[0]


KINDS = ("dense", "delayed", "recurrent", "dense recurrent")
each_kind = pytest.mark.parametrize("kind", KINDS)


def drive(steps: int, batch: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * (torch.rand(steps, batch, INPUTS, generator=generator) < 0.3).double()


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_a_bias_and_the_normalisation_over_it_are_folded_into_one(bias, norm):
    torch.manual_seed(1)
    layers = [sn.Dense(INPUTS, 8, bias=bias), *([sn.BatchNorm(8)] if norm else [])]
    lif = sn.LIF(8, dt=1.0, tau_mem=3.0)
    net = with_statistics(
        sn.Sequential(*layers, lif, sn.Dense(8, 2, bias=bias), sn.LI(2, dt=1.0)), 2
    )
    x = drive(20, 3, seed=3)
    expected = answers(net, x)
    assert_equal(sn.compile(net)(x)[0], expected)
    # what a silent input gives is the bias alone
    silent = torch.zeros(6, 1, INPUTS).double()
    quiet = net(silent)[0].detach()
    assert_equal(sn.compile(net)(silent)[0], quiet)
    assert (float(quiet.abs().max()) > 0.01) == (bias or norm)


@each_kind
@pytest.mark.parametrize("batch", [SAMPLES, SAMPLES + 1, 2 * SAMPLES + 9])
def test_more_samples_than_run_at_a_time_keep_a_state_each(kind, batch):
    net, x = build(kind), drive(11, batch, seed=batch)
    expected = answers(net, x)
    fast, state, pieces = sn.compile(net), None, []
    for piece in x.split([4, 1, 6]):
        y, state = fast(piece, state)
        pieces.append(y)
    assert_equal(torch.cat(pieces), expected)
    assert not torch.equal(expected[:, 0], expected[:, SAMPLES - 1])
    for layer, neurons in zip(state, (8, 3), strict=True):
        assert layer["pending"].shape[0] == batch
        assert layer["neurons"].shape[1:] == (batch, neurons)


@each_kind
def test_a_state_of_many_samples_can_be_stepped_and_one_of_steps_can_be_run(kind):
    batch = SAMPLES + 5
    net, x = build(kind), drive(9, batch, seed=4)
    expected = answers(net, x)
    fast = sn.compile(net)
    _, state = fast(x[:3])
    for t in range(3, 6):
        y, state = fast.step(x[t], state)
        assert_equal(y, expected[t])
    assert_equal(fast(x[6:], state)[0], expected[6:])


@pytest.mark.parametrize("kind", [*KINDS, "lengthen"])
@pytest.mark.parametrize("steps", [STEPS, STEPS + 1, 2 * STEPS + 37])
def test_several_blocks_of_steps_are_one_sequence(kind, steps):
    net, x = build(kind), drive(steps, 2, seed=steps)
    expected = answers(net, x)
    assert_equal(sn.compile(net)(x)[0], expected)


@pytest.mark.parametrize("kind", [*KINDS, "lengthen"])
@pytest.mark.parametrize("block", [2, 6, 7, 9])
def test_blocks_shorter_and_longer_than_the_delays_are_one_sequence(kind, block, monkeypatch):
    monkeypatch.setattr(inference, "STEPS", block)  # 7 taps: blocks on both sides of it
    monkeypatch.setattr(inference, "SAMPLES", 3)
    net, x = build(kind), drive(31, 7, seed=block)
    expected = answers(net, x)
    fast = sn.compile(net)
    assert_equal(fast(x)[0], expected)
    if kind != "lengthen":
        first, state = fast(x[:13])
        assert_equal(torch.cat([first, fast(x[13:], state)[0]]), expected)


def test_the_report_counts_recurrent_operations():
    net, x = build("recurrent"), drive(30, 4, seed=5)
    hidden, _ = sn.Sequential(*list(net)[:3]).double().eval()(x)
    events, spikes = int(x.count_nonzero()), int(hidden.count_nonzero())
    first, second = sn.compile(net).report(x).layers
    assert 0 < spikes < hidden.numel()
    assert first.spikes == second.input_events == spikes
    # two delays per pair, and each spike once more to all of its own layer
    assert first.synaptic_operations == events * 2 * 8 + spikes * 8
    assert first.dense_operations == 30 * 4 * 8 * (INPUTS * 2 + 8)
    assert second.synaptic_operations == spikes * 2 * 3
    assert second.dense_operations == 30 * 4 * 3 * 8 * 2
    assert first.neuron_steps == 30 * 4 * 8


def test_the_report_sums_over_blocks_of_samples_and_steps(monkeypatch):
    net, x = build("recurrent"), drive(30, 8, seed=6)
    whole = sn.compile(net).report(x)
    monkeypatch.setattr(inference, "STEPS", 7)
    monkeypatch.setattr(inference, "SAMPLES", 3)
    parted = sn.compile(net).report(x)
    assert parted.layers == whole.layers
    assert (parted.steps, parted.samples) == (30, 8)


def test_the_report_counts_the_steps_that_a_layer_appends():
    net, x = build("lengthen"), drive(20, 3, seed=7)
    hidden, _ = sn.Sequential(*list(net)[:3]).double().eval()(x)
    first, second = sn.compile(net).report(x).layers
    assert hidden.shape[0] == 23
    assert (first.neuron_steps, second.neuron_steps) == (23 * 3 * 8, 26 * 3 * 3)
    assert second.dense_operations == 23 * 3 * 3 * 8 * 2


def test_self_connections_that_are_masked_stay_masked():
    torch.manual_seed(3)
    layer = sn.Recurrent(sn.LIF(8, dt=1.0, tau_mem=3.0), gain=2.0, self_connections=False)
    net = with_statistics(
        sn.Sequential(sn.Dense(INPUTS, 8), layer, sn.Dense(8, 2), sn.LI(2, dt=1.0)), 3
    )
    with torch.no_grad():
        layer.w_rec.diagonal().fill_(5.0)
    x = drive(25, 2, seed=8)
    assert_equal(sn.compile(net)(x)[0], answers(net, x))
