"""Level crossing.

For each channel and level l, with x[-1] = ``start`` or, without it, x[0]:

    on[t]  = 1 if x[t - 1] <  l <= x[t] else 0
    off[t] = 1 if x[t - 1] >= l >  x[t] else 0

Source: Sayiner, Sorensen & Viswanathan 1996 (level-crossing sampling).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snnsim.encoders.values import checked, kept
from snnsim.errors import ConfigError, check_number, short
from snnsim.layer import Layer

MOST_LEVELS = 10_000


class LevelCrossing(Layer):
    """Send a spike whenever a value crosses one of several fixed levels.

    With ``L`` levels, ``[T, B, C, ...]`` becomes ``[T, B, 2 * L * C, ...]``: channel ``l * C + c``
    says that channel ``c`` rose to level ``l`` or above, and channel ``(L + l) * C + c`` that it
    fell below that level.

    Args:
        levels: the levels, ascending, in the unit of the values.
        start: the value with which the first one is compared; ``None`` for the first value itself,
            for which nothing is sent then.

    >>> x = torch.tensor([0.0, 1.5, 1.5, 0.5]).view(4, 1, 1)
    >>> LevelCrossing([1.0, 2.0])(x)[0].view(4, 4).tolist()
    [[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """

    def __init__(self, levels: Sequence[float], start: float | None = None):
        super().__init__()
        self.levels = _levels(levels)
        if start is not None:
            check_number("start", start)
        self.start = start

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        x = checked(x, "LevelCrossing")
        if len(x) == 0:
            shape = (0, x.shape[1], 2 * len(self.levels) * x.shape[2], *x.shape[3:])
            return x.new_zeros(shape), state
        before = torch.cat([self._last(x, state)[None], x[:-1]])
        rising = [(before < level) & (level <= x) for level in self.levels]
        falling = [(before >= level) & (level > x) for level in self.levels]
        return torch.cat([*rising, *falling], 2).to(x.dtype), {"last": x[-1]}

    def _last(self, x: Tensor, state: Any) -> Tensor:
        if state is not None:
            return kept(state, "last", x.shape[1:])
        return x[0] if self.start is None else torch.full_like(x[0], self.start)

    def extra_repr(self) -> str:
        return f"{short(list(self.levels), 60)}, start={self.start}"


def _levels(given: Sequence[float]) -> tuple[float, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence | torch.Tensor):
        raise ConfigError(f"levels is {short(given)} but must be a list of numbers")
    if not 1 <= len(given) <= MOST_LEVELS:
        raise ConfigError(f"there are {len(given)} levels but 1 to {MOST_LEVELS} are needed")
    levels = tuple(v.item() if isinstance(v, torch.Tensor) else v for v in given)
    for level in levels:
        check_number("a level", level)
    for low, high in itertools.pairwise(levels):
        if low >= high:
            raise ConfigError(f"levels must be ascending but {high:g} follows {low:g}; sort them")
    return tuple(map(float, levels))
