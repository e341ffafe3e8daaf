"""pLSTM on the grid of channel groups and steps.

Every node has an edge to the next group of its step ("up") and one to its own group a step later
("on"); states live on edges, and a node mixes what enters it into what leaves it:

    up[t, g+1] = T_uu up[t, g] + T_un on[t, g] + S_u k v^T
    on[t+1, g] = T_nu up[t, g] + T_nn on[t, g] + S_n k v^T
    y[t, g] = (M_u up[t, g] + M_n on[t, g])^T q + D (q . k) v

In P-mode what enters an edge has a total weight of at most 1: ``T_u. = a_u (c, 1 - c)`` with gates
``a, c`` in (0, 1). Group by group this is a linear recurrence over time. Source: Pöppel et al. 2025
(arXiv:2506.11997), sections 3 and 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.baselines.baseline import State, bias_of, linear
from snnsim.baselines.heads import GroupModel, KeyValueModel, outer, recall
from snnsim.functional.scan import linear_recurrence


class PLSTM2d(GroupModel, KeyValueModel):
    """A pLSTM on a grid recurs along channels and time at once, upwards and forwards.

    Args:
        n_in, n_out: numbers of input and output channels.
        groups: number of groups of neighbouring channels; smaller ones are padded with zeros.
        heads: number of heads, each with its own gates.
        keys: number of key channels per head.

    State: the edges into the next step, ``[groups, B, heads, keys, n_out / heads]``.

    >>> tuple(PLSTM2d(6, 8)(torch.rand(7, 2, 6))[0].shape)
    (7, 2, 8)
    """

    source = "Pöppel et al. 2025, arXiv:2506.11997"
    left_out = "matrix-valued transitions, D-mode, scans from the other corners"

    def __init__(self, n_in: int, n_out: int, *, groups: int = 4, heads: int = 4, keys: int = 8):
        super().__init__(n_in, n_out, heads, keys)
        self.enter_groups(groups, n_out)
        self.connect(n_out)
        self.out = linear(n_out, n_out, bias=False)
        self.gates = linear(n_out, 9 * heads)
        start = torch.tensor([3.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        bias_of(self.gates).copy_(start.repeat_interleave(heads))  # edges keep most at first

    def initial_state(self, batch: int) -> State:
        return self.memory(self.groups, batch)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        nodes = self.tokens(x)
        q, k, v = self.projected(nodes)
        gates = torch.sigmoid(self.gates(nodes)[0]).unflatten(-1, (9, self.heads))
        outputs, state = grid(q / self.keys**0.5, k, v, gates, state)
        return self.out(outputs.mean(2))[0], state


def grid(q: Tensor, k: Tensor, v: Tensor, gates: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run the recurrence on the grid.

    Args:
        q, k: queries and keys ``[T, B, G, H, n]``.
        v: values ``[T, B, G, H, d]``.
        gates: gates ``[T, B, G, 9, H]`` in (0, 1): ``a_u, c_u, a_n, c_n, S_u, S_n, M_u, M_n, D``.
        state: the edges into the first step, ``[G, B, H, n, d]``.

    Returns:
        Outputs ``[T, B, G, H d]`` and the edges into the step after.
    """
    up, outputs, later = torch.zeros_like(outer(k[:, :, 0], v[:, :, 0])), [], []
    for g in range(k.shape[2]):
        a_u, c_u, a_n, c_n, s_u, s_n, m_u, m_n, direct = (
            gate[..., None, None] for gate in gates[:, :, g].unbind(2)
        )
        written = outer(k[:, :, g], v[:, :, g])
        after = linear_recurrence(a_n * (1 - c_n), a_n * c_n * up + s_n * written, state[g])
        on = torch.cat([state[g][None], after[:-1]])
        seen = m_u * up + m_n * on + direct * written
        outputs.append(recall(q[:, :, g], seen))
        up = a_u * c_u * up + a_u * (1 - c_u) * on + s_u * written
        later.append(after[-1])
    return torch.stack(outputs, 2), torch.stack(later)
