"""Population coding by Gaussian receptive fields.

Field i = 0 .. k - 1 of a channel, whose values range from low to high:

    centre[i] = low + (i - 1/2) * (high - low) / (k - 2)
    sigma     = (high - low) / (beta * (k - 2))
    y[i]      = exp(-(x - centre[i])**2 / (2 sigma**2))

The first and the last centre lie half a distance outside of the range. Source: Bohte, Kok & La
Poutre 2002, section 4 (their i counts from 1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnsim.encoders.rate import Rate
from snnsim.encoders.values import checked
from snnsim.errors import ConfigError, check_number, check_size
from snnsim.layer import Layer


class Population(Layer):
    """Spread each value over several units, each of which prefers a part of the range.

    With ``k`` fields, ``[T, B, C, ...]`` becomes ``[T, B, k * C, ...]``: channel ``i * C + c`` is
    field ``i`` of channel ``c``.

    Args:
        fields: the number of fields of each channel, 3 or more.
        low, high: the range of the values.
        beta: how narrow the fields are, above 0: the distance of their centres divided by their
            standard deviation; Bohte et al. take 1.5.
        graded: whether the answers of the fields, from 0 to 1, are returned; otherwise they are the
            probabilities of spikes, see :class:`~snnsim.encoders.Rate`.
        seed: the seed of these spikes.

    >>> y, _ = Population(5)(torch.tensor([[[0.5]]]))
    >>> [round(float(v), 3) for v in y[0, 0]]
    [0.011, 0.325, 1.0, 0.325, 0.011]
    """

    def __init__(
        self,
        fields: int = 8,
        low: float = 0.0,
        high: float = 1.0,
        *,
        beta: float = 1.5,
        graded: bool = True,
        seed: int = 0,
    ):
        super().__init__()
        self.fields = check_size("fields", fields, 3)
        check_number("low", low)
        check_number("high", high)
        check_number("beta", beta, above=0)
        if low >= high:
            raise ConfigError(f"low is {low:g} and high is {high:g}, but low must be below high")
        self.low, self.high, self.beta = low, high, beta
        self.graded, self.rate = graded, Rate(seed)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        x = checked(x, "Population")
        distance = (self.high - self.low) / (self.fields - 2)
        sigma = distance / self.beta
        centres = [self.low + (i - 0.5) * distance for i in range(self.fields)]
        answers = [torch.exp(-(((x - centre) / sigma) ** 2) / 2) for centre in centres]
        y = torch.cat(answers, 2)
        return (y, None) if self.graded else self.rate(y, state)

    def extra_repr(self) -> str:
        return (
            f"{self.fields}, {self.low:g}, {self.high:g}, beta={self.beta:g}, graded={self.graded}"
        )
