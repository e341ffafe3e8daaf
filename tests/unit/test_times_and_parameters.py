"""Milliseconds, steps and decays; ranges of a neuron's parameters; how a neuron stores them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toolbox import exact

import snnsim as sn
from snnsim.errors import ConfigError, ShapeError
from snnsim.neurons.parameters import Parameter, Tau, as_parameter
from snnsim.units import (
    DISCRETIZATIONS,
    check_dt,
    check_tau,
    logit_to_tau,
    ms_to_steps,
    steps_to_ms,
    tau_to_decay,
    tau_to_logit,
)

EXPONENTIAL = {"dt": 2.0, "discretization": "exponential"}


EULER = {"dt": 2.0, "discretization": "euler"}


# --- units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "dt", "steps"),
    [
        (0.3, 0.1, 3), (0.6, 0.1, 6), (0.7, 0.1, 7), (240.0, 10.0, 24), (2.6, 1.0, 3),
        (2.4, 1.0, 2), (0.0, 1.0, 0), (-2.0, 1.0, -2), (0.29, 0.01, 29),
    ],
)  # fmt: skip
def test_milliseconds_become_the_nearest_number_of_steps(ms, dt, steps):
    found = ms_to_steps(ms, dt)
    assert type(found) is int and found == steps


def test_a_delay_that_is_whole_but_for_rounding_is_taken():
    assert sn.Delayed(2, 2, dt=0.1, max_delay_ms=0.6).length == 7
    assert sn.Delayed(2, 2, dt=0.01, max_delay_ms=0.58).length == 59


def test_steps_become_milliseconds():
    assert steps_to_ms(7, 0.5) == 3.5
    assert steps_to_ms(exact(0, 1.5), 4.0).tolist() == [0.0, 6.0]


def test_a_step_is_a_positive_finite_number():
    assert (check_dt(2), type(check_dt(2))) == (2.0, float)
    assert type(check_dt(np.float32(0.5))) is float
    assert check_dt(1e-9) == 1e-9
    for wrong in (0, 0.0, -1.0, math.nan, math.inf, "1", None):
        with pytest.raises(ConfigError, match="dt is .* positive number of milliseconds"):
            check_dt(wrong)
        with pytest.raises(ConfigError, match="dt is"):
            ms_to_steps(1.0, wrong)
        with pytest.raises(ConfigError, match="dt is"):
            steps_to_ms(1.0, wrong)


def test_forward_euler_takes_a_time_constant_of_one_step_and_none_below():
    check_tau(2.0, **EULER)
    assert float(tau_to_decay(exact(2.0), **EULER)) == 0.0
    assert float(sn.LIF(1, dt=2.0, tau_mem=2.0, discretization="euler").tau_mem) == 2.0
    with pytest.raises(ConfigError, match=r"x is 1.999 ms but forward Euler needs x >= dt = 2 ms"):
        check_tau(1.999, **EULER, name="x")
    check_tau(1.999, **EXPONENTIAL)
    check_tau(1e-6, 2.0)  # exponential unless told otherwise


@pytest.mark.parametrize("kind", DISCRETIZATIONS)
@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf])
def test_a_time_constant_is_positive_and_finite(kind, tau):
    with pytest.raises(ConfigError, match=r"tau_x is .* ms but must be positive and finite"):
        check_tau(tau, 1.0, kind, "tau_x")


def test_an_unknown_discretization_is_refused():
    assert DISCRETIZATIONS == ("exponential", "euler")
    with pytest.raises(ConfigError, match="discretization is 'heun'"):
        check_tau(5.0, 1.0, "heun")
    with pytest.raises(ConfigError, match="discretization is 'heun'"):
        sn.LIF(2, dt=1.0, discretization="heun")


@pytest.mark.parametrize("tau", [2.5, 7.0, 300.0])
def test_decays_and_their_logits_are_the_closed_forms(tau):
    for time, decay in ((EXPONENTIAL, math.exp(-2.0 / tau)), (EULER, 1 - 2.0 / tau)):
        assert float(tau_to_decay(exact(tau), **time)) == pytest.approx(decay, rel=1e-14)
        logit = tau_to_logit(exact(tau), **time)
        assert float(logit) == pytest.approx(math.log(decay / (1 - decay)), rel=1e-11, abs=1e-13)
        assert float(logit_to_tau(logit, **time)) == pytest.approx(tau, rel=1e-12)
    assert tau_to_decay(exact(tau), 2.0) == tau_to_decay(exact(tau), **EXPONENTIAL)
    assert tau_to_logit(exact(tau), 2.0) == tau_to_logit(exact(tau), **EXPONENTIAL)
    assert logit_to_tau(exact(0.3), 2.0) == logit_to_tau(exact(0.3), **EXPONENTIAL)


# --- ranges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("learnable", [False, True])
def test_a_range_includes_its_ends_unless_the_parameter_is_learnt(learnable):
    ranges = Parameter(0.0, learnable=learnable, low=-1.0, high=2.0)
    ranges.check("x", exact(-0.99, 0.0, 1.99))
    for edge in (-1.0, 2.0):
        if learnable:
            with pytest.raises(ConfigError, match=r"strictly within -1.0 .. 2.0"):
                ranges.check("x", exact(0.0, edge))
        else:
            ranges.check("x", exact(0.0, edge))


@pytest.mark.parametrize("wrong", [-1.01, 2.01, math.nan, math.inf, -math.inf])
def test_one_value_outside_its_range_is_enough(wrong):
    for values in (exact(wrong, 0.5), exact(0.5, wrong), exact(wrong)):
        with pytest.raises(ConfigError, match=r"x is .* but must lie within -1.0 .. 2.0"):
            Parameter(0.0, low=-1.0, high=2.0).check("x", values)
    with pytest.raises(ConfigError, match=r"x is 0.5 .. 3 but must lie within None .. 2.0"):
        Parameter(0.0, high=2.0).check("x", exact(3.0, 0.5))
    with pytest.raises(ConfigError, match=r"x is -3 but must lie within -1.0 .. None"):
        Parameter(0.0, low=-1.0).check("x", exact(-3.0))


def test_a_parameter_without_a_range_takes_any_finite_number():
    Parameter(0.0).check("x", exact(-1e30, 1e30))
    assert Parameter(0.0) == Parameter(0.0, False, False, None, None)


RANGES = {
    "none": (Parameter(0.0), lambda r: r),
    "low": (Parameter(0.0, low=-2.0), lambda r: -2.0 + math.log1p(math.exp(r))),
    "high": (Parameter(0.0, high=3.0), lambda r: 3.0 - math.log1p(math.exp(r))),
    "both": (Parameter(0.0, low=-2.0, high=3.0), lambda r: -2.0 + 5.0 / (1 + math.exp(-r))),
}


@pytest.mark.parametrize("kind", RANGES)
def test_a_learnt_value_is_stored_in_a_form_without_ends(kind):
    parameter, value_of = RANGES[kind]
    raw = exact(-3.0, -0.2, 0.0, 1.7)
    values = exact(*(value_of(float(r)) for r in raw))
    torch.testing.assert_close(parameter.from_raw(raw), values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parameter.to_raw(values), raw, rtol=1e-10, atol=1e-10)
    assert parameter.for_step(values) is values


def test_large_distances_from_an_end_do_not_overflow():
    for parameter, value in ((Parameter(0.0, low=1.0), 900.0), (Parameter(0.0, high=1.0), -900.0)):
        raw = parameter.to_raw(torch.tensor(value))
        assert float(parameter.from_raw(raw)) == pytest.approx(value, rel=1e-6)


def test_the_stored_form_is_never_the_memory_of_the_value():
    value = exact(1.0, 2.0)
    Parameter(0.0).to_raw(value).fill_(9.0)
    assert value.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("time", [EXPONENTIAL, EULER], ids=lambda t: t["discretization"])
def test_a_learnt_time_constant_is_stored_as_the_logit_of_its_decay(time):
    tau = Tau(20.0, learnable=True)
    value = torch.tensor([3.0, 40.0])
    raw = tau.to_raw(value, **time)
    assert raw.dtype == torch.float32
    decay = tau_to_decay(value.double(), **time)
    torch.testing.assert_close(raw.double(), torch.logit(decay), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(tau.from_raw(raw, **time), value, rtol=1e-5, atol=0)
    torch.testing.assert_close(tau.for_step(value.double(), **time), decay, rtol=1e-14, atol=0)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_time_constant_that_cannot_be_is_enough(place):
    values = [20.0, 30.0, 40.0]
    values[place] = -1.0
    for make in (torch.tensor, Tau):
        with pytest.raises(ConfigError, match="tau_mem is -1 ms but must be positive"):
            sn.LIF(3, dt=2.0, tau_mem=make(torch.tensor(values)) if make is Tau else make(values))
    values[place] = 1.5
    with pytest.raises(ConfigError, match="tau_mem is 1.5 ms but forward Euler"):
        sn.LIF(3, dt=2.0, tau_mem=torch.tensor(values), discretization="euler")
    sn.LIF(3, dt=2.0, tau_mem=torch.tensor(values))


def test_a_learnt_time_constant_has_a_decay_strictly_between_0_and_1():
    for values, time, text in (
        ((2.0, 8.0), EULER, r"t is 2 .. 8 ms, which gives the decay 0 .. 0.75 at dt = 2 ms"),
        ((0.001,), EXPONENTIAL, "t is 0.001 ms, which gives the decay 0 at dt = 2 ms"),
        ((1e17,), EXPONENTIAL, "which gives the decay 1 at dt"),
    ):
        with pytest.raises(ConfigError, match=text):
            Tau(5.0, learnable=True).check("t", exact(*values), **time)
        Tau(5.0).check("t", exact(*values), **time)
    # the decay is found in more digits than those of the value
    Tau(5.0, learnable=True).check("t", torch.tensor(2e9), **EXPONENTIAL)
    Tau(5.0).check("t", torch.empty(0), **EXPONENTIAL)


def test_what_a_constructor_is_given_replaces_the_default_and_keeps_the_range():
    declared = Parameter(1.0, learnable=True, per_neuron=True, low=0.0, high=5.0)
    assert as_parameter(declared, 2.0) == Parameter(2.0, True, True, 0.0, 5.0)
    tau = as_parameter(Tau(3.0, learnable=True), 4.0)
    assert type(tau) is Tau and tau == Tau(4.0, learnable=True)
    # of a Parameter all is taken, and of the two ranges what they have in common
    assert as_parameter(declared, Parameter(2.0)) == Parameter(2.0, False, False, 0.0, 5.0)
    wider = Parameter(2.0, True, low=-5.0, high=9.0)
    assert as_parameter(Parameter(1.0, low=0.0, high=5.0), wider) == Parameter(
        2.0, True, low=0.0, high=5.0
    )
    narrower = Parameter(2.0, low=1.0, high=3.0)
    assert as_parameter(declared, narrower) == Parameter(2.0, low=1.0, high=3.0)
    assert as_parameter(Parameter(1.0), narrower) == narrower
    assert as_parameter(Parameter(1.0, low=0.0), Parameter(2.0, high=4.0)) == Parameter(
        2.0, low=0.0, high=4.0
    )


def test_a_given_range_cannot_widen_that_of_the_model():
    with pytest.raises(ConfigError, match=r"adaptation is -1 but must lie within 0.0 .. None"):
        sn.ALIF(2, dt=1.0, adaptation=Parameter(-1.0, low=-5.0))
    with pytest.raises(ConfigError, match=r"refractory is 1.5 but must lie within 0.0 .. 1.0"):
        sn.BRF(2, dt=1.0, refractory=Parameter(1.5, high=9.0))
    with pytest.raises(ConfigError, match="omega is 300"):
        sn.BRF(2, dt=5.0, omega=Parameter(300.0, high=1e9))
    with pytest.raises(ConfigError, match=r"v_threshold is 2 but must lie within None .. 1.5"):
        sn.LIF(2, dt=1.0, v_threshold=Parameter(2.0, high=1.5))


@pytest.mark.parametrize(("declared", "given"), [(Tau(3.0), Parameter(3.0)),
                                                 (Parameter(3.0), Tau(3.0))])  # fmt: skip
def test_a_time_constant_and_another_parameter_do_not_stand_for_each_other(declared, given):
    with pytest.raises(ConfigError, match="a time constant must be given as"):
        as_parameter(declared, given)


MUST_NOT_BE_NEGATIVE = {
    "ALIF": ["adaptation"], "AdLIF": ["b"], "SEAdLIF": ["a", "b"], "Izhikevich": ["a"],
    "BRF": ["omega", "damping_offset", "refractory"],
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in sn.neurons.__all__ if n not in
                                  ("Neuron", "Parameter", "Reset", "Tau")])  # fmt: skip
def test_the_ranges_of_the_models_are_the_stated_ones(name):
    cls = getattr(sn, name)
    for key, declared in cls._declared.items():
        low = declared.low if not isinstance(declared, Tau) else 0.0
        negative = key in MUST_NOT_BE_NEGATIVE.get(name, ()) or isinstance(declared, Tau)
        assert low == (0.0 if negative else None), key
        assert declared.high == (1.0 if key == "refractory" else None), key
        assert declared.learnable == (name == "PLIF" and key == "tau_mem")
        assert not declared.per_neuron


def test_an_oscillator_is_slower_than_its_step():
    """Beyond ``1000 / dt`` rad/s, ``dt`` in ms, the discrete oscillator has no boundary."""
    assert float(sn.BRF(1, dt=10.0, omega=100.0).omega) == 100.0
    with pytest.raises(ConfigError, match=r"omega is 100.1 but must lie within 0.0 .. 100.0"):
        sn.BRF(1, dt=10.0, omega=100.1)
    assert sn.BRF(1, dt=4.0, learn="omega").declared["omega"].high == 250.0
    assert float(sn.BRF(1, dt=4.0, learn="omega").omega) == pytest.approx(10.0, rel=1e-6)


# --- how a neuron stores them --------------------------------------------------------------------


def test_a_neuron_keeps_no_tensor_of_the_caller():
    for given in (torch.full((3,), 0.5), torch.tensor(0.5)):
        for learn in ((), ("v_threshold",)):
            lif = sn.LIF(3, dt=1.0, v_threshold=given, learn=learn)
            stored = lif.raw_v_threshold if learn else lif.fixed_v_threshold
            with torch.no_grad():
                stored.fill_(7.0)
            assert set(given.flatten().tolist()) == {0.5}
    given = torch.full((3,), 20.0)
    lif = sn.LIF(3, dt=1.0, tau_mem=Tau(given))
    given.fill_(1.0)
    assert lif.tau_mem.tolist() == [20.0] * 3


def test_a_tensor_with_a_history_is_given_without_it():
    given = torch.full((3,), 0.5, requires_grad=True)
    lif = sn.LIF(3, dt=1.0, v_threshold=2 * given)
    assert not lif.fixed_v_threshold.requires_grad
    learnt = sn.LIF(3, dt=1.0, v_threshold=2 * given, learn="v_threshold")
    assert learnt.raw_v_threshold.is_leaf and learnt.raw_v_threshold.requires_grad


def test_parameters_have_the_number_type_of_the_session(request):
    values = {"tau_mem": torch.full((2,), 9.0, dtype=torch.float64)}
    assert sn.LIF(2, dt=1.0, **values, learn="v_reset").fixed_tau_mem.dtype == torch.float32
    request.getfixturevalue("float64")
    lif = sn.LIF(2, dt=1.0, tau_mem=torch.full((2,), 9.0), learn="tau_mem", v_reset=1)
    assert lif.raw_tau_mem.dtype == lif.fixed_v_reset.dtype == torch.float64


def test_one_value_for_each_neuron_is_memory_for_each():
    lif = sn.LIF((2, 3), dt=1.0, tau_mem=Tau(9.0, per_neuron=True),
                 v_threshold=Parameter(0.5, learnable=True, per_neuron=True),
                 v_reset=Parameter(torch.zeros(3), per_neuron=True))  # fmt: skip
    assert lif.fixed_tau_mem.shape == lif.raw_v_threshold.shape == (2, 3)
    assert lif.fixed_v_reset.shape == (3,)  # a tensor has its own shape
    with torch.no_grad():
        lif.fixed_tau_mem[0, 1] = 4.0
        lif.raw_v_threshold[1, 2] = 4.0
    assert lif.tau_mem.flatten().tolist() == [9, 4, 9, 9, 9, 9]
    assert lif.v_threshold.flatten().tolist() == [0.5] * 5 + [4.0]
    assert sn.LIF((2, 3), dt=1.0).fixed_tau_mem.shape == ()


def test_what_is_learnt_is_a_parameter_and_what_is_fixed_a_buffer():
    alif = sn.ALIF(3, dt=1.0, learn=["tau_adapt", "adaptation"], v_threshold=Parameter(0.4, True))
    assert {n for n, _ in alif.named_parameters()} == {
        "raw_tau_adapt", "raw_adaptation", "raw_v_threshold",
    }  # fmt: skip
    assert {n for n, _ in alif.named_buffers()} == {"fixed_tau_mem", "fixed_v_reset"}
    # in the order of the step's keywords
    assert alif.equations.params == (
        "decay_mem", "decay_adapt", "adaptation", "v_threshold", "v_reset",
    )  # fmt: skip
    assert alif.learnt() == [False, True, True, True, False]
    assert {n: round(float(getattr(alif, n)), 4) for n in alif.declared} == {
        "tau_mem": 20.0, "tau_adapt": 200.0, "adaptation": 0.17, "v_threshold": 0.4, "v_reset": 0.0,
    }  # fmt: skip
    alif.raw_adaptation.requires_grad_(False)
    assert alif.learnt() == [False, True, False, True, False]
    with torch.no_grad():
        alif.raw_adaptation.fill_(0.0)
    assert float(alif.adaptation) == pytest.approx(math.log(2), rel=1e-6)
    assert alif.v_threshold is alif.raw_v_threshold and alif.tau_mem is alif.fixed_tau_mem


def test_learning_by_name_keeps_what_was_given():
    plif = sn.PLIF(3, dt=1.0, tau_mem=torch.full((3,), 7.0), learn="tau_mem")
    assert plif.raw_tau_mem.shape == (3,)
    assert plif.tau_mem.tolist() == pytest.approx([7.0] * 3, rel=1e-6)
    fixed = sn.PLIF(3, dt=1.0, tau_mem=Tau(7.0))
    assert list(fixed.parameters()) == [] and float(fixed.tau_mem) == 7.0
    adaptive = sn.ALIF(2, dt=1.0, learn={"adaptation"})
    assert (adaptive.declared["adaptation"].low, adaptive.declared["adaptation"].learnable) == (
        0.0, True,
    )  # fmt: skip


@pytest.mark.parametrize("kind", DISCRETIZATIONS)
@pytest.mark.parametrize("learn", [(), ("tau_mem",)])
@pytest.mark.usefixtures("float64")
def test_the_step_receives_the_decay_in_its_rows(kind, learn):
    lif = sn.LIF((2, 3, 1), dt=2.0, tau_mem=exact(8.0, 16.0).view(2, 1, 1), learn=learn,
                 v_threshold=exact(1, 2, 3).view(3, 1), discretization=kind)  # fmt: skip
    rows = lif.packed_parameters(exact(0.0))
    decays = [math.exp(-1 / 4), math.exp(-1 / 8)] if kind == "exponential" else [3 / 4, 7 / 8]
    expected = exact([decays[0]] * 3 + [decays[1]] * 3, [1, 2, 3] * 2, [0] * 6)
    torch.testing.assert_close(rows.detach(), expected, rtol=1e-12, atol=1e-14)
    assert rows.requires_grad == bool(learn)
    assert lif.n == 6
    with pytest.raises(ShapeError, match="x is torch.float32 but the parameters of LIF are"):
        lif.packed_parameters(torch.zeros(1).float())


def test_a_neuron_without_parameters_has_no_rows_and_takes_the_number_type_of_the_session():
    class Bare(sn.Neuron):
        state = ("v",)

        @staticmethod
        def step(x, v):
            return x + v, (x + v,)

    bare = Bare(3, dt=1.0, backend="reference")
    rows = bare.packed_parameters(exact(0.0))
    assert rows.shape == (0, 3) and rows.dtype == torch.float64
    y, state = bare(torch.ones(4, 2, 3, dtype=torch.int64))
    assert y.dtype == torch.float32 and y[:, 1, 2].tolist() == [1, 2, 3, 4]
    assert state["v"].tolist() == [[4.0] * 3] * 2
    with pytest.raises(ShapeError, match="float64"):
        bare(torch.ones(4, 2, 3, dtype=torch.float64))


@pytest.mark.parametrize("value", [0.3, 7.7])
def test_widening_restores_the_digits_of_each_fixed_value(value):
    given = Parameter(value, per_neuron=True)
    each = torch.tensor([value, value / 3], dtype=torch.float64)
    lif = sn.LIF(2, dt=1.0, v_threshold=given, v_reset=each, tau_mem=value, learn=["tau_mem"])
    assert lif.fixed_v_threshold.dtype == torch.float32
    raw = lif.raw_tau_mem.detach().double()
    for wide in (lif.half().float().double(), lif.float().double()):
        assert wide.v_threshold.tolist() == [value] * 2
        assert wide.v_reset.tolist() == each.tolist()
    torch.testing.assert_close(lif.raw_tau_mem.detach(), raw, rtol=1e-3, atol=1e-3)


def test_one_value_that_was_set_keeps_the_others_of_its_buffer_from_being_restored():
    lif = sn.LIF(3, dt=1.0, v_threshold=torch.full((3,), 0.3, dtype=torch.float64), v_reset=0.1)
    lif.fixed_v_threshold[1] = 0.5
    narrow = lif.fixed_v_threshold.double()
    assert torch.equal(lif.double().fixed_v_threshold, narrow)
    assert float(lif.v_reset) == 0.1


def test_a_neuron_made_on_no_device_gets_its_values_when_it_comes_to_one():
    lif = sn.LIF(2, dt=1.0, v_threshold=0.3).to("meta")
    assert lif.fixed_v_threshold.is_meta
    lif.to_empty(device="cpu")
    assert float(lif.fixed_v_threshold) == np.float32(0.3)
    assert float(lif.tau_mem) == 20.0
