"""What tests of all folders share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pytest
import torch
from torch import Tensor, nn

# --- numbers --------------------------------------------------------------------------------------


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Draw from a normal distribution, in double precision."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def random(*shape: int, seed: int = 0) -> Tensor:
    """Draw from 0 to 1, in double precision."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).double()


def exact(*numbers: float) -> Tensor:
    """Return numbers as a tensor in double precision."""
    return torch.tensor(numbers, dtype=torch.float64)


# --- errors ---------------------------------------------------------------------------------------


def refusal(error: type[Exception], call: Callable, *arguments: object) -> str:
    """Return the message of the error that a call ends with."""
    with pytest.raises(error) as caught:
        call(*arguments)
    return str(caught.value)


# --- tensors by their names -----------------------------------------------------------------------


def named(names: str, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Give each tensor one of the names, which are separated by spaces."""
    return dict(zip(names.split(), tensors, strict=True))


def gradients(net: nn.Module) -> dict[str, Tensor]:
    """Copy the gradients of all parameters, named after them."""
    return {f"{n}.grad": p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


def assert_same(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
) -> None:
    """Compare tensors of the same names: to the bit unless a tolerance is given.

    A failure names every tensor that differs, and says by how much.
    """
    assert found.keys() == expected.keys()
    different = {}
    for name, tensor in found.items():
        try:
            torch.testing.assert_close(tensor, expected[name], rtol=rtol, atol=atol)
        except AssertionError as error:
            different[name] = error
    assert not different, "\n".join(f"{name}: {error}" for name, error in different.items())
