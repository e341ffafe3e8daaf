"""Dense, recurrent and convolutional connections: starts, options, states, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toolbox import random
from torch import nn

import snnsim as sn
from snnsim.errors import ConfigError, ShapeError
from snnsim.synapses import Dense, OverTime, Recurrent
from snnsim.synapses.dense import kaiming_uniform

# --- dense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fan_in", [1, 24])
def test_weights_start_uniformly_on_both_sides_of_zero(fan_in):
    torch.manual_seed(0)
    weight, bound = kaiming_uniform((100, 300), fan_in), math.sqrt(6 / fan_in)
    assert weight.shape == (100, 300)
    assert -bound <= float(weight.min()) < -0.999 * bound
    assert 0.999 * bound < float(weight.max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_a_dense_connection_is_a_product_and_a_bias():
    torch.manual_seed(0)
    layer, x = Dense(3, 5, bias=True).double(), random(4, 2, 3)
    assert layer.bias.tolist() == [0.0] * 5 and layer.bias.requires_grad
    with torch.no_grad():
        layer.bias.copy_(torch.arange(5.0))
    expected = np.einsum("tbi,oi->tbo", x.numpy(), layer.weight.detach().numpy()) + np.arange(5)
    y, state = layer(x)
    np.testing.assert_allclose(y.detach(), expected, rtol=1e-12, atol=1e-12)
    assert state is None and torch.equal(layer(x[0])[0], y[0])
    assert Dense(3, 5).bias is None
    assert (
        repr(layer) == "Dense(3, 5, bias=True)" and repr(Dense(2, 1)) == "Dense(2, 1, bias=False)"
    )


def test_the_weights_of_a_dense_connection_start_by_its_inputs():
    torch.manual_seed(0)
    weight = Dense(600, 50, init="he").weight.detach()
    assert weight.shape == (50, 600)
    assert 0.99 * 0.1 < float(weight.abs().max()) <= 0.1


@pytest.mark.parametrize("shape", [(2, 1, 4), (), (3, 2)])
def test_a_dense_connection_refuses_other_channels(shape):
    with pytest.raises(ShapeError, match=r"x has shape .* but Dense was built for 3 channels"):
        Dense(3, 5)(torch.zeros(shape))


# --- at every step -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options", "kind"),
    [
        (sn.Conv1d, {"stride": 2, "padding": 1}, nn.Conv1d),
        (sn.Conv1d, {"bias": True, "dilation": 2}, nn.Conv1d),
        (sn.Conv2d, {"stride": 2, "padding": (1, 0)}, nn.Conv2d),
        (sn.Conv2d, {"bias": True, "groups": 2}, nn.Conv2d),
    ],
)
def test_convolutions_are_torchs_at_every_step_with_a_bias_only_if_asked_for(make, options, kind):
    torch.manual_seed(0)
    layer = make(2, 4, 3, **options)
    module = layer.module
    assert isinstance(layer, OverTime) and type(module) is kind
    assert (module.in_channels, module.out_channels) == (2, 4)
    assert (module.bias is not None) == options.get("bias", False)
    other = kind(2, 4, 3, **{"bias": False, **options})
    other.load_state_dict(module.state_dict())
    x = random(5, 3, 2, *[7] * (1 if kind is nn.Conv1d else 2)).float()
    y, state = layer(x)
    assert state is None
    for t in range(5):
        torch.testing.assert_close(y[t], other(x[t]), rtol=1e-5, atol=1e-6)


def test_there_is_no_bias_by_default():
    assert sn.Conv1d(2, 3, 3).module.bias is None and sn.Conv2d(2, 3, 3).module.bias is None


@pytest.mark.parametrize(
    ("make", "kind", "options"),
    [
        (sn.AvgPool1d, nn.AvgPool1d, {"stride": 1}), (sn.AvgPool2d, nn.AvgPool2d, {"stride": 3}),
        (sn.MaxPool1d, nn.MaxPool1d, {"padding": 1}), (sn.MaxPool2d, nn.MaxPool2d, {"stride": 1}),
        (sn.AvgPool2d, nn.AvgPool2d, {"padding": 1, "count_include_pad": False}),
    ],
)  # fmt: skip
def test_options_of_pooling_are_torchs(make, kind, options):
    x = random(4, 3, 2, *[6] * (1 if kind in (nn.AvgPool1d, nn.MaxPool1d) else 2))
    y, _ = make(2, **options)(x)
    for t in range(4):
        assert torch.equal(y[t], kind(2, **options)(x[t]))
    assert not torch.equal(y[0], y[1])


def test_windows_are_summed_with_the_options_of_torch():
    x = random(3, 2, 1, 5, 5)
    y, _ = sn.SumPool2d(3, stride=2)(x)
    expected = [[x[..., i : i + 3, j : j + 3].sum((-1, -2)) for j in (0, 2)] for i in (0, 2)]
    for i in range(2):
        for j in range(2):
            torch.testing.assert_close(y[..., i, j], expected[i][j])
    halved, _ = sn.SumPool2d(3, stride=2, divisor_override=2)(x)
    torch.testing.assert_close(halved, y / 2)


# --- recurrent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [None, 2.5, 0.0])
def test_feedback_starts_as_a_scaled_rotation(gain):
    torch.manual_seed(0)
    layer = Recurrent(sn.LIF(6, dt=1.0), *([] if gain is None else [gain])).double()
    square = (1.0 if gain is None else gain) ** 2
    found = layer.w_rec @ layer.w_rec.t()
    expected = square * torch.eye(6).double()
    torch.testing.assert_close(found.detach(), expected, rtol=1e-5, atol=1e-5)
    assert bool((layer.mask == 1).all()) and layer.w_rec.requires_grad
    assert list(layer.state_dict()) == [
        "w_rec", "neuron.fixed_tau_mem", "neuron.fixed_v_threshold", "neuron.fixed_v_reset",
    ]  # fmt: skip


def test_without_self_connections_the_diagonal_is_zero_and_stays_out():
    torch.manual_seed(0)
    layer = Recurrent(sn.LI(3, dt=1.0), self_connections=False).double()
    assert layer.w_rec.diagonal().tolist() == [0.0] * 3
    assert int((layer.w_rec != 0).sum()) == 6
    assert torch.equal(layer.mask, 1 - torch.eye(3).double())
    x = random(4, 2, 3)
    expected, _ = layer(x)
    with torch.no_grad():
        layer.w_rec.fill_diagonal_(5.0)
    assert torch.equal(layer(x)[0], expected)


def test_feedback_comes_one_step_later_and_goes_on_from_the_last_output():
    layer = Recurrent(sn.LI(2, dt=1.0, tau_mem=2.0), gain=0.7).double()
    weight, d = layer.w_rec.detach().numpy(), math.exp(-0.5)
    x, v0, z0 = random(5, 3, 2), random(3, 2, seed=1), random(3, 2, seed=2)
    v, z, expected = v0.numpy(), z0.numpy(), []
    for now in x.numpy():
        v = d * v + now + z @ weight.T
        z = v
        expected.append(z)
    y, state = layer(x, {"v": v0, "z": z0})
    np.testing.assert_allclose(y.detach(), np.stack(expected), rtol=1e-6, atol=1e-6)
    assert sorted(state) == ["v", "z"] and torch.equal(state["z"], y[-1])
    nothing, kept = layer(x[:0], {"v": v0, "z": z0})
    assert nothing.shape == (0, 3, 2)
    assert torch.equal(kept["z"], z0) and torch.equal(kept["v"], v0)
    fresh, _ = layer(x)
    same, _ = layer(x, {"v": torch.zeros_like(v0), "z": torch.zeros_like(z0)})
    assert torch.equal(fresh, same)


def test_what_cannot_be_fed_back_is_refused():
    class WithZ(sn.Neuron):
        state = ("z",)

        @staticmethod
        def step(x, z):
            return x, (x + z,)

    with pytest.raises(ConfigError, match="as state 'z'"):
        Recurrent(WithZ(2, dt=1.0))
    with pytest.raises(ConfigError, match=r"flat layer of neurons, not \(2, 3\)"):
        Recurrent(sn.LIF((2, 3), dt=1.0))
    for gain in (math.nan, math.inf, "1", None):
        with pytest.raises(ConfigError, match="gain is"):
            Recurrent(sn.LIF(2, dt=1.0), gain=gain)
    layer, x = Recurrent(sn.LIF(2, dt=1.0)), torch.zeros(4, 3, 2)
    v = torch.zeros(3, 2)
    for state in ({"v": v}, v, ("z",), [("z", v)]):
        with pytest.raises(ShapeError, match="state of Recurrent must hold 'z'"):
            layer(x, state)
    for z in (torch.zeros(1, 2), torch.zeros(3), 0.0, None):
        with pytest.raises(ShapeError, match=r"state 'z' has shape .* but x needs \(3, 2\)"):
            layer(x, {"v": v, "z": z})
    with pytest.raises(ShapeError, match="x has 3 channels"):
        layer(torch.zeros(4, 3, 3))
