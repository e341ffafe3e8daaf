"""Leaky network: curricula of N-parity, with one head or one more for each N (2309.12927)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines.models.leaky import Leaky
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome

FIRST, LARGEST, WIDTH, BATCH = 2, 24, 128, 128
FURTHER = 2  # that a head for each N comes


def bits(memory: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw bits ``[T, B, 1]`` and parities of the last 2 to ``memory``, ``[memory - 1, B]``."""
    steps = int(random.integers(memory + 2, 4 * memory + 3))
    x = random.random((steps, BATCH)) < random.random(BATCH)
    sums = x[::-1].cumsum(0)
    labels = np.stack([sums[n - 1] % 2 for n in range(FIRST, memory + 1)])
    return torch.from_numpy(x).float()[:, :, None], torch.from_numpy(labels)


class _Curriculum:
    """A network, its heads, and the N it has come to."""

    def __init__(self, several: bool, seed: int):
        set_seed(seed)
        self.several, self.memory = several, FIRST
        self.net = Leaky(1, WIDTH)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, 2) for _ in range(LARGEST - FIRST + 1))
        weights = [*self.net.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.SGD(weights, lr=0.05, momentum=0.1, nesterov=True)
        self.weights, self.random = weights, np.random.default_rng(seed)
        self.recent = 0.0

    def step(self) -> None:
        x, labels = bits(self.memory, self.random)
        h = self.net(x)[0][-1]
        trained = range(len(labels)) if self.several else [len(labels) - 1]
        scores = {i: self._head(i)(h) for i in trained}
        loss = sum(nn.functional.cross_entropy(s, labels[i]) for i, s in scores.items())
        self.optimizer.zero_grad()
        torch.as_tensor(loss).backward()
        nn.utils.clip_grad_norm_(self.weights, 2.0)
        self.optimizer.step()
        worst = min(float((s.argmax(1) == labels[i]).float().mean()) for i, s in scores.items())
        self.recent = 0.95 * self.recent + 0.05 * worst
        if self.recent > 0.98 and self.memory < LARGEST:
            self.memory, self.recent = self.memory + 1, 0.0

    def _head(self, i: int) -> nn.Module:
        return self.heads[i if self.several else 0]

    @torch.no_grad()
    def accuracy(self, memory: int) -> float:
        """Return the accuracy on N = ``memory``, in percent."""
        x, labels = bits(memory, np.random.default_rng(memory))
        scores = self._head(memory - FIRST)(self.net(x)[0][-1])
        return 100 * float((scores.argmax(1) == labels[-1]).float().mean())


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the N reached in equal numbers of steps, what is left of N = 2, and taus."""
    figures, steps = {}, 5 if short else 6000
    for name, several in (("a head each", True), ("one head", False)):
        curriculum = _Curriculum(several, seed)
        started = float(curriculum.net.tau.detach().mean())
        for _ in range(steps):
            curriculum.step()
        figures[f"N reached, {name}"] = float(curriculum.memory - 1)
        figures[f"accuracy % on N = 2 afterwards, {name}"] = curriculum.accuracy(2)
        figures[f"mean tau in steps, {name}"] = float(curriculum.net.tau.detach().mean())
        figures[f"mean tau in steps before, {name}"] = started
    return Outcome(
        f"with a head for each N the curriculum goes further by {FURTHER} N, and one head forgets "
        "N = 2 (80 %)",
        figures["N reached, a head each"] >= figures["N reached, one head"] + FURTHER
        and figures["accuracy % on N = 2 afterwards, one head"] < 80,
        {k: v for k, v in figures.items() if k.endswith("each")},
        {k: v for k, v in figures.items() if k.endswith("one head")},
        f"{steps} steps of {BATCH} sequences for both, by the same rule and rate",
    )
