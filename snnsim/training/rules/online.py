"""Online training through time: gradients step by step, with memory constant in their number.

The membrane does not carry gradients from step to step; what it would carry is approximated
by a trace of the presynaptic spikes (:class:`PlasticConnection`). The loss is taken at each
step. Source: Xiao, Meng, Zhang, He & Lin 2022 (NeurIPS, arXiv:2210.04195), equations 6 to 9.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snnsim.layer import Layer, detach_state, run_layer
from snnsim.networks import Repeat, Sequential


def online_gradients(
    body: Sequential,
    head: Layer,
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Add the gradients of a batch, computed online, to the parameters.

    Args:
        body, head: the network; a ``Repeat`` in ``body`` repeats still inputs.
        x: the input ``[T, B, ...]``, or ``[1, B, ...]`` if there is a ``Repeat``.
        loss: a function from a step's output ``[B, C]`` to the loss of each sample ``[B]``.
        lengths: the number of time steps of each sample, ``[B]``; later steps do not count. With
            ``None`` all steps count.

    Returns:
        ``(scores, loss)`` without gradient: the outputs ``[B, C]``, averaged over each sample's
        steps, and the sum over samples of the mean loss over their steps.
    """
    layers = list(body)
    at = next((i for i, layer in enumerate(layers) if isinstance(layer, Repeat)), None)
    before, after, steps = [], layers, x.shape[0]
    if at is not None:
        repeat = layers[at]
        assert isinstance(repeat, Repeat)
        before, after, steps = layers[:at], layers[at + 1 :], repeat.steps
    still = x
    for layer in before:
        still, _ = run_layer(layer, still, None)
    leaf = still.detach().requires_grad_(still.requires_grad)
    rest, state = Sequential(*after, head), None
    scores: Tensor | float = 0.0
    total: Tensor | float = 0.0
    last = torch.full(x.shape[1:2], steps) if lengths is None else lengths.clamp(min=1)
    last = last.to(x.device)
    for t in range(steps):
        y, state = rest(leaf if at is not None else leaf[t : t + 1], state)
        share = ((t < last) / last).to(y)
        value = (share * loss(y[0])).sum()
        value.backward()
        state = detach_state(state)
        scores = scores + share.unsqueeze(-1) * y[0].detach()
        total = total + value.detach()
    if leaf.grad is not None:
        still.backward(leaf.grad)
    return torch.as_tensor(scores), torch.as_tensor(total)
