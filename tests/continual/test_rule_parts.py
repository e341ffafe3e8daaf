"""Learning rules step by step, against plain loops."""

import math

import pytest
import torch
from small import lif
from torch import nn

import snnsim as sn
from snnsim.errors import ConfigError
from snnsim.training.rules import FEEDBACKS, TRAININGS, PlasticConnection, connections, prepare
from snnsim.training.rules.dsr import Carry, RateLIF, decay_of_rates, weights_over_time
from snnsim.training.rules.online import online_gradients
from snnsim.training.rules.plastic import is_connection

# --- connections ---


@pytest.mark.parametrize("parts", [[6], [2, 4], [1] * 6])
def test_a_trace_goes_on_where_the_last_call_left_it(parts):
    torch.manual_seed(0)
    x, g = torch.rand(6, 3, 5), torch.randn(6, 3, 4)
    plastic = PlasticConnection(sn.Dense(5, 4, bias=True), trace_decay=0.7)
    state, found = None, []
    for step, error in zip(x.split(parts), g.split(parts), strict=True):
        y, state = plastic(step, state)
        y.backward(error)
        found.append(y.detach())
    trace, of_weight = torch.zeros(3, 5), torch.zeros(4, 5)
    for step, error in zip(x, g, strict=True):
        trace = 0.7 * trace + step
        of_weight += error.t() @ trace
    torch.testing.assert_close(plastic.weight.grad, of_weight)
    torch.testing.assert_close(state["trace"], trace)
    inner = plastic.connection
    torch.testing.assert_close(inner.bias.grad, g.sum((0, 1)))
    torch.testing.assert_close(torch.cat(found), inner(x)[0].detach())


def test_a_trace_of_no_decay_is_the_input_itself():
    plastic, x = PlasticConnection(sn.Dense(5, 4), trace_decay=0.0), torch.rand(3, 2, 5)
    y, state = plastic(x)
    y.sum().backward()
    torch.testing.assert_close(plastic.weight.grad, x.sum((0, 1)).expand(4, 5))
    assert torch.equal(state["trace"], x[-1])


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_what_is_observed_carries_the_update_in_training_alone(kind):
    torch.manual_seed(0)
    inner = sn.Dense(6, 4) if kind == "dense" else sn.Conv1d(2, 3, 2, bias=True)
    x = torch.rand(4, 2, 6) if kind == "dense" else torch.rand(4, 2, 2, 5)
    plastic, seen, given = PlasticConnection(inner, trace_decay=0.5), [], torch.rand_like(x)
    plastic.observe = lambda a, b: (seen.append((a, b)), given)[1]
    x.requires_grad_()
    y, _ = plastic(x)
    g = torch.randn_like(y)
    y.backward(g)
    ((entered, carried),) = seen
    assert torch.equal(entered, x) and not entered.requires_grad and not carried.requires_grad
    torch.testing.assert_close(carried[1], 0.5 * x.detach()[0] + x.detach()[1])
    plain = x.detach().clone().requires_grad_()
    expected = inner(plain)[0]
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(x.grad, torch.autograd.grad(expected, plain, g)[0])
    grads = [p.grad for p in inner.parameters()]
    for p in inner.parameters():
        p.grad = None
    inner(given)[0].backward(g)
    for a, p in zip(grads, inner.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad)
    plastic.eval()
    plastic(x)
    assert len(seen) == 1


def test_a_plain_connection_is_the_connection():
    plastic, x = PlasticConnection(sn.Dense(5, 4)), torch.rand(3, 2, 5)
    y, state = plastic(x)
    assert state is None and torch.equal(y, plastic.connection(x)[0])
    assert (plastic.feedback, plastic.trace_decay, plastic.rate_decay, plastic.observe) == (
        "backprop", None, None, None,
    )  # fmt: skip
    assert plastic.weight is plastic.connection.weight
    image = sn.Conv2d(2, 3, 3)
    assert PlasticConnection(image).weight is image.module.weight
    assert "trace_decay=0.25" in repr(PlasticConnection(image, "sign", 0.25))


def test_rates_carry_gradients_of_sequences_and_leave_values_alone():
    torch.manual_seed(0)
    plastic, x = PlasticConnection(sn.Dense(5, 4), rate_decay=0.6), torch.rand(3, 2, 5)
    seen = []
    plastic.observe = lambda a, b: (seen.append(a), b)[1]
    y, _ = plastic(x)
    torch.testing.assert_close(y, plastic.connection(x)[0])
    w = torch.tensor([0.36, 0.6, 1.0]) / 1.96
    mean = (w[:, None, None] * x).sum(0)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], mean[None])
    g = torch.randn_like(y)
    y.backward(g)
    torch.testing.assert_close(plastic.weight.grad, g.sum(0).t() @ mean)
    with torch.no_grad():
        seen.clear()
        plastic(x)
    assert torch.equal(seen[0], x)


def test_only_dense_layers_and_convolutions_over_time_are_connections():
    assert is_connection(sn.Dense(2, 2)) and is_connection(sn.Conv1d(2, 2, 1))
    assert is_connection(sn.Conv2d(2, 2, 1))
    assert not is_connection(nn.Linear(2, 2)) and not is_connection(nn.Conv1d(2, 2, 1))
    assert not is_connection(sn.OverTime(nn.BatchNorm2d(2)))


# --- preparation ---


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("enters", [True, False])
def test_traces_are_behind_neurons_and_only_online(training, enters):
    net = sn.Sequential(
        sn.Conv1d(2, 3, 1), lif((3, 4)), nn.Flatten(2), sn.Skip(sn.Sequential(sn.Dense(12, 12))),
        sn.Dense(12, 3),
    )  # fmt: skip
    parameters = list(net.parameters())
    found = prepare(
        net, training=training, trace_decay=0.3, rate_decay=0.4, spikes_enter=enters,
        feedback="sign",
    )  # fmt: skip
    assert found is net
    made = list(connections(net).values())
    assert len(made) == 3
    trace = 0.3 if training == "ottt" else None
    assert sorted([m.trace_decay for m in made], key=str) == sorted(
        [trace if enters else None, trace, trace], key=str
    )
    assert net[0].trace_decay == (trace if enters else None)
    assert {m.feedback for m in made} == {"sign"} and {m.rate_decay for m in made} == {0.4}
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
    prepare(net)  # not twice
    assert list(connections(net).values()) == made


def test_rules_that_are_not_known_are_refused():
    assert TRAININGS == ("bptt", "dsr", "ottt") and FEEDBACKS == ("backprop", "random", "sign")
    for options in ({"training": "both"}, {"feedback": "none"}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            prepare(sn.Sequential(sn.Dense(2, 2)), **options)
    delayed = sn.Sequential(sn.Delayed(2, 2, dt=1.0, max_delay_ms=2.0))
    with pytest.raises(ConfigError, match="the network has a Delayed layer"):
        prepare(delayed, feedback="random")
    assert prepare(delayed, training="ottt") is delayed


# --- online training ---


@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
def test_online_scores_and_losses_are_means_over_each_samples_steps(lengths):
    torch.manual_seed(0)
    net = prepare(sn.Sequential(sn.Dense(5, 6), lif(6)), training="ottt")
    head = prepare(sn.Sequential(sn.Dense(6, 3)), training="ottt", spikes_enter=True)[0]
    x = 2 * torch.rand(4, 3, 5)
    given = None if lengths is None else torch.tensor(lengths)
    scores, total = online_gradients(net, head, x, lambda y: y.square().sum(1), given)
    y = head(net(x)[0])[0].detach()
    assert not scores.requires_grad and not total.requires_grad
    expected = 0.0
    for b, steps in enumerate([4, 4, 4] if lengths is None else [4, 1, 1]):
        torch.testing.assert_close(scores[b], y[:steps, b].mean(0))
        expected += float(y[:steps, b].square().sum(1).mean())
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert expected > 1e-3


def test_a_still_input_is_repeated_so_often_and_its_layers_learn_from_all_steps():
    torch.manual_seed(0)
    body = prepare(sn.Sequential(sn.Dense(5, 6), sn.Repeat(3), lif(6)), training="ottt")
    head = sn.Dense(6, 2)
    calls = []
    x = 3 * torch.rand(1, 4, 5)

    def loss(y):
        calls.append(y.shape)
        return y.square().sum(1)

    scores, _ = online_gradients(body, head, x, loss)
    assert calls == [(4, 2)] * 3
    torch.testing.assert_close(scores, head(body(x)[0])[0].mean(0).detach())
    assert float(body[0].weight.grad.abs().max()) > 0


# --- training by rates ---


def test_weights_of_a_rate_grow_towards_the_end():
    found = weights_over_time(4, 0.5, torch.zeros(1, dtype=torch.float64))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([1 / 15, 2 / 15, 4 / 15, 8 / 15])


def test_a_carried_value_sends_the_summed_gradient_to_its_rate():
    values, rate = torch.rand(3, 2), torch.zeros(2, requires_grad=True)
    found, g = Carry.apply(values, rate), torch.rand(3, 2)
    assert torch.equal(found, values)
    found.backward(g)
    torch.testing.assert_close(rate.grad, g.sum(0))


@pytest.mark.parametrize("options", [
    {}, {"dt": 0.1, "tau": 0.5, "v_threshold": 0.6, "fire": 0.4}, {"v_threshold": 1e-4},
])  # fmt: skip
def test_a_rate_neuron_is_its_loop_and_its_clamped_rate(options):
    torch.manual_seed(0)
    neuron = RateLIF(4, **options)
    given = {"dt": 0.05, "tau": 1.0, "v_threshold": 0.3, "fire": 0.3} | options
    decay = math.exp(-given["dt"] / given["tau"])
    assert neuron.decay == pytest.approx(decay)
    threshold = max(given["v_threshold"], 5e-4)
    size = threshold / given["dt"] * given["tau"]
    x = (size * torch.linspace(-0.6, 1.6, 4) + 0.1 * torch.randn(30, 2, 4)).requires_grad_()
    y, state = neuron(x)
    v, expected = torch.zeros(2, 4), []
    for step in x.detach():
        v = decay * v + (1 - decay) * step / threshold
        z = (v >= given["fire"]).float()
        v = v - z
        expected.append(z * threshold / given["dt"])
    torch.testing.assert_close(y, torch.stack(expected))
    torch.testing.assert_close(state["v"], v, rtol=1e-3, atol=1e-4)
    g = torch.randn_like(y)
    y.backward(g)
    w = torch.tensor([decay ** (29 - t) for t in range(30)])
    w = w / w.sum()
    mean = torch.einsum("t,tbn->bn", w, x.detach()) / given["tau"]
    open_ = ((mean > 0) & (mean < threshold / given["dt"])).float()
    assert 0 < float(open_.mean()) < 1
    slope = g.sum(0) * open_ / given["tau"]
    torch.testing.assert_close(x.grad, w[:, None, None] * slope, rtol=1e-4, atol=1e-6)
    held = float((g.sum(0) * (mean > threshold / given["dt"])).sum()) / given["dt"]
    of_threshold = held if given["v_threshold"] > 5e-4 else 0.0
    assert float(neuron.v_threshold.grad) == pytest.approx(of_threshold, rel=1e-3, abs=1e-4)


def test_networks_work_by_rates_only_with_neurons_of_one_decay():
    def net(*layers):
        return sn.Sequential(sn.Dense(4, 4), RateLIF(4), *layers)

    slow = RateLIF(4, tau=2.0)
    assert decay_of_rates(net(sn.Dense(4, 4), RateLIF(4))) == RateLIF(4).decay
    assert decay_of_rates(net(sn.Dense(4, 4), slow)) is None
    assert decay_of_rates(sn.Sequential(slow)) == math.exp(-0.05 / 2.0)
    assert decay_of_rates(sn.Sequential(sn.Dense(4, 4))) is None
    assert decay_of_rates(net(sn.Skip(sn.Sequential(sn.Dense(4, 4))), nn.Flatten(2))) is not None
    assert decay_of_rates(net(nn.MaxPool1d(2))) is None
