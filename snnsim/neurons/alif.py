"""Adaptive LIF: each spike raises the threshold, which decays back.

    threshold = v_threshold + adaptation * a
    u = decay_mem * v + x
    z = H(u - threshold)
    v = reset(u, z)                            (subtract: by v_threshold)
    a = decay_adapt * a + z

Source: Bellec et al. 2020, doi:10.1038/s41467-020-17236-y, equations 6 to 8.
"""

from __future__ import annotations

from snnsim.equations import spike
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Parameter, Tau


class ALIF(Neuron):
    """``ALIF`` neurons are leaky integrate-and-fire neurons with an adaptive threshold.

    >>> import torch
    >>> z, state = ALIF(1, dt=1.0)(torch.full((5, 1, 1), 1.5))
    >>> bool(state["a"] > 0)
    True
    """

    state = ("v", "a")
    tau_mem, tau_adapt = Tau(20.0), Tau(200.0)
    adaptation = Parameter(0.17, low=0.0)
    v_threshold, v_reset = 1.0, 0.0

    @staticmethod
    def step(x, v, a, *, decay_mem, decay_adapt, adaptation, v_threshold, v_reset, reset):
        u = decay_mem * v + x
        z = spike(u - (v_threshold + adaptation * a))
        return z, (reset(u, z, v_threshold, v_reset), decay_adapt * a + z)
