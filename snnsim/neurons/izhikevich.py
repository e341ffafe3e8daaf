"""Izhikevich's two-variable neuron, forward Euler.

    u = v + dt * (0.04 * v^2 + 5 * v + 140 - w + x)
    w' = w + dt * a * (b * v - w)
    z = H(u - v_threshold)
    v = u * (1 - z) + c * z
    w = w' + d * z

Source: Izhikevich 2003, doi:10.1109/TNN.2003.820440, equations 1 to 3; voltages in mV, time
in ms. The reset is the model's own (``"zero"`` here means: to ``c``). Forward Euler needs a
``dt`` of 1 ms or less.
"""

from __future__ import annotations

from snnsim.equations import spike
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Parameter


class Izhikevich(Neuron):
    """``Izhikevich`` neurons follow Izhikevich's two equations; by default they spike regularly.

    >>> import torch
    >>> z, state = Izhikevich(1, dt=0.5)(torch.full((200, 1, 1), 10.0))
    >>> bool(z.sum() > 0)
    True
    """

    state = ("v", "w")
    initial = {"v": -65.0, "w": -13.0}
    resets = ("zero",)
    default_reset = "zero"
    a, b = Parameter(0.02, low=0.0), Parameter(0.2)
    c, d = Parameter(-65.0), Parameter(8.0)
    v_threshold = 30.0

    @staticmethod
    def step(x, v, w, *, a, b, c, d, v_threshold, dt, reset):
        u = v + dt * (0.04 * v * v + 5 * v + 140 - w + x)
        w = w + dt * a * (b * v - w)
        z = spike(u - v_threshold)
        gate = reset.gate(z)
        return z, (u * (1 - gate) + c * gate, w + d * gate)
