"""Memory: how long linear models remember, and how far back their output depends on the input.

A linear model is ``h[t] = L[t] h[t-1] + B[t] x[t]``, ``y[t] = C[t] h[t]``, with matrices that its
input decides. State ``i`` remembers ``mean_t 1 / (1 - |L_i[t]|)`` time steps, and the last output
depends on the input of lag ``l`` by the norm of its kernel,

    k(l) = |C[T] L[T] L[T-1] ... L[T-l+1] B[T-l]|,    reach = sum_l l k(l) / sum_l k(l).

Source: Sieber et al. 2024 (arXiv:2405.15731), whose recurrence this is; the two measures are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.activity import record
from snnsim.analysis.operators import mean_lag
from snnsim.analysis.report import Report, against
from snnsim.analysis.subject import Subject
from snnsim.baselines import get, names
from snnsim.baselines.ltv import LinearModel, Matrices, memory_steps
from snnsim.data import View
from snnsim.errors import ConfigError, check_size
from snnsim.layer import device_of, evaluating
from snnsim.saving import Spec


def linear_models() -> list[str]:
    """Return the names of the models of the literature that give their matrices.

    >>> "s6" in linear_models(), "gru" in linear_models()
    (True, False)
    """
    return [name for name in names() if _gives_matrices(get(name))]


def _gives_matrices(cls: type) -> bool:
    return getattr(cls, "ltv", LinearModel.ltv) is not LinearModel.ltv


def kernel_norms(matrices: Matrices) -> Tensor:
    """Return how much the last output depends on the state's input of each lag, ``[T]``.

    Args:
        matrices: the matrices of one sample, ``B = 1``; ``direct`` is left out, because it is no
            memory.

    Returns:
        The Frobenius norms of the kernels of the lags 0, 1, ..., ``T - 1``.

    >>> ones = torch.ones(3, 1, 1, 1)
    >>> kernel_norms(Matrices(torch.full((3, 1, 1), 0.5), ones, ones)).tolist()
    [1.0, 0.5, 0.25]
    """
    transition, entry, read = (each[:, 0] for each in matrices[:3] if each is not None)
    reading, found = read[-1], []
    for step in range(len(entry) - 1, -1, -1):
        found.append((reading @ entry[step]).norm())
        kept = transition[step]
        reading = reading * kept if kept.dim() == 1 else reading @ kept
    return torch.stack(found)


def analyse(subject: Subject, *, samples: int = 8) -> Report:
    """Report how long each linear layer of a network remembers.

    Args:
        subject: what is looked at; ``layer`` may name one linear layer.
        samples: number of samples of which everything is the mean, at least 1.

    Figures, for each linear layer: ``memory``, the median over its states of the time steps that
    they remember (a million stands for ever), and ``reach``, the mean lag of the input that its
    last output depends on. The null is the same network with weights drawn anew: what is above or
    below it was learnt.
    """
    check_size("samples", samples, 1)
    data = View(subject.data, np.arange(min(samples, len(subject.data))))
    found = _measured(subject, subject.net, data)
    nulls, spec = [], Spec(subject.net) if subject.nulls else None
    for number in range(subject.nulls):
        assert spec is not None
        fresh = spec.again(subject.seed + number).to(device_of(subject.net))
        nulls.append(_measured(subject, fresh, data))
    figures, arrays = {}, {}
    for label, values in found.items():
        measure = mean_lag if label.startswith("reach") else _median
        others = [each[label] for each in nulls]
        figures[label] = against(measure(values), [measure(each) for each in others])
        arrays[label] = values
        if others:
            arrays[f"{label}, null"] = np.mean(others, axis=0)
    told = tuple(
        f"{name}: half of its states remember at least {figures[f'memory of {name}']} time steps; "
        f"its last output depends on the input {figures[f'reach of {name}']} steps before, on "
        "average."
        for name in _linear(subject)
    )
    return Report("memory", figures, arrays, told)


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _linear(subject: Subject) -> dict[str, nn.Module]:
    """The linear layers of the network, or the one that is named."""
    every = dict(subject.net.named_modules())
    named = {n: m for n, m in every.items() if subject.layer in ("", n)}
    found = {n: m for n, m in named.items() if _gives_matrices(type(m))}
    if not found:
        raise ConfigError(
            f"{subject.layer or 'the network'} has no linear time-varying layer, whose memory "
            f"could be told from its matrices; models that have are {', '.join(linear_models())}"
        )
    return found


@torch.no_grad()
def _measured(subject: Subject, net: nn.Module, data: View) -> dict[str, np.ndarray]:
    """What each state remembers, the longest first, and the norms of kernels by lag."""
    names, layers = list(_linear(subject)), dict(net.named_modules())
    inputs, found = record(net, data, names, "input"), {}
    for name in names:
        layer: Any = layers[name]
        memory, norms = [], np.zeros((len(data), int(inputs[name].lengths.max())))
        for sample in range(len(data)):
            x = inputs[name].of(sample).unsqueeze(1)
            with evaluating(layer):
                matrices = layer.ltv(x)
            memory.append(memory_steps(matrices).cpu().numpy())
            norms[sample, : len(x)] = kernel_norms(matrices).cpu().numpy()
        found[f"memory of {name}"] = np.sort(np.mean(memory, axis=0))[::-1].copy()
        found[f"reach of {name}"] = norms.mean(0)
    return found
