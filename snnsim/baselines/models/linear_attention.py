"""Linear attention with a choice of normaliser.

    S[t] = S[t-1] + psi(k[t]) v[t]^T,  y[t] = S[t]^T phi(q[t]) / eta[t]

``eta`` is 1; or, as in the original, ``phi(q) . sum psi(k)``; or a positive function of the
current step alone ("normalised attention"). ``phi`` and ``psi`` are ``elu + 1``, which is positive
as the sum over the past must be; or nothing, as published for normalised attention, which takes the
plain ``q . k``. Source: Katharopoulos et al. 2020 (arXiv:2006.16236),
equations 8 to 11; Sieber et al. 2024 (arXiv:2405.15731), section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import State, linear
from snnsim.baselines.heads import KeyValueModel, matrices_of
from snnsim.baselines.ltv import Matrices
from snnsim.errors import ConfigError, check_choice
from snnsim.functional.outer import outer_recurrence

FEATURES = ("elu", "plain")
NORMALISERS = ("none", "sum", "exp", "softplus", "sigmoid")
OF_ONE_STEP: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": lambda s: s.clamp(max=60.0).exp(),  # no more than floats hold
    "softplus": nn.functional.softplus,
    "sigmoid": torch.sigmoid,
}


class LinearAttention(KeyValueModel):
    """Linear attention has a state of fixed size.

    Args:
        n_in, n_out: numbers of input and output channels.
        heads: number of heads.
        keys: number of key channels per head, the state expansion.
        normaliser: ``"none"``, ``"sum"`` (over the past), or ``"exp"``, ``"softplus"`` or
            ``"sigmoid"`` of the current step alone.
        features: ``"elu"`` for ``phi(q) = elu(q) + 1`` and the same of keys; ``"plain"`` for
            ``phi(q) = q``, as in the normalised attention of Sieber et al.

    Raises:
        ConfigError: plain features with the normaliser ``"sum"``, which could be 0 or negative.

    State: ``[B, heads, keys, n_out / heads + 1]``; the last column sums the keys.

    >>> y, state = LinearAttention(3, 8)(torch.rand(7, 2, 3))
    >>> tuple(y.shape), tuple(state.shape)
    ((7, 2, 8), (2, 4, 16, 3))
    """

    residual = True
    source = "Katharopoulos et al. 2020, arXiv:2006.16236; Sieber et al. 2024, arXiv:2405.15731"

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        heads: int = 4,
        keys: int = 16,
        normaliser: str = "sum",
        features: str = "elu",
    ):
        check_choice("normaliser", normaliser, NORMALISERS)
        check_choice("features", features, FEATURES)
        if features == "plain" and normaliser == "sum":
            raise ConfigError(
                'features="plain" with normaliser="sum" would divide by a sum that can be 0; give '
                'another normaliser, such as "exp", or features="elu"'
            )
        super().__init__(n_in, n_out, heads, keys)
        self.normaliser, self.features = normaliser, features
        self.connect(n_in)
        self.scale = linear(n_in, heads) if normaliser in OF_ONE_STEP else None

    def initial_state(self, batch: int) -> State:
        return self.zeros(batch, self.heads, self.keys, self.n_out // self.heads + 1)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().projected(x)
        if self.features == "plain":
            return q, k, v
        return nn.functional.elu(q) + 1, nn.functional.elu(k) + 1, v

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        q, k, v = self.projected(x)
        y, state = outer_recurrence(q, k, with_one(v), state)
        y, total = y[..., :-1], y[..., -1:]
        if self.normaliser == "sum":
            y = y / total.clamp(min=1e-6)
        elif self.scale is not None:
            y = y / self._eta(x).unsqueeze(-1)
        return y.flatten(-2), state

    def _eta(self, x: Tensor) -> Tensor:
        assert self.scale is not None
        return OF_ONE_STEP[self.normaliser](self.scale(x)[0]).clamp(min=1e-6)

    def ltv(self, x: Tensor) -> Matrices:
        q, k, _ = self.projected(x)
        gain = None
        if self.normaliser == "sum":
            gain = 1 / (q * k.cumsum(0)).sum(-1).clamp(min=1e-6)
        elif self.scale is not None:
            gain = 1 / self._eta(x)
        return matrices_of(torch.ones_like(k), k, q, self.value.weight, gain)


def with_one(v: Tensor) -> Tensor:
    """Return the values with a column of ones behind them, whose sum is the normaliser."""
    return torch.cat([v, torch.ones_like(v[..., :1])], -1)
