"""Rate coding by independent Bernoulli trials.

    y[t] = 1 if u[t] < max_probability * x[t] else 0

with u uniform in 0 .. 1, a function of the seed, the number of the sample, the step and the unit
alone (:mod:`snnsim.encoders.uniform`). The number of spikes in T steps of a constant value is
binomial, with mean T * max_probability * x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snnsim.encoders.uniform import uniform
from snnsim.encoders.values import check_unit_range, checked, kept
from snnsim.errors import check_number, check_seed
from snnsim.layer import Layer


class Rate(Layer):
    """Send spikes at random, with probabilities in proportion to the values.

    The shape stays ``[T, B, C, ...]``. The spikes depend on the seed and the numbers of sample,
    step and unit only, so a sequence gives the same spikes whether it is passed as a whole or in
    pieces. The samples of a batch are numbered from 0 unless :meth:`initial` says otherwise.

    Args:
        seed: the seed of the random numbers.
        max_probability: the probability of a spike in a step in which the value is 1, above 0 and
            at most 1.

    >>> x = torch.rand(6, 2, 3)
    >>> encoder = Rate(seed=1)
    >>> first, state = encoder(x[:4])
    >>> torch.equal(encoder(x)[0], torch.cat([first, encoder(x[4:], state)[0]]))
    True
    """

    def __init__(self, seed: int = 0, max_probability: float = 1.0):
        super().__init__()
        check_number("max_probability", max_probability, most=1, above=0)
        self.seed, self.max_probability = check_seed(seed), max_probability

    def initial(self, samples: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """Return the state at the beginning of samples of these numbers.

        Args:
            samples: a whole number for each sample of the batch, such as its place in a data set.

        >>> x = torch.rand(6, 2, 3)
        >>> both, alone = Rate()(x)[0], Rate()(x[:, 1:], Rate().initial([1]))[0]
        >>> torch.equal(both[:, 1:], alone)
        True
        """
        numbers = torch.as_tensor(samples, dtype=torch.int64)
        return {"sample": numbers, "step": torch.zeros_like(numbers)}

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        x = checked(x, "Rate")
        check_unit_range(x, "Rate")
        if state is None:
            state = self.initial(torch.arange(x.shape[1], device=x.device))
        sample, step = (kept(state, name, x.shape[1:2]) for name in ("sample", "step"))
        steps = step.to(x.device) + torch.arange(len(x), device=x.device)[:, None]
        drawn = uniform(self.seed, sample.to(x.device), steps, x.shape[2:])
        spikes = drawn < self.max_probability * x.double()
        return spikes.to(x.dtype), {"sample": sample, "step": step + len(x)}

    def extra_repr(self) -> str:
        return f"seed={self.seed}, max_probability={self.max_probability:g}"
