"""One optimiser step on a joint batch: the same for one task and for streams of tasks.

The parts of several processes, the parts of a batch, autocast, the losses of layers and the checks
for NaN are here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.data.protocol import Batch, Sequences, shared
from snnsim.finite import all_finite
from snnsim.layer import auxiliary_losses
from snnsim.training import distributed
from snnsim.training.finite import gradients_finite
from snnsim.training.optimizers import Optimizers


class Part(NamedTuple):
    """A ``Part`` holds the result of one part of a joint batch.

    Attributes:
        mean: its contribution to the joint batch's mean loss; its gradient is taken, if it has one.
        loss, score: numbers that are added up over parts and processes.
    """

    mean: Tensor
    loss: float
    score: float = 0.0


# from a process's samples of a part, their numbers, the losses of layers so far, and how many
# samples the joint batch has
Measure = Callable[[Batch, np.ndarray, dict[str, Tensor], int], Part]


@dataclass(frozen=True)
class JointStep:
    """A joint step is one optimiser step on samples of a data set, divided among all processes.

    Attributes:
        net: the network to train.
        device: the device of the network.
        fail: called with the name of what is not finite (``"the loss"``) and the input; raises.
        accumulate: the number of parts into which a batch is cut to save memory.
        precision: ``"auto"``, ``"float32"`` or ``"bfloat16"``, see :class:`Recipe`.
        check_finite: whether inputs are searched for NaN and infinities.
    """

    net: nn.Module
    device: torch.device
    fail: Callable[[str, Tensor], NoReturn]
    accumulate: int = 1
    precision: str = "float32"
    check_finite: bool = True

    def __call__(
        self,
        data: Sequences,
        chosen: np.ndarray,
        measure: Measure,
        optimizer: Optimizers,
        on_gradients: Callable[[], None] = lambda: None,
    ) -> tuple[float, float]:
        """Train on some samples and return the loss and the score, summed over all parts.

        Args:
            data: the training data.
            chosen: the indices of the samples of the joint batch.
            measure: a function that runs the network on a part of the batch.
            optimizer: the optimisers of the network.
            on_gradients: called when all gradients are there, before the optimisers' step.
        """
        optimizer.zero_grad()
        totals = torch.zeros(2, dtype=torch.float64)
        longest = int(data.lengths[chosen].max())
        x = torch.empty(0)
        for part in np.array_split(chosen, min(self.accumulate, len(chosen))):
            mine = distributed.share(part)
            batch = shared(data, mine, part, longest)
            x = batch.x.to(self.device)
            if self.check_finite and not all_finite(x):
                self.fail("the input", x)
            batch = Batch(x, batch.target.to(self.device), batch.lengths)
            with self._autocast(), auxiliary_losses() as extra:
                found = measure(batch, mine, extra, len(chosen))
            if found.mean.requires_grad:
                found.mean.backward()
            totals += torch.tensor([found.loss, found.score], dtype=torch.float64)
        totals = distributed.sum_over_processes(totals, self.device)
        if not bool(torch.isfinite(totals[0])):  # of all processes, so that all of them stop
            optimizer.zero_grad()  # so that the loss's gradients are not taken for the cause
            self.fail("the loss", x)
        distributed.sum_gradients(self.net.parameters())
        if not gradients_finite(self.net.parameters()):
            self.fail("a gradient", x)
        on_gradients()
        optimizer.step()
        loss, score = totals.tolist()
        return loss, score

    def _autocast(self) -> AbstractContextManager[Any]:
        kind, precision = self.device.type, self.precision
        if precision == "auto":
            on_gpu = kind == "cuda" and torch.cuda.is_bf16_supported()
            precision = "bfloat16" if on_gpu else "float32"
        return torch.autocast(kind, torch.bfloat16) if precision == "bfloat16" else nullcontext()
