"""adLIF in symplectic-Euler form (SE-adLIF): the adaptation sees the new membrane.

    u = decay_mem * v + (1 - decay_mem) * (x - w)
    z = H(u - v_threshold)
    v = reset(u, z)
    w = decay_adapt * w + (1 - decay_adapt) * (a * v + b * z)      (v: the one just computed)

Source: Baronig et al. 2025, arXiv:2408.07517 (symplectic-Euler discretisation). It keeps the
oscillations of the continuous model, which forward Euler damps or blows up. Their code writes
``a`` and ``b`` as a factor (120 on SHD) times numbers in ``0 .. 1`` and ``0 .. 2``; the defaults
here are the middle of those ranges times that factor.
"""

from __future__ import annotations

from snnsim.equations import spike
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Parameter, Tau


class SEAdLIF(Neuron):
    """``SEAdLIF`` neurons are adLIF neurons with the symplectic-Euler update.

    >>> import torch
    >>> z, state = SEAdLIF(1, dt=1.0)(torch.full((50, 1, 1), 60.0))
    >>> bool(z.sum() > 0)
    True
    """

    state = ("v", "w")
    default_reset = "zero"
    tau_mem, tau_adapt = Tau(20.0), Tau(150.0)
    a, b = Parameter(60.0, low=0.0), Parameter(120.0, low=0.0)
    v_threshold, v_reset = 1.0, 0.0

    @staticmethod
    def step(x, v, w, *, decay_mem, decay_adapt, a, b, v_threshold, v_reset, reset):
        u = decay_mem * v + (1 - decay_mem) * (x - w)
        z = spike(u - v_threshold)
        v = reset(u, z, v_threshold, v_reset)
        return z, (v, decay_adapt * w + (1 - decay_adapt) * (a * v + b * z))
