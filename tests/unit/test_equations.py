"""What may stand in a step, what is derived from it, and what is refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import functional_call

import snnsim as sn
from snnsim.equations import equal, exp, maximum, minimum, where
from snnsim.errors import ConfigError, ShapeError
from snnsim.units import logit_to_tau, tau_to_logit

pytestmark = pytest.mark.usefixtures("float64")


class Clamp(sn.Neuron):
    """A membrane that saturates on both sides."""

    state = ("v",)
    top = 0.7

    @staticmethod
    def step(x, v, *, top):
        v = maximum(minimum(v + x, top), -1.0)
        return v, (v,)


class Refractory(sn.Neuron):
    """A counter keeps the neuron silent for two steps after a spike."""

    state = ("v", "count")
    v_threshold = 1.0

    @staticmethod
    def step(x, v, count, *, v_threshold):
        u = 0.9 * v + where(equal(count, 0.0), x, 0.0 * x)
        z = sn.spike(u - v_threshold)
        return z, (u * (1 - z), where(z > 0.5, 2.0 + 0.0 * count, maximum(count - 1, 0.0)))


class Odd(sn.Neuron):
    """Names that scaffolds use too, powers, a shared condition, a constant state."""

    state = ("b", "t", "item", "row", "y")
    n0, first, T = 0.3, 0.8, 1.2

    @staticmethod
    def step(x, b, t, item, row, y, *, n0, first, T):
        above = x > n0
        cubed = 0.01 * where(above, b, t) ** 3 + (0.3 * x * first) ** 9
        z = sn.spike(b + x - T)
        return z + exp(-y * y), (where(above, x, b), cubed, 0.0, item + z, 0.5 * y + x / T)


class TwoSpikes(sn.Neuron):
    """Ternary output: up and down spikes."""

    state = ("v",)
    v_threshold = 0.8

    @staticmethod
    def step(x, v, *, v_threshold):
        u = 0.8 * v + x
        z = sn.spike(u - v_threshold) - sn.spike(-u - v_threshold)
        return z, (u - sn.detach(z) * v_threshold,)


@pytest.mark.parametrize("cls", [Clamp, Refractory, Odd, TwoSpikes])
def test_a_users_neuron_has_equal_rungs(cls):
    x = torch.randn(9, 2, 5, generator=torch.Generator().manual_seed(0))
    results = []
    for backend in ("reference", "cpu"):
        neuron = cls(5, dt=1.0, learn=list(cls._declared), backend=backend)
        leaf = x.clone().requires_grad_()
        y, state = neuron(leaf)
        generator = torch.Generator().manual_seed(1)
        loss = sum(
            (o * torch.randn(o.shape, generator=generator)).sum() for o in (y, *state.values())
        )
        results.append(
            [y, *state.values(), *torch.autograd.grad(loss, [leaf, *neuron.parameters()])]
        )
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_a_refractory_neuron_stays_silent_for_two_steps():
    z, _ = Refractory(1, dt=1.0)(torch.full((7, 1, 1), 1.5))
    assert z.flatten().tolist() == [1, 0, 0, 1, 0, 0, 1]


def test_a_subclass_may_change_defaults_and_options():
    class Mine(sn.LIF):
        tau_mem, v_threshold, scale_input = sn.Tau(5.0), 0.25, True

    neuron = Mine(1, dt=1.0)
    assert (neuron.tau_mem.item(), neuron.v_threshold.item()) == (5.0, 0.25)
    assert neuron.options == {"scale_input": True}
    assert sn.LIF(1, dt=1.0).v_threshold.item() == 1.0


def declare(**attributes):
    return type("Made", (sn.Neuron,), {"state": ("v",), **attributes})


def step_returning(result):
    return staticmethod(lambda x, v: result(x, v))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"step": step_returning(lambda x, v: (v, v))}, "must return"),
        ({"step": step_returning(lambda x, v: x)}, "must return"),
        ({"step": step_returning(lambda x, v: (x, (v, v)))}, "must return"),
        ({"step": step_returning(lambda x, v: (x, (where(v == 0, x, v),)))}, "equal"),
        ({"step": step_returning(lambda x, v: (x, (v**0.3,)))}, "whole numbers"),
    ],
)
def test_a_wrong_step_is_refused_with_the_reason(attributes, message):
    neuron = declare(**attributes)(2, dt=1.0, backend="cpu")
    with pytest.raises(ConfigError, match=message):
        neuron(torch.rand(2, 1, 2))


@pytest.mark.parametrize("name", ["n", "shape", "backend", "forward", "options", "state"])
def test_a_parameter_cannot_take_a_name_that_is_in_use(name):
    space: dict = {}
    exec(f"def step(x, v, *, {name}):\n    return x, (v,)", space)
    with pytest.raises(ConfigError, match="already means something"):
        declare(step=staticmethod(space["step"]), **({name: 1.0} if name != "state" else {}))


def test_a_state_cannot_take_a_reserved_name():
    neuron = declare(state=("exp",), step=staticmethod(lambda x, e: (x, (e,))))(
        1, dt=1.0, backend="cpu"
    )
    with pytest.raises(ConfigError, match="'exp'"):
        neuron(torch.zeros(1, 1, 1))
    with pytest.raises(ConfigError, match="state is empty"):
        declare(state=(), step=staticmethod(lambda x: (x, ())))


def test_an_undeclared_parameter_is_named():
    with pytest.raises(ConfigError, match=r"takes 'decay_x'.*'tau_x'.*sn\.Tau"):
        declare(step=staticmethod(lambda x, v, *, decay_x: (x, (v,))))


def test_gradients_of_substituted_fixed_values_reach_them():
    neuron = sn.LIF(3, dt=1.0)
    threshold = torch.tensor(0.7, requires_grad=True)
    x = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(0))
    gradients = []
    for backend in ("reference", "cpu"):
        neuron.backend = backend
        y, _ = functional_call(neuron, {"fixed_v_threshold": threshold}, (x,))
        gradients.append(torch.autograd.grad(y.sum(), threshold)[0])
    assert float(gradients[0]) != 0
    assert torch.allclose(*gradients, atol=1e-10)


def test_parameters_are_checked_against_their_range():
    with pytest.raises(ConfigError, match="tau_mem is -3 ms but must be positive"):
        sn.LIF(1, dt=1.0, tau_mem=-3)
    with pytest.raises(ConfigError, match="tau_mem is 0.5 ms.*forward Euler"):
        sn.LIF(1, dt=1.0, tau_mem=0.5, discretization="euler")
    with pytest.raises(ConfigError, match="adaptation is -1"):
        sn.ALIF(1, dt=1.0, adaptation=-1)
    with pytest.raises(ConfigError, match="strictly within"):
        sn.ALIF(1, dt=1.0, adaptation=0.0, learn="adaptation")
    with pytest.raises(ConfigError, match="time constant must be given"):
        sn.LIF(1, dt=1.0, v_threshold=sn.Tau(20.0))
    with pytest.raises(ConfigError, match="omega"):
        sn.BRF(1, dt=10.0, omega=120.0)
    with pytest.raises(ConfigError, match="is an option"):
        sn.LIF(1, dt=1.0, learn=["scale_input"])
    with pytest.raises(ConfigError, match="must be a bool"):
        sn.LIF(1, dt=1.0, scale_input="no")
    with pytest.raises(ShapeError, match="does not broadcast"):
        sn.LIF(3, dt=1.0, tau_mem=torch.ones(2) * 20)
    for n in (2.5, -1, True, ()):
        with pytest.raises(ShapeError, match="number of neurons"):
            sn.LIF(n, dt=1.0)


def test_learnt_values_stay_in_their_range_whatever_the_optimiser_does():
    neuron = sn.ALIF(2, dt=np.float32(1.0), learn=["tau_mem", "adaptation"])
    with torch.no_grad():
        for raw in neuron.parameters():
            raw.fill_(-30.0)
    assert 0 <= neuron.adaptation.item() < 1e-9
    assert 0 < neuron.tau_mem.item() < 1
    with torch.no_grad():
        for raw in neuron.parameters():
            raw.fill_(30.0)
    assert neuron.tau_mem.item() > 1e9
    assert bool(torch.isfinite(neuron(torch.rand(5, 1, 2))[0]).all())


@pytest.mark.parametrize("discretization", ["exponential", "euler"])
@pytest.mark.parametrize("tau", [1.5, 20.0, 2000.0, 20_000.0])
def test_long_time_constants_keep_their_digits_in_float32(tau, discretization):
    exact = torch.tensor(tau, dtype=torch.float64)
    logit = tau_to_logit(exact, 0.1, discretization).float()
    assert logit_to_tau(logit, 0.1, discretization).item() == pytest.approx(tau, rel=2e-5)


def test_states_of_the_wrong_shape_never_reach_a_kernel():
    layer = sn.Recurrent(sn.LIF(4, dt=1.0))
    with pytest.raises(ShapeError, match="'z' has shape"):
        layer(torch.zeros(2, 8, 4), {"v": torch.zeros(8, 4), "z": torch.zeros(1, 4)})
    with pytest.raises(ShapeError, match="dropout mask"):
        sn.Dropout(0.5).train()(torch.zeros(2, 1, 4), {"mask": torch.ones(4, 4)})
    with pytest.raises(ShapeError, match="history"):
        sn.Delayed(2, 2, dt=1.0, max_delay_ms=2)(torch.zeros(3, 1, 2), {})


def test_a_delayed_state_is_a_value_of_its_own():
    layer = sn.Delayed(2, 2, dt=1.0, max_delay_ms=2)
    x = torch.rand(6, 1, 2)
    whole, _ = layer(x)
    buffer, state, pieces = torch.empty(3, 1, 2), None, []
    for k in (0, 3):
        buffer.copy_(x[k : k + 3])  # the same memory again
        y, state = layer(buffer, state)
        pieces.append(y.detach())
    assert torch.allclose(torch.cat(pieces), whole)


def test_a_skip_keeps_the_state_of_both_paths():
    net = sn.Skip(sn.Dense(3, 2), project=sn.Delayed(3, 2, dt=1.0, max_delay_ms=4))
    x = torch.rand(8, 1, 3)
    whole, _ = net(x)
    first, state = net(x[:3])
    second, _ = net(x[3:], state)
    assert torch.allclose(torch.cat([first, second]), whole)
    with pytest.raises(ShapeError, match="GRU returned tuple"):
        sn.Sequential(torch.nn.GRU(3, 3))(x)


def test_linear_interpolation_has_the_inner_slope_at_the_largest_delay():
    delay = torch.tensor([8.0], requires_grad=True)
    from snnsim.functional.delays import delay_kernel

    kernel = delay_kernel(torch.ones(1), delay, 0.0, 9, "linear")
    assert kernel.tolist() == [0] * 8 + [1]
    (slope,) = torch.autograd.grad(kernel @ torch.arange(9.0), delay)
    assert slope.item() == 1.0


def test_autocast_does_not_touch_scans_and_delays():
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    layers = [
        sn.Recurrent(sn.LI(4, dt=1.0, backend=backend), gain=0.5)
        for backend in ("reference", "cpu")
    ]
    layers += [
        sn.Delayed(4, 4, dt=1.0, max_delay_ms=4, granularity=g)
        for g in ("synaptic", "axonal", "dendritic")
    ]
    x = torch.rand(6, 2, 4)
    for layer in layers:
        plain, _ = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            cast, _ = layer(x)
        assert torch.equal(plain, cast)


def test_the_operators_pass_torchs_own_check():
    torch.manual_seed(0)
    neuron = sn.LIF(3, dt=1.0, learn="tau_mem")
    x = torch.rand(4, 2, 3, requires_grad=True)
    neuron(x)  # makes the equations known
    from snnsim.kernels import dispatch

    arguments = (
        x,
        torch.rand(1, 2, 3, requires_grad=True),
        neuron.packed_parameters(x).detach().requires_grad_(),
        dispatch.key_of(neuron.equations),
        [True, True, True],
        "cpu",
    )
    torch.library.opcheck(torch.ops.snnsim.scan.default, arguments)


def test_one_layer_may_be_called_from_several_threads():
    from concurrent.futures import ThreadPoolExecutor

    layer = sn.LIF(70, dt=1.0)
    inputs = [torch.rand(50, 16, 70, generator=torch.Generator().manual_seed(i)) for i in range(8)]
    expected = [layer(x)[0] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for y, wanted in zip(pool.map(lambda x: layer(x)[0], inputs), expected, strict=True):
                assert torch.equal(y, wanted)
