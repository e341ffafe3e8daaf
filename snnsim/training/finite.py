"""Finding the layer in which a number stopped being finite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.finite import all_finite
from snnsim.layer import listening


def gradients_finite(parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether every gradient is finite."""
    return all(all_finite(p.grad) for p in parameters if p.grad is not None)


@torch.no_grad()
def first_culprit(net: nn.Module, x: Tensor) -> str:
    """Return the name of the first layer that is not finite when the network runs on ``x``.

    The parameters, gradients, input and output of each layer are examined.
    """
    found: list[str] = []
    late: list[str] = []  # a gradient: the last layer's came first

    def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        for what, tensor in _suspects(module, inputs, y):
            if not bool(torch.isfinite(tensor).all()):
                kept = late if what.startswith("the gradient") else found
                kept.append(f"{what} of layer {name!r} ({type(module).__name__})")

    leaves = {n: m for n, m in net.named_modules() if n and not any(True for _ in m.children())}
    with listening(leaves, look):
        net(x)
    found += late[::-1]
    return found[0] if found else "the read-out or the loss"


def _suspects(module: nn.Module, inputs: Any, y: Tensor) -> Iterable[tuple[str, Tensor]]:
    if inputs and isinstance(inputs[0], Tensor):
        yield "the input", inputs[0]
    for name, parameter in module.named_parameters(recurse=False):
        yield f"parameter {name!r}", parameter
        if parameter.grad is not None:
            yield f"the gradient of {name!r}", parameter.grad
    yield "the output", y
