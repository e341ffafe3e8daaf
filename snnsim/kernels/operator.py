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
    signature = inspect.signature(forward).parameters
    given = list(signature)
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

    # found once, because both run at every call
    is_tensor = [str(p.annotation) in ("Tensor", str(Tensor)) for p in signature.values()]
    tensors = [i for i, n in enumerate(given) if n in asked and is_tensor[i]]
    values = [i for i, n in enumerate(given) if n in asked and not is_tensor[i]]
    kept = [i for i, n in enumerate(outputs) if n in asked]
    constant = [i for i, n in enumerate(outputs) if f"g_{n}" not in asked]
    wanted = {f"wants_{n}": given.index(n) for n in gradients}
    upstream_of = {f"g_{n}": i for i, n in enumerate(outputs)}
    saved = {
        n: j for j, n in enumerate([*(given[i] for i in tensors), *(outputs[i] for i in kept)])
    }
    plain = {given[i]: j for j, i in enumerate(values)}
    returned = [gradients.index(n) if n in gradients else -1 for n in given]

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        made = output if several else (output,)
        ctx.save_for_backward(*[inputs[i] for i in tensors], *[made[i] for i in kept])
        ctx.values = [inputs[i] for i in values]
        if constant:
            ctx.mark_non_differentiable(*[made[i] for i in constant])

    def differentiate(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        held, needed = ctx.saved_tensors, ctx.needs_input_grad
        arguments = [
            held[saved[n]] if n in saved
            else ctx.values[plain[n]] if n in plain
            else upstream[upstream_of[n]].contiguous() if n in upstream_of
            else bool(needed[wanted[n]])
            for n in asked
        ]  # fmt: skip
        found = back(*arguments)
        found = found if len(gradients) > 1 else (found,)
        return tuple(found[j] if j >= 0 and needed[i] else None for i, j in enumerate(returned))

    ahead.register_fake(fake)
    back.register_fake(fake_gradients)
    ahead.register_autograd(differentiate, setup_context=save)
    derivatives.refuse_second(back)
    DECLARED[name] = Operator(ahead, back)
    return DECLARED[name]
