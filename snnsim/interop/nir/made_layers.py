"""Layers made of what was found in a NIR graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

from snnsim.errors import ConfigError
from snnsim.interop.nir.cells import Cell
from snnsim.interop.nir.maps import Fan, Late, Map, Scaled
from snnsim.interop.nir.timing import Array, decay_of, tau_of
from snnsim.neurons import ALIF, IF, LI, LIF, CubaLIF
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Tau
from snnsim.synapses import Bias, Delayed, DelayedConv2d, Dense, Recurrent
from snnsim.synapses.over_time import AvgPool2d, Conv1d, Conv2d, OverTime, SumPool2d
from snnsim.units import DISCRETIZATIONS, steps_to_ms, tau_to_decay

NARROW = 0.23  # steps, the width at the end of published trainings, for further training
MODELS: dict[str, type[Neuron]] = {
    "LIF": LIF, "CubaLIF": CubaLIF, "IF": IF, "LI": LI, "ALIF": ALIF
}  # fmt: skip


class Maker:
    """A ``Maker`` makes layers of pieces.

    Args:
        dt: the step in s for which the graph's time constants were written.
        dt_ms: the step of the network in ms, unless there is advice.
        advice: what the graph's metadata say about each layer.
    """

    def __init__(self, dt: float, dt_ms: float, advice: dict[str, dict[str, Any]]):
        self.dt, self.dt_ms, self.advice = dt, dt_ms, advice

    def about(self, name: str) -> dict[str, Any]:
        """Return the advice about the layer of a node."""
        fitting = [key for key in self.advice if name == key or name.startswith(f"{key}_")]
        found = self.advice[max(fitting, key=len)] if fitting else {}
        return found if isinstance(found, dict) else {}

    def layers(self, name: str, piece: Any) -> list[nn.Module]:
        """Return the layers that do what a piece does."""
        if isinstance(piece, Cell):
            return self.neurons(name, piece)
        if isinstance(piece, Map):
            late = piece.before is not None or piece.after is not None
            fan = Fan((replace(piece, bias=None),), piece.bias)
            return self.delayed(fan) if late else [_undelayed(piece)]
        if isinstance(piece, Fan):
            return self.delayed(piece)
        if isinstance(piece, Late):
            return self.delayed(Fan((_identity(piece.name, piece.steps),), None))
        if isinstance(piece, Scaled):
            taken = _identity(piece.name, None, piece.gain.shape).scaled(piece)
            if taken is None:
                raise ConfigError(
                    f"node {piece.name} scales each pixel of a channel by another number, for "
                    "which there is no layer here"
                )
            return [_undelayed(taken)]
        if isinstance(piece, nir.AvgPool2d | nir.SumPool2d):
            kind = AvgPool2d if isinstance(piece, nir.AvgPool2d) else SumPool2d
            size, stride, padding = (
                tuple(np.broadcast_to(value, 2).astype(int).tolist())
                for value in (piece.kernel_size, piece.stride, piece.padding)
            )
            return [kind(size, stride=stride, padding=padding)]  # type: ignore[arg-type]
        if isinstance(piece, nir.Flatten):
            first, last = int(piece.start_dim), int(piece.end_dim)
            return [OverTime(nn.Flatten(first + 1, last if last < 0 else last + 1))]
        raise ConfigError(
            f"node {name} is a {type(piece).__name__}, for which there is no layer here"
        )

    # --- connections ------------------------------------------------------------------------------

    def delayed(self, fan: Fan) -> list[nn.Module]:
        """Return a fan as a connection with delays, and a bias behind it if there is one."""
        made: Any = self._delayed_conv(fan) if fan.maps[0].conv else self._delayed_dense(fan)
        if fan.bias is None:
            return [made]
        bias = Bias(len(fan.bias))
        with torch.no_grad():
            bias.bias.copy_(torch.from_numpy(fan.bias))
        return [made, bias]

    def _options(self, name: str, longest: int) -> dict[str, Any]:
        about = self.about(name)
        dt = float(about.get("dt_ms", self.dt_ms))
        longest = max(longest, int(about.get("max_delay_steps", 0)), 2)
        padding = str(about.get("padding", "causal"))
        length = steps_to_ms(longest + longest % 2, dt)
        return {"dt": dt, "max_delay_ms": length, "padding": padding, "sigma": NARROW}

    def _delayed_dense(self, fan: Fan) -> Delayed:
        befores = [each.before for each in fan.maps]
        afters = [each.after for each in fan.maps]
        n_out, n_in = fan.maps[0].weight.shape
        weight = np.stack([each.weight for each in fan.maps], axis=-1)
        uneven = any(b is not None and bool((b != b[:1]).any()) for b in befores)
        if not _any(afters) and (uneven or len(fan.maps) == 1):
            granularity, delay = "axonal", np.stack([_steps(b, n_in) for b in befores], axis=-1)
        elif not _any(befores):
            granularity, delay = "dendritic", np.stack([_steps(a, n_out) for a in afters], axis=-1)
        else:
            granularity = "synaptic"
            weight, delay = _per_synapse(fan)
        made = Delayed(
            n_in, n_out, granularity=granularity, kernel_count=weight.shape[-1],
            **self._options(fan.name, int(delay.max(initial=0))),
        )  # fmt: skip
        _fill(made, weight, delay)
        return made

    def _delayed_conv(self, fan: Fan) -> DelayedConv2d:
        stride, padding, dilation, groups = fan.maps[0].conv or ()
        weight, delay = _per_synapse(fan)
        size = weight.shape[2:-1]
        square = len(size) == 2 and len({*size}) == 1 and len({*stride}) == 1
        if isinstance(padding, str) or len({*padding}) != 1 or not square:
            raise ConfigError(f"{fan.name} is a delayed convolution whose sides are not alike")
        if weight.shape[-1] != 1 or groups != 1 or {*dilation} != {1}:
            raise ConfigError(
                f"{fan.name} is a delayed convolution with groups, dilation, or several delays of "
                "one weight, which no layer here has"
            )
        made = DelayedConv2d(
            weight.shape[1], weight.shape[0], size[0], stride=stride[0], margin=padding[0],
            **self._options(fan.name, int(delay.max(initial=0))),
        )  # fmt: skip
        _fill(made, weight[..., 0], delay[..., 0])
        return made

    # --- neurons ----------------------------------------------------------------------------------

    def neurons(self, name: str, cell: Cell) -> list[nn.Module]:
        """Return neurons, behind a layer for what they receive that others do not."""
        scaling = Scaled(name, cell.gain, cell.drive)
        before = [] if scaling.trivial else self.layers(name, scaling)
        if cell.kind == "CubaLI":
            current = self._neurons(name, "LI", {"tau_mem": cell.taus["tau_syn"]}, cell, False)
            taus = {"tau_mem": cell.taus["tau_mem"]}
            return [*before, current, self._neurons(name, "LI", taus, cell, cell.scaled)]
        neuron = self._neurons(name, cell.kind, cell.taus, cell, cell.scaled)
        if cell.w_rec is None:
            return [*before, neuron]
        layer = Recurrent(neuron)
        with torch.no_grad():
            layer.w_rec.copy_(torch.from_numpy(cell.w_rec))
        return [*before, layer]

    def _neurons(
        self, name: str, kind: str, taus: dict[str, Array], cell: Cell, scaled: bool
    ) -> Neuron:
        about, shape = self.about(name), cell.shape
        dt = float(about.get("dt_ms", self.dt_ms))
        exact = {key: self._exact_tau(about, key, tau, dt) for key, tau in taus.items()}
        values: dict[str, Any] = {key: _short(value) for key, value in cell.values.items()}
        if all(value is not None for value in exact.values()):
            values |= exact
            discretization = about.get("discretization", "euler")
        else:
            discretization = "euler"
            values |= {key: _short(self._ms(tau, dt)) for key, tau in taus.items()}
        if "scale_input" in MODELS[kind]._options:
            values["scale_input"] = scaled
        reset: dict[str, Any] = {} if kind == "LI" else {"reset": cell.reset}
        values = {k: v for k, v in values.items() if k != "v_reset" or cell.reset == "zero"}
        neuron = MODELS[kind](shape, dt=dt, discretization=discretization, **reset, **values)
        for key in taus:
            if isinstance(values[key], Tau):
                with torch.no_grad():
                    getattr(neuron, f"raw_{key}").copy_(torch.tensor(about[f"raw_{key}"]))
        return neuron

    def _ms(self, tau: Array, dt: float) -> Array:
        steps = np.asarray(tau, np.float64) / self.dt
        return dt * np.where(np.abs(steps - 1) < 1e-6, 1.0, steps)

    def _exact_tau(self, about: dict[str, Any], key: str, tau: Array, dt: float) -> Any:
        """The time constant that the metadata tell, if it is the one that the graph has."""
        told, how = about.get(key), about.get("discretization")
        if told is None or how not in DISCRETIZATIONS:
            return None
        value = torch.tensor(told)
        decay = np.asarray(tau_to_decay(value, dt, how), dtype=np.float64)
        if bool((decay >= 1).any()):
            return None
        again = np.broadcast_to(tau_of(decay, self.dt), tau.shape)
        if not (np.abs(decay_of(again, self.dt) - decay_of(tau, self.dt)) < 1e-6).all():
            return None
        exact = value if value.dim() else told
        if f"raw_{key}" in about:  # it was learnt, and can be learnt further
            return Tau(exact, learnable=True, per_neuron=bool(value.dim()))
        return exact


def _any(delays: list[Any]) -> bool:
    return any(each is not None and bool(each.any()) for each in delays)


def _steps(delay: Array | None, size: int) -> Array:
    return np.zeros(size, np.int64) if delay is None else np.broadcast_to(delay, (size,))


def _per_synapse(fan: Fan) -> tuple[Array, Array]:
    """Weights and delays ``[..., K]``, where each synapse has as many copies as it needs."""
    busy = np.stack([each.weight != 0 for each in fan.maps])
    copies = max(int(busy.sum(0).max(initial=0)), 1)
    shape = (*fan.maps[0].weight.shape, copies)
    weight, delay = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    place = np.cumsum(busy, axis=0) - 1
    for each, used, slot in zip(fan.maps, busy, place, strict=True):
        index = (*np.nonzero(used), slot[used])
        weight[index] = each.weight[used]
        delay[index] = np.broadcast_to(_synaptic(each), each.weight.shape)[used]
    return weight, delay


def _synaptic(each: Map) -> Array:
    """The delay of each weight, of those of its input and its output."""
    behind = [1] * (each.weight.ndim - 2)
    before = 0 if each.before is None else _of_channels(each.name, each.before)
    after = 0 if each.after is None else _of_channels(each.name, each.after)
    return np.reshape(after, (-1, 1, *behind)) + np.reshape(before, (1, -1, *behind))


def _of_channels(name: str, steps: Array) -> Array:
    rows = steps.reshape(len(steps), -1)
    if bool((rows != rows[:, :1]).any()):
        raise ConfigError(f"node {name} delays each pixel of a channel by another time")
    first: Array = rows[:, 0]
    return first


def _fill(made: Any, weight: Array, delay: Array) -> None:
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        made.delay.copy_(torch.from_numpy(np.ascontiguousarray(delay)).to(made.delay))


def _identity(name: str, before: Array | None, shape: tuple[int, ...] = ()) -> Map:
    shape = before.shape if before is not None else shape
    if len(shape) == 1:
        return Map(name, np.eye(shape[0], dtype=np.float32), None, None, before)
    pixel = [1] * (len(shape) - 1)
    zero, one = tuple(0 for _ in pixel), tuple(pixel)
    if before is not None:  # DelayedConv2d has no groups
        eye = np.eye(shape[0], dtype=np.float32).reshape(shape[0], shape[0], *pixel)
        return Map(name, eye, None, (one, zero, one, 1), before)
    weight = np.ones((shape[0], 1, *pixel), np.float32)
    return Map(name, weight, None, (one, zero, one, shape[0]))


def _undelayed(piece: Map) -> nn.Module:
    weight, bias = torch.from_numpy(piece.weight), piece.bias is not None
    if piece.conv is None:
        made: Any = Dense(weight.shape[1], weight.shape[0], bias=bias)
        layer = made
    else:
        stride, padding, dilation, groups = piece.conv
        conv = Conv1d if weight.dim() == 3 else Conv2d
        layer = conv(
            weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), stride=stride,  # type: ignore[arg-type]
            padding=padding, dilation=dilation, groups=groups, bias=bias,
        )  # fmt: skip
        made = layer.module
    with torch.no_grad():
        made.weight.copy_(weight)
        if piece.bias is not None:
            made.bias.copy_(torch.from_numpy(piece.bias))
    return layer


def _short(values: Array) -> float | Tensor:
    """A number if all are equal, one for each channel if pixels share it, else all."""
    flat = np.asarray(values)
    if flat.size and bool((flat == flat.flat[0]).all()):
        return float(flat.flat[0])
    rows = flat.reshape(len(flat), -1) if flat.ndim > 1 else flat
    if flat.ndim > 1 and bool((rows == rows[:, :1]).all()):
        rows = rows[:, :1]
        return torch.from_numpy(rows.reshape(-1, *[1] * (flat.ndim - 1)).copy())
    return torch.from_numpy(np.ascontiguousarray(flat))
