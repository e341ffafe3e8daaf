"""Learning rules: what carries the weight update and what carries the error."""

import math

import pytest
import torch
from small import stream
from toolbox import assert_same
from torch import nn

import snnsim as sn
from snnsim.continual import Learner, dense_head
from snnsim.surrogate import Sigmoid
from snnsim.training.rules import PlasticConnection, prepare
from snnsim.training.rules.dsr import RateLIF, decay_of_rates, weighted_mean
from snnsim.training.rules.online import online_gradients


def connection(kind):
    if kind == "dense":
        return sn.Dense(6, 4, bias=True), torch.randn(3, 2, 6)
    return sn.Conv2d(2, 3, 3, stride=2, padding=1), torch.randn(3, 2, 2, 5, 5)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("feedback", ["backprop", "random", "sign"])
def test_error_goes_back_through_the_feedback_and_the_weight_sees_the_true_input(kind, feedback):
    torch.manual_seed(0)
    inner, x = connection(kind)
    plastic = PlasticConnection(inner, feedback)
    x.requires_grad_()
    y, _ = plastic(x)
    g = torch.randn_like(y)
    y.backward(g)
    plain = x.detach().requires_grad_()
    weight = plastic.weight
    expected = inner(plain)[0]
    assert (y - expected).abs().max() < 1e-6
    (of_weight,) = torch.autograd.grad(expected, weight, g)
    assert (weight.grad - of_weight).abs().max() < 1e-5
    with torch.no_grad():
        weight.copy_(plastic._backward_matrix())
    (of_input,) = torch.autograd.grad(inner(plain)[0], plain, g)
    assert (x.grad - of_input).abs().max() < 1e-5


def test_feedback_is_kept_with_the_network():
    plastic = PlasticConnection(sn.Dense(3, 2), "random")
    assert "back" in plastic.state_dict()
    sign = PlasticConnection(sn.Dense(4, 2), "sign")._backward_matrix()
    assert torch.equal(sign.abs(), torch.full((2, 4), 0.5))


def lif(n):
    return sn.LIF(
        n,
        dt=1.0,
        tau_mem=2.0,
        discretization="euler",
        reset="subtract",
        surrogate=Sigmoid(alpha=4.0),
    )


def entropies(y, labels):
    return nn.functional.cross_entropy(y, labels, reduction="none") / len(y)


def test_online_gradients_are_sums_over_steps_of_error_and_trace():
    torch.manual_seed(0)
    net = prepare(sn.Sequential(sn.Dense(5, 7), lif(7), sn.Dense(7, 3)), training="ottt")
    x = (torch.rand(6, 4, 5) < 0.7).float() * 2
    labels = torch.tensor([0, 1, 2, 0])
    body, head = sn.Sequential(net[0], net[1]), net[2]
    _, loss = online_gradients(body, head, x, lambda y: entropies(y, labels))
    # by hand: membranes and resets carry nothing from step to step
    w1, w2 = (p.detach().clone().requires_grad_() for p in (net[0].weight, net[2].weight))
    v, trace = torch.zeros(4, 7), torch.zeros(4, 7)
    g1, g2, total = torch.zeros_like(w1), torch.zeros_like(w2), 0.0
    for step in x:
        u = 0.5 * v + step @ w1.detach().t()
        z = (u >= 1).float()
        v, trace = u - z, 0.5 * trace + z
        scores = (z @ w2.detach().t()).requires_grad_()
        value = nn.functional.cross_entropy(scores, labels) / 6
        (error,) = torch.autograd.grad(value, scores)
        g2 += error.t() @ trace
        s = torch.sigmoid(4 * (u - 1))
        g1 += ((error @ w2.detach()) * 4 * s * (1 - s)).t() @ step
        total += value.item()
    assert float(loss) == pytest.approx(total, rel=1e-5)
    assert (net[2].weight.grad - g2).abs().max() < 1e-6
    assert (net[0].weight.grad - g1).abs().max() < 1e-6


def test_a_still_input_gives_the_same_online_gradients_repeated_or_not():
    results = []
    for repeated in (True, False):
        torch.manual_seed(0)
        layers = [sn.Dense(5, 7), *([sn.Repeat(6)] if repeated else []), lif(7)]
        body = prepare(sn.Sequential(*layers), training="ottt")
        head = prepare(sn.Sequential(sn.Dense(7, 3)), training="ottt", spikes_enter=True)[0]
        x = torch.rand(1, 4, 5) * 3
        labels = torch.tensor([0, 1, 2, 0])
        online_gradients(
            body,
            head,
            x if repeated else x.expand(6, 4, 5),
            lambda y, t=labels: entropies(y, t),
        )
        results.append({"body": body[0].weight.grad, "head": head.weight.grad})
    assert_same(*results, atol=1e-6)


def test_dsr_gradients_are_those_of_the_clamped_rates():
    torch.manual_seed(0)
    net = sn.Sequential(sn.Dense(5, 7), sn.Repeat(20), RateLIF(7), sn.Dense(7, 3))
    x, g = torch.rand(1, 4, 5) * 20, torch.randn(4, 3)  # so strong that rates are clamped
    decay = RateLIF(1).decay
    weighted_mean(net(x)[0], decay).backward(g)
    w1, w2 = (net[i].weight.detach().clone().requires_grad_() for i in (0, 3))
    threshold = torch.tensor(0.3, requires_grad=True)
    spikes = weighted_mean(net[2](net[0](x)[0].expand(20, 4, 7))[0], decay).detach()
    rate = torch.minimum((x[0] @ w1.t()).clamp(min=0), threshold / 0.05)
    rate = spikes + rate - rate.detach()
    (rate @ w2.t()).backward(g)
    assert (net[0].weight.grad - w1.grad).abs().max() < 1e-5
    assert (net[3].weight.grad - w2.grad).abs().max() < 1e-5
    assert threshold.grad.abs() > 0.1
    torch.testing.assert_close(net[2].v_threshold.grad, threshold.grad, rtol=1e-4, atol=0)


@pytest.mark.parametrize("feedback", ["backprop", "sign"])
@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_gradients_carried_by_rates_are_the_same(kind, feedback):
    results = []
    for decay in (None, RateLIF(1).decay):
        torch.manual_seed(0)
        if kind == "dense":
            layers = [sn.Dense(5, 7, bias=True), RateLIF(7), sn.Dense(7, 3), RateLIF(3)]
            x = torch.rand(20, 4, 5) * 3
        else:
            layers = [sn.Conv2d(2, 3, 3, padding=1), RateLIF((3, 6, 6)), sn.AvgPool2d(2)]
            layers += [sn.Conv2d(3, 4, 3, stride=2, padding=1), RateLIF((4, 2, 2))]
            x = torch.rand(20, 4, 2, 6, 6) * 3
        net = sn.Sequential(*layers)
        assert decay_of_rates(net) == RateLIF(1).decay
        prepare(net, training="dsr", feedback=feedback, rate_decay=decay)
        x.requires_grad_()
        y, _ = net(x)
        weighted_mean(y, RateLIF(1).decay).square().sum().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in net.parameters())])
    assert results[0][0].abs().sum() > 0
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() < 1e-5 * max(float(a.abs().max()), 1.0)


def test_rates_carry_gradients_only_where_all_works_by_rates():
    plain = sn.Sequential(sn.Dense(5, 7), RateLIF(7), sn.Dense(7, 3), RateLIF(3))
    learner = Learner(plain, dense_head(3), stream("task"), training="dsr")
    assert learner.body[2].rate_decay == RateLIF(1).decay
    for layer in (sn.BatchNorm(7), lif(7), sn.Dropout(0.1)):
        mixed = sn.Sequential(sn.Dense(5, 7), RateLIF(7), layer, sn.Dense(7, 3), RateLIF(3))
        assert decay_of_rates(mixed) is None


def test_the_rate_of_a_dsr_neuron_is_near_its_clamped_input():
    drive = torch.linspace(-1, 8, 10).expand(200, 1, 10)
    neuron = RateLIF(10)
    rate = weighted_mean(neuron(drive)[0], neuron.decay)[0]
    expected = drive[0, 0].clamp(0, 6)
    assert (rate - expected).abs().max() < 0.5


@pytest.mark.parametrize("shape", [(6, 40), (8, 5, 3, 3), (4, 2, 7)])
def test_feedback_is_as_large_as_its_formula(shape):
    from snnsim.training.rules.feedback import random_feedback, sign_feedback

    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    outputs, entering = shape[0], weight[0].numel()
    size = {2: entering**-0.5}.get(len(shape), (2 / (math.prod(shape[2:]) * outputs)) ** 0.5)
    sign = sign_feedback(weight)
    assert torch.equal(sign.sign(), weight.sign())
    assert torch.allclose(sign.abs(), torch.full(shape, size))
    bound, drawn = entering**-0.5, torch.stack([random_feedback(weight) for _ in range(50)])
    assert 0.97 * bound < float(drawn.abs().max()) <= bound
    assert float(drawn.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
