"""Networks of every kind that NIR has a form for, with input on which they spike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

import snnsim as sn
from snnsim.synapses.over_time import OverTime

N_IN, N = 12, 16


class Case(NamedTuple):
    net: nn.Module
    x: Tensor
    shape: tuple[int, ...] | None = None


def _flat(*layers: nn.Module, rate: float = 0.25) -> Case:
    return Case(sn.Sequential(*layers), (torch.rand(120, 3, N_IN) < rate).float())


def _image(*layers: nn.Module) -> Case:
    return Case(sn.Sequential(*layers), (torch.rand(40, 2, 2, 12, 12) < 0.3).float(), (2, 12, 12))


def _dense(bias: bool = False) -> nn.Module:
    layer = sn.Dense(N_IN, N, bias=bias, init="he")
    if bias:
        nn.init.uniform_(layer.bias, -0.1, 0.2)
    return layer


def _norm(n: int) -> nn.Module:
    norm = sn.BatchNorm(n)
    norm.running_mean.uniform_(-0.3, 0.3)
    norm.running_var.uniform_(0.3, 0.8)
    nn.init.uniform_(norm.bias, 0.0, 0.3)
    return norm


def _delayed(granularity: str, copies: int, norm: bool = True) -> Case:
    layer = sn.Delayed(
        N_IN, N, dt=1.0, max_delay_ms=10, granularity=granularity, kernel_count=copies, sigma=0.2
    )
    between = [_norm(N)] if norm else []
    return _flat(layer, *between, sn.LIF(N, dt=1.0, reset="zero"), sn.Dropout(0.3))


def _conv(kind: str) -> Case:
    if kind == "pooled":
        return _image(
            sn.Conv2d(2, 4, 3, padding=1), _norm(4), sn.LIF((4, 12, 12), dt=1.0, reset="zero"),
            sn.SumPool2d(2), sn.Conv2d(4, 6, 3, stride=1, bias=True), sn.LIF((6, 4, 4), dt=1.0),
            sn.AvgPool2d(2), OverTime(nn.Flatten()), sn.Dense(24, 5, init="he"),
            sn.LIF(5, dt=1.0, v_threshold=0.3),
        )  # fmt: skip
    if kind == "delayed":
        return _image(
            sn.DelayedConv2d(2, 4, 3, dt=1.0, max_delay_ms=6, margin=1, sigma=0.2), _norm(4),
            sn.LIF((4, 12, 12), dt=1.0, reset="zero"),
        )  # fmt: skip
    if kind == "grouped":
        conv = sn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1), groups=2)
        nn.init.uniform_(conv.module.weight, 0.0, 0.8)
        return _image(conv, sn.LIF((4, 8, 7), dt=1.0))
    conv = sn.Conv1d(3, 5, 3, stride=2, padding=1)
    nn.init.uniform_(conv.module.weight, -0.2, 0.6)
    x = (torch.rand(60, 2, 3, 10) < 0.3).float()
    per_channel = torch.linspace(3.0, 20.0, 5).view(5, 1)
    return Case(sn.Sequential(conv, sn.LIF((5, 5), dt=1.0, tau_mem=per_channel)), x, (3, 10))


def _skip(kind: str) -> Case:
    out = (sn.Dense(N_IN, N, init="he"), sn.LIF(N, dt=1.0))
    inner = sn.Sequential(sn.Dense(N_IN, N_IN, init="he"), sn.LIF(N_IN, dt=1.0))
    if kind == "around":
        return _flat(sn.Skip(inner), *out)
    if kind == "nothing":
        return _flat(_dense(), sn.Skip(sn.Sequential()), sn.LIF(N, dt=1.0))
    if kind == "delayed":  # a sum of paths before parallel branches
        late = sn.Delayed(N_IN, N, dt=1.0, max_delay_ms=6, sigma=0.2)
        return _flat(sn.Skip(inner), late, sn.LIF(N, dt=1.0))
    return _flat(sn.Skip(inner, sn.Dense(N_IN, N_IN)), sn.Skip(inner_again()), *out)


def inner_again() -> nn.Module:
    return sn.Sequential(sn.Dense(N_IN, N_IN, init="he"), sn.IF(N_IN, dt=1.0))


def _kinds():
    for reset in ("zero", "subtract", "none"):
        yield f"LIF {reset}", lambda r=reset: _flat(_dense(), sn.LIF(N, dt=1.0, reset=r))
        yield f"CubaLIF {reset}", lambda r=reset: _flat(_dense(), sn.CubaLIF(N, dt=1.0, reset=r))
        yield f"IF {reset}", lambda r=reset: _flat(_dense(), sn.IF(N, dt=1.0, reset=r))
        yield (
            f"PLIF {reset}",
            lambda r=reset: _flat(
                _dense(), sn.PLIF(N, dt=1.0, reset=r, tau_mem=3.0, v_threshold=0.3)
            ),
        )
        yield f"scaled LIF {reset}", lambda r=reset: _flat(
            _dense(True),
            sn.LIF(
                N, dt=2.0, reset=r, scale_input=True, v_threshold=0.15,
                tau_mem=torch.linspace(4.0, 30.0, N), discretization="euler",
            ),
        )  # fmt: skip
        yield (
            f"scaled CubaLIF {reset}",
            lambda r=reset: _flat(
                _dense(), sn.CubaLIF(N, dt=1.0, reset=r, scale_input=True, v_threshold=0.3)
            ),
        )
    yield "LIF v_reset", lambda: _flat(_dense(), sn.LIF(N, dt=1.0, reset="zero", v_reset=-0.3))
    yield (
        "LIF thresholds",
        lambda: _flat(_dense(), sn.LIF(N, dt=1.0, v_threshold=torch.linspace(0.5, 2.0, N))),
    )
    yield "ALIF", lambda: _flat(_dense(), sn.ALIF(N, dt=1.0))
    yield "ALIF none", lambda: _flat(_dense(), sn.ALIF(N, dt=1.0, reset="none"))
    yield "LI", lambda: _flat(_dense(), sn.LI(N, dt=1.0))
    yield "neurons alone", lambda: _flat(sn.LIF(N_IN, dt=1.0, v_threshold=1.5))
    yield (
        "normalised input",
        lambda: _flat(_norm(N_IN), sn.LIF(N_IN, dt=1.0))._replace(shape=(N_IN,)),
    )
    for model, reset in ((sn.LIF, "zero"), (sn.LIF, "subtract"), (sn.ALIF, "subtract")):
        yield (
            f"recurrent {model.__name__} {reset}",
            lambda m=model, r=reset: _flat(_dense(), sn.Recurrent(m(N, dt=1.0, reset=r), gain=0.6)),
        )
    yield (
        "recurrent CubaLIF subtract",
        lambda: _flat(
            _dense(), sn.Recurrent(sn.CubaLIF(N, dt=1.0), gain=0.2, self_connections=False)
        ),
    )
    for granularity in ("synaptic", "axonal", "dendritic"):
        for copies in (1, 3):
            name = f"{granularity} delays, {copies}"
            yield name, lambda g=granularity, k=copies: _delayed(g, k)
    yield "delays without norm", lambda: _delayed("dendritic", 1, norm=False)
    yield "two layers", lambda: _flat(
        _dense(), sn.LIF(N, dt=1.0), sn.Dense(N, 4, init="he"), sn.Recurrent(sn.LIF(4, dt=1.0)),
        rate=0.4,
    )  # fmt: skip
    for kind in ("pooled", "delayed", "grouped", "1d"):
        yield f"conv {kind}", lambda k=kind: _conv(k)
    for kind in ("around", "nothing", "delayed", "project"):
        yield f"skip {kind}", lambda k=kind: _skip(k)


KINDS = dict(_kinds())


def make(kind: str, seed: int = 0) -> Case:
    """Return a case in evaluation mode, with weights and input of a seed."""
    torch.manual_seed(seed)
    case = KINDS[kind]()
    case.net.eval()
    return case
