"""The published networks with learnable delays, as builders.

Each hidden block is: connection -> batch normalisation -> LIF -> dropout. The read-out is a
connection into leaky integrators. Every connection, the read-out's included, has delays; none
has a bias. Blocks of equal width may be residual. Source: Hammouamri, Khalfaoui-Hassani &
Masquelier 2024, arXiv:2306.17670.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from snnsim.errors import ConfigError, check_choice
from snnsim.layer import Layer
from snnsim.networks.dropout import Dropout
from snnsim.networks.normalization import BatchNorm
from snnsim.networks.passing import passing_on
from snnsim.networks.sequential import Sequential, Skip
from snnsim.networks.stochastic_depth import StochasticDepth
from snnsim.neurons import LI, LIF, AdLIF
from snnsim.surrogate import ATan
from snnsim.synapses import Delayed, Dense, Recurrent

DELAYS = ("learned", "fixed", "none")
NEURONS = ("lif", "adlif")


@passing_on(Delayed, ["kernel_count", "granularity", "padding"], padding="lengthen")
def delay_network(
    sizes: Sequence[int],
    *,
    dt: float,
    tau_mem: float,
    max_delay_ms: float,
    dropout: float,
    delays: str = "learned",
    neuron: str = "lif",
    tau_adapt: float = 150.0,
    recurrent: bool = False,
    skip: bool = False,
    stochastic_depth: float = 0.0,
    backend: str = "auto",
    **connection: Any,
) -> Sequential:
    """Build a feed-forward network of the reference system.

    Args:
        sizes: numbers of channels of the input, of every hidden layer, and of classes.
        dt: time step in ms.
        tau_mem: membrane time constant in ms, at least ``dt`` (forward Euler).
        max_delay_ms: largest delay in ms, an even number of steps.
        dropout: probability of dropout on the spikes of every hidden layer.
        delays: ``"learned"``, ``"fixed"`` (random whole steps) or ``"none"``.
        neuron: ``"lif"``, the published one, or ``"adlif"``: :class:`snnsim.neurons.AdLIF` with
            time constants and couplings that are learnt per neuron (exponential decays).
        tau_adapt: initial time constant of the adaptation in ms, with ``"adlif"``.
        recurrent: whether hidden neurons also feed each other, one step later.
        skip: whether a hidden block with as many outputs as inputs adds its input to its spikes,
            ``y = x + block(x)`` (Fang et al. 2021, arXiv:2102.04159). What it passes on are then
            sums of spikes, which :func:`snnsim.compile` refuses.
        stochastic_depth: probability with which each of these blocks is left out of a training
            batch, see :class:`snnsim.networks.StochasticDepth`; it needs ``skip``.
        backend: backend of neurons and connections.
        connection: further arguments of :class:`snnsim.synapses.Delayed`: ``kernel_count``,
            ``granularity`` and ``padding``.

    Returns:
        A network ``[T, B, sizes[0]] -> [T', B, sizes[-1]]``.

    >>> sum(p.numel() for p in delay_network((140, 256, 256, 20), dt=10.0, tau_mem=10.05,
    ...     max_delay_ms=240, dropout=0.4).parameters())
    214016
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ConfigError(
            f"sizes is {tuple(sizes)} but must be input, hidden ..., classes, all > 0"
        )
    check_choice("delays", delays, DELAYS)
    check_choice("neuron", neuron, NEURONS)
    _check_depth(sizes, skip, stochastic_depth)
    common: dict[str, Any] = {"dt": dt, "tau_mem": tau_mem, "backend": backend}
    connection |= {"dt": dt, "max_delay_ms": max_delay_ms, "learn_delay": delays == "learned"}
    connection["backend"] = "reference" if backend == "reference" else "auto"

    def connect(n_in: int, n_out: int) -> Layer:
        if delays == "none":
            return Dense(n_in, n_out, init="he")
        return Delayed(n_in, n_out, **connection)

    def neurons(n: int) -> Layer:
        cell = hidden_neurons(n, neuron, tau_adapt, **common)
        return Recurrent(cell) if recurrent else cell

    layers: list[Layer] = []
    for n_in, n_out in itertools.pairwise(sizes[:-1]):
        block = [connect(n_in, n_out), BatchNorm(n_out), neurons(n_out), Dropout(dropout)]
        layers += [_around(block, stochastic_depth)] if skip and n_in == n_out else block
    integrators = LI(sizes[-1], discretization="euler", **common)
    return Sequential(*layers, connect(sizes[-2], sizes[-1]), integrators)


def _check_depth(sizes: Sequence[int], skip: bool, stochastic_depth: float) -> None:
    """Refuse options that no block of these sizes would use."""
    if stochastic_depth and not skip:
        raise ConfigError(
            f"stochastic_depth is {stochastic_depth!r} but skip is off, so nothing would pass a "
            "block that is left out; set skip=True as well"
        )
    if skip and all(n_in != n_out for n_in, n_out in itertools.pairwise(sizes[:-1])):
        raise ConfigError(
            f"skip joins blocks with as many outputs as inputs, and sizes {tuple(sizes)} have "
            "none; make two hidden layers that follow one another equal, or set skip=False"
        )


def _around(block: Sequence[Layer], stochastic_depth: float) -> Skip:
    inner: Layer = Sequential(*block)
    return Skip(StochasticDepth(inner, stochastic_depth) if stochastic_depth else inner)


def hidden_neurons(
    n: int | tuple[int, ...], neuron: str, tau_adapt: float, **common: Any
) -> LIF | AdLIF:
    """Return the neurons of a hidden layer.

    Args:
        n: the number of neurons, or their shape.
        neuron, tau_adapt: as in :func:`delay_network`.
        common: ``dt``, ``tau_mem`` and ``backend``, as there.
    """
    check_choice("neuron", neuron, NEURONS)
    return _adaptive(n, tau_adapt, **common) if neuron == "adlif" else _published(n, **common)


def _published(n: int | tuple[int, ...], **common: Any) -> LIF:
    return LIF(n, reset="zero", surrogate=ATan(alpha=5.0), discretization="euler", **common)


def _adaptive(
    n: int | tuple[int, ...], tau_adapt: float, *, tau_mem: float, **common: Any
) -> AdLIF:
    """Adaptive neurons whose couplings start in the published ranges, drawn anew for each neuron.

    But ``a`` in 0 .. 1 and not in -1 .. 1: where it is negative, membrane and adaptation drive each
    other and grow without bound.
    """
    one = torch.ones(n)
    couplings: dict[str, Any] = {"a": torch.rand(n), "b": 2 * torch.rand(n)}
    couplings |= {"tau_mem": tau_mem * one, "tau_adapt": tau_adapt * one}
    surrogate = ATan(alpha=5.0)
    return AdLIF(n, surrogate=surrogate, learn=tuple(couplings), **common, **couplings)


def shd_network(classes: int = 20, **changes: Any) -> Sequential:
    """Build the network of the SHD experiments: 140-256-256-20, delays up to 240 ms.

    Args:
        classes: number of classes.
        changes: arguments of :func:`delay_network` that differ.
    """
    return _build((140, 256, 256, classes), changes, tau_mem=10.05, max_delay_ms=240, dropout=0.4)


def ssc_network(classes: int = 35, hidden_layers: int = 3, **changes: Any) -> Sequential:
    """Build the network of the SSC experiments: 140-512-512(-512)-35, delays up to 300 ms.

    Args:
        classes: number of classes.
        hidden_layers: number of hidden layers, 2 or 3 as published.
        changes: arguments of :func:`delay_network` that differ.
    """
    sizes = (140, *(512,) * hidden_layers, classes)
    return _build(sizes, changes, tau_mem=15.0, max_delay_ms=300, dropout=0.25)


def gsc_network(classes: int = 35, hidden_layers: int = 3, **changes: Any) -> Sequential:
    """Build the network of the GSC experiments: :func:`ssc_network` on 140 mel bands."""
    return ssc_network(classes, hidden_layers, **changes)


def _build(sizes: tuple[int, ...], changes: dict[str, Any], **defaults: Any) -> Sequential:
    return delay_network(sizes, **{"dt": 10.0, **defaults, **changes})
