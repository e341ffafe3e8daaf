"""Convolutional networks with learnable delays, for event cameras and other images over time.

Each convolutional block is: convolution -> batch normalisation over its channels -> LIF -> dropout
-> maximum over windows of pixels, which of spikes is a spike if any of them spikes. What follows is
the network of :func:`snnsim.networks.delay_network`. After Hammouamri, Khalfaoui-Hassani &
Masquelier 2024, arXiv:2306.17670, whose networks have no convolutions over space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from snnsim.errors import ConfigError, check_choice, check_size
from snnsim.layer import Layer
from snnsim.networks.delay_network import DELAYS, delay_network, hidden_neurons
from snnsim.networks.dropout import Dropout
from snnsim.networks.normalization import BatchNorm
from snnsim.networks.passing import passing_on
from snnsim.networks.sequential import Sequential
from snnsim.synapses import Conv2d, DelayedConv2d, MaxPool2d
from snnsim.synapses.dense import kaiming_uniform

FURTHER = (
    "delays", "neuron", "tau_adapt", "recurrent", "skip", "stochastic_depth", "backend",
    "kernel_count", "granularity", "padding",
)  # fmt: skip


@passing_on(delay_network, FURTHER)
def conv_delay_network(
    shape: Sequence[int],
    channels: Sequence[int],
    classes: int,
    *,
    dt: float,
    tau_mem: float,
    max_delay_ms: float,
    dropout: float,
    hidden: Sequence[int] = (),
    kernel_size: int = 3,
    pool: int = 2,
    **further: Any,
) -> Sequential:
    """Build a convolutional network with delays.

    Args:
        shape: channels, height and width of one step of the input, ``(C, H, W)``.
        channels: the number of channels of every convolution, at least one.
        classes: the number of classes.
        dt: time step in ms.
        tau_mem: membrane time constant in ms, at least ``dt`` (forward Euler).
        max_delay_ms: largest delay in ms, an even number of steps.
        dropout: probability of dropout on the spikes of every hidden layer.
        hidden: widths of fully connected hidden layers behind the convolutions; none by default.
        kernel_size: the height and width of the kernels, an odd number, so that a convolution
            keeps the size of its images.
        pool: the height and width of the windows of pixels that become one after a convolution;
            1 keeps all.
        further: further arguments of :func:`snnsim.networks.delay_network`. ``delays``,
            ``neuron``, ``tau_adapt``, ``padding`` and ``backend`` are about convolutions as well;
            the others are about fully connected layers alone.

    Returns:
        A network ``[T, B, C, H, W] -> [T', B, classes]``; it also takes the pixels of a step as one
        row, ``[T, B, C * H * W]``.

    Raises:
        ConfigError: if the shape is no image, or too small for so many windows.

    >>> import torch
    >>> net = conv_delay_network((2, 34, 34), (4, 8), 10, dt=10.0, tau_mem=20.0, max_delay_ms=100,
    ...     dropout=0.0)
    >>> tuple(net(torch.zeros(3, 1, 2, 34, 34))[0].shape)
    (18, 1, 10)
    """
    _check_sizes(shape, channels, kernel_size, pool)
    time: dict[str, Any] = {"dt": dt, "max_delay_ms": max_delay_ms}
    cell = {name: further[name] for name in ("neuron", "tau_adapt", "backend")}
    layers: list[nn.Module] = [nn.Flatten(2), nn.Unflatten(2, tuple(shape))]
    before, height, width = shape
    for count in channels:
        layers += [
            _convolution(before, count, kernel_size, further["delays"], further["padding"], **time),
            BatchNorm(count),
            hidden_neurons((count, height, width), dt=dt, tau_mem=tau_mem, **cell),
            Dropout(dropout),
        ]
        layers += [MaxPool2d(pool)] if pool > 1 else []
        before, height, width = count, height // pool, width // pool
    sizes = (before * height * width, *hidden, classes)
    rest = delay_network(sizes, tau_mem=tau_mem, dropout=dropout, **time, **further)
    return Sequential(*layers, nn.Flatten(2), *rest)


def _convolution(n_in: int, n_out: int, size: int, delays: str, padding: str, **time: Any) -> Layer:
    """One that keeps the size of images, with weights drawn alike with and without delays."""
    check_choice("delays", delays, DELAYS)
    if delays != "none":
        learn = delays == "learned"
        options: dict[str, Any] = {"margin": size // 2, "learn_delay": learn, "padding": padding}
        return DelayedConv2d(n_in, n_out, size, **options, **time)
    convolution = Conv2d(n_in, n_out, size, padding=size // 2)
    weight: Any = convolution.module.weight
    with torch.no_grad():
        weight.copy_(kaiming_uniform(weight.shape, n_in * size**2))
    return convolution


def _check_sizes(shape: Sequence[int], channels: Sequence[int], size: int, pool: int) -> None:
    """Refuse what makes no network: no image, no convolution, more windows than pixels."""
    if len(shape) != 3 or min(shape) < 1:
        raise ConfigError(
            f"a step of the input has the shape {tuple(shape)} but convolutions need images, "
            "(channels, height, width); use delay_network for other data"
        )
    if not channels:
        raise ConfigError(
            "channels is empty but there must be one convolution or more; use delay_network for a "
            "network without any"
        )
    for count in channels:
        check_size("the number of channels of a convolution", count)
    if check_size("kernel_size", size) % 2 == 0:
        raise ConfigError(
            f"kernel_size is {size} but must be odd, so that images keep their size; use "
            f"{size - 1} or {size + 1}"
        )
    if min(shape[1:]) < check_size("pool", pool) ** len(channels):
        raise ConfigError(
            f"{len(channels)} convolutions, each with windows of {pool} x {pool} pixels behind it, "
            f"leave nothing of images of {shape[1]} x {shape[2]} pixels; use fewer, or pool=1"
        )
