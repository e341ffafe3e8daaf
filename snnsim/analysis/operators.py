"""Operators: how many lines of delay a connection needs, and how far back a network reaches.

A linear connection is its operators ``K_l [O, I]``, one for each lag: ``y_t = sum_l K_l x_{t-l}``.
Spread over ``H`` shared filters of time (heads of attention, or taps of a delay line), they leave
at least the residual

    residual(H)^2 = sum_{h > H} s_h^2 / sum_h s_h^2,

where ``s_h`` are the singular values of the matrix ``[lags, O I]`` whose rows are ``K_l C^{1/2}``,
and ``C [I, I]`` is the covariance of the input. Source: Ghodsi 2025 (arXiv:2512.15115): a linear
state space model whose operators span ``k`` dimensions needs exactly ``k`` heads.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.activity import record
from snnsim.analysis.report import Report, against
from snnsim.analysis.subject import Subject
from snnsim.data import fetch
from snnsim.errors import ConfigError, check_number, check_seed, check_size
from snnsim.layer import device_of, evaluating
from snnsim.synapses import Delayed


@torch.no_grad()
def lag_operators(layer: nn.Module, n_in: int, lags: int) -> Tensor:
    """Return what a linear layer does with its input of each lag, ``[lags, O, I]``.

    The layer is given one impulse in each channel, in evaluation mode.

    Args:
        layer: any layer whose output is linear in its input, but for a constant.
        n_in: number of input channels.
        lags: number of lags, from 0.

    Raises:
        ConfigError: if the layer is not linear.

    >>> from snnsim.synapses import Dense
    >>> dense = Dense(3, 2)
    >>> torch.allclose(lag_operators(dense, 3, 2)[0], dense.weight)
    True
    """
    check_size("lags", lags, 1)
    like = next(layer.parameters(), torch.zeros(0))
    x = torch.zeros(lags, n_in + 1, n_in, dtype=like.dtype, device=like.device)
    x[0, :n_in] = torch.eye(n_in)
    with evaluating(layer):
        y, twice = (_output(layer, factor * x)[:lags] for factor in (1.0, 2.0))
    found, doubled = (each[:, :-1] - each[:, -1:] for each in (y, twice))
    if not torch.allclose(doubled, 2 * found, rtol=1e-3, atol=1e-5 * float(found.abs().max() + 1)):
        raise ConfigError(
            f"{type(layer).__name__} is not linear in its input, so it has no operators; take a "
            "connection"
        )
    return found.permute(0, 2, 1)


def _output(layer: nn.Module, x: Tensor) -> Tensor:
    y = layer(x)
    found: Tensor = y[0] if isinstance(y, tuple) else y
    return found


def rank_curve(operators: Tensor, covariance: Tensor | None = None) -> np.ndarray:
    """Return the residual that 0, 1, 2, ... shared filters of time leave, from 1 down to 0.

    Args:
        operators: ``[lags, O, I]``.
        covariance: of the input, ``[I, I]``; ``None`` for that of white noise.
    """
    k = operators.detach().double().cpu()
    if covariance is not None:
        values, vectors = torch.linalg.eigh(covariance.detach().double().cpu())
        k = k @ (vectors * values.clamp(min=0).sqrt())
    s = torch.linalg.svdvals(k.flatten(1)) ** 2
    left = s.flip(0).cumsum(0).flip(0)
    whole = float(left[0]) if len(left) and float(left[0]) > 0 else 1.0
    return np.sqrt(np.append((left / whole).clamp(min=0).numpy(), 0.0))


def gradient_reach(net: nn.Module, x: Tensor, lags: Ordered[int]) -> np.ndarray:
    """Return how much the last output depends on the input of each lag.

    Args:
        net: any network; spikes pass gradients by their surrogate.
        x: the input, ``[T, B, ...]``.
        lags: lags in time steps, below ``T``.

    Returns:
        For each lag, the mean over samples of the norm of ``d y_last / d x_(last - lag)``, where
        the outputs are summed with random signs.
    """
    steps = len(x)
    if not lags or min(lags) < 0 or max(lags) >= steps:
        raise ConfigError(f"lags are {list(lags)} but must lie in 0 .. {steps - 1}")
    given = x.detach().clone().requires_grad_()
    with torch.enable_grad(), evaluating(net):
        y = _output(net, given)[steps - 1]
        signs = torch.randint(0, 2, y.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        (gradient,) = torch.autograd.grad((y * signs.to(y)).sum(), given)
    norms = gradient.flatten(2).norm(dim=2).mean(1)
    return norms[[steps - 1 - lag for lag in lags]].cpu().numpy()


def mean_lag(weights: np.ndarray) -> float:
    """Return the mean lag in time steps, weighted by what each lag counts; 0 where nothing does.

    Args:
        weights: those of the lags 0, 1, ..., ``[L]``, 0 or more.

    >>> mean_lag(np.array([1.0, 0.0, 1.0]))
    1.0
    """
    total = float(weights.sum())
    return float((weights * np.arange(len(weights))).sum() / total) if total else 0.0


def shuffled_delays(layer: Delayed, seed: int) -> None:
    """Give every delay of a connection to another synapse, axon or dendrite."""
    order = np.random.default_rng(check_seed(seed)).permutation(layer.delay.numel())
    with torch.no_grad():
        mixed = layer.delay.flatten()[torch.from_numpy(order).to(layer.delay.device)]
        layer.delay.copy_(mixed.view(layer.delay.shape))


def _covariance(x: Tensor) -> Tensor:
    flat = x.detach().double().flatten(0, 1)
    flat = flat - flat.mean(0)
    return flat.t() @ flat / max(len(flat) - 1, 1)


def analyse(subject: Subject, *, residual: float = 0.5, samples: int = 32) -> Report:
    """Report how many shared delay lines would do for each delayed connection of a network.

    Args:
        subject: what is looked at; ``layer`` may name one delayed connection.
        residual: what the shared lines may leave, as a fraction of the whole.
        samples: number of samples of which the reach is the mean.

    Figures: for each delayed connection ``lines``, the number of shared filters of time that leave
    less than ``residual``, weighted by the covariance of its input; and for the network ``reach``,
    the mean lag in time steps at which the input still matters to the last output, weighted by
    gradients. The null is the same network with the delays of each connection shuffled among its
    synapses: one tap per synapse has full rank by itself, so only the difference says anything.
    """
    check_number("residual", residual, above=0, most=1)
    layers = _delayed(subject)
    batch = fetch(subject.data, np.arange(min(samples, len(subject.data))), None)
    x = batch.x.to(device_of(subject.net))
    figures, arrays = {}, {}
    before = {name: layer.delay.detach().clone() for name, layer in layers.items()}
    found = _measured(subject, layers, x, residual)
    nulls = []
    try:
        for number in range(subject.nulls):
            for i, layer in enumerate(layers.values()):
                shuffled_delays(layer, subject.seed + 1000 * i + number)
            nulls.append(_measured(subject, layers, x, residual))
            _restore(layers, before)
    finally:
        _restore(layers, before)
    for name, value in found["figures"].items():
        figures[name] = against(value, [n["figures"][name] for n in nulls])
    for name, values in found["arrays"].items():
        arrays[name] = values
        if nulls:
            arrays[f"{name}, null"] = np.mean([n["arrays"][name] for n in nulls], axis=0)
    told = tuple(
        f"{name}: {figures[f'lines of {name}']} lines of {layer.length} leave {residual:.0%}."
        for name, layer in layers.items()
    )
    return Report("operators", figures, arrays, told)


def _delayed(subject: Subject) -> dict[str, Delayed]:
    named = {n: m for n, m in subject.net.named_modules() if isinstance(m, Delayed)}
    if subject.layer:
        named = {n: m for n, m in named.items() if n == subject.layer}
    if not named:
        raise ConfigError(
            f"{subject.layer or 'the network'} has no delayed connection, and so one operator only"
        )
    return named


def _restore(layers: dict[str, Delayed], before: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, layer in layers.items():
            layer.delay.copy_(before[name])


def _measured(subject: Subject, layers: dict[str, Delayed], x: Tensor, residual: float) -> Any:
    inputs = record(subject.net, x, list(layers), "input")
    figures, arrays = {}, {}
    for name, layer in layers.items():
        operators = lag_operators(layer, layer.n_in, layer.length + layer.tail)
        curve = rank_curve(operators, _covariance(inputs[name].values))
        figures[f"lines of {name}"] = float((curve > residual).sum())
        arrays[f"residual of {name}"] = curve
    lags = range(len(x))
    reach = gradient_reach(subject.net, x, lags)
    figures["reach"] = mean_lag(reach)
    arrays["reach"] = reach
    return {"figures": figures, "arrays": arrays}
