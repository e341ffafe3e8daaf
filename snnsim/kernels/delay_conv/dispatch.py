"""The contract of the delay convolution and the choice of its rung."""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.errors import BackendError, ShapeError, check_choice
from snnsim.kernels import derivatives
from snnsim.kernels.delay_conv import events, one_tap, reference, spectral
from snnsim.kernels.delay_conv.taps import FUSED, flat_widths, kernel_taps
from snnsim.kernels.guard import check_operands, check_profile

BACKENDS = ("auto", "reference", "spectral", "events", "one_tap")
OVERHEAD = 1e5  # multiply-adds that the spectral rung's many small steps are worth
ONE_TAP = 2.2  # of the spectral rung's multiply-adds, what one of dense shifted rows costs
EVENT = 30.0  # the same, of one spike at one synapse
EVENT_VALUE = 40.0  # the same, of one value that is searched for spikes or turned around


def most_spikes(shape: tuple[int, int, int, int], length: int, frames: int) -> float:
    """The fraction of nonzero inputs up to which a narrow kernel is cheapest spike by spike.

    >>> round(most_spikes((101, 256, 256, 256), 25, 101), 2)
    0.07
    """
    steps, samples, inputs, outputs = shape
    if steps == 0:
        return 0.0
    _, cost = spectral.best_period(steps, frames, length, (samples, inputs, outputs))
    cost = min(cost + OVERHEAD, length * frames * samples * inputs * outputs)
    values = EVENT_VALUE * samples * (steps * inputs + frames * outputs)
    return max((cost - values) / (EVENT * steps * samples * inputs * outputs), 0.0)


def choose_rung(
    backend: str,
    profile: str,
    device: str,
    shape: tuple[int, int, int, int],
    length: int,
    frames: int,
    trains: bool = False,
    rate: float | None = None,
) -> str:
    """The rung that runs; ``"auto"`` depends on nothing but these, so runs stay reproducible.

    Args:
        backend: ``"auto"`` or the name of a rung.
        profile: of the kernel; only ``"one_tap"`` can use the rung of that name.
        device: ``"cpu"``, ``"cuda"``, ...
        shape: steps, samples, inputs and outputs.
        length, frames: of kernel and output.
        trains: whether gradients are wanted, which are dense where spikes are sparse.
        rate: fraction of the inputs that are not zero, where the kernel is narrow enough for the
            rung ``"events"``; ``None`` where it is not.

    Raises:
        BackendError: for a named rung that cannot run.

    >>> choose_rung("auto", "gauss", "cpu", (101, 256, 140, 256), 25, 113)
    'spectral'
    >>> choose_rung("auto", "one_tap", "cpu", (101, 256, 140, 256), 25, 113)
    'one_tap'
    >>> choose_rung("auto", "gauss", "cpu", (101, 256, 140, 256), 25, 113, rate=0.03)
    'events'
    >>> choose_rung("auto", "gauss", "cpu", (101, 1, 4, 4), 3, 101)
    'reference'
    """
    check_choice("backend", backend, BACKENDS)
    if backend == "one_tap" and (profile != "one_tap" or device not in ("cpu", "cuda")):
        raise BackendError(
            f"backend 'one_tap' with profile {profile!r} on {device!r}: it runs only on CPU and "
            "CUDA and only whole-step delays (profile 'one_tap'); use backend='auto'"
        )
    if backend == "events" and (rate is None or device != "cpu"):
        raise BackendError(
            f"backend 'events' with profile {profile!r} on {device!r}: it runs only on the CPU, "
            f"not traced, and only profiles {' and '.join(FUSED)} of which no more than 8 taps "
            "count (sigma up to about 0.35); use backend='auto'"
        )
    if backend != "auto":
        return backend
    steps, samples, inputs, outputs = shape
    if torch.compiler.is_compiling():  # sizes are symbols, which have no cost
        whole = profile == "one_tap" and device == "cpu" and not trains
        return "one_tap" if whole else "spectral"
    if steps == 0:
        return "reference"
    _, cost = spectral.best_period(steps, frames, length, (samples, inputs, outputs))
    cost += OVERHEAD
    once = frames * samples * inputs * outputs
    if profile == "one_tap" and device == "cpu" and (not trains or ONE_TAP * once < cost):
        return "one_tap"
    if rate is not None and device == "cpu" and rate < most_spikes(shape, length, frames):
        return "events"
    return "spectral" if cost < length * once else "reference"


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
        profile: ``"gauss"``, ``"triangle"``, ``"linear"`` or ``"one_tap"``.
        tail: further output steps after the last input, ``0 .. length - 1``.
        backend: one of ``BACKENDS``.

    Returns:
        ``[T + tail, B, O]``. Gradients flow to ``x``, ``weight``, ``delay`` and ``sigma``
        (of profile ``"one_tap"`` to ``x`` and ``weight``). Saved are these inputs and, by the
        spectral rung, the kernel.

    >>> import torch
    >>> x = torch.zeros(4, 1, 1); x[0] = 1.0
    >>> one = torch.ones(1, 1, 1)
    >>> y = delay_conv(x, 0.5 * one, 2 * one, 0.0, length=3, profile="triangle")
    >>> [round(v, 4) for v in y.flatten().tolist()]
    [0.0, 0.0, 0.5, 0.0]
    """
    derivatives.refuse_named(backend)
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
    check_operands(x, weight, delay)
    check_profile(delay, sigma, length)
    frames = x.shape[0] + tail
    shape = (*x.shape, weight.shape[0])
    trains = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    device = x.device.type
    if derivatives.transformed():
        return reference.delay_conv(x, weight, delay, sigma, length, profile, tail)
    rate = None
    if device == "cpu" and backend in ("auto", "events") and not torch.compiler.is_compiling():
        narrow = events.fits(sigma, profile, x.dtype)
        rate = events.spike_rate(x) * weight.shape[2] if narrow else None
    rung = choose_rung(backend, profile, device, shape, length, frames, trains, rate)
    if rung == "events":
        return events.event_conv(
            x, weight, delay, flat_widths(sigma, weight), length, profile, frames
        )
    if rung == "one_tap":
        return one_tap.one_tap_conv(x, weight, delay, length, frames)
    if rung == "spectral":
        taps = kernel_taps(weight, delay, sigma, length, profile)
        return spectral.spectral_conv(x, taps, frames)
    return reference.delay_conv(x, weight, delay, sigma, length, profile, tail)
