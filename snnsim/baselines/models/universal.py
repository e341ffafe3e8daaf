"""Universal Transformer: one block, again and again in depth, with adaptive halting.

    x = block(x + code[depth]) for depth = 1, 2, ...,  y = sum_depth weight[depth] x[depth]

Each step of time decides how long it thinks. The ponder cost, the mean number of depths plus the
remainder, is gathered as the auxiliary loss ``"ponder"``. Source: Dehghani et al. 2019
(arXiv:1807.03819), section 2; halting: Graves 2016 (arXiv:1603.08983).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State, linear, mean_within, within
from snnsim.baselines.looped import AdaptiveHalting, Halting, loop
from snnsim.baselines.window import TransformerBlock
from snnsim.errors import ConfigError
from snnsim.layer import add_auxiliary_loss


class Universal(Baseline):
    """A universal transformer applies one block again and again, as often as a step needs.

    Args:
        n_in, n_out: numbers of input and output channels.
        depths: largest number of applications of the block.
        heads: number of heads of attention.
        reach: number of past steps that each depth sees.
        ponder: weight of the ponder cost in the loss; 0 also switches halting off, so that all
            depths are used.
        look_ahead: whether every depth also sees ``reach`` steps ahead; then the model is not
            causal.

    State: for each depth keys and values of the last ``reach`` steps, and which there were.

    >>> net = Universal(3, 8)
    >>> y, _ = net(torch.rand(7, 2, 3))
    >>> tuple(y.shape), tuple(net.think(torch.rand(7, 2, 3)).ponder.shape)
    ((7, 2, 8), (7, 2))
    """

    tables = ("code",)
    source = "Dehghani et al. 2019, arXiv:1807.03819"
    left_out = (
        "absolute positions (distances instead), sinusoidal codes of depth (learnt ones instead), "
        "normalisation behind the blocks (before their parts instead)"
    )

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        depths: int = 4,
        heads: int = 4,
        reach: int = 50,
        ponder: float = 0.01,
        look_ahead: bool = False,
    ):
        super().__init__(n_in, n_out, heads)
        if look_ahead:
            self.causal, self.streaming = False, "none"
        self.depths, self.ponder = depths, ponder
        self.enter = linear(n_in, n_out)
        self.block = TransformerBlock(n_out, heads, reach, ahead=reach if look_ahead else 0)
        self.code = nn.Parameter(torch.randn(depths, n_out) / n_out**0.5)
        self.halting = AdaptiveHalting(n_out) if ponder else None

    def initial_state(self, batch: int) -> State:
        return tuple(self.block.attention.empty(batch) for _ in range(self.depths))

    def think(self, x: Tensor, state: State = None) -> Halting:
        """Return how many depths each step of ``x [T, B, n_in]`` takes, and with which weights."""
        if self.halting is None:
            raise ConfigError(
                "Universal(ponder=0) always uses all its depths; make it with a ponder above 0"
            )
        state = self.initial_state(x.shape[1]) if state is None else state
        _, _, halting = loop(self.block, self.enter(x)[0], state, self.code, self.halting)
        assert halting is not None
        return halting

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        inside = None if self.causal or lengths is None else within(len(x), lengths, x).squeeze(2)
        y, state, halting = loop(
            self.block, self.enter(x)[0], state, self.code, self.halting, inside
        )
        if halting is not None:
            add_auxiliary_loss("ponder", self.ponder * mean_within(halting.ponder, lengths))
        return y, state
