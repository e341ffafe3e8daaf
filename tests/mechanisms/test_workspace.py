"""Global workspace: reading and broadcasting gates and the output module, by their equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snnsim.baselines import RateNetwork
from snnsim.baselines.models.workspace import Workspace
from snnsim.errors import ConfigError

T, B, CHANNELS, N, GROUPS, INNER, CONTROL = 5, 2, 7, 4, 3, 2, 6


def made(**options):
    torch.manual_seed(0)
    sizes = {"groups": GROUPS, "inner": INNER, "steps": 3, "control": CONTROL}
    net = Workspace(CHANNELS, N, **sizes | {"broadcast": True} | options).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.7)
    return net


def inputs():
    return torch.randn(T, B, CHANNELS, generator=torch.Generator().manual_seed(1)).double()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(net, x, temperature):
    """One sample, one gate and one specialist at a time."""
    p = {name: value.detach().numpy() for name, value in net.named_parameters()}

    def affine(name, v):
        return p[f"{name}.weight"] @ v + p.get(f"{name}.bias", 0.0)

    outputs = np.zeros((len(x), x.shape[1], N))
    for sample in range(x.shape[1]):
        w, h, c = np.zeros(N), np.zeros(CONTROL), np.zeros(CONTROL)
        z, y = np.zeros((INNER, N)), np.zeros(N)
        for t, now in enumerate(x[:, sample]):
            parts = [[now[0], now[1], 0.0], [now[2], now[3], 0.0], now[4:]]
            said = [np.tanh(affine(f"encoders.{m}", np.array(parts[m]))) for m in range(GROUPS)]
            for _ in range(net.steps):
                gates = affine("w_in", now) + affine("w_rec", np.concatenate([w, h]))
                i, f, o, g = np.split(gates, 4)
                c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
                r = np.exp(affine("route", h) / temperature)
                r = r / r.sum()
                w = sum(r_m * z_m for r_m, z_m in zip(r, [w, *said, *z], strict=True))
                b = sigmoid(affine("send", h) / temperature)
                for m in range(INNER):
                    z[m] = (1 - b[m]) * z[m] + b[m] * np.tanh(affine(f"inner.{m}", w))
                y = (1 - b[INNER]) * y + b[INNER] * affine("out", w)
            outputs[t, sample] = y
    return outputs


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_gates_are_those_of_the_equations(temperature):
    net, x = made(temperature=temperature), inputs()
    expected = by_hand(net, x.numpy(), temperature)
    np.testing.assert_allclose(net(x)[0].detach().numpy(), expected, rtol=0, atol=1e-12)


def test_a_sequence_in_pieces_and_step_by_step_is_the_whole():
    net, x = made(), inputs()
    whole, end = net(x)
    first, state = net(x[:2])
    second, after = net(x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-13)
    assert [s.shape for s in after] == [s.shape for s in net.initial_state(B)]
    for one, two in zip(after, end, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-13)


def test_a_module_hears_of_the_workspace_only_while_its_gate_is_open():
    net, x = made(), inputs()
    with torch.no_grad():
        net.send.weight.zero_()
        net.send.bias.copy_(torch.tensor([-50.0, 50.0, -50.0]))
    with torch.no_grad():
        y, (w, _, _, z, _) = net(x)
    assert float(y.abs().max()) < 1e-15  # nothing reached the output module
    assert float(z[:, 0].abs().max()) < 1e-15
    torch.testing.assert_close(z[:, 1], torch.tanh(net.inner[1](w)[0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("choice", range(1 + GROUPS + INNER))
def test_the_workspace_holds_what_its_reading_gates_choose(choice):
    net, x = made(steps=1), inputs()[:1]
    with torch.no_grad():
        net.route.weight.zero_()
        net.route.bias.zero_()[choice] = 100.0
    start = [torch.randn_like(s) for s in net.initial_state(B)]
    _, (w, *_) = net(x, tuple(start))
    said = net.project(x)[1][0]
    expected = torch.cat([start[0].unsqueeze(1), said, start[3]], 1)[:, choice]
    torch.testing.assert_close(w, expected, rtol=0, atol=1e-12)


def test_all_parameters_learn():
    net = made()
    net(inputs())[0].square().sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in net.parameters())


def test_it_is_an_option_of_networks():
    net = RateNetwork(6, 3, "workspace", width=8, options={"broadcast": True})
    assert net(torch.rand(5, 2, 6))[0].shape == (5, 2, 3)
    assert Workspace(6, 8).send is None and len(Workspace(6, 8).initial_state(1)) == 3
    with pytest.raises(ConfigError, match=r"temperature is 0\.0"):
        Workspace(6, 8, temperature=0.0)
