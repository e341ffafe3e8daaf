"""What a neuron's constructor takes, what a class declares and what a layer says of itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toolbox import exact

import snnsim as sn
from snnsim.errors import LARGEST_SIZE, ConfigError, ShapeError
from snnsim.neurons.neuron import _TAKEN
from snnsim.neurons.parameters import Parameter, Tau

# --- what a constructor takes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "shape"),
    [(3, (3,)), ((2, 3), (2, 3)), ([4, 1], (4, 1)), (torch.Size([5]), (5,)), (0, (0,)),
     (LARGEST_SIZE, (LARGEST_SIZE,))],
)  # fmt: skip
def test_a_layer_has_the_shape_it_was_given(n, shape):
    lif = sn.LIF(n, dt=1.0)
    assert lif.shape == shape and type(lif.shape) is tuple
    assert lif.n == math.prod(shape)


@pytest.mark.parametrize(
    "n", [LARGEST_SIZE + 1, (3, -1), (2, 2.0), (True,), (), [], "3", (3, None)]
)
def test_a_shape_that_is_none_is_refused(n):
    with pytest.raises(ShapeError, match=r"n is .* at most 1e\+09"):
        sn.LIF(n, dt=1.0)


def test_a_constructor_refuses_what_it_does_not_know():
    for options, text in (
        ({"surrogate": "atn"}, "surrogate is 'atn'.*did you mean 'atan'"),
        ({"backend": "gpu"}, "backend is 'gpu'"),
        ({"reset": "subtrct"}, "reset of LIF is 'subtrct'.*did you mean 'subtract'"),
        ({"v_treshold": 1.0}, "LIF has no parameter 'v_treshold'; did you mean 'v_threshold'"),
        ({"learn": ["tau_men"]}, "no parameter 'tau_men'; did you mean 'tau_mem'"),
        ({"learn": "tau_men"}, r"no parameter 'tau_men'.*tau_mem, v_threshold, v_reset, scale_in"),
        ({"learn": "scale_input"}, "'scale_input' of LIF is an option and cannot be learnt"),
        ({"scale_input": 1}, "option 'scale_input' is 1 but must be a bool"),
    ):
        with pytest.raises(ConfigError, match=text):
            sn.LIF(3, dt=1.0, **options)


@pytest.mark.parametrize(
    ("name", "resets"),
    [("LI", {"none"}), ("BRF", {"none"}), ("Izhikevich", {"zero"}),
     ("LIF", {"subtract", "zero", "none"}), ("SEAdLIF", {"subtract", "zero", "none"})],
)  # fmt: skip
def test_a_model_takes_only_resets_that_it_has(name, resets):
    cls = getattr(sn, name)
    for mode in ("subtract", "zero", "none"):
        if mode in resets:
            assert cls(2, dt=0.5, reset=mode).reset.mode == mode
        else:
            with pytest.raises(ConfigError, match=f"reset of {name} is '{mode}'"):
                cls(2, dt=0.5, reset=mode)


def test_constructor_options_reach_the_equations():
    lif = sn.LIF(2, dt=np.float32(0.5), reset="zero", detach_reset=False, surrogate="boxcar",
                 scale_input=True, backend="reference", discretization="euler")  # fmt: skip
    assert lif.equations.surrogate == sn.surrogate.Boxcar() == lif.surrogate
    options = dict(lif.equations.options)
    assert (options["reset"].mode, options["reset"].detach) == ("zero", False)
    assert options["scale_input"] is True and type(lif.dt) is float
    assert (lif.backend, lif.discretization) == ("reference", "euler")
    assert sn.LIF(2, dt=1.0).backend == "auto"
    assert dict(sn.BRF(2, dt=0.5).equations.options) == {"dt": 0.5}


# --- what a class declares -----------------------------------------------------------------------


def taking(name):
    space: dict = {}
    exec(f"def step(x, v, *, {name}):\n    return x, (v,)", space)
    return staticmethod(space["step"])


def declare(base=sn.Neuron, **attributes):
    return type("Made", (base,), {"state": ("v",), **attributes})


@pytest.mark.parametrize("name", sorted(_TAKEN - {"reset", "dt"}))
def test_no_parameter_takes_the_name_of_an_argument(name):
    assert {"learn", "values", "surrogate", "detach_reset", "discretization"} <= _TAKEN
    with pytest.raises(ConfigError, match=f"takes '{name}'.*already means something"):
        declare(step=taking(name), **{name: 1.0})


def test_declarations_are_found_or_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"does not declare 'a'; add a = sn.Parameter"):
        declare(step=taking("a"))
    with pytest.raises(ConfigError, match=r"does not declare 'tau_a'; add tau_a = sn.Tau"):
        declare(step=taking("decay_a"))
    for given in (3.0, Parameter(3.0)):
        with pytest.raises(ConfigError, match=r"Made.tau_a must be sn.Tau\(...\) to give decay_a"):
            declare(step=taking("decay_a"), tau_a=given)
    with pytest.raises(ConfigError, match="Made.state is empty"):
        declare(step=taking("a"), a=1.0, state=())
    declare(state=())  # has no step: a base of others


def test_numbers_parameters_and_options_are_told_apart():
    made = declare(step=taking("a, b, c, d, decay_e, dt"), a=2, b=Parameter(3.0, low=1.0),
                   c=True, d="x", tau_e=Tau(4.0))  # fmt: skip
    assert made._declared == {"a": Parameter(2.0), "b": Parameter(3.0, low=1.0), "tau_e": Tau(4.0)}
    assert made._options == {"c": True, "d": "x"}
    assert made._arguments == ("a", "b", "c", "d", "decay_e", "dt")
    neuron = made(1, dt=2.0, d="y")
    assert neuron.options == {"c": True, "d": "y"}
    assert dict(neuron.equations.options) == {"c": True, "d": "y", "dt": 2.0}
    assert neuron.equations.params == ("a", "b", "decay_e")
    assert (float(neuron.a), float(neuron.b), float(neuron.tau_e)) == (2.0, 3.0, 4.0)
    with pytest.raises(ConfigError, match="option 'd' is True but must be a str"):
        made(1, dt=2.0, d=True)


def test_a_subclass_inherits_what_it_does_not_change():
    first = declare(step=taking("a, b"), a=2.0, b=Parameter(3.0, low=1.0))
    second = type("Second", (first,), {"a": 5.0})
    third = type("Third", (second,), {"b": Parameter(7.0)})
    assert second._declared == {"a": Parameter(5.0), "b": Parameter(3.0, low=1.0)}
    assert third._declared == {"a": Parameter(5.0), "b": Parameter(7.0)}
    assert first._declared == {"a": Parameter(2.0), "b": Parameter(3.0, low=1.0)}
    assert (float(third(1, dt=1.0).a), float(third(1, dt=1.0, a=6.0).a)) == (5.0, 6.0)


# --- states, calls and what a layer says of itself -----------------------------------------------


def test_a_state_is_packed_in_the_order_of_its_names():
    alif = sn.ALIF((2, 2), dt=1.0)
    x = torch.zeros(5, 3, 2, 2)
    v = torch.arange(12.0).view(3, 2, 2)
    packed = alif.pack_state(x, {"a": -v, "v": v, "another": None})
    assert torch.equal(packed, torch.stack([v, -v]).view(2, 3, 4))
    back = alif.unpack_state(packed)
    assert list(back) == ["v", "a"]
    assert torch.equal(back["v"], v) and torch.equal(back["a"], -v)
    start = sn.Izhikevich(2, dt=0.5).double().initial_state(exact(0.0).expand(1, 3, 2))
    assert start["v"].tolist() == [[-65.0] * 2] * 3 and start["w"].tolist() == [[-13.0] * 2] * 3
    assert start["v"].dtype == torch.float64
    assert float(alif.initial_state(x)["a"].abs().sum()) == 0.0
    packed = sn.Izhikevich(1, dt=0.5).pack_state(torch.zeros(2, 3, 1), None)
    assert packed.tolist() == [[[-65.0]] * 3, [[-13.0]] * 3]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"v": torch.zeros(3, 2)}, "must be a dict with v, a"),
        ({"v": torch.zeros(3, 2), "a": 0.0}, "must be a dict with v, a"),
        ((torch.zeros(3, 2),) * 2, "must be a dict with v, a"),
        ({"v": torch.zeros(3, 2), "a": torch.zeros(1, 2)}, r"'a' of ALIF has shape \(1, 2\)"),
        ({"v": torch.zeros(3, 1), "a": torch.zeros(3, 2)}, r"'v' .* needs \(3, 2\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(state, text):
    with pytest.raises(ShapeError, match=text):
        sn.ALIF(2, dt=1.0)(torch.zeros(4, 3, 2), state)


def test_inputs_of_another_shape_are_refused():
    flat, array = sn.LIF(3, dt=1.0), sn.LIF((3, 2), dt=1.0)
    for layer, shape, text in (
        (flat, (5, 2, 4), r"x has 4 channels but LIF was built for 3; x must be \[T, B, 3\]"),
        (flat, (5, 3), r"x has shape \(5, 3\) but LIF was built for 3"),
        (array, (5, 1, 2, 3), r"shape \(5, 1, 2, 3\) but LIF was built for \(3, 2\).*T, B, 3, 2\]"),
        (array, (5, 1, 6), "x has 6 channels"),
    ):
        for call in (layer, layer.trace):
            with pytest.raises(ShapeError, match=text):
                call(torch.zeros(shape))


def test_halves_are_widened_under_autocast_and_refused_otherwise():
    lif, x = sn.LIF(2, dt=1.0), torch.full((4, 1, 2), 0.5)
    expected, _ = lif(x)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = lif(x.to(dtype))
        assert found.dtype == torch.float32 and torch.equal(found, expected)
        with pytest.raises(ShapeError, match=str(dtype)):
            lif(x.to(dtype))


def test_a_trace_is_what_calls_of_one_step_leave_behind():
    alif = sn.ALIF((2, 2), dt=1.0, tau_adapt=5.0).double()
    x = torch.rand(7, 3, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    _, start = alif(x)
    y, states = alif.trace(x, start)
    assert list(states) == ["v", "a"] and states["a"].shape == (7, 3, 2, 2)
    state = start
    for t in range(7):
        z, state = alif(x[t : t + 1], state)
        assert torch.equal(z[0], y[t])
        for name in ("v", "a"):
            torch.testing.assert_close(states[name][t], state[name], rtol=1e-12, atol=1e-12)
    assert y.sum() > 0
    nothing, states = alif.trace(x[:0])
    assert nothing.shape == states["v"].shape == (0, 3, 2, 2)


def test_a_layer_says_what_it_is():
    assert repr(sn.LIF(3, dt=0.5)) == (
        "LIF(3, dt=0.5, tau_mem=20, v_threshold=1, v_reset=0, scale_input=False, reset='subtract')"
    )
    taus = torch.tensor([10.0, 20.0, 30.0])
    alif = sn.ALIF((2, 3), dt=1.0, tau_mem=taus, reset="zero", learn=["tau_adapt", "adaptation"])
    assert repr(alif).startswith("ALIF((2, 3), dt=1, tau_mem=10 .. 30, tau_adapt=")
    assert repr(alif).endswith(", reset='zero', learn=['tau_adapt', 'adaptation'])")


@pytest.mark.parametrize("given", ["a", None, True, 1j, 10**400, [1.0, "x"], torch.tensor(True)])
@pytest.mark.parametrize("name", ["tau_mem", "v_threshold"])
def test_what_is_no_number_is_no_value_of_a_parameter(name, given):
    for value in (given, Tau(given) if name == "tau_mem" else Parameter(given)):
        with pytest.raises(ConfigError, match=f"{name} is .* but must be a number or a tensor"):
            sn.LIF(2, dt=1.0, **{name: value})


def declares(value: object) -> type[sn.Neuron]:
    """A model of one neuron whose class declares the parameter ``gain``."""
    step = staticmethod(lambda x, v, *, gain: (gain * x, (v + x,)))
    return type("Declares", (sn.Neuron,), {"state": ("v",), "gain": value, "step": step})


@pytest.mark.parametrize("declared", [10**400, Parameter(10**400), math.nan, -math.inf])
def test_what_a_class_declares_must_be_a_finite_number(declared):
    with pytest.raises(ConfigError, match="^gain is .* but must be (a number|finite)"):
        declares(declared)(2, dt=1.0)
    assert (declares(2)(2, dt=1.0).gain == 2.0).all()


@pytest.mark.parametrize("end", [10**400, -(10**400), math.nan, math.inf, "1", True])
@pytest.mark.parametrize("name", ["low", "high"])
def test_the_ends_of_a_range_are_finite_numbers(name, end):
    with pytest.raises(ConfigError, match="^an end of a parameter's range is .* a finite number"):
        Parameter(1.0, **{name: end})


def test_a_range_is_not_empty():
    with pytest.raises(ConfigError, match=r"range 2\.0 \.\. 1\.0 is empty"):
        Parameter(1.5, low=2.0, high=1.0)
    with pytest.raises(ConfigError, match=r"range 2\.0 \.\. 1\.0 is empty"):
        declares(Parameter(0.5, high=1.0))(2, dt=1.0, gain=Parameter(2.5, low=2.0))


@pytest.mark.parametrize(
    "given", [3, 3.0, np.float32(3), np.array([3, 3]), torch.tensor(3), [3, 3]]
)
def test_numbers_of_any_kind_are_values_of_a_parameter(given):
    assert (sn.LIF(2, dt=1.0, tau_mem=given).tau_mem == 3.0).all()


def test_a_number_of_hundreds_of_digits_is_out_of_every_range():
    huge = 10**400
    for make in (
        lambda: sn.LIF(2, dt=huge),
        lambda: sn.Delayed(2, 2, dt=1.0, max_delay_ms=huge),
        lambda: sn.Delayed(2, 2, dt=huge, max_delay_ms=2.0),
        lambda: sn.Recurrent(sn.LIF(2, dt=1.0), gain=huge),
        lambda: sn.narrow_delays(sn.Dense(2, 2), huge, 3),
    ):
        with pytest.raises(ConfigError):
            make()
