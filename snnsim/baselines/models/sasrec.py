"""SASRec: causal self-attention over the last items of a sequence.

    x = sqrt(n) E item,  x = x + attention(norm(x)),  x = x + relu-network(norm(x))

in two blocks of one head. Items are the rows of an embedding; a vector of counts is their
weighted sum, so binned spikes and one event per step are the same model. The score of an item
to come next is the product of its embedding with the output. Source: Kang & McAuley 2018
(arXiv:1808.09781).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State, linear
from snnsim.baselines.window import TransformerBlock


class SASRec(Baseline):
    """SASRec attends to past bins, or to past address events (one-hot steps).

    Args:
        n_in, n_out: numbers of items (channels) and of outputs.
        blocks: number of blocks of attention and feed-forward part.
        heads: number of heads of attention.
        reach: number of past items that each block sees.

    State: for each block keys and values of the last ``reach`` steps, and which of them there were.

    >>> import torch
    >>> net = SASRec(5, 8)
    >>> y, _ = net(nn.functional.one_hot(torch.randint(5, (7, 2)), 5).float())
    >>> tuple(y.shape), tuple(net.next_scores(y).shape)
    ((7, 2, 8), (7, 2, 5))
    """

    source = "Kang & McAuley 2018, arXiv:1808.09781"
    left_out = (
        "absolute positions (distances instead), sampled negatives, dropout inside of the blocks"
    )

    def __init__(self, n_in: int, n_out: int, *, blocks: int = 2, heads: int = 1, reach: int = 50):
        super().__init__(n_in, n_out, heads)
        self.embedding = linear(n_in, n_out, bias=False)
        self.blocks = nn.ModuleList(
            TransformerBlock(n_out, heads, reach, 1, nn.functional.relu) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(n_out)

    def initial_state(self, batch: int) -> State:
        blocks: Any = self.blocks  # a ModuleList does not tell what it holds
        return tuple(block.attention.empty(batch) for block in blocks)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        x, later = self.embedding(x)[0] * self.n_out**0.5, []
        for block, past in zip(self.blocks, state, strict=True):
            x, past = block(x, past)
            later.append(past)
        return self.norm(x), tuple(later)

    def next_scores(self, y: Tensor) -> Tensor:
        """Return scores ``[T, B, n_in]`` of every item to be the next, from outputs ``y``."""
        return y @ self.embedding.weight
