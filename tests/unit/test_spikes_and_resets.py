"""The spike and its surrogate gradients, alone and in a context; resets; vocabulary of a step."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import snnsim as sn
from snnsim import elementary
from snnsim.equations import detach, spike, symbolic_functions, using_surrogate
from snnsim.errors import ConfigError
from snnsim.neurons.reset import RESETS, Reset
from snnsim.surrogate import (
    SURROGATES,
    ATan,
    Boxcar,
    FastSigmoid,
    MultiGaussian,
    Sigmoid,
    Slayer,
    Surrogate,
    Triangle,
    get_surrogate,
)

POINTS = (-2.3, -0.7, -0.35, -0.05, 0.0, 0.05, 0.2, 0.35, 0.7, 2.3)


def slope_of_spike(u=0.3):
    leaf = torch.tensor([u], requires_grad=True)
    (slope,) = torch.autograd.grad(spike(leaf).sum(), leaf)
    return float(slope)


def slope_of(surrogate, u=0.3):
    return float(surrogate.derivative(torch.tensor(u)))


# --- formulas -------------------------------------------------------------------------------------


def normal(x, sigma):
    return math.exp(-0.5 * (x / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


def cumulative(x, sigma):
    return 0.5 * (1 + math.erf(x / (sigma * math.sqrt(2))))


def mixture(part):
    def of(u):
        side = part(u - 0.4, 1.2) + part(u + 0.4, 1.2)
        return 0.8 * (1.3 * part(u, 0.4) - 0.3 * side)

    return of


def triangle(u):
    """The area under a triangle of width 0.7 and height 0.4 on the left of ``u``."""
    at = min(max(u, -0.7), 0.7)
    left = 0.4 * (0.7 + at) ** 2 / (2 * 0.7)
    return left if at <= 0 else 0.4 * 0.7 - 0.4 * (0.7 - at) ** 2 / (2 * 0.7)


FORMULAS = [  # surrogate, derivative, primitive
    (
        ATan(alpha=3.3),
        lambda u: 1.65 / (1 + (math.pi / 2 * 3.3 * u) ** 2),
        lambda u: math.atan(math.pi / 2 * 3.3 * u) / math.pi + 0.5,
    ),
    (
        Sigmoid(alpha=3.3),
        lambda u: 3.3 * math.exp(-3.3 * u) / (1 + math.exp(-3.3 * u)) ** 2,
        lambda u: 1 / (1 + math.exp(-3.3 * u)),
    ),
    (Triangle(width=0.7, height=0.4), lambda u: 0.4 * max(0.0, 1 - abs(u) / 0.7), triangle),
    (
        FastSigmoid(alpha=3.3),
        lambda u: 1 / (1 + 3.3 * abs(u)) ** 2,
        lambda u: u / (1 + 3.3 * abs(u)),
    ),
    (
        Boxcar(width=0.7, height=0.4),
        lambda u: 0.4 if abs(u) <= 0.35 else 0.0,
        lambda u: 0.4 * (min(max(u, -0.35), 0.35) + 0.35),
    ),
    (MultiGaussian(gamma=0.8, h=0.3, s=3.0, sigma=0.4), mixture(normal), mixture(cumulative)),
    (
        Slayer(alpha=3.3, scale=0.6),
        lambda u: 0.3 * 3.3 * math.exp(-3.3 * abs(u)),
        lambda u: 0.3 * math.exp(3.3 * u) if u < 0 else 0.6 - 0.3 * math.exp(-3.3 * u),
    ),
]
each_formula = pytest.mark.parametrize(
    ("surrogate", "derivative", "primitive"), FORMULAS, ids=lambda v: type(v).__name__
)


@each_formula
def test_a_surrogate_and_its_primitive_are_their_formulas(surrogate, derivative, primitive):
    u = torch.tensor(POINTS, dtype=torch.float64)
    exactly = {"rtol": 1e-12, "atol": 1e-14}
    for function, formula in ((surrogate.derivative, derivative), (surrogate.primitive, primitive)):
        expected = torch.tensor([formula(p) for p in POINTS], dtype=torch.float64)
        torch.testing.assert_close(function(u), expected, **exactly)
        for point in POINTS:  # numbers are taken as well
            assert function(point) == pytest.approx(formula(point), rel=1e-12, abs=1e-14)


@each_formula
def test_a_smoothed_surrogate_keeps_its_constants(surrogate, derivative, primitive):
    assert not surrogate.smooth
    assert surrogate.smoothed() == dataclasses.replace(surrogate, smooth=True)
    u = torch.tensor(POINTS)
    assert torch.equal(surrogate.smoothed().forward(u), surrogate.primitive(u))
    assert torch.equal(surrogate.forward(u), (u >= 0).float())
    assert torch.equal(surrogate.smoothed().derivative(u), surrogate.derivative(u))
    assert get_surrogate(surrogate) is surrogate


def test_surrogates_by_name():
    names = {
        "atan": ATan, "sigmoid": Sigmoid, "triangle": Triangle, "fast_sigmoid": FastSigmoid,
        "boxcar": Boxcar, "multi_gaussian": MultiGaussian, "slayer": Slayer,
    }  # fmt: skip
    assert names == SURROGATES
    for name, cls in names.items():
        assert get_surrogate(name) == cls() and not get_surrogate(name).smooth
    for wrong in ("atn", 3, None, ATan):
        with pytest.raises(ConfigError, match="surrogate is .* must be one of atan, sigmoid"):
            get_surrogate(wrong)


def test_a_surrogate_of_ones_own_needs_both_its_functions():
    for call in (Surrogate().derivative, Surrogate().primitive, Surrogate(smooth=True).forward):
        with pytest.raises(NotImplementedError):
            call(torch.zeros(1))
    assert Surrogate().forward(torch.zeros(1)).tolist() == [1.0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        ATan().alpha = 3.0
    with pytest.raises(TypeError):
        ATan(3.0)


# --- the spike ------------------------------------------------------------------------------------


def test_a_bare_spike_has_the_arctangent():
    assert slope_of_spike() == pytest.approx(slope_of(ATan(alpha=2.0)), rel=1e-6)


def test_a_context_ends_where_it_ends():
    bare, boxcar, slayer = slope_of(ATan()), 0.5, slope_of(Slayer())
    with using_surrogate(Boxcar()):
        assert slope_of_spike() == pytest.approx(boxcar, rel=1e-6)
        with using_surrogate(Slayer()):
            assert slope_of_spike() == pytest.approx(slayer, rel=1e-6)
        assert slope_of_spike() == pytest.approx(boxcar, rel=1e-6)
        with pytest.raises(ZeroDivisionError), using_surrogate(Slayer()):
            raise ZeroDivisionError
        assert slope_of_spike() == pytest.approx(boxcar, rel=1e-6)
    assert slope_of_spike() == pytest.approx(bare, rel=1e-6)


def test_a_neuron_leaves_no_surrogate_behind():
    before = slope_of_spike()
    lif = sn.LIF(2, dt=1.0, surrogate="boxcar", backend="reference")
    lif(torch.ones(3, 1, 2))
    assert slope_of_spike() == before == pytest.approx(slope_of(ATan()), rel=1e-6)
    row, wrong = torch.ones(1, 2), dataclasses.replace(lif.equations, states=("v", "w"))
    with pytest.raises(ConfigError, match="must return"):
        wrong(row[0], [row, row][:1], [row] * 3)
    assert slope_of_spike() == before


@pytest.mark.parametrize("name", ["boxcar", "slayer"])
def test_a_neuron_fires_with_its_own_surrogate(name):
    x = torch.tensor([0.7, 1.2]).view(1, 1, 2).requires_grad_()
    z, _ = sn.IF(2, dt=1.0, surrogate=name, backend="reference")(x)
    z.sum().backward()
    expected = get_surrogate(name).derivative(torch.tensor([-0.3, 0.2]))
    torch.testing.assert_close(x.grad.flatten(), expected, rtol=1e-5, atol=1e-6)
    assert z.flatten().tolist() == [0.0, 1.0]


def test_a_spike_scales_gradients_and_tangents_alike():
    u = torch.tensor([-0.4, 0.0, 0.9], requires_grad=True)
    g = torch.tensor([2.0, -3.0, 0.5])
    expected = g * ATan().derivative(u.detach())
    (found,) = torch.autograd.grad(spike(u), u, g)
    torch.testing.assert_close(found, expected)
    z, tangent = torch.func.jvp(spike, (u.detach(),), (g,))
    torch.testing.assert_close(tangent, expected)
    assert z.tolist() == [0.0, 1.0, 1.0]
    many = torch.func.vmap(torch.func.grad(lambda a: (spike(a) * g).sum()))(u.detach().expand(2, 3))
    torch.testing.assert_close(many, expected.expand(2, 3))


def test_a_smoothed_spike_is_its_primitive():
    u = torch.tensor([-0.4, 0.9])
    with using_surrogate(Sigmoid().smoothed()):
        torch.testing.assert_close(spike(u), torch.sigmoid(4.0 * u))


def test_spikes_of_numbers_and_what_is_lost_stays_lost():
    assert (spike(0.0), spike(-1e-12), spike(3), spike(-0.0)) == (1.0, 0.0, 1.0, 1.0)
    assert math.isnan(spike(math.nan))
    z = spike(torch.tensor([math.nan, -math.inf, math.inf, 0.0], dtype=torch.float64))
    assert math.isnan(z[0]) and z[1:].tolist() == [0.0, 1.0, 1.0] and z.dtype == torch.float64


def test_detaching_cuts_the_gradient_of_tensors_alone():
    a = torch.tensor([2.0], requires_grad=True)
    assert not detach(a).requires_grad and float(detach(a)) == 2.0
    assert detach(3.5) == 3.5


def test_symbols_become_placeholders():
    import sympy

    u = sympy.Symbol("u", real=True)
    spiking, detached = symbolic_functions()
    assert spike(u) == spiking(u) and detach(u) == detached(u)
    assert (str(spike(u)), str(detach(u))) == ("Spike(u)", "Detach(u)")


FUNCTIONS = {
    "exp": (math.exp, 0.7), "log": (math.log, 0.7), "sqrt": (math.sqrt, 0.7),
    "sin": (math.sin, 0.7), "cos": (math.cos, 0.7), "tanh": (math.tanh, 0.7),
    "atan": (math.atan, 0.7), "erf": (math.erf, 0.7), "absolute": (abs, -0.7),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_vocabulary_means_the_same_of_numbers_tensors_and_symbols(name):
    import sympy

    wanted, at = FUNCTIONS[name]
    function, u = getattr(elementary, name), sympy.Symbol("u", real=True)
    assert getattr(sn.equations, name) is function and function.__name__ == name
    assert function(at) == wanted(at)
    assert float(function(torch.tensor(at, dtype=torch.float64))) == pytest.approx(wanted(at))
    assert float(function(u).subs(u, at)) == pytest.approx(wanted(at))


def test_choices_mean_the_same_of_numbers_tensors_and_symbols():
    import sympy

    u = sympy.Symbol("u", real=True)
    choices = {
        elementary.maximum: [(1.0, 2.0, 2.0), (3.0, 2.0, 3.0)],
        elementary.minimum: [(1.0, 2.0, 1.0), (3.0, 2.0, 2.0)],
    }
    for function, cases in choices.items():
        for a, b, expected in cases:
            assert function(a, b) == expected
            assert float(function(torch.tensor(a), torch.tensor(b))) == expected
            assert float(function(u, b).subs(u, a)) == expected
        a, b = (torch.tensor(2.0, requires_grad=True) for _ in range(2))
        assert torch.autograd.grad(function(a, b), [a, b]) == (1.0, 0.0)  # at a tie
    assert elementary.equal(2.0, 2.0) and not elementary.equal(2.0, 3.0)
    assert elementary.equal(torch.tensor([1.0, 2.0]), 2.0).tolist() == [False, True]
    for at in (-1.0, 0.0, 1.0):
        assert float(elementary.heaviside(u).subs(u, at)) == (at >= 0)
        chosen = elementary.where(elementary.equal(u, 0.0), 5.0, 7.0)
        assert float(chosen.subs(u, at)) == (5.0 if at == 0 else 7.0)
    for always in (True, False):
        with pytest.raises(ConfigError, match=f"is always {always}"):
            elementary.where(always, u, 0.0)
        assert elementary.where(always, 1.0, 2.0) == (1.0 if always else 2.0)


# --- resets ---------------------------------------------------------------------------------------


def test_resets_are_their_formulas():
    u, z = torch.tensor([0.4, 1.7]), torch.tensor([0.0, 1.0])
    assert Reset() == Reset("subtract", True) and RESETS == ("subtract", "zero", "none")
    expected = {"subtract": [0.4, 1.7 - 1.5], "zero": [0.4, -0.3], "none": [0.4, 1.7]}
    for mode, values in expected.items():
        assert Reset(mode)(u, z, 1.5, -0.3).tolist() == pytest.approx(values, rel=1e-6)
    assert Reset("zero")(u, z, 1.5).tolist() == pytest.approx([0.4, 0.0])
    assert Reset("none")(u, z, 1.5, -0.3) is u
    with pytest.raises(ConfigError, match="reset is 'zeros'.*did you mean 'zero'"):
        Reset("zeros")


@pytest.mark.parametrize("detached", [True, False])
def test_gradients_pass_a_reset_as_told(detached):
    def leaf(value):
        return torch.tensor(value, requires_grad=True)

    u, z, threshold = leaf(1.7), leaf(1.0), leaf(1.5)
    v = Reset("subtract", detached)(u, z, threshold)
    assert torch.autograd.grad(v, [u, z, threshold], allow_unused=True) == (
        (1.0, None, -1.0) if detached else (1.0, -1.5, -1.0)
    )
    u, z, to = leaf(1.7), leaf(1.0), leaf(-0.3)
    v = Reset("zero", detached)(u, z, 1.5, to)
    du, dz, dto = torch.autograd.grad(v, [u, z, to], allow_unused=True)
    assert (float(du), float(dto)) == (0.0, 1.0)
    assert (dz is None) if detached else (float(dz) == pytest.approx(-0.3 - 1.7))
    gate = Reset("zero", detached).gate(z)
    assert float(gate) == 1.0 and gate.requires_grad == (not detached)


@pytest.mark.parametrize("model", [sn.IF, sn.Izhikevich])
@pytest.mark.usefixtures("float64")
def test_the_gradient_of_a_reset_is_kept_out_unless_asked_for(model):
    found = {}
    for detached in (None, True, False):
        options = {} if detached is None else {"detach_reset": detached}
        shape = "triangle" if model is sn.IF else "atan"
        layer = model(1, dt=0.5, surrogate=shape, backend="reference", **options)
        x = torch.tensor([0.6, 0.7, 0.2]).view(3, 1, 1)
        x = (x if model is sn.IF else 2000 * x - 1000).requires_grad_()
        _, state = layer(x)
        state["v"].sum().backward()
        found[detached] = x.grad.flatten()
    assert torch.equal(found[None], found[True]) and not torch.equal(found[True], found[False])
    if model is sn.IF:
        assert found[True].tolist() == [1.0, 1.0, 1.0]
        # u = 0.6 and 1.3, where the slopes of the spike are 0.6 and 0.7; then 0.5: 0.5
        first = (1 - 0.5) * (1 - 0.7) * (1 - 0.6)
        expected = [first, (1 - 0.5) * (1 - 0.7), 1 - 0.5]
        assert found[False].tolist() == pytest.approx(expected, rel=1e-12)
