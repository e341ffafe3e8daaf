"""A connection whose weight update follows its own learning rule.

For ``y = W x`` with the error ``g`` at the output, backpropagation computes ``dW = g x^T`` and
sends ``W^T g`` back. Here ``dW = g a^T`` with an ``a`` that the rule chooses (a trace of ``x``, or
its projection), and ``B^T g`` is sent back with a matrix that the rule chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from snnsim.layer import Layer
from snnsim.synapses import Dense, OverTime
from snnsim.training.rules.dsr import Carry, weighted_mean
from snnsim.training.rules.feedback import random_feedback, sign_feedback


class _Linear(torch.autograd.Function):
    """``x W^T``; the weight's gradient is carried by ``a``, the input's by ``B``."""

    @staticmethod
    def forward(ctx, x: Tensor, a: Tensor, weight: Tensor, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(a, feedback)
        return x @ weight.t()

    @staticmethod
    def backward(ctx, *grads: Tensor):
        (g,) = grads
        a, feedback = ctx.saved_tensors
        g_x = g @ feedback if ctx.needs_input_grad[0] else None
        g_w = g.flatten(0, -2).t() @ a.flatten(0, -2) if ctx.needs_input_grad[2] else None
        return g_x, None, g_w, None


class PlasticConnection(Layer):
    """A plastic connection puts a ``Dense`` layer or a convolution over time under a learning rule.

    Args:
        connection: the connection, whose parameters remain its own.
        feedback: one of ``FEEDBACKS``.
        trace_decay: the decay per step of the presynaptic trace that carries the weight update
            (online training), from 0 to 1; ``None`` means no trace.
        rate_decay: the decay of the weighted mean over time that alone carries gradients (training
            through firing rates); ``None`` means none. If the layers behind have the same weights,
            as ``RateLIF`` does, this changes no gradient and saves ``2 (T - 1)`` of the ``3 T``
            products of a step.

    ``observe``, if set, is called in training mode as ``observe(x, a)`` with the input and what is
    to carry the weight update, and returns what does carry it.

    Call: as the connection's; the state is ``{"trace": [B, ...]}`` with a trace, else ``None``.
    """

    def __init__(
        self,
        connection: nn.Module,
        feedback: str = "backprop",
        trace_decay: float | None = None,
        rate_decay: float | None = None,
    ):
        super().__init__()
        self.connection, self.feedback = connection, feedback
        self.trace_decay, self.rate_decay = trace_decay, rate_decay
        self.observe: Callable[[Tensor, Tensor], Tensor] | None = None
        if feedback == "random":
            self.register_buffer("back", random_feedback(self.weight.detach()))

    @property
    def inner(self) -> nn.Module:
        """Return the module that owns the weight."""
        inner: Any = self.connection
        return inner.module if isinstance(inner, OverTime) else inner

    @property
    def weight(self) -> Tensor:
        """Return the connection's weight."""
        weight: Any = self.inner.weight
        return weight

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        if self.rate_decay is not None and len(x) > 1 and torch.is_grad_enabled():
            return self._by_rate(x, self.rate_decay), state
        carried = x.detach()
        if self.trace_decay is not None:
            carried, state = self._trace(carried, state)
        if self.training and self.observe is not None:
            carried = self.observe(x.detach(), carried)
        plain = self.trace_decay is None and carried.data_ptr() == x.data_ptr()
        if not torch.is_grad_enabled() or (plain and self.feedback == "backprop"):
            return self.connection(x)[0], state
        return self._with_rule(x, carried), state

    def _by_rate(self, x: Tensor, decay: float) -> Tensor:
        y, _ = self(weighted_mean(x, decay)[None])
        with torch.no_grad():
            values, _ = self.connection(x)
        found: Tensor = Carry.apply(values, y[0])
        return found

    def _trace(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        trace = torch.zeros_like(x[0]) if state is None else state["trace"]
        traces, decay = [], self.trace_decay or 0.0
        for step in x:
            trace = decay * trace + step
            traces.append(trace)
        return torch.stack(traces), {"trace": trace}

    def _backward_matrix(self) -> Tensor:
        weight = self.weight.detach()
        if self.feedback == "random":
            back: Any = self.back
            return back
        return sign_feedback(weight) if self.feedback == "sign" else weight

    def _with_rule(self, x: Tensor, carried: Tensor) -> Tensor:
        if isinstance(self.connection, Dense):
            y = _Linear.apply(x, carried, self.weight, self._backward_matrix())
            return y if self.connection.bias is None else y + self.connection.bias
        # the value is W x; its gradients are those of W a for the weight, B x for the input
        value = self.connection(x.detach())[0].detach()
        of_weight = self._call({}, carried)
        of_input = self._call(self._fixed(self._backward_matrix()), x)
        return value + (of_weight - of_weight.detach()) + (of_input - of_input.detach())

    def _fixed(self, matrix: Tensor) -> dict[str, Tensor]:
        names = {id(p): name for name, p in self.connection.named_parameters()}
        fixed = {name: p.detach() for name, p in self.connection.named_parameters()}
        return fixed | {names[id(self.weight)]: matrix}

    def _call(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self.connection, parameters, (x,))[0]

    def extra_repr(self) -> str:
        return f"feedback={self.feedback!r}, trace_decay={self.trace_decay}"


def connections(net: nn.Module) -> dict[str, PlasticConnection]:
    """Return the plastic connections of a network by name."""
    return {n: m for n, m in net.named_modules() if isinstance(m, PlasticConnection)}


def is_connection(module: nn.Module) -> bool:
    """Return whether a learning rule can be put under a module."""
    convolution = (nn.Conv1d, nn.Conv2d)
    return isinstance(module, Dense) or (
        isinstance(module, OverTime) and isinstance(module.module, convolution)
    )
