"""The one interface of everything that is stacked: state in, state out."""

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
    """A module with explicit state: ``layer(x, state=None) -> (y, state)``.

    ``x`` and ``y`` are time-major, ``[T, B, ...]``. ``state=None`` means the initial state;
    nothing is remembered between calls. A state is a (nested) tuple or dict of tensors, or
    ``None`` for a layer that has none.
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


def as_input(x: Tensor, like: Tensor, layer: str) -> Tensor:
    """``x`` as numbers that a layer with weights ``like`` computes with.

    Spikes kept as bool or whole numbers become numbers of the weights' type. Floating-point input
    of another type is refused, but under autocast, where torch decides.

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
    """Whether torch chooses the precision on the device of ``x``."""
    return torch.is_autocast_enabled(x.device.type)


_EVERYWHERE = [
    getattr(nn.modules.module, f"_global_{kind}_hooks")
    for kind in ("forward", "forward_pre", "backward", "backward_pre")
]


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling a module does what ``kind.forward`` does, and nobody listens.

    What runs several layers as one, or without calling them, asks this first: a hook, also one of
    all modules, would not be called, and a ``forward`` of an instance or a subclass be passed over.

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
    """Within this context, whenever one of some modules has run, ``told`` hears of it.

    Args:
        modules: by name; or what else takes forward hooks.
        told: called with name, module, inputs and output; what it returns is ignored.

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
    """The same state without its history: truncates backpropagation through time here."""
    return map_state(lambda a: a.detach(), state)


_auxiliary: ContextVar[dict[str, Tensor] | None] = ContextVar("auxiliary", default=None)


@contextmanager
def auxiliary_losses() -> Iterator[dict[str, Tensor]]:
    """Within this context, layers' own losses (a ponder cost, ...) gather in a dict by name.

    Outside of any such context they are dropped, so a network remembers nothing between calls.

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
    """Called by a layer: adds a number, a mean over the batch, to the losses gathered now."""
    gathered = _auxiliary.get()
    if gathered is not None:
        gathered[name] = gathered[name] + value if name in gathered else value


@contextmanager
def weighted_losses(weight: float) -> Iterator[None]:
    """Losses added within this context count with a weight: a part of a sequence, or of a batch.

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
    """Where a network computes: the device of its first parameter or buffer.

    >>> device_of(nn.Linear(2, 3)).type
    'cpu'
    """
    first = next(itertools.chain(net.parameters(), net.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def start_training(net: nn.Module) -> None:
    """Put a network into training mode, unless it is: layers frozen by ``eval()`` stay so."""
    if not net.training:
        net.train()


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Every module as in evaluation for a while, and then each as it was, frozen ones frozen.

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
