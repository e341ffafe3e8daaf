"""Recurrent relational network over groups of channels.

Nodes are groups of neighbouring channels, edges join groups next to each other; in every bin the
nodes exchange messages a few times, and their LSTM states go on over time. An explicit, learnt
counterpart of lateral connections. Source: Palm, Paquet & Winther 2018 (arXiv:1711.08028),
section 2; the graph of channels is ours.
"""

from __future__ import annotations

from torch import Tensor

from snnsim.baselines.baseline import Cell, State, linear
from snnsim.baselines.heads import GroupModel
from snnsim.baselines.relational import RelationalStep, neighbours
from snnsim.errors import ConfigError


class RRN(GroupModel, Cell):
    """A recurrent relational network passes messages between groups of channels.

    Args:
        n_in, n_out: numbers of input and output channels.
        groups: number of groups of neighbouring channels; smaller ones are padded with zeros.
        rounds: number of rounds of messages per bin.
        node: number of channels of a node; 0 for ``n_out / groups``, at least 4.

    State: ``(h, c)``, ``[B, groups, node]`` each.

    >>> import torch
    >>> tuple(RRN(6, 8)(torch.rand(7, 2, 6))[0].shape)
    (7, 2, 8)
    """

    source = "Palm, Paquet & Winther 2018, arXiv:1711.08028"
    left_out = "losses after every round; messages start from the state of the bin before"

    def __init__(self, n_in: int, n_out: int, *, groups: int = 4, rounds: int = 2, node: int = 0):
        super().__init__(n_in, n_out)
        if groups < 2:
            raise ConfigError(f"groups is {groups} but messages need 2 or more groups of channels")
        self.rounds, self.node = rounds, node or max(n_out // groups, 4)
        self.enter_groups(groups, self.node)
        self.relate = RelationalStep(groups, neighbours(groups), self.node, 2 * self.node)
        self.out = linear(groups * self.node, n_out)

    def initial_state(self, batch: int) -> State:
        shape = (batch, self.groups, self.node)
        return self.zeros(*shape), self.zeros(*shape)

    def project(self, x: Tensor) -> Tensor:
        return self.tokens(x)

    def cell(self, p: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = state
        for _ in range(self.rounds):
            h, c = self.relate(p, h, c)
        return self.out(h.flatten(1))[0], (h, c)
