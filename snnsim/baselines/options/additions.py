"""What a network of rate-coded layers adds to its model: options of this folder in one value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from snnsim.baselines.baseline import Baseline, Make
from snnsim.baselines.options.attend import Attend
from snnsim.baselines.options.chunks import ChunkRecurrent
from snnsim.baselines.options.join import JOINS
from snnsim.baselines.options.think import Think
from snnsim.errors import ConfigError, check_choice, check_number, check_size


@dataclass(frozen=True)
class Additions:
    """Additions change the layers of a network; at its default each of them is off.

    Args:
        join: how residual blocks are joined: ``"add"``, ``"rate"`` or ``"input"``; ``""`` is
            ``"add"`` where the model has such blocks, and no blocks elsewhere.
        attend: number of steps of its past outputs that each layer attends to; 0 for none.
        think: largest number of applications of a layer per time step; each sample stops by
            itself, see :class:`~snnsim.baselines.options.think.Think`. 0 for exactly one.
        chunk: number of steps after which a layer starts anew with a memory of earlier chunks, see
            :class:`~snnsim.baselines.options.chunks.ChunkRecurrent`; 0 for never.
        chunk_query: number of first steps of a chunk by which similar ones are looked up; 0 looks
            up the summary of the chunk before.
        chunk_similar: number of chunks that are looked up.
        chunk_slots: number of chunks that can be looked up, the latest ones.
        recode: size of the step by which the state of the last layer moves down the entropy of the
            head's answer at every time step, see
            :class:`~snnsim.baselines.options.recode.Recode`; 0 leaves it alone, below 0 it moves
            up. A probe, for models without residual blocks whose state is their output.
        density: fraction of the synapses of each connection that are kept at random, above 0 and
            at most 1; the others are 0 for good, see :func:`snnsim.sparsity.sparsify`.
    """

    join: str = ""
    attend: int = 0
    think: int = 0
    chunk: int = 0
    chunk_query: int = 0
    chunk_similar: int = 2
    chunk_slots: int = 16
    recode: float = 0.0
    density: float = 1.0

    def __post_init__(self) -> None:
        if self.join:
            check_choice("join", self.join, JOINS)
        for name in ("attend", "think", "chunk", "chunk_query"):
            check_size(name, getattr(self, name), 0)
        for name in ("chunk_similar", "chunk_slots"):
            check_size(name, getattr(self, name), 1)
        if self.chunk_query and not self.chunk:
            raise ConfigError(
                f"chunk_query is {self.chunk_query} but chunk is 0, so there are no chunks to look "
                "up; set chunk as well"
            )
        check_number("recode", self.recode)
        check_number("density", self.density, most=1, above=0)

    def layer(self, make: Make, n_in: int, n_out: int) -> Baseline:
        """Return one layer: what ``make`` makes, with ``think``, ``chunk`` and ``attend`` added."""
        if self.think:
            make = partial(Think, make=make, steps=self.think)
        if self.chunk:
            make = partial(
                ChunkRecurrent,
                make=make,
                chunk=self.chunk,
                query=self.chunk_query,
                similar=self.chunk_similar,
                slots=self.chunk_slots,
            )
        layer = make(n_in, n_out)
        return Attend(layer, reach=self.attend) if self.attend else layer
