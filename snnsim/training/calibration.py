"""Calibration: probabilities that say how often an answer is right.

A read-out's scores, as fractions ``q`` that add up to 1, become probabilities by one number, the
temperature ``T``, which is fitted to data that were not trained on:

    p_k = q_k^(1/T) / sum_j q_j^(1/T),        T = argmax  sum over samples of  log p_y

Above 1 it makes answers less sure, below 1 surer; their order stays the same. With softmax scores
this is temperature scaling. Where the true class has the largest score in every sample, the
likelihood grows for ever as ``T`` falls; ``T`` is then the one with which the mean probability of
the true class is ``(n + 1) / (n + 2)``, what Laplace's rule of succession expects of the next one.

Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snnsim.errors import check_number
from snnsim.functional.metrics import calibration_error, check_labels, check_probabilities

__all__ = ["calibrate", "calibrated", "calibration_error"]

COLDEST, HOTTEST = 0.01, 100.0
HALVINGS = 60  # of the range in which the temperature is searched


def calibrate(fractions: Tensor, labels: Tensor) -> float:
    """Return the temperature with which fractions are probabilities, from 0.01 to 100.

    Take samples that the network was not trained on; on training data it is too sure.

    Args:
        fractions: the scores of the classes as fractions, ``[n, C]``, see
            :func:`snnsim.functional.readouts.fractions`; each row adds up to 1.
        labels: the true classes, ``[n]``.

    >>> answers = torch.tensor([[0.6, 0.4]]).repeat(10, 1)  # of which 9 are right: surer than 60 %
    >>> T = calibrate(answers, torch.tensor([0] * 9 + [1]))
    >>> round(float(calibrated(answers, T)[0, 0]), 3)
    0.9
    """
    check_probabilities(fractions)
    check_labels("labels", labels, fractions.shape[1], len(fractions))
    z, true = _logs(fractions), labels[:, None]
    separated = bool((z.gather(1, true) == z.amax(1, keepdim=True)).all())

    def rises(b: float) -> bool:
        """Whether the temperature ``1 / b`` is still too high."""
        p = (b * z).softmax(1)
        if separated:
            return float(p.gather(1, true).mean()) < (len(z) + 1) / (len(z) + 2)
        return float((p * z).sum(1).mean()) < float(z.gather(1, true).mean())

    return _temperature(rises)


def calibrated(fractions: Tensor, temperature: float) -> Tensor:
    """Return the probabilities ``[n, C]`` (float64) of fractions at a temperature.

    Args:
        fractions: the scores of the classes as fractions, ``[n, C]``.
        temperature: the temperature, above 0; 1 leaves fractions as they are.

    >>> calibrated(torch.tensor([[0.8, 0.2]]), 0.5)
    tensor([[0.9412, 0.0588]], dtype=torch.float64)
    """
    check_number("temperature", temperature, above=0)
    return (_logs(fractions) / temperature).softmax(1)


def _logs(fractions: Tensor) -> Tensor:
    """Logarithms in float64; a fraction of 0 is taken for the smallest number."""
    return fractions.double().clamp(min=torch.finfo(torch.float64).tiny).log()


def _temperature(rises: Callable[[float], bool]) -> float:
    """The temperature up to whose inverse ``rises`` is true, or the nearer limit."""
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        if rises(middle):
            low = middle
        else:
            high = middle
    return 1 / (low * high) ** 0.5
