"""Keys, queries and values in heads."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State, linear
from snnsim.baselines.ltv import Matrices
from snnsim.errors import ConfigError

NOTHING = -1e30  # logarithm of the weight of an empty past


def split(x: Tensor, heads: int) -> Tensor:
    """Split channels into heads, ``[..., N] -> [..., heads, N / heads]``."""
    if heads < 1 or x.shape[-1] % heads:
        raise ConfigError(
            f"{x.shape[-1]} channels cannot be split into {heads} heads; the number of heads must "
            "divide that of channels"
        )
    return x.unflatten(-1, (heads, -1))


def group_size(n: int, groups: int) -> int:
    """Return the number of channels in the largest group where ``n`` are divided into groups."""
    if n < groups:
        raise ConfigError(
            f"{n} channels cannot be divided into {groups} groups; give at most {n} groups"
        )
    return -(-n // groups)


def grouped(x: Tensor, groups: int) -> Tensor:
    """Group neighbouring channels, ``[..., N] -> [..., groups, ceil(N / groups)]``.

    Groups that are smaller than others end with zeros.

    >>> grouped(torch.ones(7), 3).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    n = x.shape[-1]
    wide = group_size(n, groups)
    if n % groups == 0:
        return x.unflatten(-1, (groups, -1))
    starts = [i * n // groups for i in range(groups + 1)]
    parts = [nn.functional.pad(x[..., a:b], (0, wide - (b - a))) for a, b in pairwise(starts)]
    return torch.stack(parts, -2)


def outer(k: Tensor, v: Tensor) -> Tensor:
    """Return what writes values under keys, ``[..., H, n], [..., H, d] -> [..., H, n, d]``."""
    return k.unsqueeze(-1) * v.unsqueeze(-2)


def recall(q: Tensor, s: Tensor) -> Tensor:
    """Return what queries read, ``[..., H, n], [..., H, n, d] -> [..., H d]``."""
    return (q.unsqueeze(-2) @ s).squeeze(-2).flatten(-2)


class KeyValueModel(Baseline):
    """A key-value model is a baseline whose state holds values under keys, in heads.

    A subclass calls :meth:`connect` and writes :meth:`run`.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` is a multiple of ``heads``.
        heads: number of heads.
        keys: number of key channels per head.

    State: ``[B, heads, keys, n_out / heads]``.
    """

    def __init__(self, n_in: int, n_out: int, heads: int, keys: int):
        super().__init__(n_in, n_out, heads)
        self.heads, self.keys = heads, keys

    def connect(self, n: int) -> None:
        """Make the connections from ``n`` channels to queries, keys and values."""
        self.query, self.key = (linear(n, self.heads * self.keys, bias=False) for _ in range(2))
        self.value = linear(n, self.n_out, bias=False)

    def memory(self, *before: int) -> Tensor:
        """Return an empty state ``[*before, heads, keys, n_out / heads]``."""
        return self.zeros(*before, self.heads, self.keys, self.n_out // self.heads)

    def initial_state(self, batch: int) -> State:
        return self.memory(batch)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of ``x [..., n]``, ``[..., heads, channels]`` each."""
        q, k, v = (split(m(x)[0], self.heads) for m in (self.query, self.key, self.value))
        return q, k, v


class GroupModel(Baseline):
    """A group model sees groups of neighbouring channels, each with a learnt place code."""

    tables = ("place",)

    def enter_groups(self, groups: int, n: int) -> None:
        """Make the connection from each of the groups to ``n`` channels, and the codes."""
        self.groups = groups
        self.place = nn.Parameter(torch.randn(groups, n) / n**0.5)
        self.enter = linear(group_size(self.n_in, groups), n)

    def tokens(self, x: Tensor) -> Tensor:
        """Return what enters of each group, ``[..., n_in] -> [..., groups, n]``."""
        return self.enter(grouped(x, self.groups))[0] + self.place


def matrices_of(
    decay: Tensor, k: Tensor, q: Tensor, w_value: Tensor, gain: Tensor | None = None
) -> Matrices:
    """Return the matrices of ``S[t] = decay S[t-1] + k v^T``, ``y = q S``, ``v = w_value x``.

    Args:
        decay: ``[T, B, H, n]``, or anything that broadcasts to it.
        k, q: keys and queries, ``[T, B, H, n]``.
        w_value: weight of the connection to the values, ``[H d, n_in]``.
        gain: optional factor ``[T, B, H]`` of the output.
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
