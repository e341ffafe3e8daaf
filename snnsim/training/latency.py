"""How soon a network gives the right answer: its accuracy after every few time steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from snnsim.data import Sequences, fetch
from snnsim.errors import ConfigError, check_number
from snnsim.finite import check_input
from snnsim.functional.readouts import get_readout
from snnsim.layer import device_of, evaluating
from snnsim.renamed import not_needed
from snnsim.training.evaluate import WHERE, check_weights, equally_padded, run_padded


class Latency(NamedTuple):
    """A ``Latency`` holds the accuracy of a network after different numbers of time steps.

    Attributes:
        steps: the numbers of input steps that the network had seen.
        accuracy: the accuracy after each of them, a fraction from 0 to 1.
    """

    steps: list[int]
    accuracy: list[float]


@torch.no_grad()
def accuracy_over_time(
    net: nn.Module,
    data: Sequences,
    *,
    every: int = 10,
    readout: str = "sum_softmax",
    mask_padding: bool = False,
    batch_size: int = 256,
    steps: int = 0,
    check_finite: bool = True,
    **former: Any,
) -> Latency:
    """Measure the accuracy after ``every``, ``2 every``, ... time steps and after the last one.

    A sample that has ended by then counts with its last answer. (Without ``mask_padding`` its
    padding continues to count.) Samples are padded as in :func:`snnsim.training.evaluate`, so that
    the last accuracy equals the one found there.

    Args:
        net: a causal network; a network that looks ahead has no answer before the end.
        data: a data set, see :class:`snnsim.data.Sequences`.
        every: the number of output steps between two answers, at least 1. For a network that merges
            time bins, these are merged ones.
        readout, mask_padding, batch_size, steps, check_finite: as in
            :func:`snnsim.training.evaluate`.

    Returns:
        The numbers of input steps, and the accuracy after each of them.

    Raises:
        ConfigError: if the network looks ahead.
        NonFiniteError: if weights or inputs are not finite.
    """
    not_needed(former, ("device",), WHERE)
    device = device_of(net)
    check_number("every", every, 1)
    ahead = [m for m in net.modules() if getattr(m, "causal", True) is False]
    if ahead:
        raise ConfigError(
            f"{type(ahead[-1]).__name__} looks ahead, so it has no answer before a sample's end; "
            "accuracy over time needs a causal network"
        )
    check_weights(net)
    longest = int(np.max(data.lengths))
    read, groups = get_readout(readout), []
    with evaluating(net):
        for chosen, padded in equally_padded(data.lengths, steps or longest, batch_size):
            batch = fetch(data, chosen, padded)
            x = batch.x.to(device)
            if check_finite:
                check_input(x)
            y, ends = run_padded(net, x, batch.lengths, mask_padding)
            right = {}
            for t in [*range(every, len(y), every), len(y)]:
                scores = read(y[:t], ends.clamp(max=t) if mask_padding else None)
                right[t] = int((scores.argmax(1).cpu() == batch.target).sum())
            groups.append(right)
    last = max(max(right) for right in groups)
    times = [*range(every, last, every), last]
    hits = [sum(right.get(t, right[max(right)]) for right in groups) for t in times]
    bins = getattr(getattr(net, "encoder", None), "bins", 1)
    whole = max(steps, longest)  # the last bin may reach beyond it
    seen = [min(bins * t, max(whole, t)) for t in times]
    return Latency(seen, [count / len(data) for count in hits])
