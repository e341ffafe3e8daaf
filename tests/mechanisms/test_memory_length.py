"""How far back a linear model depends on its input, against impulses in float64 (2405.15731)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snnsim.analysis.memory import kernel_norms, linear_models
from snnsim.analysis.operators import mean_lag
from snnsim.baselines import get
from snnsim.baselines.ltv import memory_steps


def by_impulses(L, B, C):
    """The response of the last output to an impulse in each channel, for each lag, by the loop."""
    steps, _, n_in = B.shape
    found = []
    for lag in range(steps):
        response = np.zeros((C.shape[1], n_in))
        for channel in range(n_in):
            h = np.zeros(B.shape[1])
            for t in range(steps):
                x = np.zeros(n_in)
                x[channel] = float(t == steps - 1 - lag)
                h = (L[t] * h if L.ndim == 2 else L[t] @ h) + B[t] @ x
            response[:, channel] = C[-1] @ h
        found.append(np.sqrt((response**2).sum()))
    return np.array(found)


@pytest.mark.parametrize("name", linear_models())
def test_kernels_are_the_responses_to_impulses(name):
    torch.manual_seed(0)
    net = get(name)(3, 4).double()
    with torch.no_grad():
        matrices = net.ltv(torch.rand(7, 1, 3, dtype=torch.float64))
        L, B, C = (each[:, 0].numpy() for each in matrices[:3])
        expected = by_impulses(L, B, C)
        np.testing.assert_allclose(kernel_norms(matrices).numpy(), expected, rtol=1e-10)
    lags = np.arange(7)
    assert mean_lag(expected) == pytest.approx((lags * expected).sum() / expected.sum(), rel=1e-12)


def test_a_state_that_keeps_more_of_itself_remembers_longer():
    """Without the decays all kernels are alike: a state that forgets at once reaches nowhere."""
    torch.manual_seed(0)
    x = torch.rand(30, 1, 3, dtype=torch.float64)
    reach, memory = [], []
    for bias in (-20.0, 0.0, 3.0):
        net = get("quasi-lstm")(3, 4).double()
        with torch.no_grad():
            net.gates.bias[:4] = bias
            matrices = net.ltv(x)
            reach.append(mean_lag(kernel_norms(matrices).numpy()))
            memory.append(float(memory_steps(matrices).median()))
    assert reach[0] < 1e-6 and memory[0] == pytest.approx(1)
    assert reach[0] < reach[1] - 0.3 < reach[2] - 5
    assert memory[0] < memory[1] < memory[2]
