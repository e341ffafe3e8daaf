"""Parametric LIF: a leaky integrate-and-fire neuron that learns its time constant.

    u = v + (x - v) * sigmoid(w)               that is decay_mem = 1 - sigmoid(w)
    z = H(u - v_threshold)
    v = reset(u, z)

Source: Fang et al. 2021, arXiv:2007.05785, equations 5 to 8. One time constant is shared by
the layer, as there; ``tau_mem=sn.Tau(20.0, learnable=True, per_neuron=True)`` learns one each.
The stored parameter ``raw_tau_mem`` is ``-w``.
"""

from __future__ import annotations

from snnsim.neurons.lif import LIF
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Tau


class PLIF(Neuron):
    """``PLIF`` neurons are leaky integrate-and-fire neurons that learn their time constant.

    >>> [name for name, _ in PLIF(3, dt=1.0).named_parameters()]
    ['raw_tau_mem']
    """

    state = ("v",)
    default_reset = "zero"
    tau_mem = Tau(20.0, learnable=True)
    v_threshold, v_reset = 1.0, 0.0
    scale_input = True
    step = staticmethod(LIF.step)
