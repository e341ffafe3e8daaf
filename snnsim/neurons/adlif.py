"""Adaptive LIF with an adaptation current (adLIF).

    u = decay_mem * v + (1 - decay_mem) * (x - w)
    z = H(u - v_threshold)
    v = reset(u, z)
    w = decay_adapt * w + a * u + b * z

Source: Bittar & Garner 2022, doi:10.3389/fnins.2022.865897; their step begins with the update of
``w`` from the previous ``u`` and ``z``, which is the end of ours. ``a`` couples the adaptation to
the membrane (``-1 .. 1`` there), ``b`` to the spikes (``0 .. 2`` there). Where
``a < decay_adapt - 1``, ``u`` and ``w`` drive each other and grow without bound (the characteristic
polynomial of the step is negative at 1); with ``a >= 0`` they oscillate at most.
"""

from __future__ import annotations

from snnsim.equations import spike
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Parameter, Tau


class AdLIF(Neuron):
    """``AdLIF`` neurons are leaky integrate-and-fire neurons with an adaptation current.

    >>> import torch
    >>> z, state = AdLIF(1, dt=1.0)(torch.full((50, 1, 1), 3.0))
    >>> bool(z.sum() > 0)
    True
    """

    state = ("v", "w")
    tau_mem, tau_adapt = Tau(20.0), Tau(150.0)
    a, b = Parameter(0.1), Parameter(1.0, low=0.0)
    v_threshold, v_reset = 1.0, 0.0

    @staticmethod
    def step(x, v, w, *, decay_mem, decay_adapt, a, b, v_threshold, v_reset, reset):
        u = decay_mem * v + (1 - decay_mem) * (x - w)
        z = spike(u - v_threshold)
        return z, (reset(u, z, v_threshold, v_reset), decay_adapt * w + a * u + b * z)
