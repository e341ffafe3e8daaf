"""Differentiation on spike representation: backpropagation through firing rates.

A leaky integrate-and-fire neuron that sends spikes of height ``v_threshold / dt`` has, over
``T`` steps, the weighted firing rate ``r`` (weights ``w_t`` that sum to 1 and grow with the
decay of the membrane towards the end) of about

    r = clamp(sum_t w_t x_t / tau, 0, v_threshold / dt)

Forward runs the spikes, backward differentiates this. Source: Meng, Xiao, Yan, Wang, Lin & Luo
2022 (CVPR, arXiv:2205.00459), equations 6 to 12.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnsim.equations import spike
from snnsim.layer import Layer
from snnsim.networks import Repeat, Sequential, Skip
from snnsim.neurons import Neuron, Parameter, Tau
from snnsim.synapses import Dense, OverTime
from snnsim.units import tau_to_decay


def weights_over_time(steps: int, decay: float, like: Tensor) -> Tensor:
    """Return ``decay^(T - t)`` for ``t = 1 .. T``, normalised to sum to 1.

    Args:
        steps: the number of time steps ``T``.
        decay: the decay per step, from 0 to 1.
        like: a tensor whose number type and device the weights get.

    >>> weights_over_time(2, 0.5, torch.zeros(1)).tolist()
    [0.3333333432674408, 0.6666666865348816]
    """
    after = torch.arange(steps - 1, -1, -1, dtype=like.dtype, device=like.device)
    weights = decay**after
    return weights / weights.sum()


def weighted_mean(y: Tensor, decay: float) -> Tensor:
    """Return the mean of ``y [T, B, ...]`` over time, weighted by :func:`weights_over_time`."""
    return torch.einsum("t,t...->...", weights_over_time(y.shape[0], decay, y), y)


class Carry(torch.autograd.Function):
    """Pass on ``values [T, ...]``, whose gradient goes, summed over time, to ``rate [...]``."""

    @staticmethod
    def forward(ctx, values: Tensor, rate: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        return None, grads[0].sum(0)


class _Integrator(Neuron):
    """``u = d v + (1 - d) x;  z = H(u - fire);  v = u - z``, in units of the threshold."""

    state = ("v",)
    tau_mem, fire = Tau(1.0), Parameter(0.3)

    @staticmethod
    def step(x, v, *, decay_mem, fire):
        u = decay_mem * v + (1 - decay_mem) * x
        z = spike(u - fire)
        return z, (u - z,)


class RateLIF(Layer):
    """``RateLIF`` neurons are LIF neurons trained by differentiation on spike representation.

    Args:
        n: the number of neurons, or their shape.
        dt, tau: the time step and the membrane time constant, in the same unit.
        v_threshold: the initial value of the threshold; there is one per layer, which is learned
            and stays at 5e-4 or above. It is also what a spike subtracts.
        fire: the fraction of the threshold at which a neuron fires.

    Call: ``[T, B, *n] -> [T, B, *n]``, spikes of height ``v_threshold / dt``. Gradients flow to
    ``x`` and ``v_threshold`` through the clamped weighted rate.

    >>> x = torch.full((20, 1, 1), 3.0, requires_grad=True)
    >>> y, _ = RateLIF(1)(x)
    >>> weighted_mean(y, RateLIF(1).decay).sum().backward()
    >>> round(float(x.grad.sum()), 4)
    1.0
    """

    def __init__(
        self,
        n: Any,
        dt: float = 0.05,
        tau: float = 1.0,
        v_threshold: float = 0.3,
        fire: float = 0.3,
    ):
        super().__init__()
        self.dt, self.tau = dt, tau
        self.v_threshold = nn.Parameter(torch.tensor(v_threshold))
        self.neuron = _Integrator(n, dt=dt, tau_mem=tau, fire=fire)

    @property
    def decay(self) -> float:
        """Return the decay of the membrane per step, which also weights the firing rates."""
        return tau_to_decay(self.tau, self.dt)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        threshold = self.v_threshold.clamp(min=5e-4)
        with torch.no_grad():
            z, state = self.neuron(x / threshold, state)
        height = threshold / self.dt
        rate = torch.minimum((weighted_mean(x, self.decay) / self.tau).clamp(min=0), height)
        y: Tensor = Carry.apply(z.mul_(height.detach()), rate)
        return y, state


# What passes on sequences whose gradients at all steps are one, times the weights of a rate.
_LINEAR = (nn.Conv1d, nn.Conv2d, nn.AvgPool1d, nn.AvgPool2d, nn.Flatten, Dense, OverTime, Repeat)
_AROUND = (nn.ModuleList, Sequential, Skip, RateLIF, _Integrator)


def decay_of_rates(net: nn.Module) -> float | None:
    """Return the decay of the neurons of a network that works by firing rates alone.

    Returns:
        ``None`` if the network has other neurons, or layers whose gradient differs between steps by
        more than the weights of a rate (batch normalisation, maxima, delays, dropout).

    >>> decay_of_rates(Sequential(Dense(2, 3), RateLIF(3))) == RateLIF(3).decay
    True
    """
    modules = list(net.modules())
    decays = {m.decay for m in modules if isinstance(m, RateLIF)}
    alone = all(isinstance(m, _LINEAR + _AROUND) for m in modules)
    return decays.pop() if alone and len(decays) == 1 else None
