"""What neurons show of themselves, and what can be changed of them afterwards."""

from __future__ import annotations

import inspect
import io
from contextlib import redirect_stdout

import pytest
import torch
from torch import nn

import snnsim as sn
from snnsim import baselines, neurons
from snnsim.errors import ConfigError, ShapeError

MODELS = [
    cls for cls in vars(neurons).values()
    if isinstance(cls, type) and issubclass(cls, sn.Neuron) and cls is not sn.Neuron
]  # fmt: skip


def made(cls, **options):
    return cls(3, dt=0.5, **options)


@pytest.mark.parametrize("cls", MODELS)
def test_help_shows_equations_parameters_and_the_source(cls):
    with redirect_stdout(io.StringIO()) as shown:
        help(cls)
    text = shown.getvalue()
    assert "Equations and source:" in text and " = " in cls.__doc__ and "Source: " in text
    for name, spec in cls._declared.items():
        value = f"{spec.default:g}" if isinstance(spec.default, float) else str(spec.default)
        unit = " ms" if isinstance(spec, sn.Tau) else ""
        assert f"{name}: {value}{unit}" in text
        if spec.low is not None and spec.high is None:
            assert f"{name}: {value}{unit}, at least {spec.low:g}" in text
    for name, value in cls._options.items():
        assert f"{name}: {value!r}, an option" in text


@pytest.mark.parametrize("cls", MODELS)
def test_a_signature_has_every_parameter_by_its_name_and_can_be_called_with_it(cls):
    signature = inspect.signature(cls)
    named = {**{n: p.default for n, p in cls._declared.items()}, **cls._options}
    own = {n: p.default for n, p in signature.parameters.items() if n in named}
    assert own.keys() == named.keys() and "values" not in signature.parameters
    cls(**{k: v for k, v in signature.bind(3, dt=0.5, **own).arguments.items() if k != "n"}, n=3)


def test_a_model_of_ones_own_has_a_page_and_a_signature_too():
    class Own(sn.Neuron):
        """Mine."""

        gain = sn.Parameter(2.0, low=0.0, high=5.0)
        doubled = False

        @staticmethod
        def step(x, v, *, gain, doubled):
            return gain * x, (v,)

    assert Own.__doc__.startswith("Mine.\n") and "gain: 2, within 0 .. 5" in Own.__doc__
    assert "Equations" not in Own.__doc__
    assert inspect.signature(Own).parameters["gain"].default == 2.0

    class Undescribed(Own):
        @staticmethod
        def step(x, v, *, gain, doubled):
            return x, (v,)

    assert Undescribed.__doc__.startswith("Undescribed neurons.")


@pytest.mark.parametrize("cls", MODELS)
def test_a_repr_shows_the_values_that_are(cls):
    text = repr(made(cls))
    for name in cls._declared:
        assert f"{name}=" in text
    for name, value in cls._options.items():
        assert f"{name}={value!r}" in text


@pytest.mark.parametrize("learn", [(), ("tau_mem", "v_threshold")])
def test_a_value_that_is_set_is_the_one_computed_with_kept_and_saved(learn, tmp_path):
    changed, fresh = sn.LIF(3, dt=1.0, learn=learn), sn.LIF(3, dt=1.0, learn=learn, tau_mem=7.0,
                                                            v_threshold=0.5)  # fmt: skip
    changed.tau_mem, changed.v_threshold = 7.0, torch.tensor(0.5)
    x = 2 * torch.rand(9, 2, 3)
    assert torch.equal(changed(x)[0], fresh(x)[0]) and changed(x)[0].any()
    assert float(changed.tau_mem.detach()) == pytest.approx(7.0)
    assert {n for n, _ in changed.named_parameters()} == {f"raw_{n}" for n in learn}
    sn.save(sn.Sequential(changed), tmp_path / "net")
    assert torch.equal(sn.load(tmp_path / "net")(x)[0], fresh(x)[0])
    assert torch.equal(changed.double()(x.double())[0], fresh.double()(x.double())[0])


def test_a_value_for_each_neuron_can_be_set_where_it_is_not_learnt():
    lif, taus = sn.LIF(3, dt=1.0), torch.tensor([2.0, 3.0, 4.0])
    lif.tau_mem = taus
    x = torch.rand(9, 2, 3)
    assert torch.equal(lif(x)[0], sn.LIF(3, dt=1.0, tau_mem=taus)(x)[0])
    learnt = sn.LIF(3, dt=1.0, learn="tau_mem")
    with pytest.raises(ShapeError, match="tau_mem is learnt as one number for all 3 neurons"):
        learnt.tau_mem = taus
    each = sn.LIF(3, dt=1.0, tau_mem=sn.Tau(5.0, learnable=True, per_neuron=True))
    each.tau_mem = taus
    assert torch.allclose(each.tau_mem, taus)


@pytest.mark.parametrize(("name", "value", "says"), [
    ("tau_mem", -1.0, "tau_mem is -1 ms but must be positive"),
    ("tau_mem", "slow", "tau_mem is 'slow' but must be a number"),
    ("v_threshold", float("nan"), "v_threshold is nan but must be finite"),
    ("v_reset", [1.0, 2.0], "v_reset has shape .2,., which does not broadcast"),
    ("scale_input", True, "scale_input of LIF is fixed when neurons are made"),
    ("tau_mem", nn.Parameter(torch.tensor(5.0)), "tau_mem of LIF is given a torch Parameter"),
    ("dt", 2.0, "dt of LIF is fixed when neurons are made; make new ones with dt=2.0"),
    ("reset", "zero", "reset of LIF is fixed"),
    ("surrogate", "atan", "surrogate of LIF is fixed"),
    ("discretization", "euler", "discretization of LIF is fixed"),
])  # fmt: skip
def test_what_cannot_be_set_says_so_and_changes_nothing(name, value, says):
    lif = sn.LIF(3, dt=1.0)
    before, x = {k: v.clone() for k, v in lif.state_dict().items()}, torch.rand(9, 2, 3)
    y = lif(x)[0]
    with pytest.raises((ConfigError, ShapeError), match=says):
        setattr(lif, name, value)
    assert all(torch.equal(v, before[k]) for k, v in lif.state_dict().items())
    assert torch.equal(lif(x)[0], y)


def test_an_option_is_read_as_it_was_given():
    assert sn.LIF(3, dt=1.0, scale_input=True).scale_input is True
    assert sn.LIF(3, dt=1.0).scale_input is False


@pytest.mark.parametrize("name", ["tau_mem", "v_threshold"])
def test_weights_load_whether_a_value_was_learnt_or_not(name):
    value = {"tau_mem": 7.0, "v_threshold": 0.5}[name]
    learnt = sn.LIF(3, dt=1.0, learn=(name,), **{name: value})
    fixed = sn.LIF(3, dt=1.0)
    fixed.load_state_dict(learnt.state_dict())
    assert float(getattr(fixed, name)) == pytest.approx(value)
    again = sn.LIF(3, dt=1.0, learn=(name,))
    again.load_state_dict(fixed.state_dict())
    assert float(getattr(again, name).detach()) == pytest.approx(value)
    each = sn.LIF(3, dt=1.0, **{name: (sn.Tau if name == "tau_mem" else sn.Parameter)(
        value, learnable=True, per_neuron=True)})  # fmt: skip
    fixed.load_state_dict(each.state_dict())
    assert getattr(fixed, name).shape == (3,)
    x = torch.rand(9, 2, 3) * 2
    assert torch.equal(fixed(x)[0], each(x)[0])


@pytest.mark.parametrize("second", [
    lambda: sn.LIF(3, dt=1.0), lambda: sn.Dense(3, 2), lambda: sn.BatchNorm(3),
    lambda: sn.Delayed(3, 2, dt=1.0, max_delay_ms=2), lambda: sn.Dropout(0.5),
    lambda: sn.Recurrent(sn.LIF(3, dt=1.0)), lambda: sn.Repeat(2), lambda: sn.AvgPool1d(1),
    lambda: sn.Sequential(sn.Dense(3, 2)), lambda: sn.Skip(sn.Dense(3, 3)),
    lambda: baselines.RateNetwork(3, 2, "gru", width=4),
])  # fmt: skip
def test_a_stack_of_torchs_own_is_answered_in_one_sentence(second):
    layer = second()
    with pytest.raises(ShapeError, match=r"was given \(output, state\).*stack layers in sn.Seq"):
        nn.Sequential(sn.Dense(3, 3), layer)(torch.rand(4, 2, 3))


@pytest.mark.parametrize(("init", "bound"), [("linear", 1 / 10), ("he", (6 / 100) ** 0.5)])
def test_a_dense_connection_starts_as_it_says(init, bound):
    torch.manual_seed(0)
    weight = sn.Dense(100, 400, init=init).weight
    assert 0.999 * bound < float(weight.detach().abs().max()) <= bound
    torch.manual_seed(0)
    like = nn.Linear(100, 400, bias=False).weight
    assert init != "linear" or torch.allclose(weight, like, atol=1e-7)
    assert torch.equal(sn.Dense(2, 2, bias=True).bias, torch.zeros(2))


def test_a_start_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="init is 'hee'.*he"):
        sn.Dense(2, 2, init="hee")
