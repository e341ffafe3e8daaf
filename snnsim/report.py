"""What a run of a network cost: operations, sparsity, memory and time, as values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from snnsim.energy import Energy
from snnsim.errors import ConfigError

COLUMNS = f" {'zero w':>7} {'events':>12} {'ACs':>12} {'MACs':>12} {'of dense':>9}"
NEURON_COLUMNS = f" {'zeros':>7} {'outputs':>12} {'changes of state':>17}"


@dataclass(frozen=True)
class LayerCost:
    """A ``LayerCost`` counts what one layer did; all numbers are sums over the batch."""

    name: str
    input_events: int
    synaptic_operations: int
    dense_operations: int
    spikes: int
    neuron_steps: int

    @property
    def firing_rate(self) -> float:
        """Return the fraction of neurons and time steps with an output."""
        return self.spikes / max(self.neuron_steps, 1)


@dataclass(frozen=True)
class Reach:
    """A ``Reach`` says where each input of a connection leads.

    Attributes:
        fan_out: the number of nonzero weights that lead away from each input, int64, in the shape
            of one step of one sample. Delayed copies of a connection count each.
        dense: the number of all weights, also zero, over all inputs of such a step.
    """

    fan_out: Tensor
    dense: int


@dataclass
class Tally:
    """A ``Tally`` adds up what passes through one connection, step by step.

    Attributes:
        events: the number of inputs that were not zero.
        additions: the number of operations of inputs that are -1 or 1.
        dense: the number of operations of a machine that does not skip zeros.
        operations: the number of operations of each step of a batch.
        graded: whether an input of the step is not in {-1, 0, 1}, for each step of a batch.
    """

    events: int = 0
    additions: int = 0
    dense: int = 0
    operations: list[int] = field(default_factory=list)
    graded: list[bool] = field(default_factory=list)

    def add(self, x: Tensor, reach: Reach, first: int | None = None) -> None:
        """Count the inputs of some steps.

        Args:
            x: the inputs, ``[T, B, ...]``.
            reach: where they lead.
            first: the step that ``x`` begins with, if it holds further samples of a batch that was
                counted before; ``None`` if its steps are new ones.
        """
        x = x.detach()
        x = x if x.is_floating_point() else x.double()
        inner = reach.fan_out.dim()
        nonzero, units = (
            mask.flatten(1, mask.dim() - inner - 1).flatten(2).sum(1)
            for mask in (x != 0, (x == 1) | (x == -1))
        )
        fan_out = reach.fan_out.flatten()
        self.events += int(nonzero.sum())
        self.additions += int((units * fan_out).sum())
        self.dense += x.numel() // max(fan_out.numel(), 1) * reach.dense
        graded = (nonzero != units).any(1).tolist()
        first = len(self.graded) if first is None else first
        missing = first + len(x) - len(self.graded)
        self.operations += [0] * missing
        self.graded += [False] * missing
        for step, count in enumerate((nonzero * fan_out).sum(1).tolist(), first):
            self.operations[step] += count
            self.graded[step] |= graded[step - first]

    def cost(self, name: str, weight: Tensor) -> ConnectionCost:
        """Return what was counted of a connection with some weights."""
        total = sum(self.operations)
        macs = sum(n for n, graded in zip(self.operations, self.graded, strict=True) if graded)
        return ConnectionCost(
            name=name,
            weights=weight.numel(),
            zero_weights=int((weight == 0).sum()),
            events=self.events,
            acs=total - macs,
            macs=macs,
            additions=self.additions,
            multiplications=total - self.additions,
            dense=self.dense,
            bytes_read=total * weight.element_size(),
        )


@dataclass(frozen=True)
class ConnectionCost:
    """A ``ConnectionCost`` counts the work of one connection, as sums over samples and steps.

    Attributes:
        name: the name of the connection in the network.
        weights, zero_weights: the numbers of all weights and of those that are 0.
        events: the number of inputs that were not 0.
        acs, macs: the operations by NeuroBench's rule: those of a step of a batch all of whose
            inputs are in {-1, 0, 1} are accumulations, all others multiply-accumulations. A zero
            weight costs nothing, nor does a bias.
        additions, multiplications: the same operations by value: that of an input of -1 or 1 is an
            addition, that of any other a multiplication with an addition.
        dense: the operations of a machine that skips neither zero inputs nor zero weights.
        bytes_read: the bytes of weights that are read if each operation reads its weight.
    """

    name: str
    weights: int
    zero_weights: int
    events: int
    acs: int
    macs: int
    additions: int
    multiplications: int
    dense: int
    bytes_read: int

    @property
    def operations(self) -> int:
        """Return the number of effective synaptic operations."""
        return self.acs + self.macs

    @property
    def sparsity(self) -> float:
        """Return the fraction of weights that are 0."""
        return self.zero_weights / max(self.weights, 1)


@dataclass(frozen=True)
class NeuronCost:
    """A ``NeuronCost`` counts what neurons did, as sums over samples and steps.

    Attributes:
        name: the name of the neurons in the network.
        outputs, nonzero: the numbers of all outputs and of those that are not 0.
        state_changes: how often a state variable of a neuron had another value after a step than
            before it; ``None`` where this is not known (activation functions have no state, and a
            compiled network does not show it).
        bytes_written: the bytes of these states; ``None`` where they are not known.
    """

    name: str
    outputs: int
    nonzero: int
    state_changes: int | None = None
    bytes_written: int | None = None

    @property
    def sparsity(self) -> float:
        """Return the fraction of outputs that are 0."""
        return (self.outputs - self.nonzero) / max(self.outputs, 1)

    def plus(self, later: NeuronCost) -> NeuronCost:
        """Return the counts of these neurons in this run and a later one together."""
        return NeuronCost(
            self.name,
            self.outputs + later.outputs,
            self.nonzero + later.nonzero,
            _total((self.state_changes, later.state_changes)),
            _total((self.bytes_written, later.bytes_written)),
        )


def _total(values: Iterable[int | None]) -> int | None:
    """The sum of the values that are known; ``None`` if none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@dataclass(frozen=True)
class Cost:
    """A ``Cost`` says what a network costs on some samples; ``docs/cost.md`` has the definitions.

    Attributes:
        connections, neurons: the counts of each, in the order in which they first ran.
        footprint: the bytes of all parameters and buffers of the network.
        samples: the number of samples.
        uncounted: names of weights, and of connections that did not run as such, whose operations
            are in none of the counts.
        energy: the measured energy of a run; ``None`` if it was not asked for.
    """

    connections: tuple[ConnectionCost, ...]
    neurons: tuple[NeuronCost, ...]
    footprint: int
    samples: int
    uncounted: tuple[str, ...] = ()
    energy: Energy | None = None

    def total(self, name: str) -> int:
        """Return the sum of one count, such as ``"acs"``, over all connections."""
        return sum(getattr(each, name) for each in self.connections)

    @property
    def connection_sparsity(self) -> float | None:
        """Return the fraction of weights that are 0; ``None`` if there is no weight."""
        weights = self.total("weights")
        return self.total("zero_weights") / weights if weights else None

    @property
    def activation_sparsity(self) -> float | None:
        """Return the fraction of all outputs of neurons that are 0; ``None`` if there is none."""
        outputs = sum(each.outputs for each in self.neurons)
        nonzero = sum(each.nonzero for each in self.neurons)
        return (outputs - nonzero) / outputs if outputs else None

    @property
    def state_changes(self) -> int | None:
        """Return the changes of all neurons' states; ``None`` if they are not known."""
        return _total(each.state_changes for each in self.neurons)

    @property
    def bytes_written(self) -> int | None:
        """Return the bytes of states that were written; ``None`` if they are not known."""
        return _total(each.bytes_written for each in self.neurons)

    def per_sample(self, count: int) -> float:
        """Return a count divided by the number of samples."""
        return count / max(self.samples, 1)

    def neurobench(self) -> dict[str, Any]:
        """Return NeuroBench's metrics under its names; operations are means over samples."""
        names = {"Effective_MACs": "macs", "Effective_ACs": "acs", "Dense": "dense"}
        operations = {name: self.per_sample(self.total(count)) for name, count in names.items()}
        return {
            "Footprint": self.footprint,
            "ConnectionSparsity": self.connection_sparsity,
            "ActivationSparsity": self.activation_sparsity,
            "SynapticOperations": operations,
        }

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values: NeuroBench's metrics, and every count."""
        return {"neurobench": self.neurobench(), **asdict(self)}

    def __str__(self) -> str:
        names = [each.name for each in self.connections] + [each.name for each in self.neurons]
        width = max([24, *map(len, names)])
        rows = ["connection".ljust(width) + COLUMNS]
        for each in (*self.connections, self._whole()):
            events, acs, macs = map(self.per_sample, (each.events, each.acs, each.macs))
            rows.append(
                f"{each.name:{width}} {each.sparsity:7.1%} {events:12,.1f} "
                f"{acs:12,.1f} {macs:12,.1f} {each.operations / max(each.dense, 1):9.2%}"
            )
        rows.append("neurons".ljust(width) + NEURON_COLUMNS)
        for neurons in self.neurons:
            changes = neurons.state_changes
            told = "unknown" if changes is None else f"{self.per_sample(changes):,.1f}"
            rows.append(
                f"{neurons.name:{width}} {neurons.sparsity:7.2%} "
                f"{self.per_sample(neurons.outputs):12,.1f} {told:>17}"
            )
        return "\n".join([*rows, *self._remarks()])

    def _whole(self) -> ConnectionCost:
        """All connections as one."""
        counts = [name for name in ConnectionCost.__dataclass_fields__ if name != "name"]
        return ConnectionCost("total", **{name: self.total(name) for name in counts})

    def _remarks(self) -> list[str]:
        """What is said below the tables."""
        read, written = self.per_sample(self.total("bytes_read")), self.bytes_written
        states = "unknown" if written is None else f"{self.per_sample(written):,.1f}"
        additions, multiplications = (
            self.per_sample(self.total(name)) for name in ("additions", "multiplications")
        )
        told = "not asked for" if self.energy is None else str(self.energy)
        lines = [
            f"Numbers are means over {self.samples} samples.",
            f"By value: {additions:,.1f} additions, {multiplications:,.1f} multiply-additions.",
            f"Memory: {self.footprint:,} bytes of parameters and buffers; per sample "
            f"{read:,.1f} bytes of weights read, {states} bytes of states written.",
            f"Energy: {told}.",
        ]
        if self.uncounted:
            lines.append(f"Not counted: {', '.join(self.uncounted)}.")
        return lines


class LayerCounter:
    """A ``LayerCounter`` adds up what one layer of a compiled network does, over all samples.

    Args:
        name: the name of the layer.
        weight: the weights ``[N, I, K]``.
        w_rec: the recurrent weights ``[N, N]`` from output to input; without rows if there are
            none.
    """

    def __init__(self, name: str, weight: Tensor, w_rec: Tensor):
        n, inputs, copies = weight.shape
        self.name, self.weight, self.w_rec = name, weight, w_rec
        self.spikes, self.outputs = 0, 0
        self.forward, self.recurrent = Tally(), Tally() if len(w_rec) else None
        self.reach = Reach(weight.count_nonzero((0, 2)), inputs * n * copies)
        self.back = Reach(w_rec.count_nonzero(1), n * n)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Count whole sequences of some samples: what came in, and what went out."""
        self.forward.add(x, self.reach, 0)
        if self.recurrent is not None:
            self.recurrent.add(y, self.back, 0)
        self.spikes += int(y.count_nonzero())
        self.outputs += y.numel()

    def connections(self) -> Iterator[ConnectionCost]:
        """Return the counts of the connection, and of the recurrent one if there is any."""
        yield self.forward.cost(self.name, self.weight)
        if self.recurrent is not None:
            yield self.recurrent.cost(f"{self.name}, recurrent", self.w_rec)

    def neurons(self) -> NeuronCost:
        """Return the counts of the neurons."""
        return NeuronCost(self.name, self.outputs, self.spikes)

    def layer(self) -> LayerCost:
        """Return the counts of the layer as a whole."""
        parts = list(self.connections())
        return LayerCost(
            self.name,
            self.forward.events,
            sum(part.operations for part in parts),
            sum(part.dense for part in parts),
            self.spikes,
            self.outputs,
        )


@dataclass(frozen=True)
class Report:
    """A ``Report`` says what a run did and how long it took.

    Attributes:
        layers: the counts of each layer. A synaptic operation is one addition (or, for an input
            that is not binary, multiply-addition) of a weight that is not zero; a dense operation
            is one of a network that does not skip zeros.
        steps, samples: the numbers of time steps and samples of the input.
        seconds: the wall time.
        cost: the same counts in more detail; ``None`` in a report that was made by hand.
    """

    layers: tuple[LayerCost, ...]
    steps: int
    samples: int
    seconds: float
    cost: Cost | None = None

    @property
    def seconds_per_step(self) -> float:
        """Return the wall time in seconds per time step of the whole batch."""
        return self.seconds / max(self.steps, 1)

    def neurobench(self) -> dict[str, Any]:
        """Return NeuroBench's metrics under its names, as :meth:`Cost.neurobench` does."""
        if self.cost is None:
            raise ConfigError("this report has no cost; take one that CompiledNetwork.report made")
        return self.cost.neurobench()

    def __str__(self) -> str:
        rows = [f"{'layer':24} {'events':>12} {'synaptic ops':>14} {'of dense':>9} {'rate':>7}"]
        for cost in self.layers:
            share = cost.synaptic_operations / max(cost.dense_operations, 1)
            rows.append(
                f"{cost.name:24} {cost.input_events:12,} {cost.synaptic_operations:14,} "
                f"{share:9.1%} {cost.firing_rate:7.2%}"
            )
        rows.append(
            f"{self.samples} samples, {self.steps} steps, {self.seconds:.4f} s, "
            f"{1e6 * self.seconds_per_step:.1f} us per step"
        )
        return "\n".join(rows)


def footprint(tensors: Iterable[Tensor]) -> int:
    """Return the number of bytes that the elements of some tensors take.

    >>> import torch
    >>> footprint([torch.zeros(3), torch.zeros(2, dtype=torch.float64)])
    28
    """
    return sum(each.numel() * each.element_size() for each in tensors)
