"""Keys, queries and values in heads."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from snnsim.baselines.ltv import Matrices
from snnsim.errors import ConfigError

NOTHING = -1e30  # logarithm of the weight of an empty past


def split(x: Tensor, heads: int) -> Tensor:
    """``[..., N] -> [..., heads, N / heads]``."""
    if heads < 1 or x.shape[-1] % heads:
        raise ConfigError(f"{x.shape[-1]} channels cannot be split into {heads} heads")
    return x.unflatten(-1, (heads, -1))


def grouped(x: Tensor, groups: int) -> Tensor:
    """Neighbours together, smaller groups end in silence: ``[..., N] -> [..., groups, ceil(N / groups)]``.

    >>> grouped(torch.ones(7), 3).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """  # noqa: E501
    n = x.shape[-1]
    if n < groups:
        raise ConfigError(f"{n} channels cannot be shared out among {groups} groups")
    if n % groups == 0:
        return x.unflatten(-1, (groups, -1))
    starts = [i * n // groups for i in range(groups + 1)]
    wide = -(-n // groups)
    parts = [nn.functional.pad(x[..., a:b], (0, wide - (b - a))) for a, b in pairwise(starts)]
    return torch.stack(parts, -2)


def outer(k: Tensor, v: Tensor) -> Tensor:
    """``[..., H, n], [..., H, d] -> [..., H, n, d]``: what writes a value under a key."""
    return k.unsqueeze(-1) * v.unsqueeze(-2)


def recall(q: Tensor, s: Tensor) -> Tensor:
    """``[..., H, n], [..., H, n, d] -> [..., H d]``: what a query reads."""
    return (q.unsqueeze(-2) @ s).squeeze(-2).flatten(-2)


def matrices_of(
    decay: Tensor, k: Tensor, q: Tensor, w_value: Tensor, gain: Tensor | None = None
) -> Matrices:
    """Matrices of ``S[t] = decay S[t-1] + k v^T``, ``y = q S`` with ``v = w_value x``.

    Args:
        decay: ``[T, B, H, n]``, or anything that broadcasts to it.
        k, q: ``[T, B, H, n]``.
        w_value: ``[H d, n_in]``.
        gain: optional ``[T, B, H]`` on the output.
    """
    T, B, H, n = k.shape
    values = w_value.unflatten(0, (H, -1))  # [H, d, n_in]
    d = values.shape[1]
    transition = decay.expand(T, B, H, n)[..., None].expand(T, B, H, n, d).flatten(2)
    entry = torch.einsum("tbhn,hdi->tbhndi", k, values).flatten(2, 4)
    q = q if gain is None else q * gain[..., None]
    eye_h, eye_d = torch.eye(H).to(q), torch.eye(d).to(q)
    read = torch.einsum("tbhn,hg,de->tbhdgne", q, eye_h, eye_d)
    return Matrices(transition, entry, read.flatten(4).flatten(2, 3))
