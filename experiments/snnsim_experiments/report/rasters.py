"""What all layers of a network did with one sample, small enough to be part of a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from snnsim.activity import SPIKES, layer_titles, neurons_of, record
from snnsim.data import View, describe, fetch

MOST = 200_000  # spikes of a layer
SPIKING, SHADED = "spikes", "values"


@dataclass(frozen=True)
class Layer:
    """A ``Layer`` of a raster has spikes, or values as shades.

    Attributes:
        title: what it is.
        units, steps: the numbers of rows and columns.
        kind: ``"spikes"`` or ``"values"``.
        events: the number of spikes that are shown, or of values that are not 0.
        left_out: the number of spikes that are not shown because there are too many.
        content: the steps and then the units of the spikes as numbers of 4 bytes, or the values
            ``[units, steps]`` as shades of 1 byte, in base 64.
        low, high: the values of the shades 0 and 255.
    """

    title: str
    units: int
    steps: int
    kind: str
    events: int
    left_out: int
    content: str
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Raster:
    """A ``Raster`` shows one sample.

    Attributes:
        title: which sample it is.
        dt: the length of a step in ms.
        layers: the input and all layers of neurons.
        classes: the names of the units of the last layer, if they are classes.
        true, answer: the numbers of the true class and of the answer, where there are such.
    """

    title: str
    dt: float
    layers: tuple[Layer, ...]
    classes: tuple[str, ...] = ()
    true: int | None = None
    answer: int | None = None


def raster_of(
    net: nn.Module,
    data: Any,
    sample: int,
    title: str,
    true: int | None = None,
    answer: int | None = None,
) -> Raster:
    """Return what a network does with a sample of a data set.

    Args:
        net: the network.
        data: the data set.
        sample: the number of the sample.
        title: what it is called.
        true, answer: the numbers of its class and of the answer, if they are known.
    """
    one = View(data, np.asarray([sample]))
    batch = fetch(one, [0])
    shown = batch.x[: int(batch.lengths[0]), 0].flatten(1).cpu()
    layers = [_layer("input", shown, _are_counts(shown))]
    titles = layer_titles(net)
    recorded = record(net, one) if neurons_of(net) else {}
    for name, found in recorded.items():
        values = found.of(0).flatten(1).float().cpu()
        layers.append(_layer(titles[name], values, found.kind == SPIKES))
    about = describe(data)
    fits = bool(recorded) and layers[-1].units == len(about.classes)
    dt = 1.0 if about.dt is None else float(about.dt)
    if not fits:
        return Raster(title, dt, tuple(layers))
    return Raster(title, dt, tuple(layers), tuple(about.classes), true, answer)


def _are_counts(x: Tensor) -> bool:
    """Whether an input is spikes, or numbers of them."""
    return bool((x >= 0).all() and (x == x.round()).all())


def _layer(title: str, values: Tensor, spiking: bool) -> Layer:
    steps, units = values.shape
    if spiking:
        step, unit = values.nonzero(as_tuple=True)
        left_out = max(len(step) - MOST, 0)
        content = _packed(step[:MOST], "<u4") + _packed(unit[:MOST], "<u4")
        shown = len(step) - left_out
        return Layer(title, units, steps, SPIKING, shown, left_out, _text(content))
    low, high = (float(values.min()), float(values.max())) if values.numel() else (0.0, 1.0)
    shades = ((values - low) / max(high - low, 1e-30) * 255).round().T
    nonzero = int(values.count_nonzero())
    content = _packed(shades, "u1")
    return Layer(title, units, steps, SHADED, nonzero, 0, _text(content), low, high)


def _packed(values: Tensor, kind: str) -> bytes:
    return values.contiguous().numpy().astype(kind).tobytes()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def samples_to_show(right: Sequence[bool | None], count: int) -> list[int]:
    """Return the numbers of some samples, half of them answered wrong where there are any.

    Args:
        right: for each sample whether its answer is right; ``None`` where that is not known.
        count: how many to return, at most.

    >>> samples_to_show([True, True, False, True, False, False], 4)
    [0, 1, 2, 4]
    >>> samples_to_show([True, None, True], 2)
    [0, 2]
    """
    wrong = [i for i, each in enumerate(right) if each is False]
    others = [i for i, each in enumerate(right) if each] or [
        i for i, each in enumerate(right) if each is None
    ]
    of_wrong = min(len(wrong), max(count // 2, count - len(others)))
    return sorted(wrong[:of_wrong] + others[: count - of_wrong])
