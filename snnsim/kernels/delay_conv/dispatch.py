"""The contract of the delay convolution and the choice of its rung."""

from __future__ import annotations

from torch import Tensor

from snnsim.errors import ShapeError, check_choice
from snnsim.kernels.delay_conv import reference, spectral

BACKENDS = ("auto", "reference", "spectral")


def choose_rung(backend: str, steps: int, length: int) -> str:
    """The rung that runs; ``"auto"`` depends on shapes alone, so runs stay reproducible.

    Per output and input the spectral rung does about ``1.5 + (steps + length) / 256`` units of
    work per step (the second term is the transform, over a layer of a few hundred channels),
    the dense one ``length``.
    """
    check_choice("backend", backend, BACKENDS)
    if backend != "auto":
        return backend
    spectral = 1.5 * (steps + length) / max(steps, 1) + (steps + length) / 256
    return "spectral" if steps > 0 and 2.0 * spectral < length else "reference"


def delay_conv(
    x: Tensor,
    weight: Tensor,
    delay: Tensor,
    sigma: Tensor | float,
    *,
    length: int,
    profile: str = "gauss",
    tail: int = 0,
    backend: str = "auto",
) -> Tensor:
    """Connect inputs to outputs, each connection with its own weights and delays.

    ``y[t, b, o] = sum over i, d of kernel[o, i, d] * x[t - d, b, i]`` with the kernel of
    :func:`snnsim.functional.delays.delay_kernel` and ``x = 0`` outside ``0 <= t < T``.

    Args:
        x: spikes or currents, ``[T, B, I]``.
        weight: ``[O, I, K]``.
        delay: of the same shape, in steps, within ``[0, length - 1]``.
        sigma: width of the profile in steps, a number or broadcastable to ``delay``.
        length: number of taps, odd; delays up to ``length - 1`` steps.
        profile: ``"gauss"``, ``"triangle"`` or ``"linear"``.
        tail: further output steps after the last input, ``0 .. length - 1``.
        backend: ``"auto"``, ``"reference"`` or ``"spectral"``.

    Returns:
        ``[T + tail, B, O]``. Gradients flow to ``x``, ``weight``, ``delay`` and ``sigma``.

    >>> import torch
    >>> x = torch.zeros(4, 1, 1); x[0] = 1.0
    >>> one = torch.ones(1, 1, 1)
    >>> y = delay_conv(x, 0.5 * one, 2 * one, 0.0, length=3, profile="triangle")
    >>> [round(v, 4) for v in y.flatten().tolist()]
    [0.0, 0.0, 0.5, 0.0]
    """
    if x.dim() != 3 or weight.dim() != 3 or x.shape[2] != weight.shape[1]:
        raise ShapeError(
            f"x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}, but they must be "
            "[T, B, I] and [O, I, K] with the same I"
        )
    if delay.shape != weight.shape:
        raise ShapeError(f"delay has shape {tuple(delay.shape)} but weight {tuple(weight.shape)}")
    if not 0 <= tail < length:
        raise ShapeError(f"tail is {tail} but must lie in 0 .. length - 1 = {length - 1}")
    if min(x.shape[0], x.shape[1], weight.shape[0], weight.shape[1]) == 0:
        empty = x.new_zeros((x.shape[0] + tail, x.shape[1], weight.shape[0]))
        return empty + 0 * (x.sum() + weight.sum() + delay.sum())  # gradients of zeros
    rung = choose_rung(backend, x.shape[0], length)
    module = {"reference": reference, "spectral": spectral}[rung]
    return module.delay_conv(x, weight, delay, sigma, length, profile, tail)
