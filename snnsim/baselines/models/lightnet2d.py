"""LightNet over channel groups and time in one scan.

The tokens of a step are groups of neighbouring channels, each with a learnt place code. All of
them enter one additive state, so their order within a step does not matter, and neither does
the order of steps if the whole grid is averaged (``look_ahead``), as in the published
non-causal form. Source: Qin et al. 2024 (arXiv:2405.21022), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import State, linear, within
from snnsim.baselines.heads import NOTHING, GroupModel, KeyValueModel, outer
from snnsim.functional.scan import linear_recurrence


class LightNet2d(GroupModel, KeyValueModel):
    """LightNet2d averages by softmax over a grid of channel groups and steps.

    Args:
        n_in, n_out: numbers of input and output channels.
        groups: number of groups of neighbouring channels; smaller ones are padded with zeros.
        heads: number of heads.
        keys: number of key channels per head.
        look_ahead: whether to average over all steps instead of those so far.

    State: ``{"z": [B, heads, keys], "s": [B, heads, keys, n_out / heads]}``.

    >>> tuple(LightNet2d(6, 8)(torch.rand(7, 2, 6))[0].shape)
    (7, 2, 8)
    """

    source = "Qin et al. 2024, arXiv:2405.21022"
    left_out = "the multi-dimensional position codes: a learnt code per group instead"

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        groups: int = 4,
        heads: int = 4,
        keys: int = 16,
        look_ahead: bool = False,
    ):
        super().__init__(n_in, n_out, heads, keys)
        if look_ahead:
            self.causal, self.streaming = False, "none"
        self.enter_groups(groups, n_out)
        self.connect(n_out)
        self.out = linear(n_out, n_out, bias=False)

    def initial_state(self, batch: int) -> State:
        nothing = self.zeros(batch, self.heads, self.keys, fill=NOTHING)
        return {"z": nothing, "s": self.memory(batch)}

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        y, state = self.mix(self.tokens(x), state, lengths)
        return self.out(y.mean(2))[0], state

    def mix(
        self, tokens: Tensor, state: State, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Let every token of ``[T, B, groups, n_out]`` read what all so far wrote."""
        q, k, v = self.projected(tokens)
        q = nn.functional.silu(q)
        if not self.causal:
            return self._whole(q, k, v, lengths), state
        each = k.logsumexp(2)  # a step's tokens have one normaliser
        z = torch.cat([state["z"][None], each]).logcumsumexp(0)
        drive = outer((k - z[1:].unsqueeze(2)).exp(), v).sum(2)
        s = linear_recurrence((-z.diff(dim=0)).exp().unsqueeze(-1), drive, state["s"])
        y = torch.einsum("tbghn,tbhnd->tbghd", q, s).flatten(3)
        return y, {"z": z[-1], "s": s[-1]}

    def _whole(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:
            inside = within(len(k), lengths, k)[..., None, None]
            k = k.masked_fill(inside == 0, NOTHING)
        k, values = (a.transpose(0, 1).flatten(1, 2) for a in (k, v))  # [B, T groups, H, n]
        s = torch.einsum("bjhn,bjhd->bhnd", k.softmax(1), values)
        return torch.einsum("tbghn,bhnd->tbghd", q, s).flatten(3)
