"""Recurrent-depth transformer: prelude, a core that is iterated, coda.

    e = P(x),  s = 0 (in training: noise),  s = R(W [s, e]) r times,  y = C(s)

In training ``r`` is drawn anew for every batch, ``1 + Poisson(rate)`` with a log-normal rate, and
gradients go through the last iterations only. Evaluation may use more iterations than training.
Source: Geiping et al. 2025 (arXiv:2502.05171); parallel generation: arXiv:2510.14961, see
:mod:`snnsim.baselines.sampler`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State, linear
from snnsim.baselines.window import TransformerBlock


class RecurrentDepth(Baseline):
    """A recurrent-depth transformer iterates a core block any number of times.

    Args:
        n_in, n_out: numbers of input and output channels.
        iterations: number of iterations of the core in evaluation; in training it is one more on
            average, as published.
        through: number of last iterations that gradients pass.
        heads: number of heads of attention.
        reach: number of past steps that each block sees.
        random: whether training draws the number of iterations and the first state.

    State: the pasts of the prelude, of every iteration of the core, and of the coda.

    >>> tuple(RecurrentDepth(3, 8)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    source = "Geiping et al. 2025, arXiv:2502.05171; arXiv:2510.14961"
    left_out = (
        "absolute positions (distances instead); the first state is 0 outside of training, and "
        "normal noise, not cut off, in it"
    )

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        iterations: int = 4,
        through: int = 8,
        heads: int = 4,
        reach: int = 50,
        random: bool = True,
    ):
        super().__init__(n_in, n_out, heads)
        self.iterations, self.through, self.reach, self.random = iterations, through, reach, random
        self.enter = linear(n_in, n_out)
        self.adapter = linear(2 * n_out, n_out, bias=False)
        self.prelude, self.core, self.coda = (
            TransformerBlock(n_out, heads, reach) for _ in range(3)
        )
        self.norm = nn.LayerNorm(n_out)

    def initial_state(self, batch: int) -> State:
        first, last = (block.attention.empty(batch) for block in (self.prelude, self.coda))
        return first, (self.core.attention.empty(batch),) * self.iterations, last

    def iterate(self, s: Tensor, e: Tensor, past: State) -> tuple[Tensor, State]:
        """Apply the core once to states ``s`` and inputs ``e``, ``[T, B, n_out]``."""
        return self.core(self.adapter(torch.cat([s, e], -1))[0], past)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        first, pasts, last = state
        e, first = self.prelude(self.enter(x)[0], first)
        s, later = torch.zeros_like(e), []
        if self.training and self.random:
            s, pasts = torch.randn_like(e) / e.shape[-1] ** 0.5, self._drawn(pasts)
        for i, past in enumerate(pasts):
            if i == len(pasts) - self.through:
                s = s.detach()
            s, past = self.iterate(s, e, past)
            later.append(past)
        y, last = self.coda(s, last)
        # a stream goes on with the usual number: depths not run have seen what the last one saw
        later = later[: self.iterations] + [later[-1]] * (self.iterations - len(later))
        return self.norm(y), (first, tuple(later), last)

    def _drawn(self, pasts: State) -> State:
        """Pasts for a random number of iterations; new ones see nothing of the past."""
        rate = math.exp(math.log(self.iterations) - 0.125 + 0.5 * float(torch.randn(())))
        count = min(1 + int(torch.poisson(torch.tensor(rate))), 4 * self.iterations)
        empty = tuple(torch.zeros_like(a) for a in pasts[0])
        return (*pasts[:count], *[empty] * (count - len(pasts)))
