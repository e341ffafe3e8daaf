"""The checks at the doors of the operators: compiled code trusts every shape and index it is given.

A kernel checks no bounds, so each operator calls these in its own body, where every caller passes:
a layer of ours, a saved graph, or somebody who calls the operator by its name. Indices that follow
from values (delays) are checked by their values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snnsim.errors import ConfigError, NonFiniteError, ShapeError
from snnsim.finite import all_finite
from snnsim.kernels import derivatives

DTYPES = (torch.float32, torch.float64)


def check_operands(x: Tensor, *others: Tensor) -> None:
    """Raise :class:`ShapeError` unless all have one number type and device that kernels have."""
    if x.dtype not in DTYPES:
        raise ShapeError(f"x is {x.dtype} but kernels compute in float32 or float64; cast it first")
    for other in others:
        if other.dtype != x.dtype or other.device != x.device:
            raise ShapeError(
                f"x is {x.dtype} on {x.device} but a state or parameter is {other.dtype} on "
                f"{other.device}; bring them to one dtype and device with .to(...)"
            )


def check_axes(name: str, tensor: Tensor, axes: str) -> None:
    """Raise :class:`ShapeError` unless a tensor has so many axes, written ``"T, B, N"``."""
    if tensor.dim() != axes.count(",") + 1:
        raise ShapeError(f"{name} has shape {tuple(tensor.shape)} but must be [{axes}]")


def check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    """Raise :class:`ShapeError` unless a tensor has the shape that the others ask for."""
    if tuple(tensor.shape) != tuple(expected):
        raise ShapeError(
            f"{name} has shape {tuple(tensor.shape)} but the other arguments need {expected}"
        )


def check_count(name: str, given: int, low: int, high: int) -> None:
    """Raise :class:`ShapeError` unless a whole number lies in ``low .. high``."""
    if not low <= given <= high:
        raise ShapeError(f"{name} is {given} but must lie in {low} .. {high}")


def check_delays(delay: Tensor, length: int) -> None:
    """Raise unless all delays are numbers within ``0 .. length - 1``, which index the taps.

    Raises:
        NonFiniteError: for NaN or an infinity.
        ConfigError: for a delay outside.
    """
    if delay.numel() == 0:
        return
    low, high = (float(end) for end in torch.aminmax(delay.detach()))
    if low >= 0 and high <= length - 1:
        return
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NonFiniteError(
            "a delay is NaN or infinite: training has diverged; go back to the last good weights "
            "and take a smaller learning rate for delays"
        )
    raise ConfigError(
        f"delays reach from {low:g} to {high:g} but must lie in 0 .. {length - 1} steps; "
        "clamp them first"
    )


def check_profile(delay: Tensor, sigma: Tensor | float, length: int) -> None:
    """Raise unless delays are in range and widths finite, where there are values to look at."""
    if torch.compiler.is_compiling() or derivatives.transformed():
        return
    check_delays(delay, length)
    if not all_finite(torch.as_tensor(sigma)):
        raise NonFiniteError("the width sigma of a delay kernel is NaN or infinite")


def check_widths(sigma: Tensor, weight: Tensor) -> None:
    """Raise unless ``sigma`` is one finite width, or one for each element of ``weight``."""
    if sigma.numel() not in (1, weight.numel()) or sigma.dim() != 1:
        raise ShapeError(
            f"sigma has shape {tuple(sigma.shape)} but must be flat, of 1 or {weight.numel()} "
            "values"
        )
    if not all_finite(sigma):
        raise NonFiniteError("the width sigma of a delay kernel is NaN or infinite")


def check_synapses(x: Tensor, weight: Tensor, delay: Tensor, length: int) -> None:
    """Raise unless ``x [T, B, I]``, ``weight`` and ``delay [O, I, K]`` fit, delays in range."""
    check_axes("x", x, "T, B, I")
    check_axes("weight", weight, "O, I, K")
    check_operands(x, weight, delay)
    check_shape("weight", weight, (weight.shape[0], x.shape[2], weight.shape[2]))
    check_shape("delay", delay, tuple(weight.shape))
    check_delays(delay, length)
