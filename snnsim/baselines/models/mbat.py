"""Orthogonal reservoir: matrix binding of additive terms as a recurrence.

    h[t] = M h[t-1] + E x[t],  y[t] = W h[t] + b

``M`` is a frozen random orthogonal matrix, so norms and angles of what is remembered are kept for
ever and ``M^T`` undoes a step; ``E`` is frozen too, only the read-out learns. Source: Gallant &
Okaywe 2013 (doi:10.1162/NECO_a_00467) for MBAT; Gallant 2022 (arXiv:2202.04771) for orthogonal
matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.baselines.baseline import Baseline, State, linear, own_generator
from snnsim.baselines.ltv import Matrices
from snnsim.functional.vectors import random_orthogonal


class MBAT(Baseline):
    """MBAT is a linear memory of what came in which order; it never decays.

    Args:
        n_in, n_out: numbers of input and output channels.
        states: number of states of the memory; 0 for ``4 n_out``.
        seed: seed of the frozen matrices; ``None`` draws one from torch's own random numbers.

    State: ``[B, states]``.

    >>> tuple(MBAT(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    source = "Gallant 2022, arXiv:2202.04771"
    left_out = (
        "it is our own reservoir, built after the binding by matrices of the paper; its frozen "
        "numbers, 16 n_out^2 and more, do not count as parameters"
    )

    transition: Tensor
    entry: Tensor

    def __init__(self, n_in: int, n_out: int, *, states: int = 0, seed: int | None = None):
        super().__init__(n_in, n_out)
        states = states or 4 * n_out
        generator = own_generator(seed)
        self.register_buffer("transition", random_orthogonal(states, generator))
        entry = torch.randn(states, n_in, generator=generator) / states**0.5
        self.register_buffer("entry", entry)
        self.out = linear(states, n_out)

    def initial_state(self, batch: int) -> State:
        return self.zeros(batch, len(self.transition))

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        states = []
        for drive in (x @ self.entry.t()).unbind():
            state = state @ self.transition.t() + drive
            states.append(state)
        return self.out(torch.stack(states))[0], state

    def ltv(self, x: Tensor) -> Matrices:
        """Return the matrices of the output without the bias of the read-out."""
        each = (self.transition, self.entry, self.out.weight)
        return Matrices(*(m.expand(*x.shape[:2], *m.shape) for m in each))
