"""Learning rates as functions of the epoch: no scheduler object, so nothing to save."""

from __future__ import annotations

import math
from collections.abc import Callable

FEW_EPOCHS = 4  # below which schedules go by steps


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def one_cycle(
    epoch: float,
    epochs: int,
    max_lr: float,
    rise: float = 0.3,
    start_factor: float = 25.0,
    end_factor: float = 1e4,
    betas: tuple[float, float] = (0.85, 0.95),
) -> tuple[float, float]:
    """Return the learning rate and Adam's beta1 at ``epoch`` of a one-cycle schedule.

    The learning rate rises from ``max_lr / start_factor`` to ``max_lr`` at epoch ``rise * epochs -
    1``, then falls to ``max_lr / start_factor / end_factor`` at the last epoch, along cosines;
    beta1 moves in the opposite direction. This equals ``torch.optim.lr_scheduler.OneCycleLR`` with
    one step per epoch. Source: Smith & Topin 2018, arXiv:1708.07120.

    Args:
        epoch: the number of completed epochs, from 0 to ``epochs - 1``.
        epochs: the number of epochs of the whole training.
        max_lr: the largest learning rate.
        rise: the fraction of the epochs during which the learning rate rises.
        start_factor, end_factor: the factors between the largest, the initial and the final rate.
        betas: the smallest and the largest beta1.

    >>> [round(v, 6) for v in one_cycle(0, 150, 5e-3)], one_cycle(44, 150, 5e-3)
    ([0.0002, 0.95], (0.005, 0.85))
    """
    peak, last = rise * epochs - 1, epochs - 1
    start, end = max_lr / start_factor, max_lr / start_factor / end_factor
    if epoch <= peak and peak > 0:
        share = epoch / peak
        return _cosine(start, max_lr, share), _cosine(betas[1], betas[0], share)
    share = (epoch - peak) / (last - peak)
    return _cosine(max_lr, end, share), _cosine(betas[0], betas[1], share)


def cosine(epoch: float, epochs: int, lr: float) -> float:
    """Return the learning rate of cosine annealing from ``lr`` at epoch 0 to 0 at ``epochs``.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983.

    >>> cosine(0, 150, 0.1), round(cosine(75, 150, 0.1), 6)
    (0.1, 0.05)
    """
    return _cosine(lr, 0.0, epoch / epochs)


def rate_at(
    schedule: str | Callable[[float], float], done: float, whole: int, lr: float
) -> tuple[float, float]:
    """Return the learning rate and Adam's beta1 after ``done`` of ``whole`` epochs or steps.

    Args:
        schedule: ``"one_cycle"`` (constant if ``whole`` is below four), ``"cosine"``,
            ``"constant"``, or a function from the fraction that is done, 0 to 1, to a factor of
            ``lr``.
        done: the number of epochs or steps that are done.
        whole: the number of epochs or steps of the whole training.
        lr: the learning rate that the schedule scales.

    >>> rate_at(lambda done: 1 - done, 3, 4, 0.1)
    (0.025, 0.9)
    """
    if callable(schedule):
        return lr * schedule(done / whole), 0.9
    if schedule == "cosine":
        return cosine(done, whole, lr), 0.9
    if schedule == "one_cycle" and whole >= FEW_EPOCHS:
        return one_cycle(done, whole, lr)
    return lr, 0.9
