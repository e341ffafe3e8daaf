"""Leaky integrator: a membrane that never fires, whose value is the output (read-out).

    v = decay_mem * v + x                      (scale_input: (1 - decay_mem) * x)

Source: the read-out of Hammouamri et al. 2024, arXiv:2306.17670.
"""

from __future__ import annotations

from torch import Tensor

from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Tau


class LI(Neuron):
    """``LI`` neurons are leaky integrators that never fire; their output is the membrane ``v``.

    >>> import torch
    >>> y, state = LI(1, tau_mem=20.0, dt=10.0, discretization="euler")(torch.ones(3, 1, 1))
    >>> y.flatten().tolist()
    [1.0, 1.5, 1.75]
    """

    state = ("v",)
    resets = ("none",)
    default_reset = "none"
    tau_mem = Tau(20.0)
    scale_input = False

    @staticmethod
    def step(x, v, *, decay_mem, scale_input):
        v = decay_mem * v + ((1 - decay_mem) * x if scale_input else x)
        return v, (v,)

    def voltage(
        self,
        x: Tensor,
        state: dict[str, Tensor] | None = None,
        feedback: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the membrane at every time step, ``[T, B, *n]``; it is never reset."""
        return self.trace(x, state, feedback)[1]["v"]
