"""Leaky integrate-and-fire.

    u = decay_mem * v + x                      (scale_input: (1 - decay_mem) * x)
    z = H(u - v_threshold)
    v = reset(u, z)

Source: Gerstner & Kistler 2002, equation 4.3, with the input as the solution of the leak
between two steps. ``scale_input=False`` with ``discretization="euler"`` and ``reset="zero"``
is the neuron of Hammouamri, Khalfaoui-Hassani & Masquelier 2024 (arXiv:2306.17670).
"""

from __future__ import annotations

from snnsim.equations import spike
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Tau


class LIF(Neuron):
    """``LIF`` neurons integrate their input with a leak and fire at the threshold.

    >>> import torch
    >>> x = torch.tensor([0.5, 0.0, 0.6, 2.0, 0.9, 1.0]).view(6, 1, 1)
    >>> lif = LIF(1, tau_mem=10.05, dt=10.0, discretization="euler", reset="zero")
    >>> lif(x)[0].flatten().tolist()
    [0.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    """

    state = ("v",)
    tau_mem = Tau(20.0)
    v_threshold, v_reset = 1.0, 0.0
    scale_input = False

    @staticmethod
    def step(x, v, *, decay_mem, v_threshold, v_reset, scale_input, reset):
        u = decay_mem * v + ((1 - decay_mem) * x if scale_input else x)
        z = spike(u - v_threshold)
        return z, (reset(u, z, v_threshold, v_reset),)
