"""pLSTM in one dimension: linear recurrence on the edges between steps.

    C[t+1] = T[t] C[t] + S[t] k[t] v[t]^T,  y[t] = M[t] C[t]^T q[t] + D[t] (q[t] . k[t]) v[t]

with scalar gates per head: source ``S``, transition ``T``, mark ``M``, direct ``D``. The state
belongs to the edge into a step, so a step reads its past by ``M`` and itself by ``D``. Source:
Pöppel et al. 2025 (arXiv:2506.11997), section 3, in P-mode with scalar transitions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.baselines.baseline import State, bias_of, linear
from snnsim.baselines.heads import KeyValueModel, matrices_of, split
from snnsim.baselines.ltv import Matrices
from snnsim.functional.outer import outer_recurrence


class PLSTM(KeyValueModel):
    """A pLSTM is gated linear attention on the edges between steps.

    Args:
        n_in, n_out: numbers of input and output channels.
        heads: number of heads, each with its own gates.
        keys: number of key channels per head.

    State: ``[B, heads, keys, n_out / heads]``.

    >>> tuple(PLSTM(3, 8)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    residual = True
    source = "Pöppel et al. 2025, arXiv:2506.11997"
    left_out = (
        "matrix-valued transitions, graphs other than chains and grids, short convolution, a norm "
        "per head, the published starts of the gates"
    )

    def __init__(self, n_in: int, n_out: int, *, heads: int = 4, keys: int = 16):
        super().__init__(n_in, n_out, heads, keys)
        self.connect(n_in)
        self.gates = linear(n_in, 4 * heads)
        start = torch.tensor([0.0, 3.0, 0.0, 0.0])  # a long memory at first
        bias_of(self.gates).copy_(start.repeat_interleave(heads))

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys, values and the gates source, transition, mark, direct ``[T, B, H]``."""
        q, k, v = self.projected(x)
        gates = torch.sigmoid(self.gates(x)[0]).chunk(4, -1)
        return q / self.keys**0.5, k, v, *gates

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        q, k, v, source, transition, mark, direct = self._parts(x)
        own = (direct * (q * k).sum(-1)).unsqueeze(-1) * v
        q, k = q * mark.unsqueeze(-1), k * source.unsqueeze(-1)
        y, state = outer_recurrence(q, k, v, state, transition.clamp(min=1e-30).log(), before=True)
        return (y + own).flatten(-2), state

    def ltv(self, x: Tensor) -> Matrices:
        """Return the matrices of the state after a step, less what the step itself wrote."""
        q, k, _, source, transition, mark, direct = self._parts(x)
        kept = transition.clamp(min=1e-30)
        found = matrices_of(
            transition.unsqueeze(-1), source.unsqueeze(-1) * k, q, self.value.weight, mark / kept
        )
        own = (direct - mark * source / kept) * (q * k).sum(-1)
        values = split(self.value.weight.t(), self.heads).permute(1, 2, 0)
        return found._replace(direct=torch.einsum("tbh,hdi->tbhdi", own, values).flatten(2, 3))
