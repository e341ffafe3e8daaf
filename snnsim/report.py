"""What a run of a compiled network cost: spikes, operations and time."""

from __future__ import annotations

from dataclasses import dataclass


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
class Report:
    """A ``Report`` says what a run did and how long it took.

    Attributes:
        layers: the counts of each layer. A synaptic operation is one addition (or, for an input
            that is not binary, multiply-addition); a dense operation is one of a network that does
            not skip zeros.
        steps, samples: the numbers of time steps and samples of the input.
        seconds: the wall time.
    """

    layers: tuple[LayerCost, ...]
    steps: int
    samples: int
    seconds: float

    @property
    def seconds_per_step(self) -> float:
        """Return the wall time in seconds per time step of the whole batch."""
        return self.seconds / max(self.steps, 1)

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
