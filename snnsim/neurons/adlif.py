"""Adaptive LIF with an adaptation current (adLIF), forward-Euler form.

    u = decay_mem * v + (1 - decay_mem) * (x - w)
    z = H(u - v_threshold)
    w = decay_adapt * w + (1 - decay_adapt) * (a * v + b * z)      (v: of the step before)
    v = reset(u, z)

Source: Bittar & Garner 2022, doi:10.3389/fnins.2022.865897, in the notation of Baronig et al.
2025, arXiv:2408.07517 (equations of the Euler-forward discretisation). ``a`` couples the
adaptation to the membrane (``0 .. 1`` there), ``b`` to the spikes (``0 .. 2`` there).
"""

from __future__ import annotations

from snnsim.equations import spike
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Parameter, Tau


class AdLIF(Neuron):
    """Leaky integrate-and-fire neurons with an adaptation current.

    >>> import torch
    >>> z, state = AdLIF(1, dt=1.0)(torch.full((50, 1, 1), 3.0))
    >>> bool(z.sum() > 0)
    True
    """

    state = ("v", "w")
    default_reset = "zero"
    tau_mem, tau_adapt = Tau(20.0), Tau(150.0)
    a, b = Parameter(0.5, low=0.0), Parameter(1.0, low=0.0)
    v_threshold, v_reset = 1.0, 0.0

    @staticmethod
    def step(x, v, w, *, decay_mem, decay_adapt, a, b, v_threshold, v_reset, reset):
        u = decay_mem * v + (1 - decay_mem) * (x - w)
        z = spike(u - v_threshold)
        w = decay_adapt * w + (1 - decay_adapt) * (a * v + b * z)
        return z, (reset(u, z, v_threshold, v_reset), w)
