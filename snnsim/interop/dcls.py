"""Layers of the DCLS package (dilated convolutions with learnable spacings) as ours."""

from __future__ import annotations

from typing import Any

import torch

from snnsim.errors import ConfigError
from snnsim.synapses import Delayed
from snnsim.units import steps_to_ms

_PROFILES = {"gauss": "gauss", "max": "triangle", "v1": "triangle", "v0": "linear"}


@torch.no_grad()
def from_dcls(layer: Any, *, dt: float, padding: str = "causal") -> Delayed:
    """Return a :class:`Delayed` with the weights, positions and width of a ``Dcls1d``.

    The layer's position ``P`` becomes the delay ``(length - 1) / 2 - P``. A layer saved by the
    reference system holds positions that are not rounded; ours are rounded in evaluation.

    Args:
        layer: a ``DCLS.construct.modules.Dcls1d`` without bias, groups or stride, with an odd
            ``dilated_kernel_size``; one width for all its synapses.
        dt: time step in ms.
        padding: as in :class:`Delayed`; the reference system has ``"lengthen"``.

    Raises:
        ConfigError: for a layer that cannot be represented; the message names the obstacles.
    """
    (length,) = layer.dilated_kernel_size
    problems = [
        ("a bias", layer.bias is not None),
        ("groups", layer.groups != 1),
        ("a stride", tuple(layer.stride) != (1,)),
        ("an even number of taps", length % 2 == 0),
        ("an unknown version", layer.version not in _PROFILES),
    ]
    found = [name for name, present in problems if present]
    width = layer.SIG if layer.version in ("gauss", "max") else torch.zeros(1)
    if not bool((width == width.flatten()[0]).all()):
        found.append("widths that differ between synapses")
    if found:
        raise ConfigError(f"this Dcls1d has {', '.join(found)}, which Delayed cannot represent")
    ours = Delayed(
        layer.in_channels,
        layer.out_channels,
        dt=dt,
        max_delay_ms=steps_to_ms(length - 1, dt),
        kernel_count=layer.kernel_count,
        profile=_PROFILES[layer.version],
        sigma=float(width.flatten()[0]),
        padding=padding,
    ).to(layer.weight)
    ours.weight.copy_(layer.weight)
    ours.delay.copy_(length // 2 - layer.P[0])
    return ours
