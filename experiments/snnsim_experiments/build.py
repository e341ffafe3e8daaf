"""From an experiment to data and a network."""

from __future__ import annotations

from typing import Any, NamedTuple

import snnsim_datasets

from snnsim.baselines import RateNetwork
from snnsim.continual import Stream
from snnsim.layer import Layer
from snnsim.networks import delay_network
from snnsim.training import set_seed
from snnsim_experiments.continual import streams
from snnsim_experiments.experiment import SPIKING, Experiment
from snnsim_experiments.place import Place
from snnsim_experiments.progress import DownloadBar


class Facts(NamedTuple):
    """What a network has to know of a data set: channels, classes, and its step in ms."""

    channels: int
    classes: int
    dt: float


def load_split(experiment: Experiment, split: str, root: str | None, progress: Any = None) -> Any:
    """One split of the data set of an experiment."""
    options = experiment.data
    return snnsim_datasets.load(experiment.source, split, root, progress=progress, **options)


def look_at(experiment: Experiment, place: Place) -> Facts | Stream:
    """What an experiment's network has to know of its data: facts, or the stream itself."""
    if experiment.method:
        with DownloadBar(place.console, place.quiet) as bar:
            return streams.build(experiment.source, place.root, bar, **experiment.data)
    found = load_split(experiment, "validation", place.root)
    return Facts(found.channels, len(found.classes), found.dt)


def build_network(experiment: Experiment, channels: int, classes: int, dt: float) -> Layer:
    """The network of an experiment on a data set, with weights drawn from its seed."""
    set_seed(experiment.seed)
    if experiment.model != SPIKING:
        return RateNetwork(channels, classes, experiment.model, **experiment.network)
    options = {k: v for k, v in experiment.network.items() if k != "hidden"}
    sizes = (channels, *experiment.network["hidden"], classes)
    return delay_network(sizes, dt=dt, backend=experiment.backend, **options)
