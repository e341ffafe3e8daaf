"""Small networks with zero weights, and inputs of every kind, whose costs tests count."""

from __future__ import annotations

import torch
from torch import nn

import snnsim as sn

STEPS, SAMPLES = 6, 5
LIF = {"dt": 1.0, "tau_mem": 4.0, "v_threshold": 0.4}


def dense():
    return sn.Sequential(
        sn.Dense(5, 6), sn.LIF(6, **LIF), sn.Dense(6, 3, bias=True), sn.LIF(3, **LIF)
    )


def convolutional():
    return sn.Sequential(
        sn.Conv2d(2, 3, 3, padding=1, bias=True), sn.LIF((3, 5, 5), **LIF), sn.SumPool2d(2),
        sn.OverTime(nn.Flatten()), sn.Dense(12, 4), sn.LIF(4, **LIF),
    )  # fmt: skip


def delayed():
    return sn.Sequential(
        sn.Delayed(5, 6, dt=1.0, max_delay_ms=4, kernel_count=2, padding="lengthen", sigma=0.5),
        sn.BatchNorm(6), sn.LIF(6, **LIF),
        sn.Delayed(6, 3, dt=1.0, max_delay_ms=2, granularity="axonal", kernel_count=3, sigma=0.5),
        sn.LI(3, dt=1.0),
    )  # fmt: skip


def recurrent():
    return sn.Sequential(
        sn.Dense(5, 6), sn.Recurrent(sn.ALIF(6, dt=1.0, v_threshold=0.4), self_connections=False),
        sn.Dense(6, 3), sn.LI(3, dt=1.0),
    )  # fmt: skip


def delayed_convolution():
    return sn.Sequential(
        sn.DelayedConv2d(2, 3, 3, dt=1.0, max_delay_ms=2, stride=2, margin=1, sigma=0.5),
        sn.LIF((3, 3, 3), **LIF),
    )


NETWORKS = {each.__name__: each for each in (
    dense, convolutional, delayed, recurrent, delayed_convolution
)}  # fmt: skip
FLAT = ("dense", "delayed", "recurrent")  # which sn.compile takes
KINDS = ("binary", "signed", "graded", "counts", "empty")


def network(name: str) -> nn.Module:
    """A network half of whose first weights are zero, in evaluation mode."""
    torch.manual_seed(3)
    net = NETWORKS[name]().eval()
    with torch.no_grad():
        first = next(p for p in net.parameters() if p.dim() > 1)
        first.view(-1)[::2] = 0.0
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1)  # biases
        for layer in net.modules():
            if isinstance(layer, sn.Recurrent):
                layer.w_rec.fill_diagonal_(0.5)  # which its mask hides
                layer.w_rec[:, 1] = 0.0  # the second neuron leads nowhere
    return net


def drive(kind: str, name: str, steps: int = STEPS, samples: int = SAMPLES) -> torch.Tensor:
    """An input ``[T, B, ...]``; counts have binary steps and others, and so two kinds of work."""
    shape = (5,) if name in FLAT else (2, 5, 5)
    generator = torch.Generator().manual_seed(7)
    size = (steps, samples, *shape)
    present = torch.rand(size, generator=generator) < 0.3
    if kind == "signed":
        return present * (2.0 * torch.randint(0, 2, size, generator=generator) - 1)
    if kind == "graded":
        return present * torch.randn(size, generator=generator)
    if kind == "counts":
        counts = torch.randint(0, 4, size, generator=generator).float()
        return torch.where(torch.arange(steps).view(-1, *[1] * (len(shape) + 1)) % 2 > 0,
                           present.float(), present * counts)  # fmt: skip
    return present.float() if kind == "binary" else torch.zeros(size)
