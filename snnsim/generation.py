"""Generation: a network that predicts the next step continues what it was shown, step by step.

    x[t + 1] ~ p( . | x[0 .. t])

by :mod:`snnsim.baselines.sampler` also many steps at once, for a recurrent-depth model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnsim.baselines.models.recurrent_depth import RecurrentDepth
from snnsim.baselines.network import RateNetwork
from snnsim.baselines.sampler import Generated, generate_in_parallel
from snnsim.baselines.sampler import generate as generate_tokens
from snnsim.errors import (
    ConfigError,
    ShapeError,
    check_choice,
    check_number,
    check_seed,
    check_size,
)
from snnsim.layer import device_of, evaluating
from snnsim.training.next_step import next_of

SAMPLERS = ("steps", "parallel")


@torch.no_grad()
def generate(
    net: nn.Module,
    prompt: Tensor,
    steps: int,
    *,
    target: str = "next-event",
    temperature: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Continue some samples by a network that was trained to predict their next step.

    Args:
        net: a network from ``[T, B, N]`` and a state to as many outputs, and the next state.
        prompt: the steps to begin with, ``[T, B, N]``, at least one.
        steps: the number of steps to generate, 1 or more.
        target: what the network was trained to predict, ``"next-event"`` or ``"next-step"``.
        temperature: a divisor of the outputs, 0 or more: below 1 likely events become likelier;
            0 takes the likeliest event, or every channel that is likelier to fire than not.
        seed: the seed of what is drawn, 0 or more.

    Returns:
        The generated steps, ``[steps, B, N]``, of zeros and ones.

    >>> net = RateNetwork(5, 5, "gru", width=8)
    >>> tuple(generate(net, torch.eye(5)[:, None], 7).shape)
    (7, 1, 5)
    """
    aim = next_of(target)
    check_size("steps", steps)
    check_number("temperature", temperature, 0)
    _check_prompt(prompt)
    where = device_of(net)
    random = torch.Generator(where).manual_seed(check_seed(seed))
    found: list[Tensor] = []
    x, state = prompt.to(where), None
    with evaluating(net):
        for _ in range(steps):
            y, state = net(x, state)
            if y.shape[-1] != prompt.shape[-1]:
                raise ShapeError(
                    f"the network has {y.shape[-1]} outputs for {prompt.shape[-1]} channels; one "
                    "that generates was trained with target next-event or next-step"
                )
            found.append(aim.drawn(y[-1], temperature, random))
            x = found[-1].unsqueeze(0).to(prompt.dtype)
    return torch.stack(found)


def recurrent_depth_of(net: nn.Module) -> RecurrentDepth:
    """Return the only layer of a network if it is a recurrent-depth model that sees events as such.

    Raises:
        ConfigError: the network is another one.
    """
    layers: Any = net.layers if isinstance(net, RateNetwork) else ()
    if len(layers) != 1 or not isinstance(layers[0], RecurrentDepth):
        raise ConfigError(
            "the parallel sampler needs a network of one layer of the model recurrent_depth, "
            "without additions; train one with --model recurrent-depth --set network.depth=1, or "
            "generate step by step"
        )
    assert isinstance(net, RateNetwork)
    if net.residual or net.encoder.pool > 1 or net.encoder.norm == "layer":
        raise ConfigError(
            "the parallel sampler gives events to the model as they are; train it without "
            "network.join, encoder.pool and encoder.norm=layer, or generate step by step"
        )
    return layers[0]


def generate_by(
    sampler: str, net: nn.Module, prompt: list[int], steps: int, **options: Any
) -> Generated:
    """Generate the likeliest next events with a recurrent-depth network, and count its passes.

    Args:
        sampler: one of ``SAMPLERS``: ``"steps"``, one event after the other, or ``"parallel"``, a
            wave of them.
        net: a network of one recurrent-depth layer.
        prompt: the channels of the events to begin with, at least one.
        steps: the number of events to add, 1 or more.
        options: arguments of :func:`snnsim.baselines.sampler.generate_in_parallel`.
    """
    check_choice("sampler", sampler, SAMPLERS)
    body, head = recurrent_depth_of(net), _Head(net)
    if sampler == "steps":
        return generate_tokens(body, head, prompt, steps)
    return generate_in_parallel(body, head, prompt, steps, **options)


class _Head(nn.Module):
    """A network's head, which is a layer, as a module from features to scores."""

    def __init__(self, net: Any):
        super().__init__()
        self.layer = net.head

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


def _check_prompt(prompt: Tensor) -> None:
    if prompt.ndim != 3 or len(prompt) == 0:
        raise ShapeError(
            f"the prompt is {list(prompt.shape)} but must be [T, B, N], with one step or more"
        )
