"""Time to the first spike.

Time is divided into windows of ``window`` steps. The value x in the first step of a window decides
about its only spike, in step s of the window (from 0):

    s = round((window - 1) * (1 - x))                    linear law
    s = floor(tau * log(x / (x - threshold)))            logarithmic law, with ``tau``

There is no spike if x <= threshold, or if s is beyond the window. The logarithmic law is the time
at which a membrane with time constant tau that is driven by x, v = x (1 - exp(-t / tau)), reaches
the threshold. Halves are rounded to the even step. Source: Thorpe 1990 (spike arrival times as a
code); Gerstner & Kistler 2002, section 1.5.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnsim.encoders.values import check_unit_range, checked, kept
from snnsim.errors import ConfigError, check_number, check_size
from snnsim.layer import Layer


class Latency(Layer):
    """Send one spike in each window of time, earlier for larger values.

    The shape stays ``[T, B, C, ...]``. A still input is encoded by ``Sequential(Repeat(window),
    Latency(window))``.

    Args:
        window: the number of time steps of a window, 1 or more.
        tau: the time constant of the logarithmic law in time steps, above 0; ``None`` for the
            linear law.
        threshold: the largest value for which no spike is sent, 0 or more and below 1; above 0 if
            there is a ``tau``.

    >>> x = torch.tensor([1.0, 0.5, 0.0]).expand(5, 1, 3)
    >>> Latency(5)(x)[0].view(5, 3).T.tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, window: int, tau: float | None = None, threshold: float = 0.01):
        super().__init__()
        self.window = check_size("window", window)
        check_number("threshold", threshold, 0)
        if threshold >= 1:
            raise ConfigError(f"threshold is {threshold:g} but must be below 1, the largest value")
        if tau is not None:
            check_number("tau", tau, above=0)
            check_number("threshold of the logarithmic law", threshold, above=0)
        self.tau, self.threshold = tau, threshold

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        x = checked(x, "Latency")
        check_unit_range(x, "Latency")
        place = 0 if state is None else int(kept(state, "place", torch.Size([])))
        none = torch.full(x.shape[1:], -1, device=x.device)
        due = none if place == 0 else kept(state, "due", x.shape[1:])
        y = torch.zeros_like(x)
        for t in range(len(x)):
            if place == 0:
                due = self._step_of(x[t])
            y[t] = due == place
            place = (place + 1) % self.window
        return y, {"place": torch.tensor(place), "due": due}

    def _step_of(self, x: Tensor) -> Tensor:
        """The step of the window in which each value sends its spike; -1 for none."""
        exact = x.double()
        if self.tau is None:
            step = torch.round((self.window - 1) * (1 - exact))
        else:
            above = (exact - self.threshold).clamp(min=torch.finfo(torch.float64).tiny)
            step = torch.floor(self.tau * torch.log(exact / above))
        return torch.where(exact > self.threshold, step, -1).to(torch.int64)

    def extra_repr(self) -> str:
        return f"{self.window}, tau={self.tau}, threshold={self.threshold:g}"
