"""Recoding: activities move down the entropy of the answer that they give.

    h' = h - alpha dH(softmax(s(h))) / dh,    H(p) = -sum_c p_c log p_c

where ``s(h)`` are the class scores of activities ``h``. Source: Ulmer 2020 (arXiv:2101.00674), with
the entropy of the answer itself in place of an ensemble's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def entropy(scores: Tensor) -> Tensor:
    """Return the entropy in nats of the softmax of scores ``[..., C]``, of shape ``[...]``.

    >>> round(float(entropy(torch.zeros(2))), 4)
    0.6931
    """
    log_p = scores.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def recode_signal(h: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the gradient of the entropy of an answer with respect to the activities behind it.

    Args:
        h: activities ``[..., N]``.
        decode: function from activities to class scores ``[..., C]``, without effects of one
            sample on another.

    Returns:
        ``dH/dh [..., N]``. Where gradients are enabled it can be differentiated again.

    >>> h = torch.tensor([1.0, 0.0])
    >>> signal = recode_signal(h, lambda h: h)
    >>> bool(entropy(h - 0.1 * signal) < entropy(h))
    True
    """
    keep = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        h = h.clone() if h.is_inference() else h
        at = h if h.requires_grad else h.detach().requires_grad_()
        (signal,) = torch.autograd.grad(entropy(decode(at)).sum(), at, create_graph=keep)
    return signal
