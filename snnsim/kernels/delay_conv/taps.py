"""The dense kernel of a delayed connection, tap axis first: ``[D, O, I]``.

The equations are those of :mod:`snnsim.functional.delays`. On the CPU one pass per synapse
computes the taps that matter (a narrow profile touches few) and their derivatives; nothing is
saved for backward but the parameters. Elsewhere, and for the profile ``"linear"``, the
reference is used.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnsim.errors import check_choice
from snnsim.functional.delays import check_length, delay_kernel
from snnsim.kernels.guard import check_axes, check_delays, check_operands, check_shape, check_widths
from snnsim.kernels.operator import declare
from snnsim.kernels.threads import run_chunked

FUSED = ("gauss", "triangle")


def kernel_taps(
    weight: Tensor, delay: Tensor, sigma: Tensor | float, length: int, profile: str
) -> Tensor:
    """Kernel with the tap axis first.

    Args:
        weight, delay: ``[O, I, K]``; delays in steps, within ``[0, length - 1]``.
        sigma: width in steps, a number or broadcastable to ``delay``.
        length: number of taps, odd.
        profile: ``"gauss"``, ``"triangle"`` or ``"linear"``.

    Returns:
        ``[length, O, I]``. Gradients flow to ``weight``, ``delay`` and ``sigma``.
    """
    if weight.device.type != "cpu" or profile not in FUSED:
        return delay_kernel(weight, delay, sigma, length, profile).permute(2, 0, 1)
    return fused_taps(weight, delay, flat_widths(sigma, weight), length, profile)


def flat_widths(sigma: Tensor | float, weight: Tensor) -> Tensor:
    """Flat: one value, or one per synapse."""
    width = torch.as_tensor(sigma, dtype=weight.dtype)
    return (width if width.numel() == 1 else width.expand_as(weight)).reshape(-1)


class Synapses(NamedTuple):
    """Weights and delays as matrices of one shape, flat widths, and which of ``FUSED`` it is."""

    weight: Any
    delay: Any
    sigma: Any
    profile: int


def synapses_of(weight: Tensor, delay: Tensor, sigma: Tensor, profile: str) -> Synapses:
    """What the kernels of ``profiles.py`` take, from tensors."""
    w, p, s = (a.detach().contiguous().numpy() for a in (weight, delay, sigma))
    return Synapses(w, p, s, FUSED.index(profile))


def check_kernel(weight: Tensor, delay: Tensor, sigma: Tensor, length: int, profile: str) -> None:
    """Raise unless these make a kernel: shapes, delays in range, widths, a fused profile."""
    check_choice("profile", profile, FUSED)
    check_length(length)
    check_axes("weight", weight, "O, I, K")
    check_operands(weight, delay, sigma)
    check_shape("delay", delay, tuple(weight.shape))
    check_delays(delay, length)
    check_widths(sigma, weight)


def _forward(weight: Tensor, delay: Tensor, sigma: Tensor, length: int, profile: str) -> Tensor:
    """See :func:`kernel_taps`; ``sigma`` is flat, of one value or one per synapse."""
    from snnsim.kernels.delay_conv import profiles

    check_kernel(weight, delay, sigma, length, profile)
    taps = weight.new_empty((length, *weight.shape[:2]))
    synapses = synapses_of(weight.flatten(0, 1), delay.flatten(0, 1), sigma, profile)
    args = (synapses, taps.view(length, -1).numpy())
    run_chunked(profiles.taps, args, len(synapses.weight), taps.numel())
    return taps


def _backward(
    weight: Tensor, delay: Tensor, sigma: Tensor, g_taps: Tensor, profile: str, wants_sigma: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the forward pass; that of ``sigma`` is empty unless wanted."""
    g = g_taps
    from snnsim.kernels.delay_conv import profiles

    check_kernel(weight, delay, sigma, g.shape[0], profile)
    check_operands(weight, g)
    check_shape("g", g, (g.shape[0], *weight.shape[:2]))
    g_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    g_delay = torch.empty_like(g_weight)
    g_sigma = torch.empty_like(g_weight) if wants_sigma else weight.new_empty((0, 0, 1))
    synapses = synapses_of(weight.flatten(0, 1), delay.flatten(0, 1), sigma, profile)
    upstream = g.contiguous().view(g.shape[0], -1).numpy()
    gradients = tuple(a.flatten(0, 1).numpy() for a in (g_weight, g_delay, g_sigma))
    run_chunked(
        profiles.taps_backward, (synapses, upstream, gradients), len(synapses.weight), g.numel()
    )
    if wants_sigma:
        g_sigma = g_sigma.sum().view(1) if sigma.numel() == 1 else g_sigma.flatten()
    return g_weight, g_delay, g_sigma.flatten()


fused_taps, _ = declare(
    "delay_taps",
    _forward,
    _backward,
    outputs=("taps",),
    shapes=lambda weight, delay, sigma, length, profile: [(length, *weight.shape[:2])],
    gradients=("weight", "delay", "sigma"),
)
