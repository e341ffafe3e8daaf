"""Delta modulation, also known as send-on-delta.

For each channel, with the value x[0] (or ``start``) as the first reference r:

    n[t] = trunc((x[t] - r[t]) / threshold)          limited to -max_spikes .. max_spikes
    on[t] = max(n[t], 0),  off[t] = max(-n[t], 0)
    r[t + 1] = r[t] + n[t] * threshold

The reference moves by what was sent, so a change too small for a spike is not forgotten, and the
sum of all spikes times the threshold follows the value to within one threshold. Sources: Inose,
Aoki & Watanabe 1966 (asynchronous delta modulation), Miskowicz 2006 (send-on-delta); speech2spikes
(Stewart et al. 2023) applies it to log-mel bands.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnsim.encoders.values import checked, kept
from snnsim.errors import check_number, check_size
from snnsim.layer import Layer


class Delta(Layer):
    """Send a spike whenever a value has moved by a threshold since the last spike.

    The result has two channels for each channel of the input: ``[T, B, C, ...]`` becomes ``[T, B,
    2 * C, ...]``. The first ``C`` send the number of thresholds by which the value rose, the others
    by which it fell.

    Args:
        threshold: the change for which a spike is sent, above 0, in the unit of the values.
        max_spikes: the largest number of spikes of a channel in one step; the rest of a larger
            change is sent in the steps that follow. ``None`` for no limit.
        start: the value with which the first one is compared; ``None`` for the first value itself,
            for which nothing is sent then.

    >>> x = torch.tensor([0.0, 0.5, 2.25, 0.0]).view(4, 1, 1)
    >>> Delta(1.0)(x)[0].view(4, 2).tolist()
    [[0.0, 0.0], [0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
    """

    def __init__(
        self, threshold: float = 0.1, max_spikes: int | None = None, start: float | None = None
    ):
        super().__init__()
        check_number("threshold", threshold, above=0)
        if max_spikes is not None:
            check_size("max_spikes", max_spikes)
        if start is not None:
            check_number("start", start)
        self.threshold, self.max_spikes, self.start = threshold, max_spikes, start

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        x = checked(x, "Delta")
        y = x.new_zeros((len(x), x.shape[1], 2 * x.shape[2], *x.shape[3:]))
        if state is None and len(x) == 0:
            return y, None
        first, sent = self._reference(x, state)
        for t in range(len(x)):
            spikes = torch.trunc((x[t] - (first + sent * self.threshold)) / self.threshold)
            if self.max_spikes is not None:
                spikes = spikes.clamp(-self.max_spikes, self.max_spikes)
            sent = sent + spikes
            rise, fall = torch.where(spikes > 0, spikes, 0), torch.where(spikes < 0, -spikes, 0)
            y[t] = torch.cat([rise, fall], 1)
        return y, {"first": first, "sent": sent}

    def _reference(self, x: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        """The first reference, and how many thresholds have been sent: no error accumulates."""
        if state is not None:
            return kept(state, "first", x.shape[1:]), kept(state, "sent", x.shape[1:])
        first = x[0] if self.start is None else torch.full_like(x[0], self.start)
        return first, torch.zeros_like(first)

    def extra_repr(self) -> str:
        return f"{self.threshold:g}, max_spikes={self.max_spikes}, start={self.start}"
