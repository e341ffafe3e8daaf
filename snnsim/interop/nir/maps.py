"""Which nodes of a NIR graph are connections together: weights, delays, scales and what they share.

A chain of nodes between neurons becomes a list of :class:`Map` and other pieces; maps that lead in
parallel from one place to another become a :class:`Fan`, which is one connection with delays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np

from snnsim.errors import ConfigError
from snnsim.interop.nir.timing import Array


@dataclass(frozen=True)
class Late:
    """Delays in whole steps, of the shape of what is delayed."""

    name: str
    steps: Array


@dataclass(frozen=True)
class Scaled:
    """A gain and a shift of each value."""

    name: str
    gain: Array
    shift: Array

    @property
    def trivial(self) -> bool:
        """Return whether it changes nothing."""
        return bool((self.gain == 1).all()) and not bool(self.shift.any())


@dataclass(frozen=True)
class Map:
    """A ``Map`` is a matrix or a convolution, with delays before or after it.

    Attributes:
        name: the name of its first node.
        weight: the weights, ``[O, I]`` or those of a convolution.
        bias: what is added to each output channel, ``[O]``, or ``None``.
        conv: stride, padding, dilation and groups of a convolution, else ``None``.
        before, after: delays in whole steps of its inputs and of its outputs, or ``None``.
    """

    name: str
    weight: Array
    bias: Array | None
    conv: tuple[Any, ...] | None = None
    before: Array | None = None
    after: Array | None = None

    def scaled(self, by: Scaled) -> Map | None:
        """Return the map with a scaling behind it, or ``None`` if it cannot take it."""
        gain, shift = _per_channel(by.gain), _per_channel(by.shift)
        if gain is None or shift is None or (self.after is not None and shift.any()):
            return None
        bias = self.bias
        if shift.any() or bias is not None:
            bias = shift + (0 if bias is None else bias) * gain
        weight = self.weight * gain.reshape(-1, *[1] * (self.weight.ndim - 1))
        return replace(self, weight=weight.astype(np.float32), bias=_narrow(bias))


@dataclass(frozen=True)
class Fan:
    """Maps in parallel whose outputs are added, at least one of which is late."""

    maps: tuple[Map, ...]
    bias: Array | None

    @property
    def name(self) -> str:
        """Return the name of the first node."""
        return self.maps[0].name

    def scaled(self, by: Scaled) -> Fan | None:
        """Return the fan with a scaling behind it, or ``None`` if it cannot take it."""
        shift = _per_channel(by.shift)
        gain = _per_channel(by.gain)
        none = replace(by, shift=np.zeros_like(by.shift))
        maps = tuple(each.scaled(none) for each in self.maps)
        if shift is None or gain is None or any(each is None for each in maps):
            return None
        bias = self.bias
        if shift.any() or bias is not None:
            bias = _narrow(shift + (0 if bias is None else bias) * gain)
        return Fan(maps, bias)  # type: ignore[arg-type]


def _narrow(values: Array | None) -> Array | None:
    return None if values is None else np.asarray(values, dtype=np.float32)


def _per_channel(values: Array) -> Array | None:
    """The values of each channel, if all of its pixels have the same."""
    rows = values.reshape(len(values), -1)
    return rows[:, 0] if bool((rows == rows[:, :1]).all()) else None


def piece_of(name: str, node: Any, dt: float) -> Any:
    """Return a node as a piece; one that is none of maps, delays and scales stays what it is."""
    if isinstance(node, nir.Delay):
        exact = np.asarray(node.delay, dtype=np.float64) / dt
        steps = np.rint(exact)
        if not bool(np.all(np.abs(exact - steps) < 1e-3)) or bool((steps < 0).any()):
            raise ConfigError(
                f"node {name} delays by {float(exact.max()):g} steps of {dt:g} s, but delays here "
                "are whole steps; give the dt for which the graph was written"
            )
        return Late(name, steps.astype(np.int64))
    if isinstance(node, nir.Scale):
        gain = np.asarray(node.scale, dtype=np.float64)
        return Scaled(name, gain, np.zeros_like(gain))
    if isinstance(node, nir.Affine | nir.Linear):
        weight = np.asarray(node.weight, dtype=np.float32)
        if weight.ndim != 2:
            raise ConfigError(f"node {name} has weights of shape {weight.shape}, not [out, in]")
        bias = _narrow(getattr(node, "bias", None))
        return Map(name, weight, None if bias is None or not bias.any() else bias)
    if isinstance(node, nir.Conv1d | nir.Conv2d):
        bias, groups = np.asarray(node.bias, dtype=np.float32), int(node.groups)
        conv = (*map(_plain, (node.stride, node.padding, node.dilation)), groups)
        weight = np.asarray(node.weight, dtype=np.float32)
        return Map(name, weight, bias if bias.any() else None, conv)
    return node


def _plain(value: Any) -> Any:
    if isinstance(value, str | bytes):
        return value.decode() if isinstance(value, bytes) else value
    numbers = tuple(int(n) for n in np.atleast_1d(value))
    return numbers


def simplified(pieces: list[Any]) -> list[Any]:
    """Return a chain in which delays and scales belong to a map beside them."""
    found: list[Any] = []
    for index, piece in enumerate(pieces):
        last = found[-1] if found else None
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        if isinstance(piece, Scaled) and piece.trivial:
            continue
        if isinstance(piece, Map) and isinstance(last, Late) and piece.before is None:
            found[-1] = replace(piece, before=last.steps, name=last.name)
        elif isinstance(piece, Late) and isinstance(last, Map) and not isinstance(following, Map):
            found[-1] = _late(last, piece)
        elif isinstance(piece, Late) and isinstance(last, Late):
            found[-1] = Late(last.name, last.steps + piece.steps)
        elif isinstance(piece, Scaled) and isinstance(last, Map | Fan):
            taken = last.scaled(piece)
            found[-1:] = [last, piece] if taken is None else [taken]
        else:
            found.append(piece)
    return found


def _late(last: Map, piece: Late) -> Map:
    if last.bias is not None:
        raise ConfigError(
            f"node {piece.name} delays the bias of {last.name}, but a bias here is there from the "
            "first step"
        )
    steps = piece.steps if last.after is None else piece.steps + last.after
    return replace(last, after=steps)


def in_parallel(branches: list[list[Any]]) -> Map | Fan | None:
    """Return branches as one connection, or ``None`` if they are more than maps of one kind."""
    if any(len(branch) != 1 or not isinstance(branch[0], Map | Fan) for branch in branches):
        return None
    maps: list[Map] = []
    bias: Any = None
    for (piece,) in branches:
        maps += piece.maps if isinstance(piece, Fan) else [piece]
        if piece.bias is not None:
            bias = piece.bias if bias is None else bias + piece.bias
    kinds = {(each.conv, each.weight.shape) for each in maps}
    if len(kinds) != 1:
        return None
    maps = [replace(each, bias=None) for each in maps]
    if any(each.before is not None or each.after is not None for each in maps):
        busy = [each for each in maps if each.weight.any()]
        return Fan(tuple(busy or maps[:1]), bias)
    return replace(maps[0], weight=np.sum([each.weight for each in maps], axis=0), bias=bias)
