"""The derived adjoint equals autograd: every neuron, reset and surrogate, in float64."""

from __future__ import annotations

import pytest
import torch
from models import drive, make, neuron_classes

from snnsim.kernels.compile import interpret
from snnsim.kernels.derive import Equations
from snnsim.kernels.scan import cpu, reference
from snnsim.surrogate import SURROGATES

T, B, N = 7, 2, 3


pytestmark = pytest.mark.usefixtures("float64")


CASES = [
    pytest.param(cls, reset, detach, surrogate, id=f"{cls.__name__}-{reset}-{detach}-{surrogate}")
    for cls in neuron_classes()
    for reset in cls.resets
    for detach in (True, False)
    for surrogate in SURROGATES
]


def interpreted(equations: Equations, x, state, params, g_y, g_final):
    """The kernels' own source, run as plain Python."""
    kernels = interpret(cpu.source(equations, (True,) * params.shape[0]), "float64")
    y, final = torch.empty_like(x), state.clone()
    kernels.forward(*(a.numpy() for a in (x, final, params, y)), 0, B)
    g_x, g_state = torch.empty_like(x), g_final.clone()
    g_params = torch.zeros(params.shape[0], B, N)
    arrays = (x, state, params, g_y, g_x, g_state, g_params)
    kernels.backward(*(a.numpy() for a in arrays), 0, B)
    return y, final, g_x, g_state, g_params.sum(1)


@pytest.mark.parametrize(("cls", "reset", "detach", "surrogate"), CASES)
def test_derived_adjoint_equals_autograd(cls, reset, detach, surrogate):
    neuron = make(cls, N, reset=reset, detach_reset=detach, surrogate=surrogate)
    x = drive(cls, T, B, N, seed=1)
    generator = torch.Generator().manual_seed(2)
    noise = torch.rand(len(cls.state), B, N, generator=generator)
    state = neuron.pack_state(x, None) + noise
    params = neuron.packed_parameters(x).detach()
    inputs = [a.clone().requires_grad_() for a in (x, state, params)]
    y, final = reference.scan(neuron.equations, *inputs)
    g_y = torch.randn(y.shape, generator=generator)
    g_final = torch.randn(final.shape, generator=generator)
    gradients = torch.autograd.grad((y, final), inputs, (g_y, g_final), allow_unused=True)
    expected = [y, final] + [
        torch.zeros_like(a) if g is None else g for a, g in zip(inputs, gradients, strict=True)
    ]
    found = interpreted(neuron.equations, x, state, params, g_y, g_final)
    for name, a, b in zip(
        ("y", "final", "g_x", "g_state", "g_params"), expected, found, strict=True
    ):
        scale = max(1.0, float(a.detach().abs().max()))
        assert float((a - b).detach().abs().max()) <= 1e-10 * scale, name


def test_the_cases_fire_and_stay_silent():
    """Otherwise the comparison above would not meet both sides of the threshold."""
    for cls in neuron_classes():
        neuron = make(cls, N)
        y, _ = neuron(drive(cls, T, B, N, seed=1))
        if cls.__name__ != "LI":
            assert 0 < float(y.detach().sum()) < y.numel(), cls.__name__
