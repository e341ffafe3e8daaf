"""A recurrent layer over the sequence, and another over the sequence from its end.

Half of the outputs come from each. Source: Schuster & Paliwal 1997, doi:10.1109/78.650093. It looks
ahead, so it is refused wherever an answer at every step is asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.baselines.baseline import Baseline, State
from snnsim.baselines.models.elman import Elman
from snnsim.baselines.models.gru import GRU
from snnsim.baselines.models.lstm import LSTM
from snnsim.errors import check_choice

CELLS = {"elman": Elman, "gru": GRU, "lstm": LSTM}


class Bidirectional(Baseline):
    """Run two recurrent layers, one of them backwards in time.

    Args:
        n_in, n_out: numbers of input and output channels; each layer has ``n_out / 2`` units.
        cell: kind of the layers, ``"lstm"``, ``"gru"`` or ``"elman"``.

    There is no state. With ``lengths`` the way back starts at the end of each sample.

    >>> tuple(Bidirectional(3, 6)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 6)
    """

    causal = False
    streaming = "none"
    multiple = 2
    source = "Schuster & Paliwal 1997, doi:10.1109/78.650093"

    def __init__(self, n_in: int, n_out: int, *, cell: str = "lstm"):
        super().__init__(n_in, n_out)
        check_choice("cell", cell, CELLS)
        self.ahead, self.back = (CELLS[cell](n_in, n_out // 2) for _ in range(2))

    def initial_state(self, batch: int) -> State:
        return ()

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        order = reversal(x.shape[0], x.shape[1], lengths).to(x.device)
        back = turned(self.back(turned(x, order))[0], order)
        return torch.cat([self.ahead(x)[0], back], -1), ()


def reversal(steps: int, batch: int, lengths: Tensor | None = None) -> Tensor:
    """Return ``[T, B]``: for each step the one that takes its place when samples are reversed.

    >>> reversal(3, 2, torch.tensor([2, 3])).t().tolist()
    [[1, 0, 2], [2, 1, 0]]
    """
    steps_of = torch.arange(steps)[:, None].expand(steps, batch)
    ends = torch.full((batch,), steps) if lengths is None else lengths.cpu()
    return torch.where(steps_of < ends, ends - 1 - steps_of, steps_of)


def turned(x: Tensor, order: Tensor) -> Tensor:
    """Return ``x [T, B, N]`` in the order of :func:`reversal`, which is its own inverse."""
    return x.gather(0, order[:, :, None].expand_as(x))
