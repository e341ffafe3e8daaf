"""Surrogates: each derivative is that of its primitive; known values; names."""

from __future__ import annotations

import pytest
import torch

from snnsim.equations import spike, using_surrogate
from snnsim.errors import ConfigError
from snnsim.surrogate import SURROGATES, ATan, Slayer, get_surrogate

each = pytest.mark.parametrize("name", SURROGATES)
OTHER = {"alpha": 3.3, "width": 0.7, "height": 0.4, "gamma": 0.8, "h": 0.3, "s": 4.0, "sigma": 0.6}


def variants(name):
    """The default and one with every constant changed."""
    cls = SURROGATES[name]
    fields = [f for f in cls.__dataclass_fields__ if f in OTHER]
    return [cls(), cls(**{f: OTHER[f] for f in fields})]


@each
def test_derivative_is_the_slope_of_the_primitive(name):
    u = torch.linspace(-2.03, 2.01, 997).double()
    for surrogate in variants(name):
        h = 1e-6
        slope = (surrogate.primitive(u + h) - surrogate.primitive(u - h)) / (2 * h)
        edge = getattr(surrogate, "width", 0.0)
        smooth = torch.ones_like(u, dtype=torch.bool)
        for kink in (edge / 2, edge, 0.0):
            smooth &= (u.abs() - kink).abs() > 1e-4
        difference = (slope - surrogate.derivative(u)).abs()[smooth]
        assert float(difference.max()) < 1e-6


@each
def test_far_from_the_threshold_everything_is_finite(name):
    u = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4])
    surrogate = get_surrogate(name)
    assert bool(torch.isfinite(surrogate.derivative(u)).all())
    assert bool(torch.isfinite(surrogate.primitive(u)).all())


@each
def test_the_spike_is_a_step_forward_and_the_surrogate_backward(name):
    u = torch.tensor([-0.2, 0.0, 0.3], requires_grad=True)
    surrogate = get_surrogate(name)
    with using_surrogate(surrogate):
        z = spike(u)
    z.sum().backward()
    assert z.tolist() == [0.0, 1.0, 1.0]
    assert torch.equal(u.grad, surrogate.derivative(u.detach()))


@each
def test_smoothed_uses_the_primitive_in_both_directions(name):
    u = torch.linspace(-1, 1, 7)
    smooth = get_surrogate(name).smoothed()
    assert torch.equal(smooth.forward(u), smooth.primitive(u))


def test_published_constants():
    assert (
        ATan(alpha=5.0).derivative(torch.tensor(0.0)).item() == 2.5
    )  # peak of the reference system
    assert Slayer(alpha=5.0, scale=0.4).derivative(torch.tensor(0.0)).item() == pytest.approx(1.0)


def test_names_and_wrong_names():
    assert get_surrogate(ATan(alpha=7.0)) == ATan(alpha=7.0)
    with pytest.raises(ConfigError, match="did you mean 'sigmoid'"):
        get_surrogate("sigmod")
