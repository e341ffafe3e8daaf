"""The one resolver: from defaults, TOML files and single changes to an :class:`Experiment`.

A configuration has the sections ``data`` (options of the data set's ``load``), ``network`` (those
of :func:`snnsim.networks.delay_network`, or of :class:`snnsim.baselines.RateNetwork`; of the
former also ``hidden``, the widths, ``layers``, the number of hidden layers of one width,
``recode``, the step of :func:`snnsim.networks.recoded`, and of data whose steps are images
``conv``, the channels of convolutions before the hidden layers, with ``kernel_size`` and ``pool``
of :func:`snnsim.networks.conv_delay_network`),
``training`` (the fields of :class:`snnsim.training.Recipe`) and ``augmentation`` (those of
:class:`snnsim.data.Augmentation`); that of a baseline also ``encoder``
(:class:`snnsim.baselines.RateEncoder`) and ``options`` (of the model). One of a stream has
``stream`` in place of ``data``, and ``method``. Of a baseline or stream a file may also have
sections that only one model or method takes: ``options-<model>``, ``training-<method>``, ...
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import snnsim_datasets
from snnsim_datasets import generated

from snnsim import baselines
from snnsim.baselines import RateEncoder, RateNetwork
from snnsim.continual import methods
from snnsim.data import Augmentation
from snnsim.errors import ConfigError, check_number
from snnsim.networks import conv_delay_network, delay_network
from snnsim.renamed import up_to_date
from snnsim.training import Recipe
from snnsim.training.recipe import CLASS, GENERATING, OF_ONE_TASK, RENAMED, TASKS
from snnsim_experiments.build import OF_CONV
from snnsim_experiments.continual import networks, streams
from snnsim_experiments.experiment import SPIKING, Experiment
from snnsim_experiments.settings import (
    Changes,
    Sections,
    check_section,
    fields,
    given_by,
    given_file,
    parse_changes,
    read_toml,
)
from snnsim_experiments.shipped import HERE, config_names, folder_of

OF_MODELS = ("encoder", "options")  # sections that become a part of a baseline's network
# of a recipe: learners have their own read-out, and streams decide what is shown
NOT_ON_STREAMS = ("readout", "mask_padding", *OF_ONE_TASK, *GENERATING)
NOT_ON_DATA = ("later_lr", "keep_weights")
# of a network, in ms; without a value, 10 and 24 steps of the data
OF_STEPS = dict.fromkeys(("tau_mem", "max_delay_ms"), (float | None, None))


class Family(NamedTuple):
    """A family says where the configurations of one kind of experiment come from.

    Attributes:
        sections: the sections that they have.
        names: the models or methods that may have their own sections, ``<section>-<name>``.
        shipped: the files that are included, the later winning.
        folder: where configurations are that may be given by name; ``None`` if there are none.
    """

    sections: tuple[str, ...]
    names: tuple[str, ...]
    shipped: tuple[Path, ...]
    folder: Path | None

    def allowed(self) -> tuple[str, ...]:
        """Return the sections that a file may have."""
        own = (f"{section}-{name}" for section in self.sections for name in self.names)
        return (*self.sections, *own)

    def layers(self, config: str | None, changes: Changes) -> list[Sections]:
        """Read the included files, a given one and single changes, the later winning."""
        found = [read_toml(path, self.allowed()) for path in self.shipped if path.exists()]
        if config is not None:
            found.append(read_toml(given_file(config, self.folder), self.allowed()))
        return [*found, parse_changes(changes, self.sections)]

    def merged(self, layers: Iterable[Sections], name: str) -> Sections:
        """Return the values of each section; those for ``name`` alone win over those of all."""
        values: Sections = {section: {} for section in self.sections}
        for layer in layers:
            for section in self.sections:
                for each in (section, f"{section}-{name}"):
                    entries = layer.get(each, {})
                    values[section].update(_under_todays_names(section, name, entries))
        return values


def of_spiking(dataset: str) -> Family:
    """Return the family of spiking networks on a data set."""
    folder = folder_of(dataset)
    files = [folder / "default.toml"]
    if dataset in generated.names():
        files.append(folder / _file_of(dataset))
    return Family(("data", "network", "augmentation", "training"), (), tuple(files), folder)


def of_baselines(dataset: str) -> Family:
    """Return the family of baselines on a data set."""
    files = ["default.toml", _file_of(dataset)]
    if dataset in generated.names():
        files.insert(1, "generated.toml")
    shipped = tuple(HERE / "baselines" / file for file in files)
    sections = ("data", "network", *OF_MODELS, "augmentation", "training")
    return Family(sections, tuple(baselines.names()), shipped, None)


def _file_of(dataset: str) -> str:
    return f"{dataset.replace('-', '_')}.toml"


def of_streams(stream: str) -> Family:
    """Return the family of a stream."""
    folder = HERE / "continual"
    sections = ("stream", "network", *OF_MODELS, "augmentation", "training", "method")
    default = folder / f"{default_config(stream)}.toml"
    return Family(sections, tuple(methods.names()), (default,), folder)


def default_config(stream: str) -> str:
    """Return the name of the configuration that a stream has unless another is given.

    >>> default_config("pmnist"), default_config("speakers-fsdd")
    ('pmnist', 'sequences')
    """
    if stream in config_names(stream, stream=True):
        return stream
    return "images" if streams.is_still(stream) else "sequences"


def resolve(
    source: str,
    model: str = SPIKING,
    method: str = "",
    *,
    config: str | None = None,
    changes: Changes = (),
    seed: int = 0,
    epochs: int | None = None,
    backend: str = "auto",
) -> Experiment:
    """Make an experiment from defaults, a configuration and single changes.

    The layers of a baseline have the width 0 until :func:`snnsim_experiments.fit` or
    ``with_width`` has given them one.

    Args:
        source: the name of a data set or, with a ``method``, of a stream of tasks.
        model: ``"spiking"``, or the name of a baseline.
        method: the name of a method of continual learning; empty on a data set.
        config: the path of a TOML file, or the name of one that is included.
        changes: ``section.key=value`` strings, or a mapping from ``section.key`` to values; they
            win over the configuration.
        seed: the seed of weights, order and dropout.
        epochs: the number of passes over the data, in place of that of the configuration.
        backend: ``"auto"``, ``"reference"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        ConfigError: a key is not known, or a value has the wrong type or is out of range.

    >>> resolve("spoken-digits", changes={"network.delays": "none"}).network["delays"]
    'none'
    >>> resolve("pmnist", method="hlop").recipe.lr
    0.1
    """
    if method:
        made = _on_stream(source, model, method, config, changes, epochs)
    elif model == SPIKING:
        made = _spiking(source, config, changes, epochs)
    else:
        made = _rate_coded(source, model, config, changes, epochs)
    return Experiment(**made, seed=seed, backend=backend)


def _spiking(
    dataset: str, config: str | None, changes: Changes, epochs: int | None
) -> dict[str, Any]:
    family = of_spiking(dataset)
    values = family.merged(family.layers(config, changes), "")
    with given_by(config, changes):
        own: dict[str, Any] = {"hidden": (list[int], [256, 256]), "layers": (int | None, None)}
        own |= {"recode": (float, 0.0)}
        known = own | fields(delay_network) | OF_STEPS | _of_convolutions()
        recipe = recipe_of(values["training"], epochs)
        # what generates goes on from a state, which "lengthen" cannot
        usual = {} if recipe.target == CLASS else {"padding": "causal"}
        network = check_section("network", known, usual | values["network"])
        _check_convolutions(network, values["network"])
        return {
            "source": dataset,
            "data": check_data(dataset, _events_for(recipe.target, dataset) | values["data"]),
            "recipe": recipe,
            "augmentation": augmentation_of(values["augmentation"]),
            "network": _equal_layers(network),
        }


def _of_convolutions() -> dict[str, tuple[Any, Any]]:
    """The options of convolutions, of which a network has none unless they are asked for."""
    own = fields(conv_delay_network)
    return {"conv": (list[int], []), **{name: own[name] for name in OF_CONV}}


def _check_convolutions(network: dict[str, Any], given: Iterable[str]) -> None:
    for name in OF_CONV:
        if name in given and not network["conv"]:
            raise ConfigError(
                f"network.{name} has no effect without convolutions; remove it, or give their "
                "numbers of channels, for example network.conv=[8,16]"
            )


def _equal_layers(network: dict[str, Any]) -> dict[str, Any]:
    """A network section in which ``layers``, a number of equal layers, has become ``hidden``."""
    left = dict(network)
    layers, hidden = left.pop("layers"), network["hidden"]
    if layers is None:
        return left
    check_number("network.layers", layers, 1)
    if len(set(hidden)) != 1:
        raise ConfigError(
            f"network.layers is {layers}, a number of equal layers, but network.hidden is "
            f"{hidden}; give one width, for example network.hidden=[256]"
        )
    return left | {"hidden": hidden[:1] * layers}


def _rate_coded(
    dataset: str, model: str, config: str | None, changes: Changes, epochs: int | None
) -> dict[str, Any]:
    baselines.get(model)
    snnsim_datasets.get(dataset)
    family = of_baselines(dataset)
    values = family.merged(family.layers(config, changes), model)
    known = {
        k: v for k, v in fields(RateNetwork.__init__).items() if k not in ("width", *OF_MODELS)
    }
    with given_by(config, changes):
        recipe = recipe_of(values["training"], epochs)
        data = check_data(dataset, _events_for(recipe.target, dataset) | values["data"])
        network = check_section("network", known, values["network"])
        network |= {"width": 0, **_of_model(model, values)}
        augmentation = augmentation_of(values["augmentation"])
    if recipe.readout == "last" and not recipe.mask_padding:
        raise ConfigError(
            "training.readout is 'last' with mask_padding=false, but a baseline's outputs are 0 "
            "beyond a sample's end; set training.mask_padding=true"
        )
    return {
        "source": dataset, "model": model, "data": data, "recipe": recipe, "network": network,
        "augmentation": augmentation,
    }  # fmt: skip


def _events_for(target: str, dataset: str) -> dict[str, Any]:
    """What the data section has unless it is given: for the next event, events one by one."""
    known = inspect.signature(snnsim_datasets.get(dataset).load).parameters
    if target != CLASS and "binning" not in known:
        raise ConfigError(
            f"training.target is {target}, but {dataset} has no spikes to predict; take a data set "
            "of events, such as spoken-digits"
        )
    return {"binning": "events"} if target == "next-event" else {}


def _on_stream(
    stream: str, model: str, method: str, config: str | None, changes: Changes, epochs: int | None
) -> dict[str, Any]:
    streams.parse(stream)
    cls: Any = methods.get(method)
    family = of_streams(stream)
    layers = family.layers(config, changes)
    values, changed = family.merged(layers, method), layers[-1]  # a file may be of another stream
    model = values["network"].pop("baseline", "" if model == SPIKING else model) or SPIKING
    with given_by(config, changes):
        known = fields(streams.StreamOptions, keyword_only=False)
        data = check_section("stream", known, values["stream"])
        streams.check_used(stream, changed.get("stream", {}))
        network = _of_stream(stream, model, values)
        used = [*changed.get("network", {}), *(s for s in OF_MODELS if values[s])]
        networks.check_used(model, network, used, streams.is_still(stream))
        options = check_section("method", _of_method(cls), values["method"])
        cls(**options)  # refuses values out of range before any data is read
        recipe = recipe_of(values["training"], epochs, NOT_ON_STREAMS, TASKS)
        augmentation = augmentation_of(values["augmentation"])
    return {
        "source": stream, "model": model, "method": method, "data": data, "network": network,
        "recipe": recipe, "method_options": options, "augmentation": augmentation,
    }  # fmt: skip


def _of_stream(stream: str, model: str, values: Sections) -> dict[str, Any]:
    """The network section, with encoder and options of a baseline if it is one."""
    known = fields(networks.NetworkOptions, keyword_only=False)
    known = {k: v for k, v in known.items() if k not in OF_MODELS}
    network = check_section("network", known, values["network"])
    if model == SPIKING:
        return network | dict.fromkeys(OF_MODELS)
    family = of_baselines(streams.parse(stream)[1])
    given = {section: values[section] for section in OF_MODELS}
    return network | _of_model(model, family.merged([*family.layers(None, ()), given], model))


def _of_model(model: str, values: Sections) -> dict[str, Any]:
    of_model = fields(baselines.get(model).__init__)
    return {
        "encoder": check_section("encoder", fields(RateEncoder.__init__), values["encoder"]),
        "options": check_section("options", of_model, values["options"]),
    }


def _of_method(cls: Any) -> dict[str, Any]:
    """What a method may be given; a method within a method is not configured."""
    if not inspect.isfunction(cls.__init__):
        return {}
    found = fields(cls.__init__, keyword_only=False)
    return {name: each for name, each in found.items() if name != "inner"}


def with_data(experiment: Experiment, changes: Changes) -> Experiment:
    """Return an experiment with other options of its data, such as longer samples to test on.

    Args:
        experiment: one on a data set.
        changes: changes of the section ``data`` only.
    """
    given = parse_changes(changes, ("data",)).get("data", {})
    with given_by(None, changes):
        return replace(experiment, data=check_data(experiment.source, experiment.data | given))


def on_other_data(experiment: Experiment, place: snnsim_datasets.Place) -> Experiment:
    """Return an experiment on the data of a place, read by the options that both data sets have.

    Args:
        experiment: one on a data set.
        place: what :func:`snnsim_datasets.recognise` returns.
    """
    known = fields(snnsim_datasets.get(place.name).load)
    given = {key: value for key, value in experiment.data.items() if key in known}
    if place.name != experiment.source:  # where names are of another form
        given.pop("speaker", None)
    data = check_data(place.name, given | place.options)
    return replace(experiment, source=place.name, data=data)


def check_data(dataset: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the section of a data set, complete and checked."""
    load = snnsim_datasets.get(dataset).load
    keep = ("dt",) if "dt" in inspect.signature(load).parameters else ()
    return check_section("data", fields(load), data, keep)


def _under_todays_names(section: str, name: str, entries: dict[str, Any]) -> dict[str, Any]:
    """Entries of a section, with the options that a method ``name`` has renamed."""
    if section == "method":
        return up_to_date(entries, methods.get(name).former, "method.")
    return _today(entries) if section == "training" else entries


def _today(given: dict[str, Any]) -> dict[str, Any]:
    """A section of training under today's names."""
    if given.get("delay_lr") == 0:  # which meant what None means now
        given = {key: value for key, value in given.items() if key != "delay_lr"}
    return up_to_date(given, RENAMED, "training.")


def recipe_of(
    given: dict[str, Any],
    epochs: int | None = None,
    without: tuple[str, ...] = NOT_ON_DATA,
    base: Mapping[str, Any] = MappingProxyType({}),
) -> Recipe:
    """Return the recipe of a section of training, complete and checked.

    Args:
        given: the section.
        epochs: the number of epochs, in place of that of the section.
        without: the attributes that cannot be given here.
        base: defaults in place of those of :class:`Recipe`.
    """
    given = _today(given)
    known = {k: v for k, v in fields(Recipe, keyword_only=False).items() if k not in without}
    known = {k: (kind, base.get(k, default)) for k, (kind, default) in known.items()}
    other = {} if epochs is None else {"density": 1.0}  # its own epochs need not reach the cut
    found = Recipe(**check_section("training", known, given) | other)  # right also where others win
    if found.target == CLASS:
        check_number("training.until", found.until, 0, 1)  # of accuracy
    if epochs is None:
        return found
    return Recipe(**check_section("training", known, given | {"epochs": epochs}))


def augmentation_of(given: dict[str, Any]) -> Augmentation:
    """Return the augmentation of a section, complete and checked."""
    known = fields(Augmentation, keyword_only=False)
    return Augmentation(**check_section("augmentation", known, given))
