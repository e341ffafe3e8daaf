"""Every operator that is declared: torch's own checks of both passes, and its reference."""

from __future__ import annotations

import pytest
import torch

import snnsim as sn
from snnsim.kernels import dispatch
from snnsim.kernels.delay_conv import events, one_tap, spectral, taps  # noqa: F401 - they declare
from snnsim.kernels.normalised_scan import Normalisation, normalised, normalised_scan
from snnsim.kernels.normalised_scan import reference as normalised_reference
from snnsim.kernels.operator import DECLARED

T, B, M, N, K, D = 9, 3, 4, 5, 2, 7
CUBA = sn.CubaLIF(N, dt=1.0).double()


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def scanned():
    params = CUBA.packed_parameters(torch.zeros(1, dtype=torch.float64)).detach()
    return normal(T, B, N), normal(len(CUBA.state), B, N), params.requires_grad_()


def delayed():
    delay = (torch.rand(N, M, K, dtype=torch.float64) * (D - 1)).requires_grad_()
    return (
        normal(N, M, K),
        delay,
        torch.full((1,), 0.1, dtype=torch.float64, requires_grad=True),
    )


LEARNT = [True] * len(CUBA.equations.params)
KEY = dispatch.key_of(CUBA.equations)
NORMALISED = dispatch.key_of(normalised(CUBA.equations, False))


def of_normalised():
    rest = (torch.ones(N, dtype=torch.float64, requires_grad=True), normal(N))
    return (*scanned(), *rest, 1e-5, NORMALISED, LEARNT, "cpu")


SAMPLES = {
    "scan": lambda: (*scanned(), KEY, LEARNT, "cpu"),
    "recurrent_scan": lambda: (*scanned(), normal(N, N), normal(B, N), KEY, LEARNT, "cpu"),
    "normalised_scan": of_normalised,
    "spectral_conv": lambda: (normal(T, B, M), normal(D, N, M), T + 2),
    "one_tap_conv": lambda: (
        normal(T, B, M),
        normal(N, M, K),
        delayed()[1].detach(),
        D,
        T,
    ),
    "event_conv": lambda: (normal(T, B, M), *delayed(), D, "gauss", T),
    "delay_taps": lambda: (*delayed(), D, "gauss"),
}


def test_every_operator_has_a_sample_here():
    assert DECLARED.keys() == SAMPLES.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_an_operator_is_what_torch_wants_of_one(name):
    torch.manual_seed(0)
    checked = torch.library.opcheck(getattr(torch.ops.snnsim, name).default, SAMPLES[name]())
    assert set(checked.values()) == {"SUCCESS"}


# spikes jump, and a surrogate is no derivative: the adjoints of scans are tested as such
SMOOTH = [name for name in SAMPLES if "scan" not in name]


@pytest.mark.parametrize("name", SMOOTH)
def test_a_gradient_is_that_of_differences_where_nothing_jumps(name):
    torch.manual_seed(1)
    tensors = SAMPLES[name]()
    assert torch.autograd.gradcheck(DECLARED[name].forward, tensors, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLES)
def test_only_the_gradients_that_are_wanted_are_given(name):
    torch.manual_seed(0)
    arguments = SAMPLES[name]()
    tensors = [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
    whole = torch.autograd.grad(loss(name, arguments), tensors)
    for place, tensor in enumerate(tensors):
        alone = [
            a.detach() if isinstance(a, torch.Tensor) and a is not tensor else a for a in arguments
        ]
        (found,) = torch.autograd.grad(loss(name, alone), tensor)
        torch.testing.assert_close(found, whole[place], rtol=1e-12, atol=1e-12)


def loss(name, arguments):
    found = DECLARED[name].forward(*arguments)
    y = found[0] if isinstance(found, tuple) else found
    return (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum()


@pytest.mark.parametrize("masked", [True, False])
def test_a_normalised_scan_is_its_reference_with_all_gradients(masked):
    torch.manual_seed(0)
    tensors = of_normalised()[:5]
    mask = (torch.rand(B, N) < 0.5).double() * 2 if masked else None
    x, state, params, weight, bias = tensors
    given = (CUBA.equations, x, state, mask, params, Normalisation(weight, bias, 1e-5))
    found = normalised_scan(*given, LEARNT, "cpu")
    expected = normalised_reference.normalised_scan(*given)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    grads = [
        torch.autograd.grad((y * y).sum() + final.sum(), tensors)
        for y, final, *_ in (found, expected)
    ]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
