"""One declaration for each compiled operator: from it follow all that torch wants of one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnsim.kernels import derivatives

Shapes = Callable[..., Sequence[Sequence[int]]]


class Operator(NamedTuple):
    """A pair of torch operators; both can be called from Python and stand in exported graphs."""

    forward: Any
    backward: Any


DECLARED: dict[str, Operator] = {}


def declare(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *,
    outputs: tuple[str, ...],
    shapes: Shapes,
    gradients: tuple[str, ...],
) -> Operator:
    """Make torch operators of a kernel's forward and backward pass.

    From the two functions, whose annotations are their schemas, follow the operators
    ``snnsim::<name>`` and ``snnsim::<name>_backward``, what they are when traced without values,
    and the derivative of the first by the second, which has none itself.

    Args:
        name: of the operator.
        forward: the pass, of tensors and plain values, to a tensor or a tuple of them.
        backward: its adjoint. It receives what its parameters are named after: an argument of
            ``forward``, an output of it, ``g_<output>`` (the gradient of one, contiguous), or
            ``wants_<argument>`` (whether the gradient of one is wanted). An output that has no
            ``g_`` there is not differentiable.
        outputs: names of what ``forward`` returns.
        shapes: from the arguments of ``forward`` to the shapes of its outputs.
        gradients: the arguments whose gradients ``backward`` returns, in its order; what is not
            wanted comes back empty.

    Returns:
        The two operators.
    """
    roles = _Roles(forward, backward, outputs, gradients)
    ahead: Any = torch.library.custom_op(f"snnsim::{name}", forward, mutates_args=())
    back: Any = torch.library.custom_op(f"snnsim::{name}_backward", backward, mutates_args=())

    def fake(*values: Any) -> Any:
        made = tuple(_like(values).new_empty(shape) for shape in shapes(*values))
        return made if len(outputs) > 1 else made[0]

    ahead.register_fake(fake)
    back.register_fake(roles.fake_gradients)
    ahead.register_autograd(partial(roles.differentiate, back), setup_context=roles.save)
    derivatives.refuse_second(back)
    DECLARED[name] = Operator(ahead, back)
    return DECLARED[name]


def _like(values: Sequence[Any]) -> Tensor:
    return next(v for v in values if isinstance(v, Tensor))


class _Roles:
    """What the arguments of the two passes are to each other: found once, used at every call."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        outputs: tuple[str, ...],
        gradients: tuple[str, ...],
    ):
        signature = inspect.signature(forward).parameters
        given = list(signature)
        self.asked = list(inspect.signature(backward).parameters)
        self.gradients, self.several = gradients, len(outputs) > 1
        is_tensor = [str(p.annotation) in ("Tensor", str(Tensor)) for p in signature.values()]
        needed = [i for i, n in enumerate(given) if n in self.asked]
        self.tensors = [i for i in needed if is_tensor[i]]
        self.values = [i for i in needed if not is_tensor[i]]
        self.kept = [i for i, n in enumerate(outputs) if n in self.asked]
        self.constant = [i for i, n in enumerate(outputs) if f"g_{n}" not in self.asked]
        names = [*(given[i] for i in self.tensors), *(outputs[i] for i in self.kept)]
        self.saved = {n: j for j, n in enumerate(names)}
        self.plain = {given[i]: j for j, i in enumerate(self.values)}
        self.wanted = {f"wants_{n}": given.index(n) for n in gradients}
        self.upstream = {f"g_{n}": i for i, n in enumerate(outputs)}
        self.returned = [gradients.index(n) if n in gradients else -1 for n in given]

    def fake_gradients(self, *values: Any) -> tuple[Tensor, ...]:
        """What the backward operator returns, when traced without values."""
        held, like = dict(zip(self.asked, values, strict=True)), _like(values)
        whole = [held[g] if held.get(f"wants_{g}", True) else None for g in self.gradients]
        return tuple(like.new_empty(0 if a is None else a.shape) for a in whole)

    def save(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep what the backward pass asks for."""
        made = output if self.several else (output,)
        ctx.save_for_backward(*[inputs[i] for i in self.tensors], *[made[i] for i in self.kept])
        ctx.values = [inputs[i] for i in self.values]
        if self.constant:
            ctx.mark_non_differentiable(*[made[i] for i in self.constant])

    def _argument(self, ctx: Any, held: Sequence[Tensor], upstream: Any, name: str) -> Any:
        if name in self.saved:
            return held[self.saved[name]]
        if name in self.plain:
            return ctx.values[self.plain[name]]
        if name in self.upstream:
            return upstream[self.upstream[name]].contiguous()
        return bool(ctx.needs_input_grad[self.wanted[name]])

    def differentiate(self, back: Any, ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of all arguments of the forward pass, by the backward operator."""
        held, needed = ctx.saved_tensors, ctx.needs_input_grad
        found = back(*[self._argument(ctx, held, upstream, name) for name in self.asked])
        found = found if len(self.gradients) > 1 else (found,)
        return tuple(
            found[j] if j >= 0 and needed[i] else None for i, j in enumerate(self.returned)
        )
