"""Recurrent relational network: 4 x 4 Sudoku, with more steps than trained (1711.08028)."""

from __future__ import annotations

import numpy as np
import torch
from snnsim_datasets.synthetic.sudoku import CELLS, DIGITS, edges, sudoku
from torch import Tensor, nn

from snnsim.baselines.baseline import linear
from snnsim.baselines.relational import RelationalStep
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, batches, optimise

RATE = 2e-3


class Solver(nn.Module):
    """Cells exchange messages with the cells they must differ from."""

    def __init__(self, n: int = 32):
        super().__init__()
        self.digit = nn.Embedding(DIGITS + 1, n)
        self.enter = linear(n, n)
        self.relate = RelationalStep(CELLS, edges(), n, n)
        self.answer = linear(n, DIGITS)

    def forward(self, puzzles: Tensor, steps: int) -> list[Tensor]:
        """Return scores ``[B, 16, 4]`` after each step."""
        x = torch.relu(self.enter(self.digit(puzzles))[0])
        h, c, found = x, torch.zeros_like(x), []
        for _ in range(steps):
            h, c = self.relate(x, h, c)
            found.append(self.answer(h)[0])
        return found


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the fraction of new puzzles solved after 1, 4, 8 and 16 steps, trained with 8."""
    set_seed(seed)
    puzzles, answers = map(torch.from_numpy, sudoku(200 if short else 3000, "train", seed))
    tests, solved = map(torch.from_numpy, sudoku(300, "test", seed))
    net, order = Solver(), batches(len(puzzles), 64, seed)

    def loss() -> Tensor:
        chosen = next(order)
        target = (answers[chosen] - 1).flatten().long()
        scores = net(puzzles[chosen].long(), 8)
        each = [nn.functional.cross_entropy(s.flatten(0, 1), target) for s in scores]
        return torch.stack(each).mean()

    steps = 20 if short else 1000
    optimise(net, loss, steps, RATE)
    with torch.no_grad():
        found = [s.argmax(-1) + 1 for s in net(tests.long(), 16)]
    shares = {
        f"solved %, {n} steps": 100 * float((found[n - 1] == solved).all(1).float().mean())
        for n in (1, 4, 8, 16)
    }
    values = list(shares.values())
    return Outcome(
        "as many steps as trained solve more than 60 % of the puzzles, fewer steps fewer, and "
        "twice as many no fewer (2 %)",
        bool(values[2] > 60 and values[3] >= values[2] - 2 and np.all(np.diff(values[:3]) > 0)),
        {k: v for k, v in shares.items() if " 1 " not in k},
        {"solved %, 1 step": values[0]},
        f"{steps} steps of training, of 64 puzzles, at a rate of {RATE:g}",
    )
