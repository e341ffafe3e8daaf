"""The one interface of everything that is stacked: state in, state out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snnsim.errors import ShapeError


class Layer(nn.Module):
    """A module with explicit state: ``layer(x, state=None) -> (y, state)``.

    ``x`` and ``y`` are time-major, ``[T, B, ...]``. ``state=None`` means the initial state;
    nothing is remembered between calls. A state is a (nested) tuple or dict of tensors, or
    ``None`` for a layer that has none.
    """

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        raise NotImplementedError


def run_layer(layer: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Call a layer, or a plain module, which has no state; ``(y, state)``."""
    if isinstance(layer, Layer):
        return layer(x, state)
    y = layer(x)
    if not isinstance(y, Tensor):
        raise ShapeError(
            f"{type(layer).__name__} returned {type(y).__name__} instead of a tensor; wrap it in a "
            "Layer that returns (y, state)"
        )
    return y, None


def map_state(function, state: Any) -> Any:
    """Apply ``function`` to every tensor of a state.

    >>> import torch
    >>> map_state(lambda a: a + 1, {"v": torch.zeros(1)})
    {'v': tensor([1.])}
    """
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {name: map_state(function, value) for name, value in state.items()}
    if isinstance(state, tuple):
        return tuple(map_state(function, value) for value in state)
    return state


def detach_state(state: Any) -> Any:
    """The same state without its history: truncates backpropagation through time here."""
    return map_state(lambda a: a.detach(), state)
