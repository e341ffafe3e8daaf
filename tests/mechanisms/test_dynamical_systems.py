"""The dynamical systems framework: published forms beside ours, and their matrices."""

from __future__ import annotations

import pytest
import torch
from toolbox import normal

from snnsim.baselines.ltv import simulate
from snnsim.baselines.models.linear_attention import LinearAttention
from snnsim.baselines.models.quasi_lstm import QuasiLSTM
from snnsim.errors import ConfigError

pytestmark = pytest.mark.usefixtures("float64")


def drawn(net):
    torch.manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
    return net


# --- quasi-LSTM ----------------------------------------------------------------------------------

FORMS = [
    {},
    {"sharpness": 3.0},
    {"sharpness": 3.0, "gate": "power"},
    {"input_gate": True},
    {"candidate": "tanh"},
    {"sharpness": 0.5, "gate": "power", "input_gate": True, "candidate": "tanh"},
]


def quasi_lstm(net: QuasiLSTM, x: torch.Tensor, **form) -> torch.Tensor:
    """One sample ``[T, n]``, by the equations of the form."""
    a, n, h, outputs = form.get("sharpness", 0.0), net.n_out, torch.zeros(net.n_out), []
    for now in x:
        gates = net.gates.weight @ now + net.gates.bias
        f, o = gates[:n], gates[n : 2 * n]
        if not a:
            kept = 1 / (1 + torch.exp(-f))
        elif form.get("gate") == "power":
            kept = (1 / (1 + torch.exp(f))) ** a
        else:
            kept = 1 - (1 / (1 + torch.exp(-f))) ** a
        enters = 1 / (1 + torch.exp(-gates[2 * n :])) if "input_gate" in form else 1 - kept
        value = net.value.weight @ now
        h = kept * h + enters * (torch.tanh(value) if "candidate" in form else value)
        outputs.append(h / (1 + torch.exp(-o)))
    return torch.stack(outputs)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_quasi_lstm_is_the_equations_of_its_form(form):
    net, x = drawn(QuasiLSTM(3, 4, **form)), normal(12, 1, 3)
    torch.testing.assert_close(net(x)[0][:, 0], quasi_lstm(net, x[:, 0], **form))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_matrices_of_every_form_give_its_outputs(form):
    net, x = drawn(QuasiLSTM(3, 4, **form)), normal(12, 2, 3)
    x[3] = 0.0  # where the slope of tanh is a limit
    torch.testing.assert_close(simulate(net.ltv(x), x), net(x)[0])


def test_the_published_reversed_gate_is_another_function_than_ours():
    ours, theirs = (
        drawn(QuasiLSTM(3, 4, sharpness=2.0, gate=gate)) for gate in ("complement", "power")
    )
    f = torch.linspace(-6, 6, 25)
    assert bool((theirs._decay(f) < ours._decay(f)).all())
    torch.testing.assert_close(theirs._decay(torch.zeros(1)), torch.full((1,), 0.25))
    torch.testing.assert_close(ours._decay(torch.zeros(1)), torch.full((1,), 0.75))
    assert bool((theirs._decay(f).diff() < 0).all()) and bool((ours._decay(f).diff() < 0).all())


def test_with_an_input_gate_what_enters_is_not_what_was_forgotten():
    net, x = drawn(QuasiLSTM(3, 4, input_gate=True)), normal(12, 1, 3)
    with torch.no_grad():
        net.gates.weight.zero_()
        net.gates.bias.zero_()
        net.gates.bias[:4] = 60.0  # nothing is forgotten,
        net.gates.bias[8:] = 60.0  # and everything enters
    sums = (x @ net.value.weight.T).cumsum(0)
    torch.testing.assert_close(net(x)[0], sums / 2)


def test_a_candidate_of_tanh_is_bounded():
    net = drawn(QuasiLSTM(3, 4, candidate="tanh"))
    y, _ = net(100 * normal(50, 2, 3))
    assert float(y.abs().max()) <= 1


@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
def test_the_published_gate_has_finite_slopes_wherever_it_saturates(value):
    net = QuasiLSTM(3, 4, sharpness=0.5, gate="power")
    f = torch.full((4,), value, requires_grad=True)
    net._decay(f).sum().backward()
    assert bool(torch.isfinite(f.grad).all())


def test_a_power_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="sharpness above 0"):
        QuasiLSTM(3, 4, gate="power")
    with pytest.raises(ConfigError, match="candidate"):
        QuasiLSTM(3, 4, candidate="relu")
    with pytest.raises(ConfigError, match="gate"):
        QuasiLSTM(3, 4, gate="other")


# --- normalised attention ------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["plain", "elu"])
@pytest.mark.parametrize("normaliser", ["none", "exp", "softplus", "sigmoid"])
def test_normalised_attention_weighs_values_by_its_features_and_the_current_step(
    features, normaliser
):
    net = drawn(LinearAttention(3, 2, heads=1, keys=4, normaliser=normaliser, features=features))
    x = normal(10, 1, 3)
    q, k, v = (x[:, 0] @ m.weight.T for m in (net.query, net.key, net.value))
    if features == "elu":
        q, k = (torch.where(a > 0, a + 1, torch.exp(a)) for a in (q, k))
    eta = torch.ones(10, 1)
    if normaliser != "none":
        scale = x[:, 0] @ net.scale.weight.T + net.scale.bias
        eta = {"exp": torch.exp, "sigmoid": lambda s: 1 / (1 + torch.exp(-s)),
               "softplus": lambda s: torch.log(1 + torch.exp(s))}[normaliser](scale)  # fmt: skip
    expected = torch.tril(q @ k.T) @ v / eta
    torch.testing.assert_close(net(x)[0][:, 0], expected)
    torch.testing.assert_close(simulate(net.ltv(x), x), net(x)[0])


def test_the_default_features_are_positive_and_plain_ones_are_linear_in_keys():
    x = normal(1, 1, 3)
    elu, plain = (
        drawn(LinearAttention(3, 2, heads=1, keys=4, normaliser="none", features=features))
        for features in ("elu", "plain")
    )
    assert LinearAttention(3, 4).features == "elu"
    assert all(bool((a > 0).all()) for a in elu.projected(x)[:2])
    torch.testing.assert_close(plain(2 * x)[0], 8 * plain(x)[0])  # q, k and v are all doubled


def test_plain_features_have_no_sum_to_divide_by():
    with pytest.raises(ConfigError, match="divide by a sum"):
        LinearAttention(3, 4, features="plain")
    with pytest.raises(ConfigError, match="features"):
        LinearAttention(3, 4, features="relu")
