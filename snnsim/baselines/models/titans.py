"""Titans' neural memory: a matrix that learns while it is used.

    k, v, q = norm(silu(W_k x)), silu(W_v x), norm(silu(W_q x)),  loss = |M^T k - v|^2
    S[t] = eta[t] S[t-1] - step[t] grad loss(M'),  M[t] = (1 - alpha[t]) M[t-1] + S[t],  y[t] = M[t]^T q[t]

``M'`` is the memory where the current chunk began, so that momentum and decay are linear
recurrences within a chunk; ``eta``, ``theta``, ``alpha`` are gates of the input. In chunks of 1,
``step = theta`` is the exact rule, which large ``eta`` and ``theta`` make unstable where keys
change. In longer chunks all steps see the same surprise, and similar keys would overshoot by their
number, and by what momentum makes of it. So a step writes what is new about its key,

    step[t] = min(theta[t], 1/2) (1 - eta[t]) new[t],  new[t] = 1 - R^2

where ``R^2`` is how much of the key is a combination of the earlier keys of its chunk: a pair with
a key of its own is stored whole, and one key through a whole chunk is stored once. (The paper takes
``theta`` as it is and leaves it to training that this is small.)

The paper's three architectures around the memory, with learnt persistent tokens ``P`` and
``a (.) b = norm(a) * s(norm(b))``:

    layer:    y = M(x),  o = window attention(P, y)
    gate:     y = window attention(P, x),  o = y (.) M(x)
    context:  y = attention(P, M'(q), x) within the chunk,  o = y (.) M(y)

Source: Behrouz, Zhong & Mirrokni 2025 (arXiv:2501.00663), sections 3.1, 3.2 and 4.
"""  # noqa: E501

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import State, bias_of, linear
from snnsim.baselines.heads import KeyValueModel, outer, recall, split
from snnsim.baselines.window import WindowAttention
from snnsim.errors import check_choice
from snnsim.functional.scan import linear_recurrence

ARCHITECTURES = ("memory", "context", "gate", "layer")
DIVISIONS = ("new", "even")
SHORTEST = 1e-2  # of keys and queries that are given unit length: at silence their slope is finite
ALIKE = 1e-3  # added to squared lengths of keys, so that equal ones have a finite slope


class Titans(KeyValueModel):
    """Titans has a linear associative memory per head, which is written where it is surprised.

    Args:
        n_in, n_out: numbers of input and output channels.
        heads: number of heads, each with its own memory.
        keys: number of key channels per head.
        chunk: number of steps whose surprise is measured at one and the same memory.
        division: how a chunk longer than 1 divides ``theta`` among its steps: ``"new"``, by what is
            new about their keys; ``"even"``, as earlier versions did, by the number of steps, which
            stores hardly anything of a pair that is shown once.
        architecture: ``"memory"`` for the memory alone, or the paper's ``"context"`` (MAC),
            ``"gate"`` (MAG) or ``"layer"`` (MAL).
        persistent: number of persistent tokens of the attention of an architecture, 0 or more.
        reach: number of past steps that the attention of ``"gate"`` and ``"layer"`` sees; that of
            ``"context"`` sees its chunk.

    State: memory, momentum and the memory at the chunk's start ``[B, heads, keys, n_out /
    heads]``, the keys of the chunk so far ``[B, heads, chunk - 1, keys]`` with division ``"new"``,
    and the place within the chunk, a number ``[1]``; of an architecture also the past of its
    attention.

    >>> tuple(Titans(3, 8)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    residual = True
    may_be_none = ("persistent",)
    formerly: ClassVar[dict[str, Any]] = {"division": "even"}
    source = "Behrouz, Zhong & Mirrokni 2025, arXiv:2501.00663"
    left_out = (
        "deep memories (ours is linear), short convolutions; theta is bounded in chunks; in its "
        "architectures persistent tokens are attended to but not written, attention within a chunk "
        "is causal, and the exact form of the gate is not confirmed"
    )

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        heads: int = 4,
        keys: int = 16,
        chunk: int = 16,
        division: str = "new",
        architecture: str = "memory",
        persistent: int = 4,
        reach: int = 32,
    ):
        check_choice("division", division, DIVISIONS)
        check_choice("architecture", architecture, ARCHITECTURES)
        super().__init__(n_in, n_out, heads, keys)
        self.chunk, self.division, self.architecture = chunk, division, architecture
        self.connect(n_in if architecture == "memory" else n_out)
        self.gates = linear(self.key.weight.shape[1], 3 * heads)
        # little momentum, small steps, hardly any forgetting at first
        bias_of(self.gates).copy_(torch.tensor([-1.0, -1.0, -4.0]).repeat_interleave(heads))
        if architecture != "memory":
            self.enter = linear(n_in, n_out)
        if architecture in ("gate", "layer"):
            self.attention: Any = WindowAttention(n_out, heads, reach, persistent=persistent)
        if architecture == "context":
            self.attention = _ChunkAttention(n_out, heads, chunk, persistent)
        if architecture in ("gate", "context"):
            self.norms = nn.ModuleList(nn.RMSNorm(n_out) for _ in range(2))

    def initial_state(self, batch: int) -> State:
        state: dict[str, Any] = {n: self.memory(batch) for n in ("memory", "momentum", "start")}
        if self.division == "new":
            state["seen"] = self.zeros(batch, self.heads, self.chunk - 1, self.keys)
        if self.architecture != "memory":
            state["past"] = self.attention.empty(batch)
        return state | {"place": self.zeros(1)}

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (nn.functional.silu(each) for each in super().projected(x))
        q, k = (nn.functional.normalize(each, dim=-1, eps=SHORTEST) for each in (q, k))
        return q, k, v

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        if self.architecture == "memory":
            return self.remember(x, state)
        x, past = self.enter(x)[0], state["past"]
        if self.architecture == "layer":
            y, state = self.remember(x, state)
            y, past = self.attention(y, past)
        elif self.architecture == "gate":
            y, past = self.attention(x, past)
            read, state = self.remember(x, state)
            y = self._gated(y, read)
        else:
            y, state, past = self._in_context(x, state, past)
        return y, state | {"past": past}

    def _gated(self, y: Tensor, read: Tensor) -> Tensor:
        return self.norms[0](y) * torch.sigmoid(self.norms[1](read))

    def _in_context(self, x: Tensor, state: State, past: Any) -> tuple[Tensor, State, Any]:
        """Attention to each chunk and to what the memory at its start knows of it."""
        outputs, first = [], 0
        while first < len(x):
            place = int(state["place"])
            piece = x[first : first + self.chunk - place]
            start = state["start"] if place else state["memory"]
            known = recall(self.projected(piece)[0], start)
            y, past = self.attention(piece, known, past, place)
            read, state = self.remember(y, state)
            outputs.append(self._gated(y, read))
            first += len(piece)
        return torch.cat(outputs), state, past

    def remember(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return what the memory answers to ``x [T, B, n]``, which it learns, and the state."""
        q, k, v = self.projected(x)
        gates = torch.sigmoid(self.gates(x)[0]).chunk(3, -1)
        eta, theta, alpha = (g[..., None, None] for g in gates)
        memory, momentum, start = (state[n] for n in ("memory", "momentum", "start"))
        place, seen, first, outputs = int(state["place"]), state.get("seen"), 0, []
        while first < len(x):
            if place == 0:
                start = memory
            now = slice(first, min(first + self.chunk - place, len(x)))
            step, seen = self._steps(k[now], eta[now], theta[now], seen, place)
            surprise = recall(k[now], start).unflatten(-1, (self.heads, -1)) - v[now]
            drive = -step * 2 * outer(k[now], surprise)
            moments = linear_recurrence(eta[now], drive, momentum)
            memories = linear_recurrence(1 - alpha[now], moments, memory)
            outputs.append(recall(q[now], memories))
            memory, momentum = memories[-1], moments[-1]
            place = (place + len(moments)) % self.chunk
            first = now.stop
        after = {"memory": memory, "momentum": momentum, "start": start}
        after |= {} if seen is None else {"seen": seen}
        return torch.cat(outputs), after | {"place": torch.full_like(state["place"], place)}

    def _steps(
        self, k: Tensor, eta: Tensor, theta: Tensor, seen: Tensor | None, place: int
    ) -> tuple[Tensor, Tensor | None]:
        """How far each step of a chunk writes, and the keys of the chunk until the next step."""
        if self.chunk == 1:
            return theta, seen
        if seen is None:
            return theta * (1 - eta) / self.chunk, None
        keys = torch.cat([seen[:, :, :place], k.permute(1, 2, 0, 3)], 2)
        new = novelty(keys)[:, :, place:].permute(2, 0, 1)[..., None, None]
        if keys.shape[2] == self.chunk:
            keys = keys[:, :, :0]
        later = nn.functional.pad(keys, (0, 0, 0, self.chunk - 1 - keys.shape[2]))
        return theta.clamp(max=0.5) * (1 - eta) * new, later


def novelty(keys: Tensor) -> Tensor:
    """Return what fraction of each key is no combination of the keys before it.

    Args:
        keys: keys ``[..., T, n]`` of length 1 or less.

    Returns:
        Fractions from 0 to 1, ``[..., T]``: one less the ``R^2`` of a ridge regression.

    >>> keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> novelty(keys).round(decimals=2).tolist()
    [1.0, 1.0, 0.0]
    """
    with torch.autocast(keys.device.type, enabled=False):  # which has no factorisation
        keys = keys.to(torch.promote_types(keys.dtype, torch.float32))
        products = keys @ keys.mT + ALIKE * torch.eye(keys.shape[-2]).to(keys)
        rest = torch.linalg.cholesky_ex(products).L.diagonal(dim1=-2, dim2=-1)
        return rest.square() / products.diagonal(dim1=-2, dim2=-1)


class _ChunkAttention(nn.Module):
    """Attention to persistent tokens, and to what is known and what came in the chunk so far."""

    tables = ("persistent",)

    def __init__(self, n: int, heads: int, chunk: int, persistent: int):
        super().__init__()
        self.heads, self.chunk = heads, chunk
        self.query, self.key, self.value, self.out = (linear(n, n, bias=False) for _ in range(4))
        self.persistent = nn.Parameter(torch.randn(persistent, n) / n**0.5)

    def empty(self, batch: int) -> tuple[Tensor, Tensor]:
        """What was known and what came, ``[chunk - 1, B, n]`` each, of an empty chunk."""
        nothing = self.out.weight.new_zeros(self.chunk - 1, batch, len(self.out.weight))
        return nothing, nothing

    def forward(
        self, x: Tensor, known: Tensor, past: tuple[Tensor, Tensor], place: int
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Continue a chunk at a place by ``x`` and ``known [t, B, n]``, to outputs and the past."""
        whole = [torch.cat([a[:place], b]) for a, b in zip(past, (known, x), strict=True)]
        fixed = self.persistent.unsqueeze(1).expand(-1, x.shape[1], -1)
        tokens = torch.cat([fixed, *whole])
        q, k, v = (
            split(a, self.heads).permute(1, 2, 0, 3)
            for a in (self.query(x)[0], self.key(tokens)[0], self.value(tokens)[0])
        )
        steps = len(whole[0])
        there = torch.ones(steps, steps, dtype=torch.bool, device=x.device).tril()[place:]
        mask = torch.cat([there.new_ones(len(x), len(fixed)), there, there], 1)
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        kept = [a[:0] if steps == self.chunk else a for a in whole]
        before, came = (
            nn.functional.pad(a, (0, 0, 0, 0, 0, self.chunk - 1 - len(a))) for a in kept
        )
        return self.out(y.permute(2, 0, 1, 3).flatten(2))[0], (before, came)
