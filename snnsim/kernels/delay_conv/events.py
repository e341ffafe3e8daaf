"""Events rung: narrow kernels and sparse input, one vector operation per spike and synapse.

Once the width of a Gaussian has shrunk to about half a step, all but ``NARROW`` taps of it are
below a rounding error. The output and the gradients of weights, delays and width then are sums
over spikes; the gradient of the input, which is dense, is the spectral rung's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnsim.errors import ConfigError
from snnsim.kernels.delay_conv import spectral
from snnsim.kernels.delay_conv.taps import FUSED, Synapses, check_kernel, fused_taps, synapses_of
from snnsim.kernels.guard import check_axes, check_count, check_operands, check_shape
from snnsim.kernels.operator import declare
from snnsim.kernels.threads import run_chunked


def fits(sigma: Tensor | float, profile: str, dtype: torch.dtype) -> bool:
    """Whether every profile of these widths lies within ``NARROW`` taps."""
    from snnsim.kernels.delay_conv.profiles import fits_window

    if profile not in FUSED:
        return False
    widest = float(torch.as_tensor(sigma).detach().abs().max())
    return bool(fits_window(widest, FUSED.index(profile), dtype == torch.float64))


def spike_rate(x: Tensor) -> float:
    """Share of nonzero values in one of 8 samples of ``x [T, B, I]``."""
    some = x[:, ::8]
    return int(torch.count_nonzero(some)) / max(some.numel(), 1)


class _Spikes(NamedTuple):
    """Where those of a sample's channel ``[B I]`` begin, their steps and values ``[n]``."""

    begin: Any
    step: Any
    value: Any


def _spikes_of(x: Tensor) -> _Spikes:
    from snnsim.kernels.delay_conv import spikes

    B, I = x.shape[1:]  # noqa: E741
    dense = x.contiguous().numpy()
    counts = torch.empty((B, I), dtype=torch.int32)
    run_chunked(spikes.count, (dense, counts.numpy()), B, x.numel())
    ends = counts.flatten().cumsum(0)
    begin = (ends - counts.flatten()).numpy()
    found = int(ends[-1])
    step, value = torch.empty(found, dtype=torch.int32).numpy(), x.new_empty(found).numpy()
    run_chunked(spikes.collect, (dense, begin.reshape(B, I), step, value), B, x.numel())
    return _Spikes(begin, step, value)


def _check(x: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor, length: int, profile: str):
    check_kernel(weight, delay, sigma, length, profile)
    check_axes("x", x, "T, B, I")
    check_operands(x, weight)
    check_shape("weight", weight, (weight.shape[0], x.shape[2], weight.shape[2]))
    if not fits(sigma, profile, x.dtype):
        raise ConfigError("the kernel is too wide to be summed spike by spike; use backend='auto'")


def _blocks(weight: Tensor) -> tuple[int, int, int]:
    from snnsim.kernels.delay_conv import spikes

    return -(-weight.shape[0] // spikes.OUTPUTS), weight[0].numel(), spikes.OUTPUTS


def _windows(weight: Tensor, synapses: Synapses, length: int):
    from snnsim.kernels.delay_conv import profiles

    shape = _blocks(weight)
    starts = torch.zeros(shape, dtype=torch.int32).numpy()
    taps = weight.new_empty((*shape, profiles.NARROW))
    run_chunked(profiles.windows, (synapses, length, starts, taps.numpy()), shape[0], taps.numel())
    return starts, taps.numpy()


def _reach(length: int) -> int:
    from snnsim.kernels.delay_conv import profiles

    return length + profiles.NARROW


def _forward(
    x: Tensor,
    weight: Tensor,
    delay: Tensor,
    sigma: Tensor,
    length: int,
    profile: str,
    frames: int,
) -> Tensor:
    """The contract's output for profiles that :func:`fits`.

    Args:
        x: ``[T, B, I]``.
        weight, delay: ``[O, I, K]``.
        sigma: flat, of one value or one per synapse.
        length, profile: of the kernel.
        frames: number of output steps.

    Returns:
        ``[frames, B, O]``. Gradients flow to ``x``, ``weight``, ``delay`` and ``sigma``, which
        are what is saved.
    """
    from snnsim.kernels.delay_conv import spikes

    _check(x, weight, delay, sigma, length, profile)
    check_count("frames", frames, 0, x.shape[0] + length - 1)
    y = x.new_empty((frames, x.shape[1], weight.shape[0]))
    events = _spikes_of(x)
    synapses = synapses_of(weight.flatten(1), delay.flatten(1), sigma, profile)
    args = (events, *_windows(weight, synapses, length), _reach(length), y.numpy())
    groups = -(-x.shape[1] // spikes.SAMPLES)
    run_chunked(spikes.accumulate, args, groups, len(events.step) * weight[:, 0].numel())
    return y


def _backward(
    x: Tensor,
    weight: Tensor,
    delay: Tensor,
    sigma: Tensor,
    g_y: Tensor,
    length: int,
    profile: str,
    wants_x: bool,
    wants_sigma: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the forward pass; what is not wanted comes back empty."""
    from snnsim.kernels.delay_conv import profiles, spikes

    _check(x, weight, delay, sigma, length, profile)
    g = g_y.contiguous()
    check_operands(x, g)
    check_count("the number of output steps", g.shape[0], 0, x.shape[0] + length - 1)
    check_shape("g", g, (g.shape[0], x.shape[1], weight.shape[0]))
    g_x = x.new_empty(0)
    if wants_x:
        taps = fused_taps(weight, delay, sigma, length, profile)
        g_x, _ = spectral.spectral_conv_backward(x, taps, g, True, False)
    g_taps = g.new_empty((*_blocks(weight), profiles.NARROW)).numpy()
    events = _spikes_of(x)
    synapses = synapses_of(weight.flatten(1), delay.flatten(1), sigma, profile)
    starts, _ = _windows(weight, synapses, length)
    work = len(events.step) * weight[:, 0].numel()
    args: tuple[Any, ...] = (events, starts, _reach(length), g.numpy(), g_taps)
    run_chunked(spikes.correlate, args, starts.shape[0], work)
    g_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    g_delay = torch.empty_like(g_weight)
    g_sigma = torch.empty_like(g_weight) if wants_sigma else weight.new_empty((0, 0))
    gradients = tuple(a.flatten(1).numpy() for a in (g_weight, g_delay, g_sigma))
    args = (synapses, length, g_taps, gradients)
    run_chunked(profiles.windows_backward, args, starts.shape[0], g_taps.size)
    if wants_sigma and sigma.numel() == 1:
        g_sigma = g_sigma.sum()
    return g_x, g_weight, g_delay, g_sigma.flatten()


def _shapes(x: Tensor, weight: Tensor, delay: Any, sigma: Any, length: Any, p: Any, frames: int):
    return [(frames, x.shape[1], weight.shape[0])]


event_conv, _ = declare(
    "event_conv",
    _forward,
    _backward,
    outputs=("y",),
    shapes=_shapes,
    gradients=("x", "weight", "delay", "sigma"),
)
