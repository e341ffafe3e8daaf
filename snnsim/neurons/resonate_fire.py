"""Balanced resonate-and-fire (BRF).

    damping = boundary(omega) - damping_offset - q,  boundary = (sqrt(1 - (s * omega)^2) - 1) / s
    v_next  = v + s * (damping * v - omega * i + x)
    i_next  = i + s * (omega * v + damping * i)
    z       = H(v_next - v_threshold - q)
    q       = refractory * q + z

with ``s = dt / 1000``, the step in seconds. ``q`` both raises the threshold and adds damping
after a spike, and ``boundary`` is the damping at which the discrete oscillator neither grows
nor shrinks, so no ``omega`` with ``s * omega < 1`` can diverge. There is no other reset.

Source: Higuchi et al. 2024, arXiv:2402.14603, equations 7 to 13 (refractory decay 0.9).
"""

from __future__ import annotations

from dataclasses import replace

from snnsim.equations import spike, sqrt
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Parameter, as_parameter
from snnsim.units import check_dt


class BRF(Neuron):
    """``BRF`` neurons are balanced resonate-and-fire neurons.

    ``omega`` is the angular frequency in rad/s, ``damping_offset`` a rate in 1/s.

    >>> import torch
    >>> z, state = BRF(1, dt=10.0)(torch.full((20, 1, 1), 50.0))
    >>> bool(z.sum() > 0)
    True
    """

    state = ("v", "i", "q")
    resets = ("none",)
    default_reset = "none"
    omega, damping_offset = Parameter(10.0, low=0.0), Parameter(1.0, low=0.0)
    refractory = Parameter(0.9, low=0.0, high=1.0)
    v_threshold = 1.0

    def __init__(self, n, *, dt, **options):
        fastest = 1000.0 / check_dt(dt)  # rad/s; beyond it the discrete oscillator has no boundary
        given = as_parameter(type(self)._declared["omega"], options.pop("omega", 10.0))
        super().__init__(n, dt=dt, omega=replace(given, high=fastest), **options)

    @staticmethod
    def step(x, v, i, q, *, omega, damping_offset, refractory, v_threshold, dt):
        s = dt / 1000
        damping = (sqrt(1 - (s * omega) ** 2) - 1) / s - damping_offset - q
        v_next = v + s * (damping * v - omega * i + x)
        i_next = i + s * (omega * v + damping * i)
        z = spike(v_next - v_threshold - q)
        return z, (v_next, i_next, refractory * q + z)
