"""Read-outs turn the outputs of all time steps into one score per class."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snnsim.errors import check_choice


def _within(v: Tensor, lengths: Tensor | None) -> Tensor | None:
    """``[T, B, 1]``: whether a step belongs to its sample."""
    if lengths is None:
        return None
    steps = torch.arange(v.shape[0], device=v.device)
    return (steps.unsqueeze(1) < lengths.to(v.device).unsqueeze(0)).unsqueeze(-1)


def sum_softmax(v: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the sum over time of the softmax over classes, the reference system's read-out.

    Args:
        v: the class scores of every time step, ``[T, B, C]``.
        lengths: the number of time steps of each sample, ``[B]``; later steps do not count. With
            ``None`` all steps count.

    Returns:
        One score per class, ``[B, C]``; each row sums to the number of steps.

    >>> sum_softmax(torch.zeros(3, 1, 2)).tolist()
    [[1.5, 1.5]]
    """
    share, within = v.softmax(-1), _within(v, lengths)
    return (share if within is None else share * within).sum(0)


def mean(v: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the mean over time ``[B, C]`` of ``v [T, B, C]``, within ``lengths``.

    >>> mean(torch.tensor([[[1.0]], [[3.0]]])).tolist()
    [[2.0]]
    """
    within = _within(v, lengths)
    if lengths is None or within is None:
        return v.mean(0)
    return (v * within).sum(0) / lengths.to(v).clamp(min=1).unsqueeze(-1)


def max_over_time(v: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the largest value over time ``[B, C]`` of ``v [T, B, C]``, within ``lengths``.

    >>> max_over_time(torch.tensor([[[1.0]], [[3.0]], [[2.0]]])).tolist()
    [[3.0]]
    """
    within = _within(v, lengths)
    return (v if within is None else v.masked_fill(~within, -torch.inf)).amax(0)


def last(v: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the value ``[B, C]`` at the last step (of each sample, if ``lengths`` are given).

    >>> last(torch.tensor([[[1.0]], [[3.0]]]), torch.tensor([1])).tolist()
    [[1.0]]
    """
    if lengths is None:
        return v[-1]
    return v[(lengths.to(v.device) - 1).clamp(min=0), torch.arange(v.shape[1], device=v.device)]


def spike_count(v: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the sum over time ``[B, C]``, which is the number of spikes if ``v`` is spikes.

    >>> spike_count(torch.ones(4, 1, 1)).tolist()
    [[4.0]]
    """
    within = _within(v, lengths)
    return (v if within is None else v * within).sum(0)


READOUTS: dict[str, Callable[..., Tensor]] = {
    "sum_softmax": sum_softmax,
    "mean": mean,
    "max_over_time": max_over_time,
    "last": last,
    "spike_count": spike_count,
}


def get_readout(name: str) -> Callable[..., Tensor]:
    """Return a read-out by its name.

    Raises:
        ConfigError: if there is no read-out of that name.

    >>> get_readout("mean") is mean
    True
    """
    check_choice("readout", name, READOUTS)
    return READOUTS[name]


def fractions(readout: str, scores: Tensor) -> Tensor:
    """Return the scores of a read-out as fractions that add up to 1 for each sample, ``[B, C]``.

    Summed softmaxes are divided by their sum; the scores of other read-outs need a softmax.

    Args:
        readout: the name of the read-out that the scores are of.
        scores: the class scores, ``[B, C]``.

    >>> fractions("sum_softmax", torch.tensor([[1.5, 0.5]])).tolist()
    [[0.75, 0.25]]
    """
    check_choice("readout", readout, READOUTS)
    summed = readout == "sum_softmax"
    return scores / scores.sum(1, keepdim=True) if summed else scores.softmax(1)
