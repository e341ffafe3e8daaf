"""Defaults of the neuron models, and constants and widths of the surrogates, as documented."""

from __future__ import annotations

import math

import pytest
import torch

import snnsim as sn
from snnsim.surrogate import SURROGATES, ATan, FastSigmoid, MultiGaussian, Sigmoid, Slayer, Triangle

N = 4


pytestmark = pytest.mark.usefixtures("float64")


def test_the_defaults_of_a_lif():
    lif = sn.LIF(N, dt=1.0)
    assert (lif.reset.mode, lif.reset.detach) == ("subtract", True)
    assert lif.surrogate == ATan(alpha=2.0)
    assert (float(lif.tau_mem), float(lif.v_threshold), float(lif.v_reset)) == (20.0, 1.0, 0.0)
    assert lif.discretization == "exponential" and lif.options == {"scale_input": False}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IF", {"v_threshold": 1.0, "v_reset": 0.0}),
        ("PLIF", {"tau_mem": 20.0, "v_threshold": 1.0, "v_reset": 0.0}),
        ("CubaLIF", {"tau_syn": 10.0, "tau_mem": 20.0, "v_threshold": 1.0, "v_reset": 0.0}),
        ("ALIF", {"tau_mem": 20.0, "tau_adapt": 200.0, "adaptation": 0.17, "v_threshold": 1.0}),
        ("AdLIF", {"tau_mem": 20.0, "tau_adapt": 150.0, "a": 0.1, "b": 1.0, "v_threshold": 1.0}),
        ("SEAdLIF", {"tau_mem": 20.0, "tau_adapt": 150.0, "a": 60.0, "b": 120.0}),
        ("BRF", {"omega": 10.0, "damping_offset": 1.0, "refractory": 0.9, "v_threshold": 1.0}),
        ("Izhikevich", {"a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0, "v_threshold": 30.0}),
        ("LI", {"tau_mem": 20.0}),
    ],
)
def test_defaults_are_the_stated_ones(name, expected):
    neuron = getattr(sn, name)(N, dt=0.5)
    for key, value in expected.items():
        assert getattr(neuron, key).flatten()[0].item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("IF", "subtract"), ("LIF", "subtract"), ("CubaLIF", "subtract"), ("ALIF", "subtract"),
        ("AdLIF", "subtract"), ("PLIF", "zero"), ("SEAdLIF", "zero"), ("Izhikevich", "zero"),
        ("BRF", "none"), ("LI", "none"),
    ],
)  # fmt: skip
def test_a_model_resets_as_its_source_unless_told_otherwise(name, mode):
    assert getattr(sn, name)(N, dt=0.5).reset.mode == mode


# --- surrogates: height at the threshold, and where they have fallen to a given share -----------


@pytest.mark.parametrize(
    ("surrogate", "height", "place", "share"),
    [
        (ATan(alpha=5.0), 2.5, 2 / (5 * math.pi), 1 / 2),
        (ATan(), 1.0, 1 / math.pi, 1 / 2),
        (Sigmoid(alpha=6.0), 1.5, 0.2, 4 * math.exp(-1.2) / (1 + math.exp(-1.2)) ** 2),
        (Triangle(width=0.8, height=0.3), 0.3, 0.2, 3 / 4),
        (Triangle(width=0.8, height=0.3), 0.3, 0.8, 0.0),
        (FastSigmoid(alpha=10.0), 1.0, 0.1, 1 / 4),
        (Slayer(alpha=5.0, scale=0.4), 1.0, 0.2, 1 / math.e),
    ],
)
def test_surrogates_are_as_high_and_as_wide_as_their_formula(surrogate, height, place, share):
    for side in (-place, place):
        u = torch.tensor([0.0, side])
        peak, there = surrogate.derivative(u).tolist()
        assert peak == pytest.approx(height, rel=1e-12)
        assert there == pytest.approx(share * height, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("width", [1.0, 0.6])
def test_a_boxcar_is_as_wide_as_it_says_and_no_wider(width):
    boxcar = SURROGATES["boxcar"](width=width, height=0.5)
    u = width / 2 * torch.tensor([-1.001, -0.999, 0.0, 0.999, 1.001])
    assert boxcar.derivative(u).tolist() == [0.0, 0.5, 0.5, 0.5, 0.0]


def test_the_multi_gaussian_is_the_published_mixture():
    def normal(x, sigma):
        return math.exp(-(x**2) / (2 * sigma**2)) / math.sqrt(2 * math.pi * sigma**2)

    for u in (-1.7, -0.5, 0.0, 0.3, 2.0):
        side = normal(u - 0.5, 3.0) + normal(u + 0.5, 3.0)
        expected = 0.5 * (1.15 * normal(u, 0.5) - 0.15 * side)
        found = float(MultiGaussian().derivative(torch.tensor(u)))
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("atan", {"alpha": 2.0}),
        ("sigmoid", {"alpha": 4.0}),
        ("triangle", {"width": 1.0, "height": 1.0}),
        ("fast_sigmoid", {"alpha": 25.0}),
        ("boxcar", {"width": 1.0, "height": 0.5}),
        ("multi_gaussian", {"gamma": 0.5, "h": 0.15, "s": 6.0, "sigma": 0.5}),
        ("slayer", {"alpha": 5.0, "scale": 1.0}),
    ],
)
def test_a_surrogate_by_name_has_the_stated_constants(name, constants):
    made = SURROGATES[name]()
    assert {key: getattr(made, key) for key in constants} == constants


def test_a_parameter_that_is_learnt_by_name_stays_one_per_neuron_if_it_was_declared_so():
    class Own(sn.LIF):
        tau_mem = sn.Tau(5.0, per_neuron=True)

    assert Own(4, dt=1.0).tau_mem.shape == (4,)
    learnt = Own(4, dt=1.0, learn=("tau_mem",))
    assert learnt.raw_tau_mem.shape == (4,) and learnt.raw_tau_mem.requires_grad


@pytest.mark.parametrize("value", [0.3, 0.1, 7.7])
def test_float64_gives_back_the_digits_of_a_fixed_value_but_not_over_one_that_was_set(value):
    layer = sn.LIF(3, dt=1.0, v_threshold=value)
    assert float(layer.double().v_threshold) == value
    layer = sn.LIF(3, dt=1.0, v_threshold=value)
    layer.fixed_v_threshold.fill_(0.7)
    kept = float(layer.fixed_v_threshold)
    assert float(layer.double().v_threshold) == kept != value
