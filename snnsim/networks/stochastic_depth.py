"""Stochastic depth: a block of a residual network that is left out of some training batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnsim.errors import ConfigError, check_number
from snnsim.layer import Layer, run_layer
from snnsim.synapses.delayed import delayed_layers


class StochasticDepth(Layer):
    """Leave out a block with probability ``p`` in training, for a whole batch and all time steps.

    The output is ``g * block(x)``, where ``g`` is 0 with probability ``p`` and else ``1 / (1 - p)``
    in training, and 1 in evaluation. What is left out is not computed: its weights receive no
    gradient and its statistics stay. ``g`` is drawn from torch's generator on the CPU where a
    sequence starts, and is a part of the state, so that a sequence fed in chunks keeps it. It is
    meant for the inside of a :class:`Skip`, which passes the input on. Source: Huang et al. 2016,
    arXiv:1603.09382, but scaled in training and not in evaluation, as dropout is.

    Args:
        block: a layer whose output has as many units as its input.
        p: probability in 0 .. 1, 1 excluded.

    >>> from snnsim.synapses import Dense
    >>> block = StochasticDepth(Dense(3, 3, bias=True), 0.5)
    >>> _ = torch.manual_seed(0)
    >>> zero = [not block.train()(torch.ones(2, 1, 3))[0].any() for _ in range(100)]
    >>> 30 < sum(zero) < 70
    True
    """

    def __init__(self, block: nn.Module, p: float):
        super().__init__()
        check_number("stochastic_depth", p, 0)
        if p >= 1:
            raise ConfigError(
                f"stochastic_depth is {p!r} but must lie in 0 .. 1 (1 excluded): a block that is "
                "always left out learns nothing"
            )
        if not isinstance(block, nn.Module):
            raise ConfigError(f"block is {block!r} but must be a layer or a torch module")
        self.block, self.p = block, p

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        inner, gate = (None, None) if state is None else state
        if not (self.training and self.p > 0):
            y, inner = run_layer(self.block, x, inner)
            return y, (inner, gate)
        if gate is None:
            gate = torch.bernoulli(torch.tensor(1 - self.p)) / (1 - self.p)
        if not gate:
            tail = sum(layer.tail for layer in delayed_layers(self.block))
            kind = x.dtype if x.is_floating_point() else torch.get_default_dtype()
            return x.new_zeros((len(x) + tail, *x.shape[1:]), dtype=kind), (inner, gate)
        y, inner = run_layer(self.block, x, inner)
        return y * float(gate), (inner, gate)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
