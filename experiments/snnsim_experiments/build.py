"""From a configuration to data sets and a network."""

from __future__ import annotations

from typing import Any

import snnsim_datasets

from snnsim.baselines import RateNetwork
from snnsim.layer import Layer
from snnsim.networks import delay_network
from snnsim.training import set_seed
from snnsim_experiments.config import Config


def load_split(config: Config, split: str, root: str | None, progress: Any = None) -> Any:
    """One split of the configured data set."""
    return snnsim_datasets.load(config.dataset, split, root, progress=progress, **config.data)


def build_network(config: Config, channels: int, classes: int, dt: float) -> Layer:
    """The configured network with weights drawn from the configuration's seed."""
    set_seed(config.seed)
    if "model" in config.network:
        return RateNetwork(channels, classes, **config.network)
    options = {k: v for k, v in config.network.items() if k != "hidden"}
    sizes = (channels, *config.network["hidden"], classes)
    return delay_network(sizes, dt=dt, backend=config.backend, **options)
