"""One declaration for each compiled operator: from it follow all that torch wants of one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
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
    given = list(inspect.signature(forward).parameters)
    asked = list(inspect.signature(backward).parameters)
    ahead: Any = torch.library.custom_op(f"snnsim::{name}", forward, mutates_args=())
    back: Any = torch.library.custom_op(f"snnsim::{name}_backward", backward, mutates_args=())
    several = len(outputs) > 1

    def fake(*values: Any) -> Any:
        like = next(v for v in values if isinstance(v, Tensor))
        made = tuple(like.new_empty(shape) for shape in shapes(*values))
        return made if several else made[0]

    def fake_gradients(*values: Any) -> tuple[Tensor, ...]:
        held = dict(zip(asked, values, strict=True))
        whole = {g: held[g] if held.get(f"wants_{g}", True) else None for g in gradients}
        like = next(v for v in values if isinstance(v, Tensor))
        return tuple(like.new_empty(0 if a is None else a.shape) for a in whole.values())

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        held = dict(zip(given, inputs, strict=True))
        made = dict(zip(outputs, output if several else (output,), strict=True))
        kept = {n: (held | made)[n] for n in asked if n in held or n in made}
        ctx.tensors = [n for n, value in kept.items() if isinstance(value, Tensor)]
        ctx.values = {n: value for n, value in kept.items() if n not in ctx.tensors}
        ctx.save_for_backward(*(kept[n] for n in ctx.tensors))
        ctx.mark_non_differentiable(*(v for n, v in made.items() if f"g_{n}" not in asked))

    def differentiate(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        held = ctx.values | dict(zip(ctx.tensors, ctx.saved_tensors, strict=True))
        for output, gradient in zip(outputs, upstream, strict=True):
            held[f"g_{output}"] = gradient.contiguous() if f"g_{output}" in asked else None
        wanted = dict(zip(given, ctx.needs_input_grad, strict=True))
        held |= {f"wants_{n}": bool(wanted[n]) for n in gradients}
        found = back(*(held[n] for n in asked))
        found = dict(zip(gradients, found if len(gradients) > 1 else (found,), strict=True))
        return tuple(found[n] if n in found and wanted[n] else None for n in given)

    ahead.register_fake(fake)
    back.register_fake(fake_gradients)
    ahead.register_autograd(differentiate, setup_context=save)
    derivatives.refuse_second(back)
    DECLARED[name] = Operator(ahead, back)
    return DECLARED[name]
