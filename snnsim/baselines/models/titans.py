"""Titans' neural memory: a matrix that learns while it is used.

    k, v, q = norm(silu(W_k x)), silu(W_v x), norm(silu(W_q x)),  loss = |M^T k - v|^2
    S[t] = eta[t] S[t-1] - theta[t] grad loss(M'),  M[t] = (1 - alpha[t]) M[t-1] + S[t],  y[t] = M[t]^T q[t]

``M'`` is the memory where the current chunk began, so that momentum and decay are linear
recurrences within a chunk. All steps of a chunk see the same surprise, so each takes
``theta (1 - eta) / chunk``: similar keys would overshoot by their number otherwise, and by what
momentum makes of it. Chunks of 1 are the exact rule, which large ``eta`` and ``theta`` make unstable
where keys change. ``eta``, ``theta``, ``alpha`` are gates of the input. Source: Behrouz, Zhong &
Mirrokni 2025 (arXiv:2501.00663), sections 3.1 and 3.2.
"""  # noqa: E501

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import State, bias_of, linear
from snnsim.baselines.heads import KeyValueModel, outer, recall
from snnsim.functional.scan import linear_recurrence

SHORTEST = 1e-2  # of keys and queries that are given unit length: at silence their slope is finite


class Titans(KeyValueModel):
    """Titans has a linear associative memory per head, which is written where it is surprised.

    Args:
        n_in, n_out: numbers of input and output channels.
        heads: number of heads, each with its own memory.
        keys: number of key channels per head.
        chunk: number of steps whose surprise is measured at one and the same memory.

    State: memory, momentum and the memory at the chunk's start ``[B, heads, keys, n_out /
    heads]``, and the place within the chunk, a number ``[1]``.

    >>> tuple(Titans(3, 8)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    residual = True
    source = "Behrouz, Zhong & Mirrokni 2025, arXiv:2501.00663"
    left_out = "deep memories (ours is linear), short convolutions, persistent tokens"

    def __init__(self, n_in: int, n_out: int, *, heads: int = 4, keys: int = 16, chunk: int = 16):
        super().__init__(n_in, n_out, heads, keys)
        self.chunk = chunk
        self.connect(n_in)
        self.gates = linear(n_in, 3 * heads)
        # little momentum, small steps, hardly any forgetting at first
        bias_of(self.gates).copy_(torch.tensor([-1.0, -1.0, -4.0]).repeat_interleave(heads))

    def initial_state(self, batch: int) -> State:
        memories = {name: self.memory(batch) for name in ("memory", "momentum", "start")}
        return memories | {"place": self.zeros(1)}

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (nn.functional.silu(each) for each in super().projected(x))
        q, k = (nn.functional.normalize(each, dim=-1, eps=SHORTEST) for each in (q, k))
        return q, k, v

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        q, k, v = self.projected(x)
        gates = torch.sigmoid(self.gates(x)[0]).chunk(3, -1)
        eta, theta, alpha = (g[..., None, None] for g in gates)
        step = theta if self.chunk == 1 else theta * (1 - eta) / self.chunk
        memory, momentum, start = (state[n] for n in ("memory", "momentum", "start"))
        place, first, outputs = int(state["place"]), 0, []
        while first < len(x):
            if place == 0:
                start = memory
            now = slice(first, min(first + self.chunk - place, len(x)))
            surprise = recall(k[now], start).unflatten(-1, (self.heads, -1)) - v[now]
            drive = -step[now] * 2 * outer(k[now], surprise)
            moments = linear_recurrence(eta[now], drive, momentum)
            memories = linear_recurrence(1 - alpha[now], moments, memory)
            outputs.append(recall(q[now], memories))
            memory, momentum = memories[-1], moments[-1]
            place = (place + len(moments)) % self.chunk
            first = now.stop
        after = {"memory": memory, "momentum": momentum, "start": start}
        return torch.cat(outputs), after | {"place": torch.full_like(state["place"], place)}
