"""Networks for task streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

import snnsim as sn
from snnsim.baselines import RateNetwork
from snnsim.continual import Learner, Stream, dense_head
from snnsim.errors import ConfigError, check_choice, check_number
from snnsim.functional.readouts import get_readout
from snnsim.layer import Layer
from snnsim.surrogate import Sigmoid
from snnsim.training.rules.dsr import RateLIF, weighted_mean
from snnsim.units import tau_to_decay
from snnsim_experiments.build import some_of
from snnsim_experiments.experiment import SPIKING

CONNECTIONS = ("dense", "axonal", "dendritic", "synaptic", "recurrent")


@dataclass(frozen=True)
class NetworkOptions:
    """These options describe a network on a stream.

    Attributes:
        hidden: the sizes of the fully connected hidden layers; ``None`` for two of 800, or for
            none behind convolutions.
        convolutions: the channels of 3 x 3 convolutions, each with neurons and a mean over 2 x 2
            behind it, for streams of images that are not flat.
        residual: the channels of the stages of a residual network behind them (or behind the
            image), each of two blocks with the neurons before the convolutions; all but the
            first halve rows and columns. ``[20, 40, 80, 160]`` is the published ResNet-18.
        stem: the size of the first convolution's kernel before residual stages; 5 has stride 2.
        steps: the number of steps for which a still image is shown.
        learning: what carries the error over time: ``"bptt"``, ``"dsr"`` or ``"ottt"``.
        feedback: what carries it through the layers: ``"backprop"``, ``"random"`` or ``"sign"``.
        connections: ``"dense"``, with delays (``"axonal"``, ``"dendritic"``, ``"synaptic"``),
            or ``"recurrent"``.
        norm: whether there is batch normalisation before the neurons.
        tau_mem: the membrane time constant in steps.
        max_delay_steps: the longest delay in steps.
        readout: the read-out of the head's outputs; ``"dsr"`` has its own, a weighted mean.
        gain: weights start uniform within ``gain / sqrt(fan_in)``; 1 is torch's own start.
        width, depth, dropout: describe the layers of a rate-coded model, to which of the above
            only ``steps``, ``learning``, ``feedback`` and ``readout`` apply.
        encoder: the arguments of its :class:`snnsim.baselines.RateEncoder`.
        options: the options of the model.
    """

    hidden: list[int] | None = None
    convolutions: list[int] | None = None
    residual: list[int] | None = None
    stem: int = 3
    steps: int = 6
    learning: str = "bptt"
    feedback: str = "backprop"
    connections: str = "dense"
    norm: bool = False
    tau_mem: float = 2.0
    max_delay_steps: int = 24
    readout: str = "mean"
    gain: float = 1.0
    width: int = 128
    depth: int = 1
    dropout: float = 0.0
    encoder: dict[str, Any] | None = None
    options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_choice("connections", self.connections, CONNECTIONS)
        if self.learning == "dsr" and self.connections != "dense":
            raise ConfigError(
                "learning 'dsr' works with rates only, but connections is "
                f"{self.connections!r}; use connections='dense'"
            )
        for sizes in (self.hidden, self.convolutions, self.residual):
            for size in sizes or ():
                check_number("a layer's size", size, 1)
        for name in ("steps", "max_delay_steps", "stem", "tau_mem"):
            check_number(name, getattr(self, name), 1)
        check_number("gain", self.gain, above=0)


def build(stream: Stream, *, model: str = SPIKING, **options: Any) -> Learner:
    """Build a spiking network, or a rate-coded one, for a stream.

    Args:
        stream: the tasks.
        model: ``"spiking"``, or the name of a rate-coded model.
        options: the fields of :class:`NetworkOptions`.
    """
    told = NetworkOptions(**options)
    shape = tuple(stream.tasks[0].test.batch([0]).x.shape[2:])
    still = bool((stream.tasks[0].test.lengths == 1).all())
    if still and told.connections not in ("dense", "recurrent"):
        raise ConfigError(
            f"connections is {told.connections!r}, but this stream shows still images and delays "
            "need sequences; use connections='dense' or 'recurrent'"
        )
    repeat: list[torch.nn.Module] = [sn.Repeat(told.steps)] if still else []
    if model != SPIKING:
        body = RateNetwork(
            math.prod(shape), 0, model, width=told.width, depth=told.depth, dropout=told.dropout,
            encoder=told.encoder, options=told.options,
        )  # fmt: skip
        return _rate_coded(
            stream, body, told.width, repeat,
            readout=get_readout(told.readout), training=told.learning, feedback=told.feedback,
        )  # fmt: skip
    layers, features = _spiking(told, shape, repeat)
    score: Callable[..., Tensor] = get_readout(told.readout)
    if told.learning == "dsr":
        score = _WeightedMean(RateLIF(1).decay)
    return Learner(
        sn.Sequential(*layers),
        dense_head(features),
        stream,
        training=told.learning,
        feedback=told.feedback,
        trace_decay=tau_to_decay(told.tau_mem, 1.0, "euler"),
        readout=score,
    )


Layers = list[torch.nn.Module]


def _spiking(told: NetworkOptions, shape: tuple[int, ...], repeat: Layers) -> tuple[Layers, int]:
    """The layers of a spiking network for samples of a shape, and how many features it has."""
    layers, deep = Layers(), bool(told.convolutions or told.residual)
    if deep:
        layers, shape, repeat = _of_images(told, shape, repeat)
    if len(shape) > 1:
        layers.append(torch.nn.Flatten(2))
    wide = told.hidden if told.hidden is not None else ([] if deep else [800, 800])
    sizes = [math.prod(shape), *wide]
    for n_in, n_out in pairwise(sizes):
        connection = _connect(told.connections, n_in, n_out, told.max_delay_steps)
        bound = told.gain / n_in**0.5
        torch.nn.init.uniform_(connection.weight, -bound, bound)
        layers += [connection, *([sn.BatchNorm(n_out)] if told.norm else []), *repeat]
        repeat = []
        layers.append(_neurons(told, n_out))
    return layers, sizes[-1]


def _of_images(
    told: NetworkOptions, shape: tuple[int, ...], repeat: Layers
) -> tuple[Layers, tuple[int, ...], Layers]:
    """Convolutions and residual stages, the shape behind them, and what is still to repeat."""
    if len(shape) != 3 or told.connections != "dense":
        raise ConfigError(
            f"convolutions need images [C, H, W] and connections='dense', but a sample is "
            f"{list(shape)} and connections {told.connections!r}"
        )
    layers: Layers = []
    for channels in told.convolutions or ():
        layers.append(_convolution(shape[0], channels, told.gain))
        layers += [*([sn.BatchNorm(channels)] if told.norm else []), *repeat]
        layers += [_neurons(told, (channels, *shape[1:])), sn.AvgPool2d(2)]
        shape, repeat = (channels, shape[1] // 2, shape[2] // 2), []
    if told.residual:
        layers += _residual(told, shape, repeat)
        shape, repeat = (told.residual[-1],), []
    return layers, shape, repeat


def _rate_coded(
    stream: Stream,
    body: RateNetwork,
    width: int,
    repeat: list[torch.nn.Module],
    **rule: Any,
) -> Learner:
    if body.encoder.bins > 1:
        raise ConfigError(
            f"encoder.bins is {body.encoder.bins}, but methods of continual learning see every "
            "step of a stream's samples; leave it at 1"
        )
    x = some_of(stream.tasks[0].train)
    flat = [torch.nn.Flatten(2)] if x.dim() > 3 else []
    body.prepare(x.flatten(2))
    net = sn.Sequential(*flat, *repeat, body)
    return Learner(net, dense_head(width), stream, **rule)


def check_used(model: str, options: dict[str, Any], given: Iterable[str], still: bool) -> None:
    """Refuse options that a network would ignore.

    Args:
        model: ``"spiking"``, or the name of a rate-coded model.
        options: the options of :func:`build` that are set, by name.
        given: the names of those to check.
        still: whether the stream shows still images.

    >>> check_used("gru", {"width": 64}, ["width"], still=False)
    """
    unused = _unused(model, options, still)
    for name in given:
        if name in unused:
            raise ConfigError(f"network.{name} has no effect {unused[name]}; remove it")


def _unused(model: str, options: dict[str, Any], still: bool) -> dict[str, str]:
    """Options without effect, and why."""
    found: dict[str, str] = {} if still else {"steps": "on sequences, which have their own"}
    if model != SPIKING:
        spiking = (
            "hidden", "convolutions", "residual", "stem", "connections", "norm", "tau_mem",
            "max_delay_steps", "gain",
        )  # fmt: skip
        return found | dict.fromkeys(spiking, f"on the baseline {model}")
    rated = ("width", "depth", "dropout", "encoder", "options")
    found |= dict.fromkeys(rated, "on a spiking network, only on a baseline")
    if not options.get("residual"):
        found["stem"] = "without residual stages"
    if options.get("connections", "dense") in ("dense", "recurrent"):
        found["max_delay_steps"] = "without delays"
    if options.get("learning") == "dsr":
        found |= dict.fromkeys(("readout", "tau_mem"), "under 'dsr', which has its own")
    return found


class _WeightedMean:
    def __init__(self, decay: float):
        self.decay = decay

    def __call__(self, y: Tensor, lengths: Tensor | None = None) -> Tensor:
        return weighted_mean(y, self.decay)


def _connect(connections: str, n_in: int, n_out: int, longest: int) -> sn.Dense | sn.Delayed:
    if connections in ("dense", "recurrent"):
        return sn.Dense(n_in, n_out)
    return sn.Delayed(n_in, n_out, dt=1.0, max_delay_ms=float(longest), granularity=connections)


def _residual(told: NetworkOptions, shape: tuple[int, ...], repeat: Layers) -> Layers:
    """A residual network with neurons before convolutions, down to one value per channel.

    Source: He et al. 2016 (arXiv:1603.05027), with spiking neurons in place of rectifiers.
    """
    stages, gain, make = told.residual or [], told.gain, partial(_neurons, told)
    channels, size = stages[0], (shape[1], shape[2])
    stride = 1 if told.stem <= 3 else 2
    layers: Layers = [_convolution(shape[0], channels, gain, told.stem, stride), *repeat]
    size = (-(-size[0] // stride), -(-size[1] // stride))
    for stage, wide in enumerate(stages):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            half = (-(-size[0] // stride), -(-size[1] // stride))
            inner = sn.Sequential(
                sn.BatchNorm(channels),
                make((channels, *size)),
                _convolution(channels, wide, gain, 3, stride),
                sn.BatchNorm(wide),
                make((wide, *half)),
                _convolution(wide, wide, gain),
            )
            same = stride == 1 and channels == wide
            project = None if same else _convolution(channels, wide, gain, 1, stride)
            layers.append(sn.Skip(inner, project))
            channels, size = wide, half
    layers += [sn.BatchNorm(channels), make((channels, *size))]
    return [*layers, sn.AvgPool2d(size), torch.nn.Flatten(2)]


def _convolution(
    channels_in: int, channels_out: int, gain: float, kernel: int = 3, stride: int = 1
) -> Layer:
    convolution = sn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, stride=stride)
    bound = gain / (kernel**2 * channels_in) ** 0.5
    torch.nn.init.uniform_(cast(Tensor, convolution.module.weight), -bound, bound)
    return convolution


def _neurons(told: NetworkOptions, n: Any) -> Layer:
    if told.learning == "dsr":
        return RateLIF(n)
    options: dict[str, Any] = {"discretization": "euler", "reset": "subtract"}
    lif = sn.LIF(n, dt=1.0, tau_mem=told.tau_mem, surrogate=Sigmoid(alpha=4.0), **options)
    return sn.Recurrent(lif) if told.connections == "recurrent" else lif
