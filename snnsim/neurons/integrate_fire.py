"""Integrate-and-fire: a membrane without leak.

    u = v + x
    z = H(u - v_threshold)
    v = reset(u, z)

Source: Lapicque 1907; in this form Gerstner & Kistler 2002, section 4.1, without the leak.
"""

from __future__ import annotations

from snnsim.equations import spike
from snnsim.neurons.neuron import Neuron


class IF(Neuron):
    """``IF`` neurons integrate their input without leak and fire at the threshold.

    >>> import torch
    >>> z, state = IF(1, dt=1.0)(torch.tensor([0.6, 0.6, 0.6]).view(3, 1, 1))
    >>> z.flatten().tolist()
    [0.0, 1.0, 0.0]
    """

    state = ("v",)
    v_threshold, v_reset = 1.0, 0.0

    @staticmethod
    def step(x, v, *, v_threshold, v_reset, reset):
        u = v + x
        z = spike(u - v_threshold)
        return z, (reset(u, z, v_threshold, v_reset),)
