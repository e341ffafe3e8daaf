"""Expressions as kernel source: what is printed computes what stands in the equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy
import torch

import snnsim as sn
from snnsim.errors import ConfigError
from snnsim.kernels.compile import interpret
from snnsim.kernels.derive import Equations, Line
from snnsim.kernels.printer import Printer
from snnsim.kernels.scaffold import Pieces, indented
from snnsim.surrogate import ATan

A, B = sympy.symbols("a b", real=True)
POINTS = [(0.5, 2.0), (1.5, 0.25), (2.0, 2.0), (0.125, 3.0)]


def evaluated(text, printer, a, b):
    space = interpret("", "float64").__dict__
    body = f"def f(a, b):\n{printer.constants('    ')}    return {text}\n"
    exec(body, space)
    return space["f"](a, b)


@pytest.mark.parametrize("expression", [
    A + B, A - B, -A - B, -A + 2 * B - 3, A * B, -A * B, A / B, 1 / B, -1 / B, 2 / (A * B),
    A**2, A**3 * B, B**-2, A / B**3, sympy.sqrt(A), 1 / sympy.sqrt(A), A / sympy.sqrt(B), A**64,
    sympy.exp(-A), sympy.log(A), sympy.sin(A), sympy.cos(B), sympy.tanh(A), sympy.atan(B),
    sympy.erf(A), sympy.Abs(A - B), sympy.sign(A - B), sympy.pi * A, sympy.Rational(1, 3) + A,
    -(A + B) * (A - B), (A + B) / (A - 2 * B - 9), A * (B - 1) ** 2,
    sympy.Piecewise((A, A > B), (B, True)),
    sympy.Piecewise((A, A > B), (B, A < 1), (A * B, True)),
    sympy.Piecewise((A, (A >= B) & (A <= 2)), (-B, True)),
    sympy.Piecewise((A, (A > B) | (B > 2)), (-B, True)),
    sympy.Piecewise((A, sympy.Eq(A, B)), (-B, True)),
    sympy.Piecewise((A, sympy.Ne(A, B)), (-B, True)),
])  # fmt: skip
def test_printed_expressions_have_their_values(expression):
    printer = Printer(ATan())
    text = printer(expression)
    for a, b in POINTS:
        expected = float(expression.subs({A: a, B: b}))
        assert evaluated(text, printer, a, b) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("condition", [
    sympy.Not(sympy.And(A > B, B > 1), evaluate=False), sympy.ITE(A > 1, B > 1, A < B),
    sympy.Or(A > B, sympy.And(B > 2, A < 1)), sympy.true, sympy.false,
])  # fmt: skip
def test_printed_conditions_have_their_values(condition):
    printer = Printer(ATan())
    text = printer._condition(condition)
    for a, b in POINTS:
        assert evaluated(text, printer, a, b) == bool(condition.subs({A: a, B: b}))


def test_a_condition_that_was_named_is_its_name():
    assert Printer(ATan())._condition(sympy.Symbol("_t3")) == "_t3"


def test_every_number_carries_its_type_and_is_made_once():
    printer = Printer(ATan())
    text = printer(0.5 * A + 0.5 * B + 0.5)
    assert "0.5" not in text
    assert printer.constants("  ") == "  _c0 = F(0.5)\n"
    assert evaluated(printer(sympy.oo), printer, 0, 0) == math.inf
    assert math.isnan(evaluated(printer(sympy.nan), printer, 0, 0))


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        (A**0.3, "whole numbers"), (A**B, "whole numbers"), (A**65, "whole numbers"),
        (sympy.gamma(A), "no kernel code exists"), (sympy.Function("f")(A), "no kernel code"),
    ],
)  # fmt: skip
def test_expressions_without_kernel_code_are_refused(expression, reason):
    with pytest.raises(ConfigError, match=reason):
        Printer(ATan())(expression)
    with pytest.raises(ConfigError, match="use a comparison"):
        Printer(ATan())._condition(sympy.Xor(A > B, B > 1))


def test_a_spike_is_at_the_threshold_and_keeps_nan():
    printer = Printer(ATan())
    text = printer._line(Line(sympy.Symbol("z"), A, "spike"))
    found = [evaluated(text, printer, a, 0.0) for a in (-1e-9, 0.0, 1e-9)]
    assert found == [0.0, 1.0, 1.0]
    assert math.isnan(evaluated(text, printer, math.nan, 0.0))


def test_lines_are_indented_assignments():
    lines = (Line(sympy.Symbol("_t0"), A + B), Line(sympy.Symbol("_t1"), A > B, "condition"))
    assert Printer(ATan()).lines(lines, "   ") == "   _t0 = (a + b)\n   _t1 = a > b\n"
    assert indented(2, ["a", "b"]) == "        a\n        b"


def both(x, v, w, *, p, q):
    z = sn.spike(v + p * x - q)
    return z, (0.5 * v + x - z, w + v * q)


def test_pieces_repeat_patterns_over_names_in_their_order():
    equations = Equations(both, ("v", "w"), ("p", "q"), ATan())
    pieces = Pieces(equations, (False, True))
    assert pieces.each_state(0, "{name}{i}") == "v0\nw1"
    assert pieces.each_param(1, "{name}{i}") == "    p0\n    q1"
    assert pieces.each_learnt(0, "{name}{i}") == "q1"
    assert pieces.each_state(0, "a {name}", "b {name}") == "a v\na w\nb v\nb w"


@pytest.mark.parametrize("learnt", [(False, False), (True, False), (True, True)])
def test_an_interpreted_scan_equals_autograd(learnt):
    """The printed forward and backward of two states, run as plain Python."""
    from snnsim.kernels.scan import cpu, reference

    equations = Equations(both, ("v", "w"), ("p", "q"), ATan())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 2, 3, generator=generator).double().requires_grad_()
    state = torch.randn(2, 2, 3, generator=generator).double().requires_grad_()
    params = torch.rand(2, 3, generator=generator).double().requires_grad_()
    y, final = reference.scan(equations, x, state, params)
    g_y = torch.randn(y.shape, generator=generator).double()
    g_final = torch.randn(final.shape, generator=generator).double()
    expected = torch.autograd.grad((y, final), (x, state, params), (g_y, g_final))
    kernels = interpret(cpu.source(equations, learnt), "float64")
    arrays = [a.detach().numpy() for a in (x, state, params)]
    out, end = np.empty((4, 2, 3)), arrays[1].copy()
    kernels.forward(arrays[0], end, arrays[2], out, 0, 2)
    np.testing.assert_allclose(out, y.detach(), atol=1e-12)
    np.testing.assert_allclose(end, final.detach(), atol=1e-12)
    g_x, g_state, g_params = np.empty((4, 2, 3)), g_final.numpy().copy(), np.zeros((2, 2, 3))
    kernels.backward(*arrays, g_y.numpy(), g_x, g_state, g_params, 0, 2)
    np.testing.assert_allclose(g_x, expected[0], atol=1e-12)
    np.testing.assert_allclose(g_state, expected[1], atol=1e-12)
    for row, wanted in enumerate(learnt):
        summed = expected[2][row] if wanted else np.zeros(3)
        np.testing.assert_allclose(g_params[row].sum(0), summed, atol=1e-12)
    y2, states = reference.trace(equations, x, state, params)
    assert torch.equal(y2, y) and torch.equal(states[-1], final) and len(states) == 4


@pytest.mark.parametrize(
    "name", ["x", "for", "np", "F", "kernel", "cuda", "min", "exp", "_a", "g_a", "new_a"]
)
def test_names_that_generated_code_needs_are_refused(name):
    def step(x, v, **params):
        return x, (v,)

    for states, params in (((name,), ()), (("v",), (name,))):
        with pytest.raises(ConfigError, match=f"named {name!r}"):
            _ = Equations(step, states, params, ATan()).program


@pytest.mark.parametrize("result", [1.0, (1.0,), (1.0, [2.0]), (1.0, (2.0, 3.0)), (1.0, ())])
def test_a_step_returns_an_output_and_a_new_state_each(result):
    equations = Equations(lambda x, v: result, ("v",), (), ATan())
    with pytest.raises(ConfigError, match="must return"):
        equations(torch.zeros(2), (torch.zeros(2),), ())


def test_numbers_that_a_step_returns_become_tensors_of_the_inputs_kind():
    equations = Equations(lambda x, v: (1, (2.0,)), ("v",), (), ATan())
    y, (v,) = equations(torch.zeros(2, 3).double(), (torch.zeros(2, 3),), ())
    assert y.tolist() == [[1] * 3] * 2 and v.tolist() == [[2] * 3] * 2
    assert y.dtype == v.dtype == torch.float64
    assert equations(0.0, (0.0,), ()) == (1, (2.0,))


def test_constants_that_are_not_finite_are_those_of_numpy():
    from snnsim.kernels.printer import Printer
    from snnsim.surrogate import ATan

    printer = Printer(ATan())
    printer._constants = {float("inf"): "A", float("-inf"): "B", 0.5: "C"}
    scope = {"np": __import__("numpy"), "F": float}
    exec(printer.constants(""), scope)
    assert (scope["A"], scope["B"], scope["C"]) == (float("inf"), float("-inf"), 0.5)
