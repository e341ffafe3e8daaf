"""Which nodes of a NIR graph are neurons together: loops of integrators, thresholds and scales."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np

from snnsim.errors import ConfigError
from snnsim.interop.nir.timing import (
    Array,
    decay_of,
    is_unit_gain,
    threshold_from,
)
from snnsim.interop.nir.wiring import Wiring

INTEGRATORS = nir.LI | nir.I
SIMPLE = nir.LIF | nir.IF | nir.CubaLIF | nir.LI | nir.CubaLI


@dataclass(frozen=True)
class Cell:
    """A ``Cell`` is a layer of neurons as it was found.

    Attributes:
        kind: the name of the neuron model; ``"CubaLI"`` stands for two leaky integrators.
        reset: ``"zero"``, ``"subtract"`` or ``"none"``.
        taus: the time constants in s by the name of the parameter.
        values: the other parameters by name, each of the full shape.
        gain: by how much the membrane rises for an input of 1, relative to the model's.
        drive: what the membrane receives in every step besides.
        scaled: whether the model counts the input by ``1 - decay_mem``.
        w_rec: the recurrent weights, or ``None``.
    """

    kind: str
    reset: str
    taus: dict[str, Array]
    values: dict[str, Array]
    gain: Array
    drive: Array
    scaled: bool = False
    w_rec: Array | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the layer."""
        return tuple(self.gain.shape)


def find_cells(wiring: Wiring, dt: float) -> None:
    """Replace the nodes of neurons by cells.

    Args:
        wiring: the graph, which is changed.
        dt: the length in s of the step for which its time constants were written.

    Raises:
        ConfigError: if a loop is none that neurons here have; the message names its nodes.
    """
    for name, _ in wiring.of_kind(nir.Threshold):
        _threshold(wiring, name, dt)
    for name, node in wiring.of_kind(SIMPLE):
        wiring.nodes[name] = _simple(name, node, dt)
    for name, node in wiring.of_kind(nir.I):
        raise ConfigError(
            f"node {name} ({type(node).__name__}) is an integrator whose value is its output, for "
            "which there are no neurons here; use an LI with a long time constant"
        )
    for name, cell in wiring.of_kind(Cell):
        _recurrence(wiring, name, cell)
    left = wiring.loop()
    if left:
        raise ConfigError(
            f"nodes {' -> '.join([*left, left[0]])} are a loop that no neurons here have; what can "
            "be read are neurons with a Linear back to themselves, and integrators whose threshold "
            "leads back through a Scale"
        )


def _wide(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def _full(value: Any, like: Array) -> Array:
    return np.broadcast_to(np.asarray(value, dtype=np.float32), like.shape)


@dataclass(frozen=True)
class _Membrane:
    """A leaky membrane ``u = decay v + gain x + drive``."""

    taus: dict[str, Array]
    decay: Array
    gain: Array
    drive: Array
    scaled: bool


def _membrane(node: Any, tau: Any, dt: float) -> _Membrane:
    """That of a node; ``tau`` is ``None`` for one without leak."""
    r = np.asarray(node.r, dtype=np.float32)
    if tau is None:
        gain = _wide(r) * dt
        gain = np.ones_like(gain) if np.all(np.abs(gain - 1) < 1e-6) else gain
        return _Membrane({}, np.ones_like(gain), gain, np.zeros_like(gain), False)
    tau = np.broadcast_to(np.asarray(tau, dtype=np.float32), r.shape)
    decay = decay_of(tau, dt)
    drive = (1 - decay) * _wide(node.v_leak)
    if is_unit_gain(r, tau, dt):
        return _Membrane({"tau_mem": tau}, decay, np.ones(r.shape), drive, False)
    if bool((r == 1).all()):  # the model's own factor is left
        drive = _wide(node.v_leak) * np.ones(r.shape)
        return _Membrane({"tau_mem": tau}, decay, np.ones(r.shape), drive, True)
    return _Membrane({"tau_mem": tau}, decay, _wide(r) * (1 - decay), drive, False)


def _check_decay(name: str, taus: dict[str, Array], dt: float) -> None:
    for key, tau in taus.items():
        if not bool((decay_of(tau, dt) >= 0).all()) or not bool(np.isfinite(tau).all()):
            raise ConfigError(
                f"{key} of node {name} is {float(np.min(tau)):g} s at least, which is shorter than "
                f"the step of {dt:g} s for which the graph is read; give another dt"
            )


def _simple(name: str, node: Any, dt: float) -> Cell:
    """A node that is a whole layer of neurons."""
    firing = hasattr(node, "v_threshold")
    cuba = isinstance(node, nir.CubaLIF | nir.CubaLI)
    tau = node.tau_mem if cuba else getattr(node, "tau", None)
    membrane = _membrane(node, tau, dt)
    taus, gain, scaled = dict(membrane.taus), membrane.gain, membrane.scaled
    if cuba:
        taus["tau_syn"] = _full(node.tau_syn, gain)
        gain = gain * _wide(node.w_in) * (1 - decay_of(taus["tau_syn"], dt))
        gain = np.ones_like(gain) if np.all(np.abs(gain - 1) < 1e-6) else gain
        if bool(membrane.drive.any()):
            raise ConfigError(
                f"node {name} has a v_leak behind its synapse, which no neurons here have; set it "
                "to 0"
            )
    _check_decay(name, taus, dt)
    values = {}
    if firing:
        values = {
            "v_threshold": threshold_from(_full(node.v_threshold, gain)),
            "v_reset": _full(node.v_reset, gain),
        }
    kind = type(node).__name__
    return Cell(kind, "zero" if firing else "none", taus, values, gain, membrane.drive, scaled)


def _threshold(wiring: Wiring, name: str, dt: float) -> None:
    """What belongs to a threshold, as one cell."""
    node = wiring.nodes[name]
    adapting = [each for each in wiring.before(name) if _is_adaptation(wiring, each, name)]
    others = [each for each in wiring.before(name) if each not in adapting]
    threshold = threshold_from(node.threshold)
    first = others[0] if len(others) == 1 else ""
    if not isinstance(wiring.nodes.get(first), INTEGRATORS) or wiring.after(first) != [name]:
        if adapting:
            raise ConfigError(f"threshold {name} adapts but has no membrane of its own")
        tau = np.full(threshold.shape, dt, dtype=np.float32)  # what it is without memory
        taus, one = {"tau_mem": tau}, np.ones(threshold.shape)
        values = {"v_threshold": threshold}
        wiring.nodes[name] = Cell("LIF", "none", taus, values, one, np.zeros_like(one))
        return
    integrator = wiring.nodes[first]
    membrane = _membrane(integrator, getattr(integrator, "tau", None), dt)
    taus, values = dict(membrane.taus), {"v_threshold": threshold}
    names, reset = [name, first], "none"
    for back in wiring.after(name):
        if isinstance(wiring.nodes[back], nir.Scale) and wiring.after(back) == [first]:
            _check_subtraction(back, wiring.nodes[back], membrane, threshold)
            names, reset = [*names, back], "subtract"
    if len(adapting) > 1:
        raise ConfigError(
            f"threshold {name} adapts through {' and '.join(adapting)}, not one trace"
        )
    kind = "LIF" if taus else "IF"
    for scale in adapting:
        kind, trace = "ALIF", wiring.before(scale)[0]
        taus["tau_adapt"], values["adaptation"] = _trace(wiring, scale, trace, membrane.gain, dt)
        names += [scale, trace]
    if kind == "ALIF" and (not membrane.taus or membrane.scaled):
        raise ConfigError(f"threshold {name} adapts, but its membrane is not one of ALIF neurons")
    _check_decay(name, taus, dt)
    gain, drive = membrane.gain, membrane.drive
    wiring.merge(names, first, name, Cell(kind, reset, taus, values, gain, drive, membrane.scaled))
    _synapse(wiring, name, dt)


def _is_adaptation(wiring: Wiring, scale: str, threshold: str) -> bool:
    """Whether a scale leads from a trace of a threshold's spikes back to the threshold."""
    if not isinstance(wiring.nodes[scale], nir.Scale) or len(wiring.before(scale)) != 1:
        return False
    trace = wiring.before(scale)[0]
    return isinstance(wiring.nodes[trace], nir.LI) and wiring.before(trace) == [threshold]


def _trace(wiring: Wiring, scale: str, trace: str, like: Array, dt: float) -> tuple[Array, Array]:
    """Time constant and strength of an adaptation."""
    node = wiring.nodes[trace]
    membrane = _membrane(node, node.tau, dt)
    if wiring.after(trace) != [scale] or wiring.after(scale) == [] or bool(membrane.drive.any()):
        raise ConfigError(f"node {trace} is more than the trace of an adapting threshold")
    counted = (1 - membrane.decay) if membrane.scaled else membrane.gain
    strength = -_wide(wiring.nodes[scale].scale) * counted
    if bool((strength < 0).any()):
        raise ConfigError(f"node {scale} lowers the threshold by spikes, which ALIF cannot")
    return _full(membrane.taus["tau_mem"], like), _full(strength, like)


def _check_subtraction(name: str, scale: Any, membrane: _Membrane, threshold: Array) -> None:
    counted = (1 - membrane.decay) if membrane.scaled else membrane.gain
    taken = -_wide(scale.scale) * counted
    wanted = membrane.decay * _wide(threshold)
    if not bool(np.all(np.abs(taken - wanted) <= 1e-6 * np.abs(wanted) + 1e-12)):
        raise ConfigError(
            f"scale {name} takes {float(np.max(taken)):g} from the membrane after a spike, but a "
            f"reset by subtraction takes decay * threshold = {float(np.max(wanted)):g}; no neurons "
            "here do that"
        )


def _synapse(wiring: Wiring, name: str, dt: float) -> None:
    """Join an integrator with the loop behind it, which are current-based neurons together."""
    cell: Cell = wiring.nodes[name]
    before = wiring.before(name)
    first = before[0] if len(before) == 1 else ""
    node = wiring.nodes.get(first)
    if cell.kind != "LIF" or not isinstance(node, nir.LI) or wiring.after(first) != [name]:
        return
    current = _membrane(node, node.tau, dt)
    plain = bool((current.gain == 1).all()) and not current.scaled and not current.drive.any()
    if not plain or bool((cell.gain != 1).any()) or bool(cell.drive.any()):
        return
    taus = {**cell.taus, "tau_syn": current.taus["tau_mem"]}
    joined = Cell("CubaLIF", cell.reset, taus, cell.values, cell.gain, cell.drive, cell.scaled)
    wiring.merge([first, name], first, name, joined)


def _recurrence(wiring: Wiring, name: str, cell: Cell) -> None:
    """Join neurons with a matrix that leads from them back to them."""
    for back in list(wiring.after(name)):
        node = wiring.nodes[back]
        if wiring.before(back) != [name] or wiring.after(back) != [name]:
            continue
        if isinstance(node, nir.Affine) and bool(np.any(node.bias)):
            raise ConfigError(
                f"node {back} is a recurrent connection with a bias, which has no form"
            )
        if not isinstance(node, nir.Affine | nir.Linear):
            continue
        weight = (_wide(node.weight) * cell.gain[:, None]).astype(np.float32)
        if cell.w_rec is not None:
            weight = weight + cell.w_rec
        cell = Cell(**{**vars(cell), "w_rec": weight})
        wiring.merge([name, back], name, name, cell)
