"""Event-driven inference: a trained network as layers that work only where there are spikes.

Batch normalisation is folded into the weights, delays are rounded to whole steps, and each
layer (connection, delays, neurons) is one kernel whose cost follows the number of spikes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.errors import BackendError, ConfigError, NonFiniteError, ShapeError
from snnsim.finite import check_input, first_not_finite
from snnsim.functional.delays import ONE_TAP, round_delay, unit_sum
from snnsim.kernels import dispatch
from snnsim.kernels.delay_conv import one_tap
from snnsim.kernels.event_scan import cpu as event_scan
from snnsim.layer import as_input, is_plain
from snnsim.networks import BatchNorm, Dropout, Sequential
from snnsim.neurons.neuron import Neuron
from snnsim.report import Cost, LayerCost, LayerCounter, Report, footprint
from snnsim.synapses import Bias, Delayed, Dense, Recurrent
from snnsim.synapses.delayed import CANNOT_CONTINUE

STEPS = 256  # run at a time, so that a sample's currents stay in the cache
SAMPLES = 64  # run at a time through all layers, so that their spikes do

KINDS = (Sequential, Dense, Delayed, Bias, BatchNorm, Dropout, Recurrent, Neuron)
STATE = {"pending", "neurons"}  # of a layer
START_AFRESH = "pass what this network returned for the same samples, or state=None to start afresh"
SUPPORTED = (
    "compile() takes sequences of [Dense or Delayed] -> [BatchNorm or Bias] -> [neuron or "
    "Recurrent] -> "
    "[Dropout]; run the network itself with net.eval() instead"
)


@dataclass(frozen=True)
class Stage:
    """A ``Stage`` is one layer of a compiled network.

    Attributes:
        name: the name of the layer, for errors and reports.
        weight, delay: the weights and delays ``[N, I, K]``; the normalisation is folded into the
            weights, and delays are whole time steps.
        bias: the bias of each neuron, ``[N]``.
        length: the number of taps of a delay kernel.
        tail: the number of time steps by which the whole sequence becomes longer.
        neuron: the neurons.
        w_rec: the recurrent weights ``[N, N]`` from output to input one step later; it has no rows
            if there is no recurrence.
    """

    name: str
    weight: Tensor
    delay: Tensor
    bias: Tensor
    length: int
    tail: int
    neuron: Neuron
    w_rec: Tensor
    params: Tensor = field(init=False)
    events: event_scan.Prepared = field(init=False)
    shifts: one_tap.Shifts = field(init=False)

    def __post_init__(self) -> None:
        inputs, n = self.weight.shape[1], self.weight.shape[0]
        place = self.delay.long() * n + torch.arange(n).view(-1, 1, 1)
        weight = unit_sum(self.weight).permute(1, 2, 0).reshape(inputs, -1)
        target = place.permute(1, 2, 0).reshape(inputs, -1)
        params = self.neuron.packed_parameters(self.weight).detach()
        connections = event_scan.Connections(weight, target, self.w_rec)
        derived = {
            "params": params,
            "events": event_scan.prepare(
                self.neuron.equations, params, self.bias, connections, self.rows
            ),
            "shifts": one_tap.forward_shifts(self.weight, self.delay, self.length),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def rows(self) -> int:
        """Return the number of time steps for which currents can be under way."""
        return max(self.length - 1, 1 if len(self.w_rec) else 0)

    def initial_state(self, x: Tensor) -> dict[str, Any]:
        """Return the state of neurons at rest, with no current under way."""
        n = self.weight.shape[0]
        rest = self.neuron.pack_state(x.new_empty((0, x.shape[1], n)), None)
        return {"pending": x.new_zeros((x.shape[1], self.rows, n)), "neurons": rest}

    def run(
        self, x: Tensor, state: dict[str, Tensor], tail: int = 0, check_finite: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the outputs ``[T + tail, B, N]`` and the new state (of no use after a tail)."""
        try:
            pending, neurons = state["pending"], state["neurons"]
            if len(x) < self.length or len(self.w_rec):  # a stream, or one step at a time anyway
                if tail:
                    x = torch.cat([x, x.new_zeros((tail, *x.shape[1:]))])
                y, pending, neurons = event_scan.forward(
                    self.events, x, pending, neurons, check_finite
                )
            else:
                event_scan.check_arguments(self.events, x, pending, neurons)
                if check_finite:
                    check_input(neurons, "the state of the neurons")
                y, pending, neurons = self._run_block(x, pending, neurons, tail)
        except (ShapeError, AttributeError) as error:
            raise ShapeError(
                f"the state of {self.name} does not fit its input ({error}); {START_AFRESH}"
            ) from error
        return y, {"pending": pending, "neurons": neurons}

    def _run_block(self, x: Tensor, pending: Tensor, neurons: Tensor, tail: int):
        """Many steps: first all currents, channel by channel, then the neurons."""
        frames, reach = x.shape[0] + tail, self.length
        beyond = 0 if tail else reach - 1
        current = one_tap.accumulate(x, reach - 1, self.shifts, reach, frames + beyond, self.bias)
        current[: self.rows] += pending.transpose(0, 1)
        none = [False] * len(self.params)
        equations = self.neuron.equations
        y, neurons = dispatch.scan(equations, current[:frames], neurons, self.params, none)
        after = (current[frames:] - self.bias).transpose(0, 1).contiguous()
        return y, after, neurons


class CompiledNetwork:
    """A compiled network runs without gradients: ``fast(x, state=None) -> (y, state)``.

    :func:`compile` makes it. The state is a tuple of dicts, to be passed on unchanged: it belongs
    to the samples from which it came. Inputs may be bool or whole numbers, and must be finite.
    """

    def __init__(
        self, stages: tuple[Stage, ...], check_finite: bool = True, network: nn.Module | None = None
    ):
        self.stages, self.check_finite, self.network = stages, check_finite, network

    def save(self, path: Path | str, about: dict[str, Any] | None = None) -> None:
        """Write the original network; ``sn.compile(sn.load(path))`` compiles it again.

        Args:
            path, about: as in :func:`snnsim.save`.

        Raises:
            ConfigError: if this was made of stages without their network.
        """
        from snnsim.saving import save  # brings all baselines, which few need

        if self.network is None:
            raise ConfigError("this was made of stages alone; save the network they were made of")
        save(self.network, path, about)

    def _checked(self, x: Tensor, axes: str) -> Tensor:
        """The input as the kernels take it, or an error that says what is wrong with it."""
        weight = self.stages[0].weight
        x = as_input(x, weight, "the compiled network")
        x = x.detach() if x.requires_grad else x
        if x.dtype != weight.dtype:  # under autocast, which does not reach in here
            x = x.to(weight.dtype)
        if x.dim() != len(axes) or x.shape[-1] != weight.shape[1]:
            want = ", ".join([*axes[:-1], str(weight.shape[1])])
            raise ShapeError(f"x has shape {tuple(x.shape)} but the network needs [{want}]")
        return x

    @torch.no_grad()
    def __call__(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run a batch of sequences.

        Args:
            x: the input, ``[T, B, I]``.
            state: the state that an earlier call returned, to continue from it; ``None`` starts
                from the beginning.

        Returns:
            What the network itself returns in evaluation mode, ``[T', B, O]``, up to rounding, and
            the state.

        Raises:
            ConfigError: if a state is given and a connection lengthens its sequence.
        """
        return self._run(x, state, None)

    @torch.no_grad()
    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run one time step of a stream, ``[B, I] -> [B, O]``, in constant memory and time.

        A connection that lengthens its sequence does not know the end of a stream; :meth:`finish`
        returns the steps after it.

        Args:
            x: the input of one time step, ``[B, I]``.
            state: the state that the last step returned; ``None`` starts a stream.
        """
        x = self._checked(x, "BI")
        if self.check_finite and self.stages[0].length == 1:  # else its kernel looks
            check_input(x)
        y, state = self._continued(x.unsqueeze(0), state)
        return y[0], state

    @torch.no_grad()
    def steps(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run the next time steps of a stream, ``[T, B, I] -> [T, B, O]``, as :meth:`step` one.

        Several steps at once take less time than one after another.

        Args:
            x: the input of one or more time steps, ``[T, B, I]``.
            state: the state that the last call returned; ``None`` starts a stream.
        """
        x = self._checked(x, "TBI")
        if not len(x):
            raise ShapeError("x has no time steps, but a stream continues by one or more")
        if self.check_finite:
            check_input(x)
        return self._continued(x, state)

    def _continued(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, after = x.contiguous(), []
        states = self._states(y, state)
        for stage, before in zip(self.stages, states, strict=True):
            y, new = stage.run(y, before, 0, self.check_finite)
            after.append(new)
        return y, tuple(after)

    @torch.no_grad()
    def finish(self, state: Any) -> Tensor:
        """Return the outputs after the last step of a stream, ``[tail, B, O]``.

        These are the steps by which connections with ``padding="lengthen"`` make a sequence longer,
        layer by layer; a causal network has none. Together with the outputs of :meth:`step` before
        them they are the outputs of the whole sequence.

        Args:
            state: the state that the last :meth:`step` returned.
        """
        first = self._checked_state(state)[0]["pending"]
        y = first.new_zeros((0, first.shape[0], self.stages[0].weight.shape[1]))
        for stage, before in zip(self.stages, state, strict=True):
            x = torch.cat([y, y.new_zeros((stage.tail, *y.shape[1:]))])
            empty = x.new_zeros((0, x.shape[1], stage.weight.shape[0]))
            y = stage.run(x, before, 0, self.check_finite)[0] if len(x) else empty
        return y

    @torch.no_grad()
    def report(self, x: Tensor) -> Report:
        """Run ``x [T, B, I]`` and count spikes, synaptic operations and time.

        Weights that are 0 do not count. ``report(x).cost`` has the counts of :func:`snnsim.cost`,
        except for changes of states, which do not leave the kernels.
        """
        counters = tuple(LayerCounter(s.name, s.weight, s.w_rec) for s in self.stages)
        self._run(x, None, counters)
        start = time.perf_counter()
        self._run(x, None, None)
        seconds = time.perf_counter() - start
        layers: tuple[LayerCost, ...] = tuple(counter.layer() for counter in counters)
        cost = Cost(
            tuple(part for counter in counters for part in counter.connections()),
            tuple(counter.neurons() for counter in counters),
            footprint(self._tensors()),
            x.shape[1],
        )
        return Report(layers, x.shape[0], x.shape[1], seconds, cost)

    def _tensors(self) -> list[Tensor]:
        """Parameters and buffers of the network of which this was made; else what stages keep."""
        if self.network is not None:
            return [*self.network.parameters(), *self.network.buffers()]
        kept = ((s.weight, s.delay, s.bias, s.w_rec, s.params) for s in self.stages)
        return [tensor for tensors in kept for tensor in tensors]

    def _states(self, x: Tensor, state: Any) -> Any:
        if state is None:
            return tuple(stage.initial_state(x) for stage in self.stages)
        return self._checked_state(state)

    def _checked_state(self, state: Any) -> Any:
        """A state as given, or an error if it is not one of a network of so many layers."""
        if not isinstance(state, tuple) or len(state) != len(self.stages):
            raise ShapeError(f"the state is not one of this network; {START_AFRESH}")
        if any(type(layer) is not dict or layer.keys() != STATE for layer in state):
            raise ShapeError(f"the state is not one of a compiled network; {START_AFRESH}")
        return state

    def _run(
        self, x: Tensor, state: Any, counts: tuple[LayerCounter, ...] | None
    ) -> tuple[Tensor, Any]:
        x = self._checked(x, "TBI")
        if self.check_finite:
            check_input(x)
        if state is not None and any(stage.tail for stage in self.stages):
            raise ConfigError(CANNOT_CONTINUE)
        state = state if state is None else self._states(x, state)
        frames = x.shape[0] + sum(stage.tail for stage in self.stages)
        y = x.new_empty((frames, x.shape[1], self.stages[-1].weight.shape[0]))
        after = []
        for first in range(0, x.shape[1], SAMPLES):
            samples = slice(first, first + SAMPLES)
            part = x[:, samples].contiguous()
            states = self._states(part, _rows(state, samples, x.shape[1]))
            y[:, samples], new = self._run_samples(part, states, counts)
            after.append(new)
        return y, _together(after) if after else self._states(x, state)

    def _run_samples(self, x: Tensor, states: Any, counts: Any) -> tuple[Tensor, Any]:
        after = []
        for index, (stage, state) in enumerate(zip(self.stages, states, strict=True)):
            pieces, inputs = [], x.split(STEPS) if len(x) else (x,)
            for piece in inputs:
                tail = stage.tail if piece is inputs[-1] else 0
                y, state = stage.run(piece, state, tail, self.check_finite)
                pieces.append(y)
            y = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
            if counts is not None:
                counts[index].add(x, y)
            x = y
            after.append(state)
        return x, tuple(after)

    def __repr__(self) -> str:
        rows = (
            f"  {s.name}: {s.weight.shape[1]} -> {s.weight.shape[0]}, {s.length - 1} steps"
            for s in self.stages
        )
        return "\n".join(["CompiledNetwork(", *rows, ")"])


def _rows(state: Any, samples: slice, of: int) -> Any:
    """The part of a state of ``of`` samples that belongs to some of them."""
    if state is None:
        return None
    for layer in state:
        for have in (layer["pending"].shape[0], layer["neurons"].shape[1]):
            if have != of:
                raise ShapeError(f"x has {of} samples but the state {have}; {START_AFRESH}")
    return tuple(
        {"pending": layer["pending"][samples], "neurons": layer["neurons"][:, samples]}
        for layer in state
    )


def _together(states: list[Any]) -> Any:
    return tuple(
        {
            "pending": torch.cat([part["pending"] for part in layer]),
            "neurons": torch.cat([part["neurons"] for part in layer], dim=1),
        }
        for layer in zip(*states, strict=True)
    )


def compile(net: nn.Module, *, check_finite: bool = True) -> CompiledNetwork:
    """Compile a trained feed-forward or recurrent network for event-driven inference.

    Args:
        net: a :class:`Sequential` (also a nested one) of connections, each followed by an optional
            :class:`BatchNorm` or :class:`Bias` and by neurons, on the CPU. It is copied, so
            training it further changes nothing here.
        check_finite: whether every input is searched for NaN and infinities. This costs a call one
            pass over its input, and a streamed step almost nothing.

    Returns:
        A :class:`CompiledNetwork` with the outputs of ``net.eval()``, up to rounding.

    Raises:
        ConfigError: if a layer has no event-driven form.
        BackendError: if the network is on another device than the CPU.
        NonFiniteError: if weights or parameters are NaN or infinite.

    >>> from snnsim.networks import shd_network
    >>> net = shd_network()
    >>> fast = compile(net)
    >>> x = (torch.rand(101, 4, 140) < 0.05).float()
    >>> bool(torch.allclose(fast(x)[0], net.eval()(x)[0], atol=1e-3))
    True
    """
    lost = first_not_finite([*net.named_parameters(), *net.named_buffers()])
    if lost is not None:
        raise NonFiniteError(f"{lost} of the network is NaN or infinite: its training diverged")
    stages = []
    for name, module in net.named_modules():
        _check_plain(name or "the network", module)
    layers = list(_flatten(net, ""))
    while layers:
        name, connection = layers.pop(0)
        if isinstance(connection, Dropout):
            continue
        norm, after = None, layers.pop(0) if layers else ("", None)
        if isinstance(after[1], (BatchNorm, Bias)):
            norm, after = after[1], layers.pop(0) if layers else ("", None)
        if isinstance(connection, (Dense, Delayed)) and isinstance(after[1], (Neuron, Recurrent)):
            stages.append(_stage(name, connection, norm, after[1]))
            continue
        found = f"{name} ({type(connection).__name__}) and {after[0]} ({type(after[1]).__name__})"
        raise ConfigError(f"{found} have no event-driven form: {SUPPORTED}")
    if not stages:
        raise ConfigError(f"the network has no layers: {SUPPORTED}")
    return CompiledNetwork(tuple(stages), check_finite, copy.deepcopy(net))


def _check_plain(name: str, module: nn.Module) -> None:
    """Refuse what is more than its kind says: compiled, it would be without a word what it says."""
    kind = next((k for k in KINDS if isinstance(module, k)), type(module))
    if not is_plain(module, kind):
        raise ConfigError(
            f"{name} ({type(module).__name__}) has a hook or a forward of its own, which a "
            "compiled network would pass over; remove it, or run the network itself with net.eval()"
        )


def _flatten(net: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(net, Sequential):
        yield prefix or "network", net
        return
    for index, layer in enumerate(net):
        yield from _flatten(layer, f"{prefix}.{index}" if prefix else f"layer {index}")


@torch.no_grad()
def _stage(name: str, connection: Any, norm: Any, after: Any) -> Stage:
    if connection.weight.device.type != "cpu":
        raise BackendError(
            f"the network is on {connection.weight.device}, but the event-driven engine runs on "
            "the CPU; use net.cpu()"
        )
    neuron = after.neuron if isinstance(after, Recurrent) else after
    n = connection.n_out
    if neuron.shape != (n,):
        raise ConfigError(f"{name} has {n} outputs but is followed by neurons {neuron.shape}")
    weight, delay, length, tail = _synapses(connection)
    own_bias = getattr(connection, "bias", None)
    bias = weight.new_zeros(n) if own_bias is None else own_bias.detach().clone()
    if isinstance(norm, Bias):
        bias = bias + norm.bias.detach()
    elif norm is not None:
        gain = norm.gain()
        weight = weight * gain.view(-1, 1, 1)
        bias = norm.bias + (bias - norm.running_mean) * gain
    w_rec = weight.new_empty((0, n))
    if isinstance(after, Recurrent):
        w_rec = (after.w_rec * after.mask).t().contiguous()
    kind = f"{name} {type(neuron).__name__}"
    return Stage(kind, weight, delay, bias, length, tail, neuron, w_rec)


def _synapses(connection: Any) -> tuple[Tensor, Tensor, int, int]:
    """Weight and whole-step delay ``[N, I, K]``, number of taps and tail of a connection."""
    if isinstance(connection, Dense):
        weight = connection.weight.unsqueeze(-1) * ONE_TAP  # of which the kernels take unit_sum
        return weight, torch.zeros_like(weight), 1, 0
    connection.warn_if_wide()
    delay = round_delay(connection.delay, connection.length)
    if connection.granularity == "axonal":
        delay = delay.unsqueeze(0)
    elif connection.granularity == "dendritic":
        delay = delay.unsqueeze(1)
    weight = connection.weight.detach().clone()
    return weight, delay.expand_as(weight).clone(), connection.length, connection.tail
