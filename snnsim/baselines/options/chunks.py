"""Memory of chunks: long recordings through a model of a short reach.

A sequence is cut into chunks. Besides the input of each step the model gets the mean of the
outputs of the chunk before and the codes of the ``k`` chunks so far that are most like it, so what
it sees has a constant size whatever the length. Source: Zhou et al. 2023 (arXiv:2305.13304), with
numbers instead of text.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, Make, State
from snnsim.errors import ConfigError
from snnsim.layer import weighted_losses


class ChunkRecurrent(Baseline):
    """Start a model anew for every chunk, with a memory of the chunks before.

    Args:
        n_in, n_out: numbers of input and output channels.
        make: class or function that makes the model from its numbers of channels.
        chunk: number of steps of a chunk.
        similar: ``k``, the number of chunks that are looked up.
        slots: number of codes that are kept, the latest ones.

    What the model adds to the loss is averaged over the sequence; each chunk counts by its steps.

    State: the state of the model, the sum of the outputs in this chunk, what the last chunks left,
    and the place within the chunk.

    >>> from snnsim.baselines.models.gru import GRU
    >>> tuple(ChunkRecurrent(3, 8, GRU, chunk=4)(torch.rand(11, 2, 3))[0].shape)
    (11, 2, 8)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        make: Make,
        *,
        chunk: int,
        similar: int = 2,
        slots: int = 16,
    ):
        super().__init__(n_in, n_out)
        if chunk < 1 or not 1 <= similar <= slots:
            raise ConfigError(
                f"chunk is {chunk} but must be 1 or more; similar, {similar}, must be between 1 "
                f"and slots, {slots}"
            )
        self.chunk, self.similar, self.slots = chunk, similar, slots
        self.inner = make(n_in + 2 * n_out, n_out)
        if self.inner.streaming != "exact":
            raise ConfigError(
                f"{type(self.inner).__name__} does not stream; chunks need a model that does"
            )
        self.source = self.inner.source

    def initial_state(self, batch: int) -> State:
        return {
            "inner": self.inner.initial_state(batch),
            "total": self.zeros(batch, self.n_out),
            "recent": self.zeros(batch, self.n_out),
            "found": self.zeros(batch, self.n_out),
            "codes": self.zeros(batch, self.slots, self.n_out),
            "place": self.zeros(1),
        }

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        outputs, first = [], 0
        total = len(x) if lengths is None else max(int(lengths.sum()), 1)
        while first < len(x):
            place = int(state["place"])
            if place == 0:
                state = {**state, "inner": self.inner.initial_state(x.shape[1])}
            now = x[first : first + self.chunk - place]
            memory = torch.cat([state["recent"], state["found"]], -1)
            seen = torch.cat([now, memory.expand(len(now), *memory.shape)], -1)
            own = None if lengths is None else (lengths - first).clamp(0, len(now))
            with weighted_losses(float(len(now) if own is None else own.sum()) / total):
                y, inner = self.inner.run(seen, state["inner"], own)
            outputs.append(y)
            state = {**state, "inner": inner, "total": state["total"] + y.sum(0)}
            first, place = first + len(now), place + len(now)
            state["place"] = torch.full_like(state["place"], place % self.chunk)
            if place == self.chunk:
                state = self._finish(state)
        return torch.cat(outputs), state

    def _finish(self, state: State) -> State:
        code = state["total"] / self.chunk
        likeness = nn.functional.cosine_similarity(state["codes"], code.unsqueeze(1), dim=-1)
        best = likeness.topk(self.similar, 1).indices
        picked = state["codes"].gather(1, best.unsqueeze(2).expand(-1, -1, self.n_out))
        return {
            **state,
            "total": torch.zeros_like(code),
            "recent": code,
            "found": picked.mean(1),
            "codes": torch.cat([state["codes"][:, 1:], code.unsqueeze(1)], 1),
        }
