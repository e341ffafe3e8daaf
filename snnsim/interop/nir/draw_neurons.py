"""Neurons as nodes of a NIR graph.

NIR has neurons that reset to a value. A reset by subtraction is a loop: a leaky integrator, a
threshold, and a scale whose output reaches the integrator one step later, as everything that goes
round a loop does. With ``v = u - th z``, the next step is ``u' = decay v + x = decay u + (x -
decay th z)``, so the scale is ``- decay th``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import nir
import numpy as np
import torch

from snnsim.errors import ConfigError
from snnsim.interop.nir.drawing import Drawing, Signal, together
from snnsim.interop.nir.timing import Array, gain_for_unit_input, tau_of, threshold_above
from snnsim.layer import is_plain
from snnsim.neurons import ALIF, IF, LI, LIF, CubaLIF
from snnsim.neurons.neuron import Neuron


class Placed(NamedTuple):
    """Neurons in a drawing: the node that receives their input, and what they put out."""

    entry: str
    output: Signal


def _placed(entry: Signal, output: Signal) -> Placed:
    (name,) = entry.sources
    return Placed(name, output)


def draw_neuron(drawing: Drawing, name: str, neuron: Neuron, signal: Signal) -> Placed:
    """Add neurons to a drawing.

    Args:
        drawing: the drawing.
        name: the name of the layer.
        neuron: the neurons.
        signal: what they receive.

    Raises:
        ConfigError: if NIR has no form for them; the message says why.
    """
    draw = _KINDS.get(type(neuron).step)
    if draw is None or not is_plain(neuron, Neuron) or any(type(neuron).initial.values()):
        raise ConfigError(
            f"{name} ({type(neuron).__name__}) has no form in NIR, which has the neurons IF, LIF, "
            "CubaLIF and LI, and loops of them; export a network of LIF, PLIF, IF, CubaLIF, LI, or "
            "ALIF that resets by subtraction"
        )
    return draw(_Pen(drawing, name, neuron), signal)


class _Pen:
    """Draws the nodes of one layer of neurons, with parameters of their full shape."""

    def __init__(self, drawing: Drawing, name: str, neuron: Neuron):
        self.drawing, self.name, self.neuron = drawing, name, neuron
        held = [*neuron.parameters(), *neuron.buffers()]
        rows = neuron.packed_parameters(torch.empty(0, dtype=held[0].dtype)) if held else ()
        names = neuron.equations.params
        self.values = {
            key: row.detach().cpu().double().numpy().reshape(neuron.shape)
            for key, row in zip(names, rows, strict=True)
        }

    def full(self, value: Any) -> Array:
        return np.ascontiguousarray(np.broadcast_to(np.float32(value), self.neuron.shape))

    def tau(self, key: str) -> Array:
        if bool((self.values[key] >= 1).any()):
            raise ConfigError(
                f"{self.name} has a time constant so long that its {key} is 1 in float32, which "
                "has no time constant in NIR; make it shorter, or use IF neurons"
            )
        return tau_of(self.values[key], self.drawing.dt)

    def gain(self, tau: Array) -> Array:
        """The ``r`` of a membrane: input counts fully, or by what the leak leaves."""
        if self.neuron.options.get("scale_input", False):
            return self.full(1)
        return gain_for_unit_input(tau, self.drawing.dt)

    def add(self, part: str, node: Any, signal: Signal) -> Signal:
        name = f"{self.name}_{part}" if part else self.name
        return self.drawing.add(name, node, signal, tuple(self.neuron.shape))

    def integrator(self, part: str, key: str, signal: Signal, gain: Array | None = None) -> Signal:
        tau = self.tau(key)
        r = gain_for_unit_input(tau, self.drawing.dt) if gain is None else gain
        return self.add(part, nir.LI(tau=tau, r=r, v_leak=self.full(0)), signal)

    def spikes(self, membrane: Signal) -> Signal:
        threshold = threshold_above(self.full(self.values["v_threshold"]))
        return self.add("spike", nir.Threshold(threshold=threshold), membrane)

    def subtraction(self, spikes: Signal, amount: Array, entry: Signal) -> None:
        """Lets the spikes take an amount from the membrane, one step later."""
        if self.neuron.reset.mode == "subtract":
            back = self.add("reset", nir.Scale(scale=self.full(-amount)), spikes)
            self.drawing.join(back, *entry.sources)


def _lif(pen: _Pen, signal: Signal) -> Placed:
    values, tau = pen.values, pen.tau("decay_mem")
    if pen.neuron.reset.mode != "zero":
        return _leaky_loop(pen, signal)
    node = nir.LIF(
        tau=tau,
        r=pen.gain(tau),
        v_leak=pen.full(0),
        v_threshold=threshold_above(pen.full(values["v_threshold"])),
        v_reset=pen.full(values["v_reset"]),
    )
    out = pen.add("", node, signal)
    return _placed(out, out)


def _leaky_loop(pen: _Pen, signal: Signal) -> Placed:
    """A membrane without a reset to a value; its input reaches it with the gain of a LIF."""
    tau = pen.tau("decay_mem")
    gain = pen.gain(tau)
    membrane = pen.integrator("v", "decay_mem", signal, gain)
    spikes = pen.spikes(membrane)
    counted = pen.drawing.dt * gain.astype(np.float64) / tau  # of an input, 1 unless it is scaled
    taken = pen.values["decay_mem"] * pen.values["v_threshold"] / counted
    pen.subtraction(spikes, taken, membrane)
    return _placed(membrane, spikes)


def _cuba(pen: _Pen, signal: Signal) -> Placed:
    if pen.neuron.reset.mode != "zero":
        current = pen.integrator("i", "decay_syn", signal)
        return _placed(current, _leaky_loop(pen, current).output)
    values, tau_syn, tau_mem = pen.values, pen.tau("decay_syn"), pen.tau("decay_mem")
    node = nir.CubaLIF(
        tau_syn=tau_syn,
        tau_mem=tau_mem,
        r=pen.gain(tau_mem),
        v_leak=pen.full(0),
        v_threshold=threshold_above(pen.full(values["v_threshold"])),
        v_reset=pen.full(values["v_reset"]),
        w_in=gain_for_unit_input(tau_syn, pen.drawing.dt),
    )
    out = pen.add("", node, signal)
    return _placed(out, out)


def _integrate(pen: _Pen, signal: Signal) -> Placed:
    r = pen.full(1 / pen.drawing.dt)
    if pen.neuron.reset.mode == "zero":
        threshold = threshold_above(pen.full(pen.values["v_threshold"]))
        reset = pen.full(pen.values["v_reset"])
        out = pen.add("", nir.IF(r=r, v_threshold=threshold, v_reset=reset), signal)
        return _placed(out, out)
    membrane = pen.add("v", nir.I(r=r), signal)
    spikes = pen.spikes(membrane)
    pen.subtraction(spikes, pen.values["v_threshold"], membrane)
    return _placed(membrane, spikes)


def _leaky_integrator(pen: _Pen, signal: Signal) -> Placed:
    out = pen.integrator("", "decay_mem", signal, pen.gain(pen.tau("decay_mem")))
    return _placed(out, out)


def _adaptive(pen: _Pen, signal: Signal) -> Placed:
    """A membrane whose threshold is raised by a trace of its spikes, as a loop of two traces."""
    if pen.neuron.reset.mode == "zero":
        raise ConfigError(
            f"{pen.name} (ALIF) resets to zero, for which NIR has no form where the threshold "
            "adapts; use reset='subtract'"
        )
    placed = _leaky_loop(pen, signal)
    trace = pen.integrator("a", "decay_adapt", placed.output)
    raised = pen.add("adaptation", nir.Scale(scale=pen.full(-pen.values["adaptation"])), trace)
    pen.drawing.join(raised, *placed.output.sources)
    return placed


def draw_recurrent(drawing: Drawing, name: str, layer: Any, signal: Signal) -> Placed:
    """Add neurons whose output is fed back to them, through a matrix, one step later."""
    placed = draw_neuron(drawing, f"{name}_neuron", layer.neuron, signal)
    weight = (layer.w_rec * layer.mask).detach().cpu().float().numpy()
    back = drawing.add(f"{name}_recurrent", nir.Linear(weight=weight), placed.output, signal.shape)
    drawing.join(together(back), placed.entry)
    return placed


_KINDS: dict[Any, Callable[[_Pen, Signal], Placed]] = {
    LIF.step: _lif,
    CubaLIF.step: _cuba,
    IF.step: _integrate,
    LI.step: _leaky_integrator,
    ALIF.step: _adaptive,
}
