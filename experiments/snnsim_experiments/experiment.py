"""An experiment as a value: what is trained on what, how, and from which seed."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from snnsim.baselines import models
from snnsim.baselines.options.additions import Additions
from snnsim.continual import methods
from snnsim.continual.method import default_options
from snnsim.data import Augmentation
from snnsim.training import Recipe, task_recipe
from snnsim.training.recipe import complete

SPIKING = "spiking"
SECTIONS = ("data", "network", "augmentation", "training", "method_options")
# sections of a configuration of a stream that have other names there
OF_STREAMS = {"data": "stream", "method_options": "method"}


@dataclass(frozen=True)
class Experiment:
    """An experiment is complete and checked; it has plain values only and can be stored as JSON.

    :func:`snnsim_experiments.resolve` makes one from defaults, files and single changes.

    Attributes:
        source: the name of a data set or, with a ``method``, of a stream of tasks.
        model: ``"spiking"``, or the name of a rate-coded baseline.
        method: the name of a method of continual learning; empty on a data set.
        data: the options of the data set or stream.
        network: the options of the network; a baseline has a ``width``, an ``encoder`` and
            ``options``.
        recipe: how to train.
        method_options: the options of the method.
        seed: the seed of weights, order and dropout.
        backend: the backend of the kernels: ``"auto"``, ``"reference"``, ``"cpu"`` or ``"cuda"``.
        augmentation: how training samples are changed at random; those of validation and test never
            are.
    """

    source: str
    model: str = SPIKING
    method: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    method_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    backend: str = "auto"
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def training(self) -> dict[str, Any]:
        """Return the recipe as plain values."""
        return self.recipe.as_json()

    def trained(self, **changes: Any) -> Experiment:
        """Return the same experiment with other values in its recipe."""
        return replace(self, recipe=replace(self.recipe, **changes))

    def as_json(self) -> dict[str, Any]:
        """Return plain values, from which :meth:`from_json` makes the experiment again."""
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "recipe"}
        rest["augmentation"] = self.augmentation.as_json()
        return rest | {"training": self.training}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Experiment:
        """Make an experiment of what :meth:`as_json` returned, also in an earlier version.

        Raises:
            KeyError, TypeError, ValueError: it is anything else.
        """
        found = {"augmentation": {}} | _of_before(stored)  # which earlier versions did not have
        sections = {name: found[name] for name in SECTIONS}
        for name, section in sections.items():
            if not isinstance(section, dict):
                raise TypeError(f"{name} is not a section")
        if found["method"]:
            found["data"] = {"blur": 0.0, "data": None} | found[
                "data"
            ]  # earlier versions had no such options
            method = methods.get(found["method"])
            former, options = method.former, found["method_options"].items()
            given = {former.get(name, name): value for name, value in options}
            found["method_options"] = default_options(method) | given
        elif found["model"] == SPIKING:
            found["network"] = LATER_OPTIONS | found["network"]
        else:
            later = {"shared_head": False} | asdict(Additions())
            found["network"] = later | found["network"]
        if found["model"] in models.names():
            found["network"] = _with_all_options(found["model"], found["network"])
        training = complete(found.pop("training"), task_base() if found["method"] else {})
        found["augmentation"] = Augmentation(**found["augmentation"])
        return cls(**found, recipe=Recipe(**training))

    def differences(self, other: Experiment, but: tuple[str, ...] = ()) -> list[str]:
        """Return the names of what differs, as a configuration has them: ``"network.hidden"``."""
        mine, theirs = self.as_json(), other.as_json()
        found = []
        for name in mine.keys() - set(but):
            shown = OF_STREAMS.get(name, name) if self.method else name
            if name in SECTIONS:
                keys = mine[name].keys() | theirs[name].keys()
                differing = (k for k in keys if plain(mine[name].get(k)) != theirs[name].get(k))
                found += [f"{shown}.{key}" for key in differing]
            elif mine[name] != theirs[name]:
                found.append(shown)
        return sorted(found)


# options of networks that earlier versions did not store, with what they did
LATER_OPTIONS: dict[str, Any] = {
    "skip": False, "stochastic_depth": 0.0, "recode": 0.0, "conv": [], "kernel_size": 3, "pool": 2,
}  # fmt: skip


def plain(value: Any) -> Any:
    """Return a value as it comes back from a file."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def task_base() -> dict[str, Any]:
    """Return what a stream's recipe had where an earlier version stored nothing."""
    return task_recipe().as_json()


def _with_all_options(model: str, network: dict[str, Any]) -> dict[str, Any]:
    """The network with what options of a baseline were where an earlier version had none."""
    cls, options = models.get(model), network.get("options")
    if not isinstance(options, dict):
        return network
    made = inspect.signature(cls).parameters.values()
    defaults = {p.name: p.default for p in made if p.kind is p.KEYWORD_ONLY}
    return network | {"options": defaults | cls.formerly | options}


def _of_before(stored: dict[str, Any]) -> dict[str, Any]:
    """What is stored, by today's names."""
    found = dict(stored)
    if "source" in found:
        return found
    network = dict(found["network"])
    rest: dict[str, Any] = {"network": network, "training": found["training"]}
    rest |= {name: found[name] for name in ("seed", "backend") if name in found}
    if "stream_name" in found:
        return rest | {
            "source": found["stream_name"],
            "method": found["method_name"],
            "data": found["stream"],
            "method_options": found["method"],
            "model": network.pop("baseline", "") or SPIKING,
        }
    return rest | {
        "source": found["dataset"],
        "method": "",
        "data": found["data"],
        "method_options": {},
        "model": network.pop("model", SPIKING),
    }
