"""Configurations of baselines: sections ``data``, ``network``, ``encoder``, ``options``, ``training``.

``network`` holds the arguments of :class:`snnsim.baselines.RateNetwork`, ``encoder`` those of
:class:`snnsim.baselines.RateEncoder`, ``options`` those of the model. A file may also have sections
that only one model takes: ``options-<model>``, ``training-<model>``, ... The result is a
:class:`snnsim_experiments.config.Config` whose network has a ``model``.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import snnsim_datasets

from snnsim.baselines import RateEncoder, RateNetwork, get, multiple_of, names, width_for
from snnsim.errors import ConfigError, check_number, nearest
from snnsim_experiments.config import (
    Config,
    check_section,
    data_and_training,
    fields,
    given_by,
    given_file,
    parse_changes,
    read_toml,
)

SECTIONS = ("data", "network", "encoder", "options", "training")
FOLDER = Path(__file__).parent
NOT_CONFIGURED = ("width", "encoder", "options")


def resolve(
    model: str,
    dataset: str,
    *,
    config: str | None = None,
    changes: Collection[str] = (),
    seed: int = 0,
    epochs: int | None = None,
    width: int = 0,
) -> Config:
    """Merge the default, the data set's differences, a given file and single changes.

    Args:
        model: name of the model.
        dataset: name of the data set.
        config: path of a TOML file.
        changes: ``section.key=value`` strings; they win.
        seed, epochs: as on the command line.
        width: of the layers; 0: to be found from a budget by :func:`fit_budget`.

    >>> resolve("gru", "spoken-digits").network["options"]
    {}
    """
    get(model)
    snnsim_datasets.get(dataset)
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    layers = _shipped(dataset)
    if config is not None:
        layers.append(read_toml(given_file(config), allowed()))
    layers.append(parse_changes(changes, SECTIONS))
    _merge(values, layers, model)
    known = {k: v for k, v in fields(RateNetwork.__init__).items() if k not in NOT_CONFIGURED}
    with given_by(config, changes):
        data, training = data_and_training(dataset, values["data"], values["training"], epochs)
        network = check_section("network", known, values["network"])
        network |= {"model": model, "width": width, **_checked(model, values)}
    if training["readout"] == "last" and not training["mask_padding"]:
        raise ConfigError(
            "training.readout is 'last' with mask_padding=false, but a baseline's outputs are 0 "
            "beyond a sample's end; set training.mask_padding=true"
        )
    return Config(dataset, seed, "auto", data, network, training)


def encoder_and_options(
    model: str, dataset: str, given: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The sections ``encoder`` and ``options`` of a model on some data, complete and checked.

    >>> encoder_and_options("gru", "fsdd", {"encoder": {"clip": 3}})["encoder"]["norm"]
    'sqrt'
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    _merge(values, [*_shipped(dataset), given], model)
    return _checked(model, values)


def _checked(model: str, values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    of_model = fields(get(model).__init__)
    return {
        "encoder": check_section("encoder", fields(RateEncoder.__init__), values["encoder"]),
        "options": check_section("options", of_model, values["options"]),
    }


def allowed() -> tuple[str, ...]:
    """Sections that a file may have."""
    return (*SECTIONS, *(f"{section}-{name}" for section in SECTIONS for name in names()))


def _shipped(dataset: str) -> list[dict[str, dict[str, Any]]]:
    """What comes along for all data, and for some."""
    files = (FOLDER / "default.toml", FOLDER / f"{dataset.replace('-', '_')}.toml")
    return [read_toml(file, allowed()) for file in files if file.exists()]


def _merge(
    values: dict[str, dict[str, Any]], layers: Iterable[dict[str, dict[str, Any]]], model: str
) -> None:
    """Later layers win; a model's own sections win over those of all."""
    for layer in layers:
        for section in SECTIONS:
            values[section].update(layer.get(section, {}))
            values[section].update(layer.get(f"{section}-{model}", {}))


def fit_budget(config: Config, channels: int, classes: int, budget: float, by: str) -> Config:
    """The configuration with the largest width within a budget; see ``snnsim.baselines.size``."""
    network = {k: v for k, v in config.network.items() if k != "width"}
    width = width_for(
        lambda width: RateNetwork(channels, classes, width=width, **network),
        channels,
        budget,
        by,
        multiple_of(network["model"], network["options"], network["attend"]),
    )
    return replace(config, network={**config.network, "width": width})


def parse_budget(text: str) -> float:
    """A number that may end in ``k`` or ``M``.

    >>> parse_budget("200k")
    200000.0
    """
    factor = {"k": 1e3, "m": 1e6}.get(text[-1:].lower(), 1.0)
    try:
        value = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e10:
        raise ConfigError(f"budget is {text!r} but must be a positive number, such as 50k or 1M")
    return value


def parse_rates(text: str) -> list[float]:
    """Factors from ``"0.3,1,3"``.

    >>> parse_rates("0.3,1")
    [0.3, 1.0]
    """
    try:
        factors = [float(part) for part in text.split(",")]
    except ValueError:
        factors = []
    if not factors or len(set(factors)) != len(factors):
        raise ConfigError(f"rates is {text!r} but must be different factors such as 0.3,1,3")
    for factor in factors:
        check_number("a factor of rates", factor, above=0, most=1e6)
    return factors


def split_names(text: str, known: Iterable[str], what: str) -> list[str]:
    """Names from a comma-separated list; ``all`` for all of them."""
    known = list(known)
    chosen = known if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in chosen:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}{nearest(name, known)}; all: {known}")
    if not chosen or len(set(chosen)) != len(chosen):
        raise ConfigError(f"{text!r} must be different names of a {what}, such as {known[0]}")
    return chosen
