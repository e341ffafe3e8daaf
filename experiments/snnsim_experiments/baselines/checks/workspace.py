"""Global workspace: sums of digits by routing between modules (2503.01906)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines.models.workspace import Workspace
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

DIGITS, STEPS = 10, 13


class DigitWorkspace(Workspace):
    """The registered model, with the hand-made modules of the paper, on one-hot digits.

    The input is the first digit, the second digit, and the number of the step. The input module
    says the first digit, the inner one increments (a fixed shift), and the output module copies;
    the controller hears the second digit and the step.
    """

    def __init__(self, control: int = 48):
        super().__init__(
            3 * DIGITS, DIGITS, groups=1, inner=1, steps=1, control=control, broadcast=True
        )

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, heard = x[..., :DIGITS], x[..., DIGITS:]
        heard = torch.cat([torch.zeros_like(first), heard], -1)
        return self.w_in(heard)[0], first.unsqueeze(2)

    def think(self, w: Tensor) -> Tensor:
        return w.roll(1, 1).unsqueeze(1)

    def answer(self, w: Tensor) -> Tensor:
        return w


class Adder(nn.Module):
    """An adder gives two digits to a workspace and reads its output after the last step."""

    def __init__(self, control: int = 48):
        super().__init__()
        self.workspace = DigitWorkspace(control)

    @property
    def temperature(self) -> float:
        """The temperature of the gates."""
        return self.workspace.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self.workspace.temperature = value

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return log-probabilities of the last digit of the sum of digits ``[B, 10]``."""
        clock = torch.eye(DIGITS).to(a)[torch.arange(STEPS).clamp(max=DIGITS - 1)]
        steps = [torch.cat([a, b, now.expand_as(a)], 1) for now in clock]
        y, _ = self.workspace(torch.stack(steps))
        return (y[-1] + 1e-6).log()


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
