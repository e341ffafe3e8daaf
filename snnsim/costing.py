"""What a network costs: sparsity, synaptic operations, memory traffic and energy.

Operations are counted when an input arrives at a connection. A spike therefore costs its nonzero
outgoing weights at once, also where delays bring it to its targets later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.data import Sequences, fetch
from snnsim.energy import Energy, find_meters, measure
from snnsim.errors import ConfigError
from snnsim.layer import device_of, evaluating, listening
from snnsim.neurons import Neuron
from snnsim.report import Cost, NeuronCost, Reach, Tally, footprint
from snnsim.synapses import Delayed, DelayedConv2d, Dense, Recurrent
from snnsim.training.evaluate import equally_padded, run_padded

ACTIVATIONS = (Neuron, nn.ReLU, nn.Sigmoid)
INNER_AXES: dict[type[nn.Module], int] = {  # of one sample's input at one step
    Dense: 1,
    Delayed: 1,
    Recurrent: 1,
    DelayedConv2d: 3,
    nn.Linear: 1,
    nn.Conv1d: 2,
    nn.Conv2d: 3,
    nn.Conv3d: 4,
}
CONNECTIONS = tuple(INNER_AXES)


def cost(
    net: nn.Module, data: Sequences | Tensor, *, batch_size: int = 256, energy: bool = False
) -> Cost:
    """Run a network on data, in evaluation mode, and count what that costs.

    Args:
        net: any network. Connections are :class:`Dense`, :class:`Delayed`, :class:`DelayedConv2d`,
            :class:`Recurrent`, and torch's linear and convolutional layers; what it has beside
            them is named in ``uncounted``.
        data: a data set, or a batch ``[T, B, ...]``. Steps of padding count like any other.
        batch_size: the largest number of samples in a batch. NeuroBench's division into ACs and
            MACs depends on it.
        energy: whether to measure the energy of a run, which takes half a second. If the machine
            has no meter that can be read, the result says so.

    Returns:
        A :class:`snnsim.report.Cost`.

    Raises:
        ConfigError: if ``net`` is not a module, such as a compiled network.

    >>> import snnsim as sn
    >>> net = sn.Sequential(sn.Dense(3, 4), sn.IF(4, dt=1.0))
    >>> found = cost(net, torch.ones(5, 2, 3))
    >>> found.neurobench()["SynapticOperations"]
    {'Effective_MACs': 0.0, 'Effective_ACs': 60.0, 'Dense': 60.0}
    """
    if not isinstance(net, nn.Module):
        raise ConfigError(
            f"cost() takes a network, not a {type(net).__name__}; a compiled network has "
            "report(x).cost"
        )
    counter = _Counter(net)
    with torch.no_grad(), evaluating(net):
        for x, lengths in _batches(data, device_of(net), batch_size):
            counter.run(x, lengths)
        measured = _energy(net, data, batch_size) if energy else None
    return counter.result(measured)


def _batches(
    data: Sequences | Tensor, device: torch.device, batch_size: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Inputs and the lengths of their samples; a tensor is split like a data set."""
    if isinstance(data, Tensor):
        for x in data.split(batch_size, 1):
            yield x, None
        return
    for chosen, padded in equally_padded(data.lengths, int(np.max(data.lengths)), batch_size):
        batch = fetch(data, chosen, padded)
        yield batch.x.to(device), batch.lengths


def _run(net: nn.Module, x: Tensor, lengths: Tensor | None) -> Any:
    return net(x) if lengths is None else run_padded(net, x, lengths)


def _energy(net: nn.Module, data: Sequences | Tensor, batch_size: int) -> Energy:
    """The energy of running the first batch."""
    device = device_of(net)
    gpu = str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""
    first = next(_batches(data, device, batch_size), None)
    if first is None:
        return Energy(None, "there are no samples")

    def run() -> None:
        _run(net, *first)
        if gpu:
            torch.cuda.synchronize()

    run()  # what is compiled is compiled now
    return measure(run, first[0].shape[1], *find_meters(gpu))


def connections_of(net: nn.Module) -> dict[str, nn.Module]:
    """Return the connections of a network, whose operations are counted, by name."""
    return {n: m for n, m in net.named_modules() if isinstance(m, CONNECTIONS)}


def activations_of(net: nn.Module) -> dict[str, nn.Module]:
    """Return the neurons and activation functions of a network by name."""
    return {n: m for n, m in net.named_modules() if isinstance(m, ACTIVATIONS)}


def others(net: nn.Module) -> list[str]:
    """Return the names of matrices that belong to no connection, whose work is not counted."""
    parts = [*connections_of(net).values(), *activations_of(net).values()]
    known = {id(parameter) for part in parts for parameter in part.parameters()}
    named = net.named_parameters()
    return [name for name, each in named if each.dim() > 1 and id(each) not in known]


def weight_of(connection: nn.Module) -> Tensor:
    """Return the weights of a connection as it uses them, without gradient."""
    if isinstance(connection, Recurrent):
        return (connection.w_rec * connection.mask).detach()
    weight: Any = connection.weight
    return weight.detach()


def arriving(connection: nn.Module, inputs: Any, output: Any, samples: int) -> Tensor:
    """Return what arrived at a connection in a call, as steps: ``[T, samples, ...]``.

    A recurrent connection receives the outputs of its neurons, each when it is emitted.

    Args:
        connection: the connection.
        inputs, output: those of the call.
        samples: the number of samples of the batch. Torch's layers may be called once with all
            steps in one axis, as :class:`snnsim.OverTime` does.
    """
    x = output[0] if isinstance(connection, Recurrent) else inputs[0]
    inner = next(n for kind, n in INNER_AXES.items() if isinstance(connection, kind))
    outer = x.dim() - inner
    if outer >= 2:
        return x
    if outer == 0:
        return x[None, None]
    steps = len(x) // samples if samples and len(x) % samples == 0 else 1
    return x.unflatten(0, (steps, len(x) // max(steps, 1)))


def _summed(connection: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """The sum of what some weights in the place of the connection's make of ``x``."""
    if isinstance(connection, DelayedConv2d):
        margin, stride = connection.margin, connection.stride
        return nn.functional.conv2d(x, weight, stride=stride, padding=margin).sum()
    if isinstance(connection, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return connection._conv_forward(x, weight, None).sum()
    if isinstance(connection, Delayed):
        weight = weight.sum(2)  # all copies
    return nn.functional.linear(x, weight).sum()


def reach(connection: nn.Module, shape: torch.Size) -> Reach:
    """Return where each input of a connection leads.

    Args:
        connection: the connection.
        shape: the shape of the input of one sample at one step.
    """
    weight = (weight_of(connection) != 0).double()
    x = weight.new_zeros((1, *shape), requires_grad=True)
    found = []
    for present in (weight, torch.ones_like(weight)):
        with torch.enable_grad():  # the sum is linear, so its gradient is what each input adds
            total = _summed(connection, present, x)
        found.append(torch.autograd.grad(total, x)[0][0].round().long())
    return Reach(found[0], int(found[1].sum()))


class _Counter:
    """Counts what the parts of a network do while it runs."""

    def __init__(self, net: nn.Module):
        self.net = net
        self.connections, self.activations = connections_of(net), activations_of(net)
        self.tallies: dict[str, Tally] = {}
        self.neurons: dict[str, NeuronCost] = {}
        self.reaches: dict[tuple[str, torch.Size], Reach] = {}
        self.samples, self.batch = 0, 0

    def run(self, x: Tensor, lengths: Tensor | None) -> None:
        self.batch = x.shape[1]
        self.samples += self.batch
        with listening(self.connections | self.activations, self._told):
            _run(self.net, x, lengths)

    def _told(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if name in self.connections:
            self._connection(name, module, inputs, output)
        else:
            self._activation(name, module, inputs, output)

    def _connection(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        x = arriving(module, inputs, output, self.batch)
        inner = next(n for kind, n in INNER_AXES.items() if isinstance(module, kind))
        shape = x.shape[x.dim() - inner :]
        if (name, shape) not in self.reaches:
            self.reaches[name, shape] = reach(module, shape)
        self.tallies.setdefault(name, Tally()).add(x, self.reaches[name, shape])

    def _activation(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        changes = _changes(module, inputs)
        written = None if changes is None else changes * y.element_size()
        found = NeuronCost(name, y.numel(), int(y.count_nonzero()), changes, written)
        before = self.neurons.get(name)
        self.neurons[name] = found if before is None else before.plus(found)

    def result(self, measured: Energy | None) -> Cost:
        idle = [name for name in self.connections if name not in self.tallies]
        tensors = [*self.net.parameters(), *self.net.buffers()]
        return Cost(
            tuple(
                tally.cost(n, weight_of(self.connections[n])) for n, tally in self.tallies.items()
            ),
            tuple(self.neurons.values()),
            footprint(tensors),
            self.samples,
            (*idle, *others(self.net)),
            measured,
        )


def _changes(module: nn.Module, inputs: Any) -> int | None:
    """How often a state variable of a neuron was another after a step than before it."""
    if not isinstance(module, Neuron) or type(module).forward is not Neuron.forward:
        return None
    x, state = (*inputs, None)[:2]
    states = module.trace(*inputs)[1]
    start = module.initial_state(module.check_input(x)) if state is None else state
    changes = 0
    for name, values in states.items():
        before = torch.cat([start[name].unsqueeze(0), values])[: len(values)]
        changes += int((values != before).sum())
    return changes
