"""Global workspace: sums of digits by routing between modules (2503.01906)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

DIGITS, STEPS = 10, 13


class Adder(nn.Module):
    """The workspace is a vector of one digit; a controller routes between modules on it.

    Modules: load the first digit, increment (a fixed shift), and keep. The controller sees the
    second digit and emits gates for each internal step.
    """

    def __init__(self, hidden: int = 48):
        super().__init__()
        self.control = nn.LSTMCell(2 * DIGITS, hidden)
        self.gates = nn.Linear(hidden, 3)
        self.temperature = 1.0

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return log-probabilities of the last digit of the sum of one-hot digits ``[B, 10]``."""
        w, state = a.new_full(a.shape, 1 / DIGITS), None
        for step in range(STEPS):
            clock = torch.zeros_like(a)
            clock[:, min(step, DIGITS - 1)] = 1
            state = self.control(torch.cat([b, clock], 1), state)
            share = (self.gates(state[0]) / self.temperature).softmax(-1)
            load, increment, keep = share.unbind(-1)
            w = load[:, None] * a + increment[:, None] * w.roll(1, 1) + keep[:, None] * w
        return (w + 1e-6).log()


class Plain(nn.Module):
    """The control is an LSTM that hears both digits and answers."""

    def __init__(self, hidden: int = 64):
        super().__init__()
        self.lstm, self.out = nn.LSTM(DIGITS, hidden), nn.Linear(hidden, DIGITS)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return scores of the sum, as :class:`Adder` does."""
        return self.out(self.lstm(torch.stack([a, b]))[0][-1])


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy on pairs of digits that training does not have: 40 of 100."""
    order = np.random.default_rng(seed).permutation(DIGITS**2)
    pairs = torch.from_numpy(np.stack([order // DIGITS, order % DIGITS], 1))
    eye = torch.eye(DIGITS)
    a, b = eye[pairs[:, 0]], eye[pairs[:, 1]]
    labels = pairs.sum(1) % DIGITS
    results = {}
    for name, cls in (("workspace", Adder), ("lstm", Plain)):
        set_seed(seed)
        net: nn.Module = cls()
        steps = 20 if short else 600

        def cool(step: int, net: nn.Module = net, steps: int = steps) -> None:
            if isinstance(net, Adder):
                net.temperature = 1.0 - 0.7 * step / steps

        def loss(net: nn.Module = net) -> Tensor:
            return nn.functional.cross_entropy(net(a[:60], b[:60]), labels[:60])

        optimise(net, loss, steps, 3e-3 if name == "lstm" else 1e-2, each=cool)
        with torch.no_grad():
            right = (net(a, b).argmax(1) == labels).float()
        results[f"{name}, trained pairs"] = 100 * float(right[:60].mean())
        results[f"{name}, new pairs"] = 100 * float(right[60:].mean())
    return Outcome(
        "routing through modules adds pairs it has not seen, an LSTM does not",
        results["workspace, new pairs"] > 95 > 50 > results["lstm, new pairs"],
        {k: v for k, v in results.items() if k.startswith("workspace")},
        {k: v for k, v in results.items() if k.startswith("lstm")},
    )
