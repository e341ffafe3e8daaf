"""Neurons alone: a LIF layer, and a recurrent one, forward and backward."""

from __future__ import annotations

import shutil

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

import snnsim as sn
from benchmarks.measure import Case, Run
from snnsim.surrogate import ATan


def _peer_lif() -> nn.Module:
    return neuron.LIFNode(
        tau=2.0,
        decay_input=False,
        detach_reset=True,
        step_mode="m",
        surrogate_function=surrogate.ATan(5.0),
    )


def _gradient_of(forward, x: torch.Tensor, g: torch.Tensor, parameters=()) -> Run:
    def run():
        leaf = x.detach().requires_grad_()
        z = forward(leaf)
        return z.detach(), *torch.autograd.grad(z, (leaf, *parameters), g)

    return run


def lif(steps: int, batch: int, n: int, connected: bool = False) -> Case:
    """A LIF layer. SpikingJelly's computes the same; the others have their own dynamics.

    ``connected`` puts a linear layer before it: the set-up of Open Neuromorphic's benchmark.
    """
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(steps, batch, n, generator=generator) for _ in range(2))
    weight = torch.randn(n, n, generator=generator).div_(n**0.5).requires_grad_()

    def measured(forward) -> Run:
        if connected:
            return _gradient_of(lambda a: forward(a @ weight), x, g, (weight,))
        return _gradient_of(forward, x, g)

    def ours() -> Run:
        lif = sn.LIF(
            n,
            dt=10.0,
            tau_mem=20.0,
            discretization="euler",
            reset="zero",
            surrogate=ATan(alpha=5.0),
        )
        return measured(lambda a: lif(a)[0])

    def spikingjelly() -> Run:
        node = _peer_lif()

        def forward(a):
            functional.reset_net(node)
            return node(a)

        return measured(forward)

    def snntorch() -> Run:
        import snntorch as snn

        node = snn.Leaky(beta=0.5, reset_mechanism="zero")

        def forward(a):
            membrane, spikes = node.reset_mem(), []
            for step in a.unbind(0):
                z, membrane = node(step, membrane)
                spikes.append(z)
            return torch.stack(spikes)

        return measured(forward)

    def norse() -> Run:
        from norse.torch import LIF

        node = LIF()
        return measured(lambda a: node(a)[0])

    def sinabs() -> Run:
        from sinabs.layers import LIF

        def forward(a):
            return LIF(tau_mem=20.0)(a.transpose(0, 1)).transpose(0, 1)

        return measured(forward)

    def compiled_step() -> Run:
        step = torch.compile(_plain_step)

        def forward(a):
            v, spikes = torch.zeros_like(a[0]), []
            for current in a.unbind(0):
                z, v = step(current, v)
                spikes.append(z)
            return torch.stack(spikes)

        return measured(forward)

    def copy() -> Run:
        source, target = torch.empty(5 * x.numel() // 2), torch.empty(5 * x.numel() // 2)
        source.normal_()
        return lambda: target.copy_(source)

    contestants = {
        "snnsim": ours,
        "SpikingJelly": spikingjelly,
        "snnTorch": snntorch,
        "Norse": norse,
        "Sinabs": sinabs,
    }
    if connected:
        contestants["linear layer alone"] = lambda: measured(lambda a: a)
    else:
        contestants["copy of as many bytes"] = copy
    same = {"SpikingJelly": 1e-4}
    if shutil.which("c++"):  # torch.compile needs one
        contestants["torch.compile'd step"] = compiled_step
        same["torch.compile'd step"] = 1e-4
    return Case(f"{'linear + ' * connected}LIF {steps} x {batch} x {n}", contestants, same)


def _plain_step(x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same LIF as one writes it by hand; the surrogate is atan's with alpha 5."""
    v = 0.5 * v + x
    h = v - 1.0
    smooth = torch.atan(h * (2.5 * torch.pi)) / torch.pi + 0.5
    z = smooth + ((h >= 0).to(x.dtype) - smooth).detach()
    return z, v * (1 - z.detach())


def recurrent(steps: int, batch: int, n_in: int, n: int) -> Case:
    """Input connection and recurrent LIF, 5 % input; the LSTM is a yardstick."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(steps, batch, n_in, generator=generator) < 0.05).float()
    g = torch.randn(steps, batch, n, generator=generator)

    def ours() -> Run:
        torch.manual_seed(0)
        lif = sn.LIF(n, dt=1.0, tau_mem=20.0, reset="zero", surrogate=ATan(alpha=5.0))
        net = sn.Sequential(sn.Dense(n_in, n, init="he"), sn.Recurrent(lif))
        return _gradient_of(lambda a: net(a)[0], x, g, tuple(net.parameters()))

    def lstm() -> Run:
        net = nn.LSTM(n_in, n)
        return _gradient_of(lambda a: net(a)[0], x, g, tuple(net.parameters()))

    def spikingjelly() -> Run:
        inner = layer.LinearRecurrentContainer(
            neuron.LIFNode(tau=20.0, detach_reset=True, surrogate_function=surrogate.ATan(5.0)),
            in_features=n,
            out_features=n,
            bias=False,
            step_mode="m",
        )
        net = nn.Sequential(nn.Linear(n_in, n, bias=False), inner)

        def forward(a):
            functional.reset_net(net)
            return net(a)

        return _gradient_of(forward, x, g, tuple(net.parameters()))

    def snntorch() -> Run:
        import snntorch as snn

        connect = nn.Linear(n_in, n, bias=False)
        node = snn.RLeaky(beta=0.95, linear_features=n)

        def forward(a):
            (z, membrane), spikes = node.reset_mem(), []
            for step in connect(a).unbind(0):
                z, membrane = node(step, z, membrane)
                spikes.append(z)
            return torch.stack(spikes)

        parameters = (*connect.parameters(), node.recurrent.weight)
        return _gradient_of(forward, x, g, parameters)

    def norse() -> Run:
        from norse.torch import LIFRecurrent

        node = LIFRecurrent(n_in, n)
        return _gradient_of(lambda a: node(a)[0], x, g, tuple(node.parameters()))

    return Case(
        f"recurrent LIF {steps} x {batch}, {n_in} -> {n}",
        {
            "snnsim": ours,
            "torch LSTM": lstm,
            "SpikingJelly": spikingjelly,
            "snnTorch": snntorch,
            "Norse": norse,
        },
    )
