"""From an experiment to data and a network."""

from __future__ import annotations

from typing import Any, NamedTuple

import snnsim_datasets
from torch import Tensor

from snnsim.baselines import RateNetwork
from snnsim.continual import Stream
from snnsim.data import describe, outputs_of
from snnsim.errors import ConfigError
from snnsim.layer import Layer
from snnsim.networks import conv_delay_network, delay_network, recoded
from snnsim.training import set_seed
from snnsim.training.recipe import CLASS
from snnsim_experiments.continual import streams
from snnsim_experiments.experiment import SPIKING, Experiment
from snnsim_experiments.place import Place
from snnsim_experiments.progress import DownloadBar

OF_CONV = ("kernel_size", "pool")  # options of a network that only convolutions have


class Facts(NamedTuple):
    """Facts are what a network has to know of a data set.

    Attributes:
        channels: the number of values per step.
        classes: the number of classes, or of other values that the network answers with.
        dt: the length of a step in ms.
        shape: the shape of a step, of images ``(C, H, W)``; empty for unknown.
    """

    channels: int
    classes: int
    dt: float
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, data: Any) -> Facts:
        """Return the facts of a split."""
        return cls(data.channels, outputs_of(data), data.dt, describe(data).shape)


def load_split(experiment: Experiment, split: str, root: str | None, progress: Any = None) -> Any:
    """Load one split of the data set of an experiment."""
    options = experiment.data
    return snnsim_datasets.load(experiment.source, split, root, progress=progress, **options)


def some_of(data: Any) -> Tensor:
    """Return the input of some 256 samples that lie evenly in the data, so of all classes."""
    return data.batch(range(0, len(data), max(len(data) // 256, 1))).x


def look_at(experiment: Experiment, place: Place) -> Facts | Stream:
    """Return what an experiment's network has to know of its data: facts, or the stream."""
    if experiment.method:
        with DownloadBar(place.console, place.quiet) as bar:
            return streams.build(experiment.source, place.root, bar, **experiment.data)
    return Facts.of(load_split(experiment, "validation", place.root))


def build_network(
    experiment: Experiment, channels: int, classes: int, dt: float, shape: tuple[int, ...] = ()
) -> Layer:
    """Build the network of an experiment on a data set, with weights drawn from its seed.

    Args:
        experiment: what is trained.
        channels, classes, dt, shape: what it has to know of the data, see :class:`Facts`.
    """
    set_seed(experiment.seed)
    outputs = classes if experiment.recipe.target == CLASS else channels  # of the next step
    if experiment.model != SPIKING:
        return _rate_coded(experiment, channels, outputs)
    options = _in_ms(experiment.network, dt) | {"dt": dt, "backend": experiment.backend}
    hidden, alpha = options.pop("hidden"), options.pop("recode", 0.0)
    conv = options.pop("conv", [])
    of_conv = {name: options.pop(name) for name in OF_CONV if name in options}
    if conv:
        net = conv_delay_network(shape, conv, outputs, hidden=hidden, **of_conv, **options)
    else:
        net = delay_network((channels, *hidden, outputs), **options)
    return recoded(net, alpha) if alpha else net


def _in_ms(network: dict[str, Any], dt: float) -> dict[str, Any]:
    """The options of a network with times for those that are left to the length of a step."""
    left = {"tau_mem": 10.05 * dt, "max_delay_ms": 24 * dt}
    given = {k: v for k, v in network.items() if v is not None or k not in left}
    return left | given


def _rate_coded(experiment: Experiment, channels: int, outputs: int) -> RateNetwork:
    """A baseline with an output for each class, or for each channel of the next step."""
    target = experiment.recipe.target
    net = RateNetwork(channels, outputs, experiment.model, **experiment.network)
    if target != CLASS and not (net.causal and net.streaming == "exact"):
        raise ConfigError(
            f"{target} needs a network that sees no later input, step by step, but "
            f"{experiment.model} here is {'causal' if net.causal else 'not causal'} and streams "
            f"{net.streaming!r}; take another model, or encoder.bins=1"
        )
    return net
