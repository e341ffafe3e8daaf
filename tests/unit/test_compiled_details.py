"""What a compiled network counts, carries on, refuses and says about itself."""

from __future__ import annotations

import time
import warnings

import pytest
import torch

import snnsim as sn
from snnsim import inference
from snnsim.errors import BackendError, ConfigError, NonFiniteError, ShapeError
from snnsim.inference import LayerCost, Report

LONG = {"dt": 1.0, "max_delay_ms": 6, "padding": "lengthen"}
CAUSAL = {"dt": 1.0, "max_delay_ms": 6}


def double(*layers):
    """A network whose running averages are not the initial ones, in evaluation mode."""
    net = sn.Sequential(*layers).double()
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        net(torch.rand(12, 4, 5, generator=generator).double())
    return net.eval()


def lengthening_and_recurrent():
    torch.manual_seed(0)
    return double(
        sn.Delayed(5, 6, kernel_count=2, **LONG), sn.BatchNorm(6),
        sn.Recurrent(sn.LIF(6, dt=1.0, v_threshold=0.2)),
        sn.Delayed(6, 4, **LONG), sn.LIF(4, dt=1.0, v_threshold=0.1),
        sn.Dense(4, 3), sn.LI(3, dt=1.0),
    )  # fmt: skip


def spikes(steps, batch=3, seed=1, rate=0.4):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, 5, generator=generator) < rate).double()


# --- the report ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [3, 70])  # more than run through the layers at a time
def test_every_number_of_the_report_of_a_lengthening_and_recurrent_network(batch):
    net, x = lengthening_and_recurrent(), spikes(20, batch)
    first = sn.Sequential(*list(net)[:3]).eval()(x)[0]
    second = sn.Sequential(*list(net)[:5]).eval()(x)[0]
    last = net(x)[0]
    report = sn.compile(net).report(x)
    assert [len(y) for y in (first, second, last)] == [23, 26, 26]
    inner, deep, end = (int(y.count_nonzero()) for y in (first, second, last))
    assert inner > 0 and deep > 0
    seen = int(x.count_nonzero())
    assert report.layers == (
        LayerCost(
            "layer 0 LIF", seen, 6 * (2 * seen + inner), batch * 6 * (20 * 5 * 2 + 23 * 6),
            inner, 23 * batch * 6,
        ),
        LayerCost("layer 3 LIF", inner, 4 * inner, batch * 4 * 23 * 6, deep, 26 * batch * 4),
        LayerCost("layer 5 LI", deep, 3 * deep, batch * 3 * 26 * 4, end, 26 * batch * 3),
    )  # fmt: skip
    assert (report.steps, report.samples) == (20, batch)


def test_a_report_takes_the_time_of_one_run(monkeypatch):
    ticks = iter([5.0, 7.5])
    fast, x = sn.compile(lengthening_and_recurrent()), spikes(10)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    report = fast.report(x)
    assert report.seconds == 2.5 and report.seconds_per_step == 0.25


def test_a_report_of_nothing_has_rates_of_zero():
    report = sn.compile(lengthening_and_recurrent()).report(spikes(0))
    assert report.layers[0].neuron_steps == 3 * 3 * 6  # the steps after the end
    assert report.seconds_per_step == report.seconds
    assert LayerCost("none", 0, 0, 0, 0, 0).firing_rate == 0.0


def test_a_report_is_a_table():
    layers = (LayerCost("one", 1200, 3400, 6800, 25, 100), LayerCost("two", 7, 0, 0, 0, 0))
    lines = str(Report(layers, steps=20, samples=3, seconds=0.004)).splitlines()
    assert [line.split() for line in lines] == [
        ["layer", "events", "synaptic", "ops", "of", "dense", "rate"],
        ["one", "1,200", "3,400", "50.0%", "25.00%"],
        ["two", "7", "0", "0.0%", "0.00%"],
        ["3", "samples,", "20", "steps,", "0.0040", "s,", "200.0", "us", "per", "step"],
    ]


# --- state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["first", "last"])
def test_one_lengthening_connection_is_enough_to_refuse_a_state(order):
    torch.manual_seed(0)
    kinds = (LONG, CAUSAL) if order == "first" else (CAUSAL, LONG)
    net = double(
        sn.Delayed(5, 6, **kinds[0]), sn.LIF(6, dt=1.0), sn.Delayed(6, 2, **kinds[1]),
        sn.LI(2, dt=1.0),
    )  # fmt: skip
    fast, x = sn.compile(net), spikes(9)
    y, state = fast(x)
    assert torch.allclose(y, net(x)[0], atol=1e-9) and len(y) == 12
    with pytest.raises(ConfigError, match="padding='lengthen'"):
        fast(x, state)


@pytest.mark.parametrize("steps", [255, 256, 257, 260, 512, 513])
def test_a_tail_comes_once_after_the_last_piece(steps):
    net, x = lengthening_and_recurrent(), spikes(steps)
    found, _ = sn.compile(net)(x)
    assert len(found) == steps + 6
    assert torch.allclose(found, net(x)[0], atol=1e-9)


def test_many_samples_carry_on_each_from_its_own_state():
    torch.manual_seed(0)
    net = double(
        sn.Delayed(5, 6, **CAUSAL), sn.BatchNorm(6), sn.Recurrent(sn.LIF(6, dt=1.0)),
        sn.Dense(6, 2), sn.LI(2, dt=1.0),
    )  # fmt: skip
    fast, x = sn.compile(net), spikes(16, 150)
    whole, end = fast(x)
    assert torch.allclose(whole, net(x)[0], atol=1e-9)
    first, state = fast(x[:7])
    assert [tuple(s["pending"].shape) for s in state] == [(150, 6, 6), (150, 0, 2)]
    assert [tuple(s["neurons"].shape[1:]) for s in state] == [(150, 6), (150, 2)]
    second, after = fast(x[7:], state)
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-12)
    for a, b in zip(after, end, strict=True):
        assert torch.allclose(a["pending"], b["pending"], atol=1e-12)
        assert torch.allclose(a["neurons"], b["neurons"], atol=1e-12)
    alone, _ = fast(x[:, 140:141])
    assert torch.allclose(alone, whole[:, 140:141], atol=1e-12)


def test_no_samples_give_no_samples_and_a_state_for_none():
    fast = sn.compile(lengthening_and_recurrent())
    y, state = fast(spikes(4, 0))
    assert tuple(y.shape) == (10, 0, 3)
    assert [s["pending"].shape[0] for s in state] == [0, 0, 0]


def test_a_stream_and_its_end_are_the_sequence():
    net, x = lengthening_and_recurrent(), spikes(20)
    fast, state, steps = sn.compile(net), None, []
    for frame in x:
        y, state = fast.step(frame, state)
        steps.append(y)
    kept = [{name: value.clone() for name, value in layer.items()} for layer in state]
    tail = fast.finish(state)
    assert torch.allclose(torch.cat([torch.stack(steps), tail]), net(x)[0], atol=1e-9)
    assert torch.equal(fast.finish(state), tail)
    for layer, before in zip(state, kept, strict=True):
        assert all(torch.equal(layer[name], before[name]) for name in layer)


@pytest.mark.parametrize("size", [1, 2, 5, 7, 20])
def test_a_stream_may_go_on_by_several_steps(size):
    net, x = lengthening_and_recurrent(), spikes(20)
    fast, state, found = sn.compile(net), None, []
    for piece in x.split(size):
        y, state = fast.steps(piece, state)
        found.append(y)
    whole = torch.cat([*found, fast.finish(state)])
    assert torch.allclose(whole, net(x)[0], atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("first", [sn.Dense(5, 4), sn.Delayed(5, 4, **LONG)])
def test_steps_of_a_stream_that_are_not_finite_or_none_are_refused(first, steps):
    fast, x = sn.compile(sn.Sequential(first, sn.LIF(4, dt=1.0)).eval()), torch.zeros(steps, 2, 5)
    _, state = fast.steps(x)
    x[-1, 1, 2] = torch.nan
    with pytest.raises(NonFiniteError):
        fast.steps(x, state)
    with pytest.raises(ShapeError, match="x has no time steps"):
        fast.steps(x[:0], state)
    with pytest.raises(ShapeError, match=r"the network needs \[T, B, 5\]"):
        fast.steps(x[0], state)


def test_the_end_of_a_causal_stream_is_empty():
    torch.manual_seed(0)
    fast = sn.compile(double(sn.Delayed(5, 2, **CAUSAL), sn.LIF(2, dt=1.0)))
    _, state = fast.step(spikes(1)[0])
    assert tuple(fast.finish(state).shape) == (0, 3, 2)


def test_what_is_no_state_of_the_network_is_refused_everywhere():
    torch.manual_seed(0)
    fast, x = sn.compile(double(sn.Delayed(5, 2, **CAUSAL), sn.LIF(2, dt=1.0))), spikes(4)
    _, state = fast(x)
    for given in (list(state), state * 2, (), ({"pending": state[0]["pending"]},)):
        for call in (lambda s: fast(x, s), lambda s: fast.step(x[0], s), fast.finish):
            with pytest.raises(ShapeError, match=r"the state is not one of .*start afresh"):
                call(given)
    extra = ({**state[0], "more": x},)
    for given in (extra, ([*state[0]],)):
        with pytest.raises(ShapeError, match="not one of a compiled network"):
            fast(x, given)
    few = {"pending": state[0]["pending"][:2], "neurons": state[0]["neurons"][:, :2]}
    with pytest.raises(ShapeError, match="x has 3 samples but the state 2"):
        fast(x, (few,))
    for name in few:  # either is enough
        with pytest.raises(ShapeError, match="x has 3 samples but the state 2"):
            fast(x, ({**state[0], name: few[name]},))


@pytest.mark.parametrize("steps", [1, 40])
@pytest.mark.parametrize("name", ["neurons", "pending"])
def test_a_state_that_does_not_fit_names_its_layer(name, steps):
    torch.manual_seed(0)
    fast, x = sn.compile(double(sn.Delayed(5, 2, **CAUSAL), sn.LIF(2, dt=1.0))), spikes(steps)
    _, state = fast(x)
    broken = ({**state[0], name: state[0][name].float()},)
    with pytest.raises(ShapeError, match="the state of layer 0 LIF does not fit its input"):
        fast(x, broken)
    with pytest.raises(ShapeError, match="start afresh"):
        fast(x, ({**state[0], name: state[0][name][..., :1]},))


@pytest.mark.parametrize("steps", [1, 40])
def test_a_state_that_is_not_finite_is_refused_unless_nobody_wants_to_know(steps):
    torch.manual_seed(0)
    net, x = double(sn.Delayed(5, 2, **CAUSAL), sn.LIF(2, dt=1.0)), spikes(steps)
    fast, unchecked = sn.compile(net), sn.compile(net, check_finite=False)
    _, state = fast(x)
    state[0]["neurons"][0, 1, 1] = torch.nan
    with pytest.raises(NonFiniteError, match="the state of the neurons is nan"):
        fast(x, state)
    assert torch.isnan(unchecked(x, state)[0][:, 1, 1]).all()


# --- input --------------------------------------------------------------------------------------


def test_shapes_that_are_refused_are_said_with_those_that_are_needed():
    fast = sn.compile(lengthening_and_recurrent())
    with pytest.raises(ShapeError, match=r"x has shape \(4, 5\) but the network needs \[T, B, 5\]"):
        fast(torch.zeros(4, 5).double())
    with pytest.raises(ShapeError, match=r"needs \[T, B, 5\]"):
        fast.report(torch.zeros(4, 2, 5, 1).double())
    with pytest.raises(ShapeError, match=r"x has shape \(2, 6\) but the network needs \[B, 5\]"):
        fast.step(torch.zeros(2, 6).double())
    with pytest.raises(ShapeError, match=r"needs \[B, 5\]"):
        fast.step(torch.zeros(1, 2, 5).double())


def test_the_answers_carry_no_history():
    fast, x = sn.compile(lengthening_and_recurrent()), spikes(5).requires_grad_()
    assert not fast(x)[0].requires_grad
    y, state = fast.step(x[0])
    assert not y.requires_grad and not state[0]["neurons"].requires_grad


def test_under_autocast_the_answers_are_those_without():
    torch.manual_seed(0)
    fast = sn.compile(double(sn.Dense(5, 3), sn.LI(3, dt=1.0)))
    x = torch.rand(6, 2, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = fast(x)
    assert found.dtype == torch.float64
    assert torch.equal(found, fast(x.double())[0])


def test_a_dense_first_layer_looks_at_each_step_of_a_stream():
    fast = sn.compile(double(sn.Dense(5, 3), sn.LI(3, dt=1.0)))
    x = torch.zeros(2, 5).double()
    x[1, 4] = torch.inf
    with pytest.raises(NonFiniteError, match=r"the input is inf at \[1, 4\]"):
        fast.step(x)


# --- compiling ----------------------------------------------------------------------------------


def test_connections_without_recurrence_to_themselves_stay_so():
    torch.manual_seed(0)
    layer = sn.Recurrent(sn.LIF(6, dt=1.0, v_threshold=0.2), self_connections=False)
    net = double(sn.Dense(5, 6), layer)
    with torch.no_grad():
        layer.w_rec.fill_diagonal_(3.0)  # which the layer's mask leaves out
    x = spikes(30)
    assert torch.allclose(sn.compile(net)(x)[0], net(x)[0], atol=1e-9)
    assert sn.compile(net).stages[0].w_rec.diagonal().eq(0).all()


def test_a_bias_goes_through_the_normalisation():
    torch.manual_seed(0)
    net = double(sn.Dense(5, 3, bias=True), sn.BatchNorm(3, eps=0.5), sn.LI(3, dt=1.0))
    with torch.no_grad():
        net[0].bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
        net[1].weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
        net[1].bias.copy_(torch.tensor([-1.0, 0.25, 4.0]))
    before = net[0].bias.detach().clone()
    stage = sn.compile(net).stages[0]
    norm = net[1]
    gain = norm.weight / (norm.running_var + 0.5).sqrt()
    assert torch.allclose(stage.bias, norm.bias + (before - norm.running_mean) * gain)
    x = spikes(9)
    assert torch.allclose(sn.compile(net)(x)[0], net(x)[0], atol=1e-9)
    assert torch.equal(net[0].bias, before)


def test_delays_are_rounded_to_even_and_into_range():
    torch.manual_seed(0)
    net = double(sn.Delayed(5, 2, **CAUSAL), sn.LI(2, dt=1.0))
    with torch.no_grad():
        net[0].delay.view(-1)[:6] = torch.tensor([0.5, 1.5, 2.5, 7.2, -3.0, 6.49])
    stage = sn.compile(net).stages[0]
    assert stage.delay.flatten()[:6].tolist() == [0, 2, 2, 6, 0, 6]
    assert (stage.length, stage.tail, stage.rows) == (7, 0, 6)


def test_a_recurrent_layer_on_a_dense_one_keeps_one_step_of_currents():
    torch.manual_seed(0)
    net = double(sn.Dense(5, 6), sn.Recurrent(sn.LIF(6, dt=1.0)), sn.Dense(6, 2), sn.LI(2, dt=1.0))
    assert [stage.rows for stage in sn.compile(net).stages] == [1, 0]
    assert [stage.length for stage in sn.compile(net).stages] == [1, 1]


def test_a_compiled_network_says_what_it_is_made_of():
    assert repr(sn.compile(lengthening_and_recurrent())).splitlines() == [
        "CompiledNetwork(",
        "  layer 0 LIF: 5 -> 6, 6 steps",
        "  layer 3 LIF: 6 -> 4, 6 steps",
        "  layer 5 LI: 4 -> 3, 0 steps",
        ")",
    ]


def test_nested_layers_and_a_single_one_have_names():
    inner = sn.Sequential(sn.Dense(5, 4), sn.LIF(4, dt=1.0))
    net = sn.Sequential(sn.Dropout(0.3), inner, sn.Sequential(sn.Dense(4, 2), sn.LI(2, dt=1.0)))
    names = [stage.name for stage in sn.compile(net.eval()).stages]
    assert names == ["layer 1.0 LIF", "layer 2.0 LI"]
    with pytest.raises(ConfigError, match=r"network \(Dense\) and  \(NoneType\) have no event"):
        sn.compile(sn.Dense(5, 4))


@pytest.mark.parametrize("layers", [
    lambda: [sn.Dense(5, 4)],
    lambda: [sn.Dense(5, 4), sn.BatchNorm(4)],
    lambda: [sn.Dense(5, 4), sn.Dense(4, 3), sn.LIF(3, dt=1.0)],
    lambda: [sn.Dense(5, 4), sn.BatchNorm(4), sn.BatchNorm(4), sn.LIF(4, dt=1.0)],
    lambda: [sn.Dense(5, 4), sn.Dropout(0.5), sn.LIF(4, dt=1.0)],
    lambda: [sn.Dense(5, 4), sn.LIF(4, dt=1.0), sn.LIF(4, dt=1.0)],
])  # fmt: skip
def test_orders_of_layers_that_have_no_event_driven_form_are_refused(layers):
    with pytest.raises(ConfigError, match="have no event-driven form"):
        sn.compile(sn.Sequential(*layers()).eval())


def test_neurons_of_another_number_than_their_connection_are_refused():
    with pytest.raises(ConfigError, match=r"layer 0 has 4 outputs but .*neurons \(5,\)"):
        sn.compile(sn.Sequential(sn.Dense(3, 4), sn.LIF(5, dt=1.0)).eval())


def test_a_network_on_another_device_is_refused():
    connection = sn.Dense(3, 4).to("meta")
    with pytest.raises(BackendError, match="the network is on meta"):
        inference._stage("layer 0", connection, None, sn.LIF(4, dt=1.0))


def test_buffers_that_are_not_finite_are_named():
    net = sn.Sequential(sn.Dense(3, 4), sn.BatchNorm(4), sn.LIF(4, dt=1.0)).eval()
    net[1].running_var[2] = torch.inf
    with pytest.raises(NonFiniteError, match=r"layers\.1\.running_var of the network"):
        sn.compile(net)


def test_compiling_wide_kernels_that_were_trained_is_warned_of():
    torch.manual_seed(0)
    net = sn.Sequential(sn.Delayed(5, 2, dt=1.0, max_delay_ms=12), sn.LIF(2, dt=1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sn.compile(net)
    net(torch.ones(4, 1, 5))[0].sum().backward()
    with pytest.warns(UserWarning, match="6 steps wide"):
        sn.compile(net)


@pytest.mark.parametrize("state", [(), (1, 2), ({}, {}), [1], "ab", ({"pending": 1}, {})])
def test_finishing_what_is_no_state_is_refused(state):
    net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0), sn.Dense(4, 2), sn.LIF(2, dt=1.0)).eval()
    fast = sn.compile(net)
    with pytest.raises(ShapeError, match="state"):
        fast.finish(state)
    _, good = fast.step(torch.ones(1, 3))
    assert fast.finish(good).shape == (0, 1, 2)


@pytest.mark.parametrize("checked", [True, False])
def test_the_end_of_a_stream_is_searched_as_its_steps_are(checked):
    torch.manual_seed(0)
    options = {"dt": 1.0, "max_delay_ms": 4.0, "padding": "lengthen", "learn_delay": False}
    net = sn.Sequential(sn.Delayed(3, 3, **options), sn.LI(3, dt=1.0)).eval()
    fast = sn.compile(net, check_finite=checked)
    _, state = fast.step(torch.rand(1, 3))
    state[0]["neurons"].fill_(torch.nan)
    if checked:
        with pytest.raises(NonFiniteError, match="the state of the neurons"):
            fast.finish(state)
    else:
        assert bool(fast.finish(state).isnan().all())
