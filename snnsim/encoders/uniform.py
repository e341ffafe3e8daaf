"""Random numbers that depend on what they are for, and on nothing that was drawn before.

The number of a sample, a step and a unit is a hash of the seed and these three:

    h = mix(seed);  for k in (sample, step, unit):  h = mix(h + (k + 1) * 0x9E3779B97F4A7C15)
    u = (h >> 11) / 2**53

modulo 2**64, where mix is the finaliser of SplitMix64 (Steele, Lea & Flood 2014):

    z ^= z >> 30;  z *= 0xBF58476D1CE4E5B9;  z ^= z >> 27;  z *= 0x94D049BB133111EB;  z ^= z >> 31
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _signed(number: int) -> int:
    """A whole number of 64 bits as torch's int64 has the same bits."""
    return number - 2**64 if number >= 2**63 else number


GOLDEN = _signed(0x9E3779B97F4A7C15)
FIRST, SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def uniform(seed: int, samples: Tensor, steps: Tensor, units: Sequence[int]) -> Tensor:
    """Return random numbers in 0 .. 1 (1 excluded), float64, ``[T, B, *units]``.

    Args:
        seed: a seed from 0 to ``2**63 - 1``.
        samples: the numbers of the samples, ``[B]`` int64.
        steps: the numbers of the time steps of each sample, ``[T, B]`` int64.
        units: the shape of one time step of one sample.

    >>> first = uniform(0, torch.tensor([7]), torch.tensor([[0], [1]]), [3])
    >>> torch.equal(first[1:], uniform(0, torch.tensor([7]), torch.tensor([[1]]), [3]))
    True
    """
    numbers = torch.arange(math.prod(units), device=samples.device)
    seeded = _mix(torch.tensor(seed, device=samples.device))
    state = _with(_with(seeded, samples), steps)
    found = _with(state[..., None], numbers)
    return (_shifted(found, 11).double() / 2.0**53).view(*steps.shape, *units)


def _with(state: Tensor, key: Tensor) -> Tensor:
    return _mix(state + (key + 1) * GOLDEN)


def _mix(state: Tensor) -> Tensor:
    state = (state ^ _shifted(state, 30)) * FIRST
    state = (state ^ _shifted(state, 27)) * SECOND
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """Shifted to the right as if there were no sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)
