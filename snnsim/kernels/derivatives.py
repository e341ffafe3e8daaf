"""Which derivatives the compiled operators have, and what serves the others.

The compiled operators have first derivatives in reverse mode, by ``backward``. Everything else
that torch can take (forward mode, ``torch.func``, second derivatives) is served by the reference
rung, which is plain torch: ``backend="auto"`` takes it wherever a transformation is under way. A
second derivative cannot be foreseen in the forward pass, so it is refused in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

from snnsim.errors import BackendError


def transformed() -> bool:
    """Whether torch is taking derivatives in forward mode or transforming a function.

    Within ``torch.func`` (``grad``, ``jvp``, ``vmap``, ``jacrev``, ...) and
    ``torch.autograd.forward_ad.dual_level``. Not while ``torch.compile`` traces.

    >>> transformed()
    False
    """
    if torch.compiler.is_compiling():
        return False
    dual = getattr(forward_ad, "_current_level", -1) >= 0
    return dual or torch._C._functorch.peek_interpreter_stack() is not None


def refuse_named(backend: str) -> None:
    """Raise :class:`BackendError` for a named compiled rung while :func:`transformed`."""
    if backend not in ("auto", "reference") and transformed():
        raise BackendError(
            f"backend {backend!r} has derivatives in reverse mode only, not in forward mode or "
            "under torch.func; use backend='auto' or 'reference'"
        )


def refuse_second(operator: Any) -> None:
    """Give a backward operator a derivative that says why there is none."""

    def differentiate(ctx: Any, *gradients: Any) -> Any:
        raise BackendError(
            "compiled kernels have first derivatives only; for second ones build the layers with "
            "backend='reference'"
        )

    operator.register_autograd(differentiate, setup_context=lambda ctx, inputs, output: None)
