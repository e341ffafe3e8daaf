"""Which names of the three packages are public, and where each is described.

An area is a page of the reference. It names modules; ``package.*`` stands for the modules of a
package, for folders that are registries. A module that has ``__all__`` offers those names, another
one the public classes and functions that are defined in it. Every name is described in full once:
in the first module that offers it, where later modules refer to.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Area:
    """An ``Area`` is a page of the reference.

    Args:
        file: the name of the page's file, without an ending.
        title: its heading.
        modules: the modules it describes; ``package.*`` stands for those of a package.
    """

    file: str
    title: str
    modules: tuple[str, ...]


AREAS = (
    Area("snnsim", "Names of snnsim", ("snnsim",)),
    Area("neurons", "Neurons", ("snnsim.neurons", "snnsim.equations", "snnsim.surrogate")),
    Area("synapses", "Synapses", ("snnsim.synapses", "snnsim.sparsity")),
    Area("networks", "Networks", ("snnsim.layer", "snnsim.networks")),
    Area("encoders", "Encoders", ("snnsim.encoders",)),
    Area(
        "training",
        "Training",
        (
            "snnsim.training",
            "snnsim.training.calibration",
            "snnsim.training.rules",
            "snnsim.checkpoint",
            "snnsim.generation",
        ),
    ),
    Area("data", "Data", ("snnsim.data", "snnsim.data.augmentation")),
    Area(
        "continual",
        "Continual learning",
        (
            "snnsim.continual.methods",
            "snnsim.continual.methods.*",
            "snnsim.continual",
            "snnsim.continual.connectivity",
        ),
    ),
    Area(
        "baselines",
        "Baselines",
        (
            "snnsim.baselines",
            "snnsim.baselines.models",
            "snnsim.baselines.models.*",
            "snnsim.baselines.options",
            "snnsim.baselines.options.*",
        ),
    ),
    Area("analysis", "Analysis", ("snnsim.activity", "snnsim.analysis", "snnsim.analysis.*")),
    Area("diagnosis", "Diagnosis", ("snnsim.diagnosis",)),
    Area("interop", "Exchange with other programs", ("snnsim.interop", "snnsim.interop.nir")),
    Area("plotting", "Plotting", ("snnsim.plotting",)),
    Area("functional", "Functions on tensors", ("snnsim.functional", "snnsim.functional.*")),
    Area(
        "cost",
        "Inference and cost",
        ("snnsim.inference", "snnsim.costing", "snnsim.report", "snnsim.energy"),
    ),
    Area(
        "saving",
        "Saving, units and errors",
        ("snnsim.saving", "snnsim.pretrained", "snnsim.units", "snnsim.errors"),
    ),
    Area(
        "datasets",
        "Data sets",
        (
            "snnsim_datasets",
            "snnsim_datasets.*",
            "snnsim_datasets.images",
            "snnsim_datasets.generated",
            "snnsim_datasets.synthetic",
        ),
    ),
    Area("experiments", "Experiments", ("snnsim_experiments",)),
)


@dataclass(frozen=True)
class Name:
    """A ``Name`` is a public name of a module, and the object behind it.

    Args:
        module: the module that offers it.
        name: the name in that module.
        path: where the object is defined, which is the anchor of its description.
        value: the object.
    """

    module: str
    name: str
    path: str
    value: Any


def modules(area: Area) -> Iterator[ModuleType]:
    """Yield the modules of an area."""
    for name in area.modules:
        if not name.endswith(".*"):
            yield importlib.import_module(name)
            continue
        package = importlib.import_module(name.removesuffix(".*"))
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not found.ispkg:
                yield importlib.import_module(found.name)


def path_of(module: str, name: str, value: Any) -> str:
    """Return where a public object is defined."""
    if inspect.ismodule(value):
        return value.__name__
    defined = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if all(isinstance(part, str) for part in defined) and defined[0].startswith("snnsim"):
        return ".".join(defined)
    return f"{module}.{name}"


def names(module: ModuleType) -> list[Name]:
    """Return the public names of a module."""
    declared = getattr(module, "__all__", None)
    if declared is None:
        declared = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and (inspect.isclass(value) or inspect.isroutine(value))
            and value.__module__ == module.__name__
        ]
    values = {name: getattr(module, name) for name in declared}
    return [
        Name(module.__name__, name, path_of(module.__name__, name, value), value)
        for name, value in values.items()
    ]


def docstring(name: Name) -> str:
    """Return the docstring of a public name; that of a constant is the text below it."""
    if callable(name.value) or inspect.ismodule(name.value):
        return inspect.getdoc(name.value) or ""
    return _below(name.module, name.name)


def _below(module: str, name: str) -> str:
    """The text below the definition of a constant, which its module may have imported."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    for node, after in itertools.pairwise(body):
        match node, after:
            case ast.ImportFrom(module=str(origin), names=imported), _:
                if any(each.name == name for each in imported):
                    return _below(origin, name)
            case ast.Assign(targets=[ast.Name(id=str(target))]), ast.Expr(
                value=ast.Constant(value=str(text))
            ):
                if target == name:
                    return inspect.cleandoc(text)
    return ""


@cache
def homes() -> dict[str, str]:
    """Return, for the path of every public object, the module whose section describes it.

    The names of ``snnsim`` itself are described with their areas, if they have one.
    """
    found: dict[str, str] = {}
    for area in (*AREAS[1:], AREAS[0]):
        for module in modules(area):
            for name in names(module):
                if not inspect.ismodule(name.value):
                    found.setdefault(name.path, module.__name__)
    return found
