"""What all encoders ask of their input and of their state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnsim.errors import NonFiniteError, ShapeError


def checked(x: Tensor, encoder: str) -> Tensor:
    """Return values ``[T, B, C, ...]`` as floating-point numbers, without their gradient.

    Args:
        x: the input of an encoder; whole numbers and bool are converted.
        encoder: the name of the encoder, for errors.

    Raises:
        ShapeError: if ``x`` is not a real tensor with axes for time, samples and channels.
        NonFiniteError: if a value is NaN or infinite.

    >>> checked(torch.tensor([[[1, 0]]]), "Delta")
    tensor([[[1., 0.]]])
    """
    if not isinstance(x, Tensor) or x.ndim < 3 or x.is_complex():
        given = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(f"x is {given} but {encoder} needs real numbers [T, B, C, ...]")
    x = x.detach()
    if not x.is_floating_point():
        return x.to(torch.get_default_dtype())
    if not bool(torch.isfinite(x).all()):
        raise NonFiniteError(
            f"x has values that are NaN or infinite, which {encoder} cannot turn into spikes; "
            "remove or replace them first"
        )
    return x


def check_unit_range(x: Tensor, encoder: str) -> None:
    """Raise :class:`ShapeError` unless all values lie in 0 .. 1.

    >>> check_unit_range(torch.tensor([0.0, 1.0]), "Rate")
    """
    low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 1.0)
    if low < 0 or high > 1:
        raise ShapeError(
            f"x has values from {low:g} to {high:g} but {encoder} needs values in 0 .. 1; scale "
            "them first, or use x.clamp(0, 1)"
        )


def kept(state: Any, name: str, shape: torch.Size) -> Tensor:
    """Return a tensor of a state after checking that it fits the input.

    Args:
        state: the state that was passed to an encoder.
        name: the key of the tensor.
        shape: the shape that it must have.

    Raises:
        ShapeError: if the state has no such tensor of that shape.

    >>> kept({"last": torch.zeros(2)}, "last", torch.Size([2]))
    tensor([0., 0.])
    """
    found = state.get(name) if isinstance(state, dict) else None
    if not isinstance(found, Tensor) or found.shape != shape:
        have = list(found.shape) if isinstance(found, Tensor) else "no such tensor"
        raise ShapeError(
            f"the state needs {name!r} of shape {list(shape)} for this x but has {have}; pass the "
            "state that this encoder returned, or None to start afresh"
        )
    return found
