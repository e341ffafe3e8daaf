"""Current-based LIF: a synaptic current in front of the membrane.

    i = decay_syn * i + x
    u = decay_mem * v + i                      (scale_input: (1 - decay_mem) * i)
    z = H(u - v_threshold)
    v = reset(u, z)

Source: Cramer et al. 2020, doi:10.1109/TNNLS.2020.3044364, equations 1 and 2 in discrete
form; here the current reaches the membrane in the same step.
"""

from __future__ import annotations

from snnsim.equations import spike
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Tau


class CubaLIF(Neuron):
    """``CubaLIF`` neurons are LIF neurons with an exponentially decaying synaptic current.

    >>> import torch
    >>> x = torch.zeros(3, 1, 1); x[0] = 0.5
    >>> z, state = CubaLIF(1, dt=1.0, tau_mem=10.0, tau_syn=5.0)(x)
    >>> sorted(state)
    ['i', 'v']
    """

    state = ("i", "v")
    tau_syn, tau_mem = Tau(10.0), Tau(20.0)
    v_threshold, v_reset = 1.0, 0.0
    scale_input = False

    @staticmethod
    def step(x, i, v, *, decay_syn, decay_mem, v_threshold, v_reset, scale_input, reset):
        i = decay_syn * i + x
        u = decay_mem * v + ((1 - decay_mem) * i if scale_input else i)
        z = spike(u - v_threshold)
        return z, (i, reset(u, z, v_threshold, v_reset))
