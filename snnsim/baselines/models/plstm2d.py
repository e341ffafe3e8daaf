"""pLSTM on the grid of channel groups and steps.

Every node has an edge to the next group of its step ("up") and one to its own group a step later
("on"); states live on edges, and a node mixes what enters it into what leaves it:

    up[t, g+1] = o T (up[t, g] + on[t, g]) + S_u k v^T
    on[t+1, g] = (1 - o) T (up[t, g] + on[t, g]) + S_n k v^T
    y[t, g] = (M_u up[t, g] + M_n on[t, g])^T q + D (q . k) v

This is the P-mode: the transitions that leave an edge have the total weight ``T``, at most 1, which
the orientation ``o`` of the node divides, so that what was written never grows on its way. With
``bound="entering"``, the default of earlier versions, what enters an edge is bounded instead,
``up = a_u (c_u up + (1 - c_u) on)`` and ``on = a_n (c_n up + (1 - c_n) on)``, and what was written
can be copied at every node. Group by group this is a linear recurrence over time. Source: Pöppel et
al. 2025 (arXiv:2506.11997), sections 3 and 4.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor

from snnsim.baselines.baseline import State, bias_of, linear
from snnsim.baselines.heads import GroupModel, KeyValueModel, outer, recall
from snnsim.errors import check_choice
from snnsim.functional.scan import linear_recurrence

# what the gates of transitions are before training; edges keep most of what they carry
STARTS = {"leaving": [3.0, 0.0], "entering": [3.0, 0.0, 3.0, 0.0]}
OTHERS = 5  # gates besides those of transitions: S_u, S_n, M_u, M_n, D


class PLSTM2d(GroupModel, KeyValueModel):
    """A pLSTM on a grid recurs along channels and time at once, upwards and forwards.

    Args:
        n_in, n_out: numbers of input and output channels.
        groups: number of groups of neighbouring channels; smaller ones are padded with zeros.
        heads: number of heads, each with its own gates.
        keys: number of key channels per head.
        bound: ``"leaving"``, the published P-mode, if the transitions that leave an edge have a
            total weight of at most 1; ``"entering"`` if those that enter an edge have it.

    Weights that an earlier version stored have gates for ``"entering"``. A model with the default
    ``bound`` takes them, and becomes such a model.

    State: the edges into the next step, ``[groups, B, heads, keys, n_out / heads]``.

    >>> tuple(PLSTM2d(6, 8)(torch.rand(7, 2, 6))[0].shape)
    (7, 2, 8)
    """

    formerly: ClassVar[dict[str, Any]] = {"bound": "entering"}
    source = "Pöppel et al. 2025, arXiv:2506.11997"
    left_out = "matrix-valued transitions, D-mode, scans from the other corners"

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        groups: int = 4,
        heads: int = 4,
        keys: int = 8,
        bound: str = "leaving",
    ):
        check_choice("bound", bound, tuple(STARTS))
        super().__init__(n_in, n_out, heads, keys)
        self.bound = bound
        self.enter_groups(groups, n_out)
        self.connect(n_out)
        self.out = linear(n_out, n_out, bias=False)
        start = torch.tensor(STARTS[bound] + [0.0] * OTHERS)
        self.gates = linear(n_out, len(start) * heads)
        bias_of(self.gates).copy_(start.repeat_interleave(heads))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Takes the weights of an earlier version, of which only the shape tells the bound."""
        stored = state_dict.get(f"{prefix}gates.bias")
        former = (len(STARTS["entering"]) + OTHERS) * self.heads
        if self.bound == "leaving" and stored is not None and len(stored) == former:
            warnings.warn(
                "these weights of a PLSTM2d are of an earlier version, which bounded what enters "
                'an edge; the model has bound="entering" now',
                FutureWarning,
                stacklevel=2,
            )
            self.bound = "entering"
            args, kwargs = vars(self)["made_with"]  # of which sn.save makes the model again
            vars(self)["made_with"] = (args, kwargs | {"bound": "entering"})
            gates = linear(self.n_out, former)
            for name, own in self.gates.named_parameters():  # which an optimiser may hold
                own.data = gates.get_parameter(name).detach().to(own)
                setattr(gates, name, own)
            self.gates = gates
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def initial_state(self, batch: int) -> State:
        return self.memory(self.groups, batch)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        nodes = self.tokens(x)
        q, k, v = self.projected(nodes)
        gates = torch.sigmoid(self.gates(nodes)[0]).unflatten(-1, (-1, self.heads))
        weights = weights_of(gates, self.bound)
        outputs, state = grid(q / self.keys**0.5, k, v, weights, state)
        return self.out(outputs.mean(2))[0], state


def weights_of(gates: Tensor, bound: str) -> Tensor:
    """Return the weights of all edges of a grid.

    Args:
        gates: gates in (0, 1), ``[T, B, G, 7, H]`` in the order ``T, o, S_u, S_n, M_u, M_n, D``; or
            ``[T, B, G, 9, H]`` in the order ``a_u, c_u, a_n, c_n, S_u, ...`` for ``"entering"``.
        bound: ``"leaving"`` or ``"entering"``.

    Returns:
        What :func:`grid` takes, ``[T, B, G, 9, H]``.

    >>> weights_of(torch.tensor([0.5, 0.25, 1, 1, 1, 1, 1])[:, None], "leaving")[:4, 0].tolist()
    [0.125, 0.125, 0.375, 0.375]
    """
    if bound == "leaving":
        kept, upwards, *others = gates.unbind(-2)
        up, on = kept * upwards, kept * (1 - upwards)
        return torch.stack([up, up, on, on, *others], -2)
    a_u, c_u, a_n, c_n, *others = gates.unbind(-2)
    turns = [a_u * c_u, a_u * (1 - c_u), a_n * c_n, a_n * (1 - c_n)]
    return torch.stack(turns + others, -2)


def grid(q: Tensor, k: Tensor, v: Tensor, weights: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run the recurrence on the grid.

    Args:
        q, k: queries and keys ``[T, B, G, H, n]``.
        v: values ``[T, B, G, H, d]``.
        weights: weights ``[T, B, G, 9, H]``, of the transitions into "up" from "up" and from "on",
            of those into "on" from "up" and from "on", and ``S_u, S_n, M_u, M_n, D``.
        state: the edges into the first step, ``[G, B, H, n, d]``.

    Returns:
        Outputs ``[T, B, G, H d]`` and the edges into the step after.
    """
    up, outputs, later = torch.zeros_like(outer(k[:, :, 0], v[:, :, 0])), [], []
    for g in range(k.shape[2]):
        up_up, on_up, up_on, on_on, s_u, s_n, m_u, m_n, direct = (
            weight[..., None, None] for weight in weights[:, :, g].unbind(2)
        )
        written = outer(k[:, :, g], v[:, :, g])
        after = linear_recurrence(on_on, up_on * up + s_n * written, state[g])
        on = torch.cat([state[g][None], after[:-1]])
        seen = m_u * up + m_n * on + direct * written
        outputs.append(recall(q[:, :, g], seen))
        up = up_up * up + on_up * on + s_u * written
        later.append(after[-1])
    return torch.stack(outputs, 2), torch.stack(later)
