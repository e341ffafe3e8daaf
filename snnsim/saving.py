"""Saving a network: its architecture, its weights, and plain values about it.

A network is written as the constructor calls that made it (JSON) and its tensors, in one
safetensors file. Reading it calls constructors of this library, of a few of torch's modules, and of
classes that the reader passes, and nothing else: a file cannot bring code.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from snnsim import checkpoint, encoders
from snnsim.baselines import models
from snnsim.errors import CheckpointError, ConfigError, ShapeError, short
from snnsim.layer import Layer
from snnsim.neurons import Parameter, Reset, Tau
from snnsim.sparsity import add_masks, masked
from snnsim.surrogate import Surrogate

KIND = "network"
SMALL = 2**20  # values of a tensor that any file may make
TORCH = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Unflatten, nn.Identity, nn.ReLU,
    nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout,
)  # fmt: skip
_PLAIN = (bool, int, float, str, type(None))


def save(net: nn.Module, path: Path | str, about: dict[str, Any] | None = None) -> None:
    """Write a network to one file, from which :func:`load` builds it again.

    Args:
        net: a network of this library's layers and plain torch modules such as ``Linear`` and
            ``Conv2d``, in any nesting of ``Sequential`` and ``Skip``. It may also hold your own
            neurons and layers, if their constructors take plain values.
        path: the name of the file, by convention with the ending ``.safetensors``.
        about: values that belong to the network, such as classes, channels, dt and the encoder;
            they must be plain JSON values.

    Raises:
        ConfigError: if the network cannot be built again from its constructor calls, for instance
            because an attribute was changed afterwards; nothing is written.
        NonFiniteError: if a weight is NaN or infinite.

    >>> import tempfile, torch
    >>> import snnsim as sn
    >>> net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0, tau_mem=5.0))
    >>> file = f"{tempfile.mkdtemp()}/net.safetensors"
    >>> sn.save(net, file, about={"classes": ["a", "b", "c", "d"]})
    >>> again = sn.load(file)
    >>> x = torch.rand(6, 2, 3)
    >>> torch.equal(again(x)[0], net.eval()(x)[0]), again.about["classes"][0]
    (True, 'a')
    """
    spec = Spec(net)
    checkpoint.save(Path(path), spec.tensors(net), spec.values(net, about))


class Spec:
    """A ``Spec`` describes how a network is built, so that files can be written as weights change.

    Raises:
        ConfigError: under the same conditions as :func:`save`.
    """

    def __init__(self, net: nn.Module):
        writer = _Writer()
        self.network, self.given, self.masked = writer.module(net), writer.given, masked(net)
        self._classes = writer.classes
        _check_same(net, self.again())

    def again(self, seed: int | None = None) -> Any:
        """Return a network that is built in the same way, with weights drawn anew, on the CPU.

        Args:
            seed: the seed of its weights; ``None`` for torch's own random numbers.
        """
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            found = _Maker(self._classes, self.given, Path("the network")).value(self.network)
        add_masks(found, self.masked)
        return found

    def tensors(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the tensors of a file."""
        weights = checkpoint.prefixed("net", net.state_dict())
        return weights | checkpoint.prefixed("given", self.given)

    def values(self, net: nn.Module, about: dict[str, Any] | None) -> dict[str, Any]:
        """Return the plain values of a file."""
        told = {"kind": KIND, "network": self.network, "about": dict(about or {})}
        sparse = {"masked": [list(each) for each in masks]} if (masks := masked(net)) else {}
        return told | sparse | _flags(net)


def load(path: Path | str, classes: Iterable[type] = ()) -> Any:
    """Build a network from a file of :func:`save`, in evaluation mode, on the CPU.

    Args:
        path: the name of the file.
        classes: your own neurons, layers and surrogates that the network contains.

    Returns:
        The network; its attribute ``about`` holds the values with which it was saved.

    Raises:
        CheckpointError: if the file is absent, damaged, not a network, or contains an unknown
            class.
    """
    path = Path(path)
    tensors, values = checkpoint.load(path)
    if values.get("kind") != KIND:
        raise CheckpointError(
            f"{path} has weights but no network; it is a checkpoint of a run, whose folder "
            "'snnsim predict' and 'evaluate' take"
        )
    with checkpoint.reading(path):
        net: Any = _made(values, tensors, {cls.__name__: cls for cls in classes}, path)
        net.to(getattr(torch, values["dtype"]))
        checkpoint.load_weights(net, checkpoint.without_prefix("net", tensors), path)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name not in values["frozen"])
        net.about = dict(values["about"])
    return net.eval()


def _made(
    values: dict[str, Any], tensors: dict[str, Tensor], classes: dict[str, type], path: Path
) -> nn.Module:
    maker = _Maker(_known() | classes, checkpoint.without_prefix("given", tensors), path)
    held = sum(tensor.numel() for tensor in tensors.values())
    try:
        with torch.random.fork_rng(devices=[]), _Bounded(path, max(SMALL, 4 * held)):
            net = maker.value(values["network"])
            add_masks(net, values.get("masked", ()))
    except (ConfigError, ShapeError) as error:
        raise CheckpointError(f"{path} has a network that cannot be made: {error}") from error
    if not isinstance(net, nn.Module):
        raise CheckpointError(f"{path} has no network")
    return net


class _Bounded(TorchDispatchMode):
    """While it lasts, no tensor is made that is larger than the weights in a file can account for.

    A damaged size would ask for all memory there is, or start weights of it for hours.
    """

    def __init__(self, path: Path, most: int):
        super().__init__()
        self.path, self.most = path, most

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        size = args[0] if args and isinstance(args[0], list | tuple) else ()
        if all(isinstance(n, int) for n in size):
            self._check(math.prod(size))  # before it is allocated
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, list | tuple) else (made,):
            if isinstance(each, Tensor):
                self._check(each.numel())
        return made

    def _check(self, size: int) -> None:
        if size > self.most:
            raise CheckpointError(
                f"{self.path} declares a layer of {size:.3g} values, far more than the weights "
                "that it holds; it is damaged"
            )


def _flags(net: nn.Module) -> dict[str, Any]:
    kinds = {t.dtype for t in net.state_dict().values() if t.is_floating_point()}
    if len(kinds) > 1:
        raise ConfigError(f"the network has weights of several types, {sorted(map(str, kinds))}")
    dtype = str(kinds.pop() if kinds else torch.get_default_dtype()).removeprefix("torch.")
    frozen = [name for name, p in net.named_parameters() if not p.requires_grad]
    return {"dtype": dtype, "frozen": frozen}


# --- to JSON --------------------------------------------------------------------------------------


class _Writer:
    """Modules and values as JSON, with the tensors and the classes that they are made of."""

    def __init__(self) -> None:
        self.given: dict[str, Tensor] = {}
        self.classes: dict[str, type] = {}

    def module(self, module: nn.Module) -> dict[str, Any]:
        """The constructor call that made a module."""
        cls: type[Any] = parametrize.type_before_parametrizations(module)
        if cls in TORCH:
            self.classes[f"torch.{cls.__name__}"] = cls
            return {"class": f"torch.{cls.__name__}", "arguments": _torch_arguments(module)}
        if not isinstance(module, Layer):
            raise ConfigError(
                f"{cls.__name__} cannot be saved: it is neither a layer of snnsim nor one of "
                f"torch's {', '.join(c.__name__ for c in TORCH)}; make it a subclass of sn.Layer"
            )
        if "forward" in vars(module):
            raise ConfigError(f"a {cls.__name__} has a forward of its own, which cannot be saved")
        args, kwargs = vars(module)["made_with"]
        bound = inspect.signature(cls.__init__).bind(module, *args, **kwargs)
        positional = [self.value(value, cls) for value in bound.args[1:]]
        named = {name: self.value(value, cls) for name, value in bound.kwargs.items()}
        return {"class": self._name(cls), "positional": positional, "arguments": named}

    def _name(self, cls: type) -> str:
        if self.classes.setdefault(cls.__name__, cls) is not cls:
            raise ConfigError(f"two classes are called {cls.__name__}; give one another name")
        return cls.__name__

    def value(self, value: Any, owner: type) -> Any:
        """One argument."""
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, nn.Module):
            return {"module": self.module(value)}
        if isinstance(value, np.ndarray | Tensor):
            name = str(len(self.given))
            self.given[name] = torch.as_tensor(value).detach().clone()
            return {"tensor": name}
        if isinstance(value, list | tuple | set | frozenset):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.value(each, owner) for each in value]}
        if isinstance(value, dict):
            return {"dict": {str(name): self.value(each, owner) for name, each in value.items()}}
        if isinstance(value, Surrogate | Parameter | Reset) and is_dataclass(value):
            parts = {f.name: self.value(getattr(value, f.name), owner) for f in fields(value)}
            return {"value": self._name(type(value)), "parts": parts}
        raise ConfigError(
            f"{owner.__name__} was made with {short(value, 80)}, which cannot be saved; arguments "
            "must be numbers, texts, tensors, layers, or lists of them"
        )


def _torch_arguments(module: nn.Module) -> dict[str, Any]:
    """Those of a torch module, which keeps them under their names."""
    found: dict[str, Any] = {}
    for name in inspect.signature(type(module).__init__).parameters:
        if name in ("self", "device", "dtype") or not hasattr(module, name):
            continue
        value = getattr(module, name)
        value = value is not None if name == "bias" else value
        found[name] = {"tuple": list(value)} if isinstance(value, tuple) else value
    return found


# --- and back -------------------------------------------------------------------------------------


class _Maker:
    """Makes modules and values from their JSON."""

    def __init__(self, known: dict[str, type], given: dict[str, Tensor], path: Path):
        self.known, self.given, self.path = known, given, path

    def value(self, spec: Any) -> Any:
        if isinstance(spec, _PLAIN):
            return spec
        if "class" in spec:
            return self._module(spec)
        if "module" in spec:
            return self._module(spec["module"])
        if "tensor" in spec:
            return self.given[spec["tensor"]]
        if "list" in spec or "tuple" in spec:
            values = [self.value(v) for v in spec.get("list", spec.get("tuple"))]
            return values if "list" in spec else tuple(values)
        if "dict" in spec:
            return {name: self.value(v) for name, v in spec["dict"].items()}
        parts = {name: self.value(v) for name, v in spec["parts"].items()}
        return self._class(spec["value"], (Surrogate, Parameter, Reset))(**parts)

    def _class(self, name: str, kinds: tuple[type, ...]) -> type:
        if name not in self.known:
            raise CheckpointError(
                f"{self.path} has a {name}, which is not of this library; give its class: "
                f"sn.load(path, classes=[{name}])"
            )
        if not issubclass(self.known[name], kinds):
            raise CheckpointError(f"{self.path} has {name} in a place where it cannot be")
        return self.known[name]

    def _module(self, spec: dict[str, Any]) -> nn.Module:
        named = {key: self.value(v) for key, v in spec["arguments"].items()}
        positional = map(self.value, spec.get("positional", ()))
        made: nn.Module = self._class(spec["class"], (nn.Module,))(*positional, **named)
        return made


def _below(cls: type) -> Iterator[type]:
    found: list[type] = cls.__subclasses__()
    for each in found:
        yield each
        yield from _below(each)


def _known() -> dict[str, type]:
    """All layers of the library by name, and the modules of torch that may be in a network."""
    for package in (encoders, models):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    every = (*_below(Layer), *_below(Surrogate), Parameter, Tau, Reset)
    own = {cls.__name__: cls for cls in every if cls.__module__.startswith("snnsim.")}
    return own | {f"torch.{cls.__name__}": cls for cls in TORCH}


# --- whether it is the same -----------------------------------------------------------------------


def _check_same(net: nn.Module, again: nn.Module) -> None:
    """Raise :class:`ConfigError` if the constructors do not make what the network is now."""
    mine, made = dict(net.named_modules()), dict(again.named_modules())
    every = dict(net.named_modules(remove_duplicate=False))
    for name in sorted(mine.keys() | made.keys()):
        a, b = mine.get(name), made.get(name)
        if a is None and name in every:
            raise ConfigError(
                f"{name} is a layer that occurs several times in the network, which a file would "
                "take for several layers; save a network with copies of it, each its own"
            )
        if a is None or b is None or _kind(a) != _kind(b):
            raise ConfigError(
                f"{name or 'the network'} was replaced after the network was made; make a new "
                "network of the layers, such as sn.Sequential(*net)"
            )
        before, now = _attributes(b), _attributes(a)
        changed = [key for key in before if key in now and now[key] != before[key]]
        if changed:
            raise ConfigError(
                f"{changed[0]} of {name or 'the network'} ({type(a).__name__}) is "
                f"{short(now[changed[0]], 60)} but it was made with "
                f"{short(before[changed[0]], 60)}; make the layer anew with that value"
            )
    shapes = {key: tensor.shape for key, tensor in net.state_dict().items()}
    if shapes != {key: tensor.shape for key, tensor in again.state_dict().items()}:
        raise ConfigError("weights were added, removed or reshaped after the network was made")
    if names := _sharing(net) - _sharing(again):
        raise ConfigError(
            f"{' and '.join(sorted(next(iter(names))))} are one tensor, which a file would take "
            "for several; save a copy (copy.deepcopy) of each layer, in a network of the copies"
        )


def _sharing(net: nn.Module) -> set[frozenset[str]]:
    """The names of each tensor that has several, in different modules or in one."""
    names: dict[int, set[str]] = {}
    for module_name, module in net.named_modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                full = f"{module_name}.{name}".lstrip(".")
                names.setdefault(id(tensor), set()).add(full)
    return {frozenset(each) for each in names.values() if len(each) > 1}


def _kind(module: nn.Module) -> tuple[str, str]:
    """Its class by name: parametrised modules have a class each."""
    return type(module).__module__, type(module).__qualname__


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Plain values that a module keeps, and which decide what it computes."""
    skipped = ("training", "about", "made_with")
    kinds = (*_PLAIN, tuple, Surrogate, Reset)
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, kinds) and name not in skipped and not name.startswith("_")
    }
