"""Learnable delays: where on the time axis a synapse's weight is spread.

A connection with weight ``w`` and delay ``p`` (in steps, a real number) is a kernel of
``length`` taps, tap ``d`` being the weight at delay ``d``:

    profile "gauss":     x_d = exp(-((d - p) / s)^2 / 2),    s = |sigma| + 0.27
    profile "triangle":  x_d = max(0, s - |d - p|),          s = |sigma| + 1
                         kernel_d = w * x_d / (sum_d x_d + 1e-7)
    profile "one_tap":   x_d = 1 at the tap nearest to p (ties to even), else 0
    profile "linear":    the two taps around p share w in proportion (no normalisation)

so the kernel sums to ``w`` wherever ``p`` lies. Source: Khalfaoui-Hassani, Pellegrini &
Masquelier 2023 (arXiv:2112.03740, arXiv:2306.00817) and Hammouamri et al. 2024
(arXiv:2306.17670). Their position ``P`` is ``(length - 1) / 2 - p`` and their kernel is this
one with its taps reversed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.elementary import absolute, exp, where
from snnsim.errors import ConfigError, check_choice

PROFILES = ("gauss", "triangle", "linear", "one_tap")
EPSILON = 1e-7  # in the normaliser
ONE_TAP = 1 + EPSILON  # which a profile of one tap is divided by


def gauss(distance, scale):
    """Return the unnormalised Gaussian at ``distance`` from the delay.

    Like :func:`triangle`, it takes tensors, numbers or symbols: kernels are printed from it.

    Args:
        distance: of a tap from the delay, in steps.
        scale: the profile's scale ``s = |sigma| + OFFSET["gauss"]``, in steps.

    >>> round(gauss(0.5, 0.5), 4)
    0.6065
    """
    scaled = distance / scale
    return exp(-0.5 * scaled * scaled)


def triangle(distance, scale):
    """Return the unnormalised triangle at ``distance`` from the delay; see :func:`gauss`.

    >>> triangle(0.5, 2.0), triangle(-3.0, 2.0)
    (1.5, 0.0)
    """
    height = scale - absolute(distance)
    return where(height > 0, height, 0.0)


SPREAD = {"gauss": gauss, "triangle": triangle}  # the profiles that have a width
OFFSET = {"gauss": 0.27, "triangle": 1.0}  # what the scale of each is beyond |sigma|


def check_length(length: int) -> int:
    """Return the number of taps; raise :class:`ConfigError` unless it is odd and positive."""
    if length < 1 or length % 2 == 0:
        raise ConfigError(
            f"the delay kernel has {length} taps but the number must be odd and positive: with an "
            "even number the centre lies between two taps and the largest delay falls outside the "
            f"kernel, where its weight silently becomes zero; use {max(length, 0) + 1}"
        )
    return length


def delay_profile(delay: Tensor, sigma: Tensor | float, length: int, profile: str) -> Tensor:
    """How a unit weight is spread over the taps.

    Args:
        delay: delays in steps, any shape, in ``[0, length - 1]``.
        sigma: width in steps (its absolute value counts), a number or broadcastable to ``delay``.
        length: number of taps, odd.
        profile: ``"gauss"``, ``"triangle"``, ``"linear"`` or ``"one_tap"`` (which both ignore
            ``sigma``; the latter gives no gradient).

    Returns:
        ``[*delay.shape, length]``; sums to 1 along the last axis (up to 1e-7). Gradients flow
        to ``delay`` and ``sigma``.

    >>> taps = delay_profile(torch.tensor(11.7), 0.23, 25, "gauss")
    >>> [round(float(t), 4) for t in taps[10:15]]
    [0.0025, 0.3008, 0.6694, 0.0273, 0.0]
    """
    check_choice("profile", profile, PROFILES)
    taps = torch.arange(check_length(length), dtype=delay.dtype, device=delay.device)
    distance = taps - delay.unsqueeze(-1)
    if profile == "linear":
        return _linear(delay, taps)
    width = torch.as_tensor(sigma, dtype=delay.dtype, device=delay.device).abs()
    width = width.unsqueeze(-1) if width.dim() else width
    if profile == "one_tap":
        spread = (taps == delay.detach().round().unsqueeze(-1)).to(delay.dtype)
    else:
        spread = SPREAD[profile](distance, width + OFFSET[profile])
    return spread / (spread.sum(-1, keepdim=True) + EPSILON)


def _linear(delay: Tensor, taps: Tensor) -> Tensor:
    # at the last tap the pair is the last two, so that the slope there is that of the inside
    lower = delay.detach().floor().clamp(max=max(len(taps) - 2, 0)).unsqueeze(-1)
    share = delay.unsqueeze(-1) - lower
    return torch.where(taps == lower, 1 - share, torch.where(taps == lower + 1, share, 0.0))


def unit_sum(weight: Tensor) -> Tensor:
    """What the one tap of a weight's kernel is: the weight, normalised as every profile is."""
    return weight / ONE_TAP


def delay_kernel(
    weight: Tensor, delay: Tensor, sigma: Tensor | float, length: int, profile: str = "gauss"
) -> Tensor:
    """Dense kernel of a delayed connection.

    Args:
        weight: ``[..., K]``, ``K`` kernel elements per connection.
        delay: of ``weight``'s shape, in steps.
        sigma, length, profile: as in :func:`delay_profile`.

    Returns:
        ``[..., length]``, the elements summed; sums to ``weight.sum(-1)``. Gradients flow to
        ``weight``, ``delay`` and ``sigma``. Saves ``O(weight.numel() * length)``.

    >>> kernel = delay_kernel(torch.tensor([2.0]), torch.tensor([3.0]), 12.0, 25)
    >>> round(float(kernel.sum()), 5)
    2.0
    """
    return (weight.unsqueeze(-1) * delay_profile(delay, sigma, length, profile)).sum(-2)


def clamp_delay(delay: Tensor, length: int) -> Tensor:
    """``delay`` brought into ``[0, length - 1]``."""
    return delay.clamp(0, length - 1)


def round_delay(delay: Tensor, length: int) -> Tensor:
    """``delay`` at its nearest tap (ties to even) within ``[0, length - 1]``."""
    return clamp_delay(delay.round(), length)


def uniform_delay(shape: tuple[int, ...], length: int) -> Tensor:
    """Random initial delays: uniform over the kernel and one step beyond its end, clamped.

    The step beyond is the reference system's; it starts ``1 / length`` of the
    delays exactly at the maximum.
    """
    return clamp_delay(torch.rand(shape) * length, length)


def sigma_after(epoch: float, start: float, end: float, epochs: float) -> float:
    """Width after ``epoch`` epochs of an exponential decay that takes ``epochs`` epochs.

    Multiplied by ``(end / start)^(1 / epochs)`` after each epoch until ``epochs`` have passed
    or ``end`` is reached. ``epochs <= 0`` means: at ``start`` for ever.

    >>> sigma_after(0, 12.0, 0.23, 37), round(sigma_after(37, 12.0, 0.23, 37), 6)
    (12.0, 0.23)
    """
    if epochs <= 0 or start <= end:
        return start
    return start * (end / start) ** (min(epoch, epochs) / epochs)


def delay_channels(x: Tensor, taps: Tensor, tail: int = 0) -> Tensor:
    """Delay each channel by its own kernel.

    Args:
        x: ``[T, B, C]``.
        taps: ``[C, length]``, tap ``d`` being the share that arrives ``d`` steps later.
        tail: further output steps after the last input.

    Returns:
        ``[T + tail, B, C]``. Gradients flow to ``x`` and ``taps``.

    >>> x = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    >>> delay_channels(x, torch.tensor([[0.0, 1.0, 0.0]])).flatten().tolist()
    [0.0, 1.0, 0.0]
    """
    length = taps.shape[-1]
    if x.shape[0] + tail == 0:
        return x
    padded = torch.nn.functional.pad(x.permute(1, 2, 0), (length - 1, tail))
    kernel = taps.flip(-1).unsqueeze(1)
    return torch.nn.functional.conv1d(padded, kernel, groups=x.shape[2]).permute(2, 0, 1)


def delay_conv2d(
    x: Tensor, kernel: Tensor, tail: int = 0, stride: int = 1, margin: int = 0
) -> Tensor:
    """Convolve images over space, each weight being spread over time.

        y[t, b, o, h, w] = sum_{i, a, b', d} kernel[o, i, a, b', d]
                           x[t - d, b, i, stride h + a - margin, stride w + b' - margin]

    Args:
        x: images ``[T, B, I, H, W]``.
        kernel: weights ``[O, I, A, A', length]``, tap ``d`` being the weight ``d`` steps later.
        tail: the number of further output steps after the last input.
        stride: the distance of neighbouring patches in pixels, at least 1.
        margin: the number of rows and columns of zeros around an image, 0 or more.

    Returns:
        ``[T + tail, B, O, H', W']``. Gradients flow to ``x`` and ``kernel``.

    >>> x = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1, 1, 1)
    >>> kernel = torch.tensor([0.0, 2.0, 0.0]).view(1, 1, 1, 1, 3)
    >>> delay_conv2d(x, kernel).flatten().tolist()
    [0.0, 2.0, 0.0]
    """
    depth = kernel.permute(0, 1, 4, 2, 3).flip(2)  # time as the first of three dimensions
    ends = (kernel.shape[-1] - 1, max(tail, 1 - len(x)))  # at least one step, for torch
    padded = torch.nn.functional.pad(x.permute(1, 2, 0, 3, 4), (0, 0, 0, 0, *ends))
    steps = (1, stride, stride)
    y = torch.nn.functional.conv3d(padded, depth, stride=steps, padding=(0, margin, margin))
    return y.permute(2, 0, 1, 3, 4)[: len(x) + tail]
