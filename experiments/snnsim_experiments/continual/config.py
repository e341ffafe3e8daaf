"""Configurations of continual runs: TOML files, checked against the real signatures.

Sections: ``stream`` (options of the stream), ``network``, ``training`` (the fields of
:class:`snnsim.continual.ContinualRecipe`) and ``method`` (those of the method); with a
``network.baseline`` also ``encoder`` and ``options``, of that model, which start from those of the
baselines. A file may also have sections that only one method takes: ``method-<name>``,
``training-<name>``, ...
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snnsim.continual import ContinualRecipe, methods
from snnsim_experiments.baselines.config import encoder_and_options
from snnsim_experiments.config import (
    check_section,
    fields,
    given_by,
    given_file,
    parse_changes,
    read_toml,
)
from snnsim_experiments.continual import networks, streams

SECTIONS = ("stream", "network", "encoder", "options", "training", "method")
OF_BASELINES = ("encoder", "options")  # sections that become a part of the network
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ContinualConfig:
    """A complete, checked configuration; plain values only."""

    stream_name: str
    method_name: str
    seed: int
    stream: dict[str, Any]
    network: dict[str, Any]
    training: dict[str, Any]
    method: dict[str, Any]

    @property
    def recipe(self) -> ContinualRecipe:
        """The training section."""
        return ContinualRecipe(**self.training)


def config_names() -> list[str]:
    """Names of the configurations that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def default_config(stream: str) -> str:
    """The configuration a stream has unless another is given.

    >>> default_config("pmnist"), default_config("speakers-fsdd")
    ('pmnist', 'sequences')
    """
    if stream in config_names():
        return stream
    return "images" if streams.is_still(stream) else "sequences"


def resolve(
    stream: str,
    method: str,
    *,
    config: str | None = None,
    changes: Collection[str] = (),
    learning: str | None = None,
    seed: int = 0,
) -> ContinualConfig:
    """Merge the stream's configuration, a given one and single changes.

    >>> resolve("pmnist", "hlop").training["lr"]
    0.1
    """
    streams.parse(stream)
    cls = methods.get(method)
    own = (f"{section}-{name}" for section in SECTIONS for name in methods.names())
    allowed = (*SECTIONS, *own)
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    layers = [read_toml(FOLDER / f"{default_config(stream)}.toml", allowed)]
    if config is not None:
        layers.append(read_toml(given_file(config, FOLDER), allowed))
    layers.append(parse_changes(changes, SECTIONS))
    for layer in layers:
        for section in SECTIONS:
            values[section].update(layer.get(section, {}))
            values[section].update(layer.get(f"{section}-{method}", {}))
    if learning is not None:
        values["network"]["learning"] = learning
    with given_by(config, changes):
        chosen = check_section("stream", fields(streams.build), values["stream"])
        streams.check_used(stream, layers[-1].get("stream", {}))  # a file may be of another stream
        network = _network(stream, values)
        used = [*layers[-1].get("network", {}), *(s for s in OF_BASELINES if values[s])]
        networks.check_used(network, used, streams.is_still(stream))
        options = check_section("method", _options_of(cls), values["method"])
        cls(**options)  # refuses values out of range before any data is read
        training = _recipe(values["training"])
    return ContinualConfig(stream, method, seed, chosen, network, training, options)


def _network(stream: str, values: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The network section, with encoder and options of a baseline if it is one."""
    known = {k: v for k, v in fields(networks.build).items() if k not in OF_BASELINES}
    network = check_section("network", known, values["network"])
    found: dict[str, Any] = dict.fromkeys(OF_BASELINES)
    if network["baseline"]:
        given = {section: values[section] for section in OF_BASELINES}
        found = encoder_and_options(network["baseline"], streams.parse(stream)[1], given)
    return network | found


def _options_of(cls: Any) -> dict[str, Any]:
    """What a method may be given; a method within a method is not configured."""
    if not inspect.isfunction(cls.__init__):
        return {}
    found = fields(cls.__init__, keyword_only=False)
    return {name: each for name, each in found.items() if name != "inner"}


def _recipe(given: dict[str, Any]) -> dict[str, Any]:
    known = fields(ContinualRecipe, keyword_only=False)
    return asdict(ContinualRecipe(**check_section("training", known, given)))
