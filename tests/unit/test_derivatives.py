"""Derivatives are right or refused: forward mode, torch.func and second derivatives."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

import snnsim as sn
from snnsim.errors import BackendError

CHANNELS = 3
LAYERS = {
    "scan": lambda **k: sn.LIF(CHANNELS, dt=1.0, **k),
    "smooth scan": lambda **k: sn.LI(CHANNELS, dt=1.0, **k),
    "recurrent scan": lambda **k: sn.Recurrent(sn.ALIF(CHANNELS, dt=1.0, **k)),
    "delays": lambda **k: sn.Delayed(CHANNELS, 4, dt=1.0, max_delay_ms=4, **k),
    "narrow delays": lambda **k: sn.Delayed(CHANNELS, 4, dt=1.0, max_delay_ms=12, sigma=0.1, **k),
    "whole delays": lambda **k: sn.Delayed(
        CHANNELS, 4, dt=1.0, max_delay_ms=4, learn_delay=False, **k
    ),
    "normalised scan": lambda **k: sn.Sequential(
        sn.BatchNorm(CHANNELS), sn.LIF(CHANNELS, dt=1.0, **k), sn.Dropout(0.0)
    ).eval(),
    "network": lambda **k: sn.Sequential(
        sn.Delayed(CHANNELS, 4, dt=1.0, max_delay_ms=4, **k),
        sn.LIF(4, dt=1.0, **k),
        sn.Dense(4, 2),
        sn.LI(2, dt=1.0, **k),
    ),
}
COMPILED = {"scan": "cpu", "delays": "spectral", "whole delays": "one_tap", "recurrent scan": "cpu"}
KINDS = list(LAYERS)


def both(name):
    """The layer on automatic rungs and on the reference, with the same weights, and an input."""
    made = []
    for options in ({}, {"backend": "reference"}):
        torch.manual_seed(0)
        made.append(LAYERS[name](**options).double())
    x = 2 * torch.rand(6, 2, CHANNELS, dtype=torch.float64)
    return *made, x


def total(layer):
    """A number whose derivatives are not 0: outputs and states, weighted."""

    def function(x):
        y, _ = layer(x)
        return (y * torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view_as(y)).sum()

    return function


def reverse(function, x):
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(leaf), leaf)
    return slope


@pytest.mark.parametrize("name", KINDS)
def test_forward_mode_is_reverse_mode_along_a_direction(name):
    fast, slow, x = both(name)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    expected = float((reverse(total(slow), x) * direction).sum())
    assert abs(expected) > 1e-3
    for layer in (fast, slow):
        value, tangent = jvp(total(layer), (x,), (direction,))
        assert float(tangent) == pytest.approx(expected, rel=1e-9)
        with forward_ad.dual_level():
            out = total(layer)(forward_ad.make_dual(x, direction))
            assert float(forward_ad.unpack_dual(out).tangent) == pytest.approx(expected, rel=1e-9)
        assert float(value) == pytest.approx(float(total(slow)(x)), rel=1e-9)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("transform", [grad, jacrev, jacfwd])
def test_functional_derivatives_are_those_of_autograd(name, transform):
    fast, slow, x = both(name)
    expected = reverse(total(slow), x)
    assert torch.allclose(transform(total(fast))(x), expected, atol=1e-12)
    assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("name", KINDS)
def test_vmap_is_a_loop(name):
    fast, _, x = both(name)
    many = torch.stack([x, 0.5 * x, x.flip(0)])
    found = vmap(lambda each: fast(each)[0])(many)
    assert torch.allclose(found, torch.stack([fast(each)[0] for each in many]), atol=1e-12)


@pytest.mark.parametrize("name", [n for n in KINDS if list(LAYERS[n]().parameters())])
def test_functional_call_takes_parameters_from_outside(name):
    fast, slow, x = both(name)
    parameters = {n: p.detach() * 0.9 for n, p in fast.named_parameters()}

    def loss(layer):
        return lambda p: functional_call(layer, p, (x,))[0].square().sum()

    found = grad(loss(fast))(parameters)
    leaves = {n: p.clone().requires_grad_() for n, p in parameters.items()}
    wanted = [n for n, p in fast.named_parameters() if p.requires_grad]
    slopes = torch.autograd.grad(loss(slow)(leaves), [leaves[n] for n in wanted])
    for n, slope in zip(wanted, slopes, strict=True):
        assert torch.allclose(found[n], slope, atol=1e-10), n


@pytest.mark.parametrize("name", KINDS)
def test_second_derivatives_exist_on_the_reference_and_are_refused_elsewhere(name):
    fast, slow, x = both(name)

    def twice(layer):
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(total(layer)(leaf).square(), leaf, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), leaf)[0]

    expected = twice(slow)
    assert expected.abs().max() > 0
    try:
        found = twice(fast)  # sizes too small for a compiled rung
    except BackendError as error:
        assert "second" in str(error)
    else:
        assert torch.allclose(found, expected, atol=1e-9)


def test_second_derivatives_by_torch_func_are_those_of_finite_differences():
    layer = sn.LI(1, dt=1.0, tau_mem=3.0).double()
    x = torch.rand(4, 1, 1, dtype=torch.float64)

    def cubed(a):
        return layer(a)[0].pow(3).sum()

    found, step = hessian(cubed)(x).view(4, 4), 1e-5
    for i in range(4):
        shift = torch.zeros_like(x)
        shift[i] = step
        column = (grad(cubed)(x + shift) - grad(cubed)(x - shift)).view(4) / (2 * step)
        assert torch.allclose(found[i], column, atol=1e-6)


@pytest.mark.parametrize("name", COMPILED)
def test_a_named_rung_that_has_no_such_derivative_refuses(name):
    torch.manual_seed(0)
    layer = LAYERS[name](backend=COMPILED[name])
    x = torch.rand(40, 4, CHANNELS)
    with pytest.raises(BackendError, match="reverse mode"):
        jvp(lambda a: layer(a)[0], (x,), (x,))
    with pytest.raises(BackendError, match="reverse mode"):
        vmap(lambda a: layer(a)[0])(torch.stack([x, x]))
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(layer(leaf)[0].square().sum(), leaf, create_graph=True)
    with pytest.raises(BackendError, match="second"):
        torch.autograd.grad(slope.sum(), leaf)
