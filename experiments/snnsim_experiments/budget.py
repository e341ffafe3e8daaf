"""Networks of a size: the widest within a budget, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from snnsim.baselines import Cost, cost_of, multiple_of, width_for
from snnsim.baselines.size import parameters_of
from snnsim.continual import Learner, Stream
from snnsim.errors import ConfigError
from snnsim.layer import Layer
from snnsim.networks import Repeat, Sequential
from snnsim_experiments.build import Facts, build_network
from snnsim_experiments.continual import networks
from snnsim_experiments.experiment import SPIKING, Experiment


@dataclass(frozen=True)
class Budget:
    """A budget is the largest size that a network may have.

    Attributes:
        amount: the largest number of what is counted, above 0.
        by: what is counted: ``"parameters"``, ``"state"`` or ``"operations"`` (per step).
    """

    amount: float
    by: str = "parameters"


def fit(experiment: Experiment, budget: Budget, data: Facts | Stream) -> Experiment:
    """Give an experiment the widest layers with which its network is within a budget.

    On a stream, parameters are those of all heads; state and operations those of the first task.

    Args:
        experiment: the experiment, whose layers may have any width.
        budget: the largest size of its network.
        data: its data, as :func:`snnsim_experiments.build.look_at` returns them.

    Raises:
        ConfigError: not even the narrowest network is within the budget.
    """

    def make(width: int) -> nn.Module:
        net = _network(with_width(experiment, width), data)
        if isinstance(net, Learner) and budget.by != "parameters":
            return _OfOneTask(net)
        return net

    multiple = 1
    if experiment.model != SPIKING:
        network = experiment.network
        multiple = multiple_of(experiment.model, network["options"], network.get("attend", 0))
    width = width_for(make, _channels(data), budget.amount, budget.by, multiple)
    return with_width(experiment, width)


def cost(experiment: Experiment, data: Facts | Stream) -> Cost:
    """Count what the network of an experiment costs: parameters, state, operations per step."""
    net = _network(experiment, data)
    if isinstance(net, Learner):
        found = cost_of(_OfOneTask(net), _channels(data))
        return found._replace(parameters=parameters_of(net))
    return cost_of(net, _channels(data))


def with_width(experiment: Experiment, width: int) -> Experiment:
    """Return the experiment with all layers of this width."""
    network = experiment.network
    if experiment.model != SPIKING:
        return replace(experiment, network=network | {"width": width})
    layers = len(network["hidden"] or [])
    if not layers or network.get("convolutions") or network.get("residual"):
        raise ConfigError(
            f"a budget sizes fully connected layers, but the configuration of {experiment.source} "
            "has others; compare baselines alone"
        )
    return replace(experiment, network=network | {"hidden": [width] * layers})


def width_of(experiment: Experiment) -> int:
    """Return the width of the layers of an experiment."""
    network = experiment.network
    if experiment.model != SPIKING:
        return int(network["width"])
    return int((network["hidden"] or [0])[0])


def _channels(data: Facts | Stream) -> int:
    if isinstance(data, Stream):
        return int(data.tasks[0].test.batch([0]).x[0, 0].numel())
    return data.channels


def _network(experiment: Experiment, data: Facts | Stream) -> Layer | Learner:
    if isinstance(data, Stream):
        return networks.build(data, model=experiment.model, **experiment.network)
    return build_network(experiment, *data)


class _OfOneTask(Layer):
    """A learner as it answers its first task, a step at a time also where images are repeated."""

    def __init__(self, learner: Learner):
        super().__init__()
        self.body = Sequential(*(m for m in learner.body if not isinstance(m, Repeat)))
        self.head = learner.head(0)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.body(x, state)
        return self.head(y)[0], state
