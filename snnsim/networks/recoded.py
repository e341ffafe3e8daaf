"""Recoding of membranes: the last hidden layer moves so that the answer becomes surer.

At every time step, before the threshold,

    u <- u - alpha dH(softmax(W r(u))) / du,    H(p) = -sum_c p_c log p_c,

where ``r(u)`` is the smooth function of which the surrogate gradient is the derivative, and ``W``
are the weights to the classes, those of all delays added. It changes activities, not weights, in
training and in evaluation; in the backward pass the move is a constant. Source: Ulmer 2020
(arXiv:2101.00674), which moves the states of an LSTM and reports minor gains.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.errors import ConfigError, check_number
from snnsim.functional.recoding import recode_signal
from snnsim.layer import Layer
from snnsim.networks.dropout import Dropout
from snnsim.networks.sequential import Sequential, split_state
from snnsim.neurons.li import LI
from snnsim.neurons.neuron import Neuron
from snnsim.synapses.delayed import Delayed
from snnsim.synapses.dense import Dense


class Recoded(Layer):
    """Neurons whose membranes are recoded, with the layers behind them up to the class scores.

    Args:
        neurons: spiking neurons with a threshold.
        after: the layers that follow, of which the last is a :class:`snnsim.synapses.Dense` or
            :class:`snnsim.synapses.Delayed` connection to the classes; those between do not count
            in the answer that is made surer.
        alpha: size of the step down the entropy; below 0 it goes up, as a control.
        signal: function of the membranes ``[B, N]`` and of the function from them to scores that
            returns the direction, :func:`snnsim.functional.recoding.recode_signal` unless given.

    Call: ``layer(x [T, B, N], state=None) -> (y [T', B, C], state)``. Each time step is computed by
    itself, so this is slow.

    Raises:
        ConfigError: if the neurons have no threshold, or their membrane does not depend on the
            current of the same step.

    >>> from snnsim.neurons import LIF
    >>> layer = Recoded(LIF(4, dt=1.0), Dense(4, 2), alpha=0.1)
    >>> tuple(layer(torch.rand(7, 2, 4))[0].shape)
    (7, 2, 2)
    """

    def __init__(
        self,
        neurons: Neuron,
        *after: nn.Module,
        alpha: float,
        signal: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor] = recode_signal,
    ):
        super().__init__()
        check_number("alpha", alpha)
        if not after or not isinstance(after[-1], Dense | Delayed):
            raise ConfigError(
                "Recoded needs the connection to the classes as its last layer, Dense or Delayed"
            )
        if not isinstance(neurons, Neuron) or "v_threshold" not in neurons.declared:
            raise ConfigError(
                f"recoding moves membranes towards or from a threshold, which "
                f"{type(neurons).__name__} does not have; use LIF or AdLIF"
            )
        self.neurons, self.after = neurons, Sequential(*after)
        self.alpha, self.signal = alpha, signal
        like = next(itertools.chain(neurons.parameters(), neurons.buffers()), torch.zeros(0))
        self._shift(like.new_zeros(1, *neurons.shape), None)  # refuses other neurons at once

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        before, further = split_state(state, 2)
        z, own = self.neurons(x + self._shifts(self.neurons.check_input(x), before), before)
        y, further = self.after(z, further)
        return y, (own, further)

    def scores(self, u: Tensor) -> Tensor:
        """Return the class scores ``[..., C]`` that membranes ``u [..., N]`` vote for."""
        connection: Any = self.after[-1]
        weight = connection.weight.detach()
        weight = weight.sum(2) if weight.dim() == 3 else weight
        bias = getattr(connection, "bias", None)
        threshold: Any = self.neurons
        rate = self.neurons.surrogate.primitive(u - threshold.v_threshold.detach())
        return nn.functional.linear(rate, weight, None if bias is None else bias.detach())

    @torch.no_grad()
    def _shifts(self, x: Tensor, state: Any) -> Tensor:
        """What is added to the current of every step so that the membranes move, as ``x``."""
        shifts = []
        for now in x:
            shifts.append(self._shift(now, state))
            # not through the module, so that hooks see its neurons once, for the whole sequence
            _, state = self.neurons.forward((now + shifts[-1]).unsqueeze(0), state)
        return torch.stack(shifts) if shifts else torch.zeros_like(x)

    @torch.no_grad()
    def _shift(self, now: Tensor, state: Any) -> Tensor:
        """The same for the current ``[B, N]`` of one step."""
        with torch.inference_mode(False), torch.enable_grad():
            current = now.clone().detach().requires_grad_()
            u = self.neurons.voltage(current.unsqueeze(0), state)[0]
            (gain,) = torch.autograd.grad(u.sum(), current)
        if not bool((gain != 0).all()):
            raise ConfigError(
                f"the membrane of {type(self.neurons).__name__} does not depend on the current of "
                "the same step, so recoding cannot move it; use LIF or AdLIF"
            )
        return -self.alpha * self.signal(u.detach(), self.scores) / gain

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


def recoded(net: Sequential, alpha: float, **options: Any) -> Sequential:
    """Return a copy of a network in which the membranes of the last hidden layer are recoded.

    Args:
        net: a network that ends in spiking neurons, dropout if any, a connection to the classes,
            and integrators if any. If it is recoded already, ``alpha`` takes the place of its own.
        alpha: the size of the step down the entropy; below 0 it goes up, as a control.
        options: further arguments of :class:`Recoded`.

    Raises:
        ConfigError: if the network ends otherwise, as with recurrent neurons or skip connections.

    >>> from snnsim.neurons import LI, LIF
    >>> net = Sequential(Dense(3, 4), LIF(4, dt=1.0), Dense(4, 2), LI(2, dt=1.0))
    >>> [type(layer).__name__ for layer in recoded(net, 0.1)]
    ['Dense', 'Recoded', 'LI']
    """
    layers: list[Any] = list(copy.deepcopy(net))
    end = len(layers)
    while end and isinstance(layers[end - 1], LI):
        end -= 1
    first = end - 1
    if end and isinstance(layers[first], Recoded):
        neurons, after = layers[first].neurons, list(layers[first].after)
    else:
        first -= 1
        while first > 0 and isinstance(layers[first], Dropout):
            first -= 1
        if first < 0 or not isinstance(layers[first], Neuron):
            raise ConfigError(
                "recoding needs a network that ends in hidden neurons, dropout, a connection and "
                "integrators; this one has no hidden neurons there, or they are recurrent or in a "
                "skip connection"
            )
        neurons, after = layers[first], layers[first + 1 : end]
    layers[first:end] = [Recoded(neurons, *after, alpha=alpha, **options)]
    return Sequential(*layers).train(net.training)
