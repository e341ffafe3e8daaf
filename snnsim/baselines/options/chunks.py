"""Memory of chunks: long recordings through a model of a short reach.

A sequence is cut into chunks, and the model starts anew in each. Besides the input ``x_t`` of each
step it gets a memory whose size is constant whatever the length: the summary of the last chunk, and
the mean of the summaries of ``k`` earlier chunks,

    m = [s_{c-1}, (1/k) sum_{j in N(c)} s_j],    s_c = mean of y_t over the steps of chunk c,

where ``N(c)`` are the ``k`` earlier chunks most like a query by cosine similarity. The query is the
last summary, which is compared with the summaries of the earlier chunks; or what the first ``q``
steps of the chunk are about, the mean of ``x_t`` over them, which is compared with the same of the
earlier chunks. Until these steps are over, that part of the memory is 0.

Source: Zhou et al. 2023 (arXiv:2305.13304), with numbers instead of text: the loop of a language
model that writes, plans and revises has no place here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

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
        slots: number of chunks that can be looked up, the latest ones.
        query: ``q``, the number of first steps of a chunk whose mean input is what is looked up;
            less than ``chunk``. 0 looks up the summary of the chunk before.

    What the model adds to the loss is averaged over the sequence; each chunk counts by its steps.
    :func:`lookups` tells which chunks were found, and :func:`without_lookups` turns it off.

    State: the state of the model, the sum of the outputs in this chunk, what the last chunks left,
    and the place within the chunk; with a query also the beginnings of the chunks.

    >>> from snnsim.baselines.models.gru import GRU
    >>> tuple(ChunkRecurrent(3, 8, GRU, chunk=4)(torch.rand(11, 2, 3))[0].shape)
    (11, 2, 8)
    """

    left_out = "the loop of prompts around a language model; only its memory is here, in numbers"

    def __init__(
        self,
        n_in: int,
        n_out: int,
        make: Make,
        *,
        chunk: int,
        similar: int = 2,
        slots: int = 16,
        query: int = 0,
    ):
        super().__init__(n_in, n_out)
        if chunk < 1 or not 1 <= similar <= slots:
            raise ConfigError(
                f"chunk is {chunk} but must be 1 or more; similar, {similar}, must be between 1 "
                f"and slots, {slots}"
            )
        if query >= chunk:
            raise ConfigError(
                f"query is {query} but must be less than chunk, {chunk}: what is found is for the "
                "steps that are left"
            )
        self.chunk, self.similar, self.slots, self.query = chunk, similar, slots, query
        self.inner = make(n_in + 2 * n_out, n_out)
        if self.inner.streaming != "exact":
            raise ConfigError(
                f"{type(self.inner).__name__} does not stream; chunks need a model that does"
            )
        self.source = self.inner.source

    def initial_state(self, batch: int) -> State:
        state = {
            "inner": self.inner.initial_state(batch),
            "total": self.zeros(batch, self.n_out),
            "recent": self.zeros(batch, self.n_out),
            "found": self.zeros(batch, self.n_out),
            "codes": self.zeros(batch, self.slots, self.n_out),
            "place": self.zeros(1),
        }
        if self.query:
            state["start"] = self.zeros(batch, self.n_in)
            state["starts"] = self.zeros(batch, self.slots, self.n_in)
        return state

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        outputs, first = [], 0
        total = len(x) if lengths is None else max(int(lengths.sum()), 1)
        while first < len(x):
            place = int(state["place"])
            if place == 0:
                state = {**state, "inner": self.inner.initial_state(x.shape[1])}
            asking = place < self.query
            now = x[first : first + (self.query if asking else self.chunk) - place]
            memory = torch.cat([state["recent"], state["found"]], -1)
            seen = torch.cat([now, memory.expand(len(now), *memory.shape)], -1)
            own = None if lengths is None else (lengths - first).clamp(0, len(now))
            with weighted_losses(float(len(now) if own is None else own.sum()) / total):
                y, inner = self.inner.run(seen, state["inner"], own)
            outputs.append(y)
            state = {**state, "inner": inner, "total": state["total"] + y.sum(0)}
            first, place = first + len(now), place + len(now)
            state["place"] = torch.full_like(state["place"], place % self.chunk)
            if asking:
                state["start"] = state["start"] + now.sum(0) / self.query
                if place == self.query:
                    state["found"] = self._found(state["start"], state["starts"], state, first)
            if place == self.chunk:
                state = self._finish(state, first)
        return torch.cat(outputs), state

    def _finish(self, state: State, step: int) -> State:
        """The state in which the next chunk begins, at this step of the input."""
        code = state["total"] / self.chunk
        after = {
            **state,
            "total": torch.zeros_like(code),
            "recent": code,
            "found": torch.zeros_like(code),
            "codes": _pushed(state["codes"], code),
        }
        if not self.query:
            return {**after, "found": self._found(code, state["codes"], state, step)}
        starts = _pushed(state["starts"], state["start"])
        return {**after, "start": torch.zeros_like(state["start"]), "starts": starts}

    def ages(self) -> Tensor:
        """Return how many chunks before its use each chunk lies that is kept, ``[slots]``."""
        ago = torch.arange(self.slots, 0, -1)
        # without a query the last chunk, which asks, is not yet among those that are kept
        return ago if self.query else ago + 1

    def _found(self, query: Tensor, keys: Tensor, state: State, step: int) -> Tensor:
        """The mean of the summaries of the chunks whose keys are most like the query."""
        if not _looks_up.get():
            return torch.zeros_like(state["recent"])
        likeness = nn.functional.cosine_similarity(keys, query.unsqueeze(1), dim=-1)
        filled = state["codes"].ne(0).any(-1)
        if self.query:  # a summary is compared with empty places too, as ever: they are 0
            likeness = likeness.masked_fill(~filled, -torch.inf)
        best = likeness.topk(self.similar, 1)
        told = _found_now.get()
        if told is not None:
            there = filled.gather(1, best.indices)
            ago = self.ages().to(there.device)[best.indices] * there
            near = best.values.detach().masked_fill(~there, 0.0)
            kept = likeness.detach().masked_fill(~filled, torch.nan)
            told.append(Lookup(self, step, ago, near, kept))
        picked = state["codes"].gather(1, best.indices.unsqueeze(2).expand(-1, -1, self.n_out))
        return picked.mean(1)


def _pushed(kept: Tensor, new: Tensor) -> Tensor:
    """What is kept, ``[B, slots, n]``, with a new entry in place of the oldest one."""
    return torch.cat([kept[:, 1:], new.unsqueeze(1)], 1)


class Lookup(NamedTuple):
    """A ``Lookup`` says which earlier chunks a layer found at one step.

    Attributes:
        layer: the layer that looked them up.
        step: the number of the steps of this call before what was found came into use.
        ago: for each sample and each of the ``similar`` chunks, the most similar first, how many
            chunks before the one in which it is used it lies, ``[B, similar]``; 0 for none,
            where fewer chunks have been seen.
        similarity: the cosine similarities, ``[B, similar]``.
        kept: those of all chunks that could have been found, the oldest first, ``[B, slots]``; NaN
            where fewer have been seen.
    """

    layer: ChunkRecurrent
    step: int
    ago: Tensor
    similarity: Tensor
    kept: Tensor


_looks_up: ContextVar[bool] = ContextVar("looks_up", default=True)
_found_now: ContextVar[list[Lookup] | None] = ContextVar("found_now", default=None)


@contextmanager
def lookups() -> Iterator[list[Lookup]]:
    """Within this context, layers with chunks tell which earlier chunks they find.

    Yields:
        A list that grows by a :class:`Lookup` whenever a layer has looked something up.

    >>> from snnsim.baselines.models.gru import GRU
    >>> with lookups() as found:
    ...     y, _ = ChunkRecurrent(3, 8, GRU, chunk=4, query=2, similar=1)(torch.rand(11, 2, 3))
    >>> [(each.step, each.ago.flatten().tolist()) for each in found][:2]
    [(2, [0, 0]), (6, [1, 1])]
    """
    found: list[Lookup] = []
    token = _found_now.set(found)
    try:
        yield found
    finally:
        _found_now.reset(token)


@contextmanager
def without_lookups() -> Iterator[None]:
    """Within this context, layers with chunks find nothing: that part of their memory is 0."""
    token = _looks_up.set(False)
    try:
        yield
    finally:
        _looks_up.reset(token)
