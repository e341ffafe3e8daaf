"""Checks for NaN and infinities."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from snnsim.errors import NonFiniteError


def all_finite(x: Tensor) -> bool:
    """Return whether a tensor holds no NaN and no infinity, in one pass over it.

    >>> all_finite(torch.tensor([3e38, 3e38])), all_finite(torch.tensor([1.0, torch.nan]))
    (True, False)
    """
    if not x.is_floating_point():
        return not x.is_complex() or all_finite(torch.view_as_real(x.detach()))
    # a sum may overflow where no value does
    return math.isfinite(x.sum().item()) or bool(torch.isfinite(x).all())


def check_input(x: Tensor, what: str = "the input") -> None:
    """Raise :class:`NonFiniteError` if an input holds NaN or an infinity, and say where.

    Args:
        x: the input, of any shape.
        what: the name of the input, for the message.

    >>> check_input(torch.zeros(2, 1, 3))
    """
    if all_finite(x):
        return
    place = torch.nonzero(~torch.isfinite(x))[0].tolist()
    raise NonFiniteError(
        f"{what} is {float(x[tuple(place)])} at {place} (of shape {tuple(x.shape)}) but a network "
        "takes finite numbers only; mend the data (check_finite=False leaves this check out)"
    )


def first_not_finite(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first tensor that holds NaN or an infinity, or ``None``."""
    return next((name for name, tensor in named if not all_finite(tensor)), None)
