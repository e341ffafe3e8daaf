"""The interface of all layers: state in, state out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.errors import ShapeError


class Layer(nn.Module):
    """A ``Layer`` is a module with explicit state: ``layer(x, state=None) -> (y, state)``.

    ``x`` and ``y`` are time-major, ``[T, B, ...]``. ``state=None`` means the initial state; nothing
    is remembered between calls. A state is a (nested) tuple or dict of tensors, or ``None`` for a
    layer without state.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _noting(cls.__init__)  # type: ignore[method-assign]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args and type(args[0]) is tuple:
            raise ShapeError(
                f"{type(self).__name__} was given (output, state), what another layer returned; "
                "stack layers in sn.Sequential instead of torch.nn.Sequential, or pass the output "
                "on alone"
            )
        return super().__call__(*args, **kwargs)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        raise NotImplementedError


def _noting(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that keeps what it was called with, from which a layer can be made again."""

    @wraps(init)
    def noted(self: Layer, *args: Any, **kwargs: Any) -> None:
        vars(self).setdefault("made_with", (args, kwargs))  # by the class itself, not by its base
        init(self, *args, **kwargs)

    return noted


def run_layer(layer: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Call a layer, or a plain module without state, and return ``(y, state)``."""
    if isinstance(layer, Layer):
        return layer(x, state)
    y = layer(x)
    if not isinstance(y, Tensor):
        raise ShapeError(
            f"{type(layer).__name__} returned {type(y).__name__} instead of a tensor; wrap it in a "
            "Layer that returns (y, state)"
        )
    return y, None


def as_input(x: Tensor, like: Tensor, layer: str) -> Tensor:
    """Return ``x`` as numbers with which a layer with weights ``like`` computes.

    Spikes that are stored as bool or whole numbers become numbers of the weights' type.
    Floating-point input of another type is refused, except under autocast, where torch decides.

    Args:
        x: the input of the layer.
        like: the weights of the layer.
        layer: the name of the layer, for errors.

    Raises:
        ShapeError: if ``x`` is of another floating-point type or on another device.

    >>> as_input(torch.tensor([True]), torch.zeros(1), "Dense")
    tensor([1.])
    """
    if not isinstance(x, Tensor):
        raise ShapeError(f"x is a {type(x).__name__} but {layer} needs a tensor")
    if x.device != like.device:
        raise ShapeError(
            f"x is on {x.device} but the weights of {layer} are on {like.device}; bring them "
            "together with x.to(...) or net.to(...)"
        )
    if x.dtype == like.dtype or (x.is_floating_point() and autocasting(x)):
        return x
    if x.is_floating_point() or x.is_complex():
        raise ShapeError(
            f"x is {x.dtype} but the weights of {layer} are {like.dtype}; bring them together with "
            "x.to(...) or net.to(...)"
        )
    return x.to(like.dtype)


def autocasting(x: Tensor) -> bool:
    """Return whether torch chooses the precision on the device of ``x``."""
    return torch.is_autocast_enabled(x.device.type)


_EVERYWHERE = [
    getattr(nn.modules.module, f"_global_{kind}_hooks")
    for kind in ("forward", "forward_pre", "backward", "backward_pre")
]


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether calling a module only does what ``kind.forward`` does, without any hook.

    Code that runs several layers as one, or without calling them, asks this first: otherwise a hook
    (also one of all modules) would not be called, and a ``forward`` of an instance or a subclass
    would be skipped.

    Args:
        module: the module to examine.
        kind: the class whose ``forward`` the module should have.

    >>> layer = nn.Linear(2, 3)
    >>> handle = layer.register_forward_hook(lambda *_: None)
    >>> is_plain(layer, nn.Linear), is_plain(nn.Linear(2, 3), nn.Linear)
    (False, True)
    """
    hooks = (
        module._forward_hooks, module._forward_pre_hooks,
        module._backward_hooks, module._backward_pre_hooks,
    )  # fmt: skip
    if any(hooks) or any(_EVERYWHERE):
        return False
    return "forward" not in vars(module) and type(module).forward is kind.forward


Told = Callable[[str, nn.Module, tuple[Any, ...], Any], None]


@contextmanager
def listening(modules: Mapping[str, Any], told: Told) -> Iterator[None]:
    """Within this context, ``told`` is called whenever one of some modules has run.

    Args:
        modules: the modules by name; other objects that take forward hooks work as well.
        told: a function that receives the name, the module, its inputs and its output; its result
            is ignored.

    >>> heard = []
    >>> layer = nn.Linear(2, 3)
    >>> with listening({"first": layer}, lambda name, *_: heard.append(name)):
    ...     y = layer(torch.ones(1, 2))
    >>> heard
    ['first']
    """

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            told(name, module, inputs, output)

        return hook

    with ExitStack() as undo:
        for name, module in modules.items():
            undo.callback(module.register_forward_hook(hook_of(name)).remove)
        yield


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
    """Return the same state without its history: this truncates backpropagation through time."""
    return map_state(lambda a: a.detach(), state)


_auxiliary: ContextVar[dict[str, Tensor] | None] = ContextVar("auxiliary", default=None)


@contextmanager
def auxiliary_losses() -> Iterator[dict[str, Tensor]]:
    """Within this context, losses that layers add (a ponder cost, ...) are collected by name.

    Outside of any such context they are dropped, so a network remembers nothing between calls.

    Yields:
        A dict from the names of losses to their values, which are means over the batch.

    >>> import torch
    >>> with auxiliary_losses() as extra:
    ...     add_auxiliary_loss("ponder", torch.tensor(0.5))
    >>> float(extra["ponder"])
    0.5
    """
    gathered: dict[str, Tensor] = {}
    token = _auxiliary.set(gathered)
    try:
        yield gathered
    finally:
        _auxiliary.reset(token)


def add_auxiliary_loss(name: str, value: Tensor) -> None:
    """Add a number, a mean over the batch, to the losses collected now; layers call this."""
    gathered = _auxiliary.get()
    if gathered is not None:
        gathered[name] = gathered[name] + value if name in gathered else value


@contextmanager
def weighted_losses(weight: float) -> Iterator[None]:
    """Within this context, losses that layers add count with a weight.

    The weight is the fraction of a sequence, or of a batch, on which they are computed.

    >>> import torch
    >>> with auxiliary_losses() as extra, weighted_losses(0.5):
    ...     add_auxiliary_loss("ponder", torch.tensor(1.0))
    >>> float(extra["ponder"])
    0.5
    """
    with auxiliary_losses() as part:
        yield
    for name, value in part.items():
        add_auxiliary_loss(name, weight * value)


def device_of(net: nn.Module) -> torch.device:
    """Return the device of a network: that of its first parameter or buffer.

    >>> device_of(nn.Linear(2, 3)).type
    'cpu'
    """
    first = next(itertools.chain(net.parameters(), net.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def start_training(net: nn.Module) -> None:
    """Put a network into training mode unless it is in it, so that frozen layers stay frozen."""
    if not net.training:
        net.train()


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Within this context, every module is in evaluation mode; afterwards each is as it was before.

    Gradients may be taken meanwhile, which cuDNN's recurrent layers refuse; so cuDNN is off then.
    """
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    enabled = torch.backends.cudnn.enabled and not torch.is_grad_enabled()
    try:
        with torch.backends.cudnn.flags(enabled=enabled):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
