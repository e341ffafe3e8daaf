"""A recurrence that writes values under keys and is read by queries, without its states."""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.errors import ShapeError


def outer_recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    log_decay: Tensor | None = None,
    *,
    before: bool = False,
    chunk: int = 32,
) -> tuple[Tensor, Tensor]:
    """What queries read of ``S[t] = exp(log_decay[t]) S[t-1] + k[t] v[t]^T``.

    ``y[t] = S[t]^T q[t]``, or ``S[t-1]^T q[t]`` with ``before``. Only the states between chunks
    are made; within a chunk the sum over the past is two matrix products,

        y[t] = sum_{r <= t} exp(c[t] - c[r]) (q[t] . k[r]) v[r] + exp(c[t]) S^T q[t]

    with ``c`` the sum of logarithms since the chunk began: exponents are never positive, so it is
    as stable as the loop, and equal to it but for rounding.

    Args:
        q, k: queries and keys ``[T, B, H, n]``.
        v: values ``[T, B, H, d]``.
        s: state before the first step ``[B, H, n, d]``.
        log_decay: ``[T, B, H]``, at most 0; ``None``: nothing decays.
        before: read before writing.
        chunk: steps at a time.

    Returns:
        ``y [T, B, H, d]`` and the state after the last step. Gradients flow to all.

    Raises:
        ShapeError: the shapes do not fit together.

    Source: Yang et al. 2024 (arXiv:2312.06635), section 4, with one decay per head.

    >>> one = torch.ones(3, 1, 1, 1)
    >>> y, s = outer_recurrence(one, one, one, torch.zeros(1, 1, 1, 1))
    >>> y.flatten().tolist(), s.item()
    ([1.0, 2.0, 3.0], 3.0)
    """
    _check(q, k, v, s, log_decay)
    q, k, v = (a.permute(1, 2, 0, 3) for a in (q, k, v))  # [B, H, T, .]
    log_decay = None if log_decay is None else log_decay.permute(1, 2, 0)
    outputs = []
    for first in range(0, q.shape[2], chunk):
        now = slice(first, first + chunk)
        decay = None if log_decay is None else log_decay[:, :, now]
        y, s = _chunk(q[:, :, now], k[:, :, now], v[:, :, now], s, decay, before)
        outputs.append(y)
    y = torch.cat(outputs, 2) if outputs else v
    return y.permute(2, 0, 1, 3), s


def _chunk(
    q: Tensor, k: Tensor, v: Tensor, s: Tensor, log_decay: Tensor | None, before: bool
) -> tuple[Tensor, Tensor]:
    steps = q.shape[2]
    past = torch.ones(steps, steps, dtype=torch.bool, device=q.device).tril(-1 if before else 0)
    if log_decay is None:
        shares = (q @ k.mT).masked_fill(~past, 0.0)
        return shares @ v + q @ s, s + k.mT @ v
    c = log_decay.cumsum(-1)
    of_query = c - log_decay if before else c
    weights = (of_query.unsqueeze(-1) - c.unsqueeze(-2)).masked_fill(~past, -torch.inf).exp()
    y = ((q @ k.mT) * weights) @ v + of_query.exp().unsqueeze(-1) * (q @ s)
    end = c[..., -1:]
    kept = end.exp().unsqueeze(-1) * s
    return y, kept + (k * (end - c).exp().unsqueeze(-1)).mT @ v


def _check(q: Tensor, k: Tensor, v: Tensor, s: Tensor, log_decay: Tensor | None) -> None:
    steps, batch, heads, keys = q.shape
    shapes = {
        "k": (k, (steps, batch, heads, keys)),
        "v": (v, (steps, batch, heads, v.shape[-1])),
        "s": (s, (batch, heads, keys, v.shape[-1])),
        "log_decay": (log_decay, (steps, batch, heads)),
    }
    for name, (given, needed) in shapes.items():
        if given is not None and tuple(given.shape) != needed:
            raise ShapeError(f"{name} has shape {tuple(given.shape)} but q and v need {needed}")
