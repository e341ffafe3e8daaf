"""FSMN with the nonlinear memory of its paper, and with the linear filter that is ours."""

from __future__ import annotations

import pytest
import torch
from toolbox import normal
from torch import nn

from snnsim.baselines.models.fsmn import FSMN

pytestmark = pytest.mark.usefixtures("float64")


def randomised(**options) -> FSMN:
    torch.manual_seed(1)
    net = FSMN(2, 4, **options)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)
    return net


def rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt() * weight


def by_its_equations(net: FSMN, x: torch.Tensor, order: int, first: int) -> torch.Tensor:
    """One sample ``[T, n]``; taps have the lags ``first``, ..., ``order - 1`` times ``2^l``."""
    p = dict(net.named_parameters())
    silu = nn.functional.silu
    x = x @ p["enter.weight"].T + p["enter.bias"]
    s, v = (silu(rms(x, p["norm.weight"]) @ p[f"{m}.weight"].T + p[f"{m}.bias"])
            for m in ("memory", "gate"))  # fmt: skip
    rectified = (s @ p["rectified.weight"].T + p["rectified.bias"]).clamp(min=0)
    z = [rectified @ p["project.weight"].T]
    for level in range(len(net.layers)):
        taps = p[f"layers.{level}.taps"].view(order - first, level + 1, -1)
        total = torch.zeros_like(x)
        for t in range(len(x)):
            for i, own in zip(range(first, order), taps, strict=True):
                at = t - i * 2**level
                if 0 <= at < len(x):
                    total[t] += sum(own[j] * z[j][at] for j in range(level + 1))
        total = rms(total, p[f"layers.{level}.norm.weight"])
        slope = p[f"layers.{level}.activation.weight"]
        z.append(torch.where(total > 0, total, slope * total))
    return x + v * (s + z[-1])


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("ahead", [False, True])
def test_the_nonlinear_memory_is_its_equations(layers, ahead):
    net, x = randomised(order=3, layers=layers, look_ahead=ahead, nonlinear=True), normal(15, 1, 2)
    expected = by_its_equations(net, x[:, 0], 3, -2 if ahead else 0)
    torch.testing.assert_close(net(x)[0][:, 0], expected)


def additivity(net: FSMN) -> float:
    """How far the memory's answer to a sum is from the sum of its answers."""
    first, second = (normal(20, 1, 4, seed=i) for i in range(2))

    def memory(u):
        parts = [net.project(torch.relu(net.rectified(u)[0]))[0]] if net.nonlinear else [u]
        for layer, past in zip(net.layers, net.initial_state(1), strict=True):
            parts.append(layer(parts, past, None)[0])
        return parts[-1]

    return float((memory(first + second) - memory(first) - memory(second)).abs().max())


def test_the_nonlinear_memory_is_not_additive_and_the_default_one_is():
    assert additivity(randomised(order=3, layers=2, nonlinear=True)) > 0.1
    assert additivity(randomised(order=3, layers=2)) < 1e-12


def test_a_layer_tells_the_lags_of_its_parents_apart():
    """With one mix before the taps, all parents would have the same lags."""
    layer = randomised(order=3, layers=2, nonlinear=True).layers[1]
    with torch.no_grad():
        layer.taps.zero_()
        layer.taps[0, :4] = 1.0  # the first parent now
        layer.taps[2, 4:] = 1.0  # the second one four steps ago
    first, second = normal(9, 1, 4), normal(9, 1, 4, seed=1)
    y, _ = layer([first, second], torch.zeros(4, 1, 8), None)
    late = nn.functional.pad(second, (0, 0, 0, 0, 4, 0))[:9]
    torch.testing.assert_close(y, layer.activation(layer.norm(first + late).view(9, 4))[:, None])


def test_pieces_equal_the_whole_and_padding_ahead_is_not_seen():
    net, x = randomised(order=4, layers=3, nonlinear=True), normal(30, 2, 2)
    outputs, state = [], None
    for piece in x.split([1, 2, 10, 17]):
        y, state = net(piece, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs), net(x)[0])
    ahead = randomised(order=3, layers=2, nonlinear=True, look_ahead=True)
    lengths = torch.tensor([30, 12])
    padded = x.clone()
    padded[12:, 1] = 7.0
    alone, _ = ahead(x[:12, 1:])
    torch.testing.assert_close(ahead(padded, lengths=lengths)[0][:12, 1:], alone)


def test_every_parameter_of_the_nonlinear_memory_has_a_gradient():
    net = FSMN(2, 4, order=3, nonlinear=True)
    net(normal(20, 2, 2))[0].square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())
