"""What does not fit is refused at the door: shapes, number types, states and delays."""

from __future__ import annotations

import pytest
import torch

import snnsim as sn
from snnsim.errors import ConfigError, NonFiniteError, ShapeError, SnnsimError

CHANNELS = 5
SMALL = {"dt": 1.0, "max_delay_ms": 4, "tau_mem": 2.0, "dropout": 0.0}
LAYERS = {
    "Delayed": lambda: sn.Delayed(CHANNELS, 4, dt=1.0, max_delay_ms=4),
    "Delayed, axonal": lambda: sn.Delayed(
        CHANNELS, 4, dt=1.0, max_delay_ms=4, granularity="axonal"
    ),
    "Dense": lambda: sn.Dense(CHANNELS, 4),
    "BatchNorm": lambda: sn.BatchNorm(CHANNELS),
    "LIF": lambda: sn.LIF(CHANNELS, dt=1.0),
    "IF": lambda: sn.IF(CHANNELS, dt=1.0),
    "Recurrent": lambda: sn.Recurrent(sn.LIF(CHANNELS, dt=1.0)),
    "network": lambda: sn.Sequential(
        sn.Delayed(CHANNELS, 4, dt=1.0, max_delay_ms=4), sn.BatchNorm(4), sn.LIF(4, dt=1.0)
    ),
    "Skip": lambda: sn.Skip(sn.Sequential(sn.Dense(CHANNELS, CHANNELS))),
}
SPIKES = [torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64]
OTHERS = [torch.float16, torch.bfloat16, torch.float64, torch.complex64]


def spikes(steps=7, samples=3, seed=0):
    return (torch.rand(steps, samples, CHANNELS, generator=generator(seed)) < 0.4).float()


def generator(seed):
    return torch.Generator().manual_seed(seed)


def compiled(padding="causal", seed=0, sizes=(CHANNELS, 6, 3)):
    torch.manual_seed(seed)
    return sn.compile(sn.delay_network(sizes, **SMALL, padding=padding).eval())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", SPIKES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_spikes_may_be_bool_or_whole_numbers(name, dtype, training):
    layer = LAYERS[name]().train(training)
    x = spikes()
    expected, _ = layer(x)
    found, _ = layer(x.to(dtype))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", OTHERS, ids=str)
def test_other_number_types_are_refused_in_a_sentence(name, dtype):
    with pytest.raises(ShapeError, match=str(dtype)) as caught:
        LAYERS[name]()(spikes().to(dtype))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_not_contiguous_gives_the_same(name):
    layer, x = LAYERS[name]().eval(), spikes(8, 6)
    strided = torch.stack([x, x], -1)[..., 0]
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)
    expected, _ = layer(x)
    assert not strided.is_contiguous() and not turned.is_contiguous()
    assert torch.equal(layer(strided)[0], expected)
    assert torch.equal(layer(turned)[0], expected)


@pytest.mark.parametrize("name", ["Delayed", "LIF", "Recurrent", "network", "Skip"])
@pytest.mark.parametrize(
    "state", [(), (None,), [None] * 3, {}, {"v": None}, 3, "v", torch.zeros(2)], ids=repr
)
def test_a_state_of_something_else_is_refused(name, state):
    layer = LAYERS[name]().eval()
    with pytest.raises(SnnsimError, match="state"):
        layer(spikes(), state)


@pytest.mark.parametrize("name", ["Delayed", "LIF", "Recurrent"])
@pytest.mark.parametrize("change", ["samples", "dtype"])
def test_a_state_of_other_samples_or_numbers_is_refused(name, change):
    layer, x = LAYERS[name]().eval(), spikes()
    _, state = layer(x)
    wrong = (lambda a: a[..., :2, :]) if change == "samples" else (lambda a: a.double())
    with pytest.raises(ShapeError, match=r"shape|float64"):
        layer(x, sn.map_state(wrong, state))


def test_a_lengthening_network_refuses_to_continue_in_the_words_of_its_compiled_form():
    net = sn.delay_network((CHANNELS, 6, 3), **SMALL, padding="lengthen").eval()
    x, texts = spikes(), []
    for run in (net, sn.compile(net)):
        _, state = run(x)
        with pytest.raises(ConfigError, match="padding='causal'") as caught:
            run(x, state)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


# the compiled network


@pytest.mark.parametrize("after", [2, 1, 64, 5])
@pytest.mark.parametrize("call", ["step", "run"])
def test_a_compiled_state_belongs_to_its_samples(after, call):
    fast = compiled()
    _, state = fast(spikes(9, 3))
    x = spikes(9, after)
    with pytest.raises(ShapeError, match="state"):
        fast.step(x[0], state) if call == "step" else fast(x, state)


@pytest.mark.parametrize("call", ["step", "run"])
@pytest.mark.parametrize(
    "other",
    [
        lambda: compiled(sizes=(CHANNELS, 60, 3)),
        lambda: compiled(sizes=(CHANNELS, 6, 6, 3)),
        lambda: sn.compile(
            sn.Sequential(
                sn.Dense(CHANNELS, 6), sn.LIF(6, dt=1.0), sn.Dense(6, 3), sn.ALIF(3, dt=1.0)
            )
        ),
    ],
)
def test_the_state_of_another_compiled_network_is_refused(call, other):
    _, state = other()(spikes())
    fast, x = compiled(), spikes()
    with pytest.raises(ShapeError, match="state"):
        fast.step(x[0], state) if call == "step" else fast(x, state)


@pytest.mark.parametrize("dtype", SPIKES, ids=str)
def test_a_compiled_network_takes_spikes_as_bool_or_whole_numbers(dtype):
    fast, x = compiled(), spikes()
    assert torch.equal(fast(x.to(dtype))[0], fast(x)[0])
    assert torch.equal(fast.step(x[0].to(dtype))[0], fast.step(x[0])[0])


@pytest.mark.parametrize("dtype", OTHERS, ids=str)
def test_a_compiled_network_refuses_other_number_types(dtype):
    fast, x = compiled(), spikes().to(dtype)
    for call in (lambda: fast(x), lambda: fast.step(x[0])):
        with pytest.raises(ShapeError, match=str(dtype)):
            call()


def test_a_compiled_network_takes_what_is_not_contiguous_or_wants_gradients():
    fast, x = compiled(), spikes(40, 6)
    turned = x.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    expected, state = fast(x)
    assert torch.equal(fast(turned)[0], expected)
    strided = sn.map_state(lambda a: torch.stack([a, a], -1)[..., 0], state)
    assert torch.equal(fast.step(turned[0], strided)[0], fast.step(x[0], state)[0])
    assert torch.equal(fast(turned, strided)[0], fast(x, state)[0])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("steps", [2, 40])
def test_a_compiled_network_refuses_what_is_not_finite(value, steps):
    fast, x = compiled(), spikes(steps)
    x[1, 2, 3] = value
    with pytest.raises(NonFiniteError, match=r"\[1, 2, 3\]"):
        fast(x)
    with pytest.raises(NonFiniteError, match=r"\[0, 2, 3\]"):
        fast.step(x[1])
    unchecked = sn.compile(sn.Sequential(sn.Dense(5, 2), sn.LIF(2, dt=1.0)), check_finite=False)
    unchecked(x)
    unchecked.step(x[1])


# delays


@pytest.mark.parametrize("backend", ["auto", "reference", "spectral", "events", "one_tap"])
@pytest.mark.parametrize("bad", [100.0, -1.0, 1e6, -1e6, 1e30, torch.nan, torch.inf, 24.01])
def test_delays_outside_the_kernel_never_reach_it(backend, bad):
    from snnsim.kernels.delay_conv import delay_conv

    profile = "one_tap" if backend == "one_tap" else "gauss"
    weight, delay = torch.ones(4, CHANNELS, 1), torch.full((4, CHANNELS, 1), 3.0)
    delay[1, 2, 0] = bad
    with pytest.raises((ConfigError, NonFiniteError), match="delay"):
        delay_conv(spikes(30), weight, delay, 0.1, length=25, profile=profile, backend=backend)


@pytest.mark.parametrize("sigma", [torch.nan, torch.inf])
def test_widths_that_are_not_finite_never_reach_a_kernel(sigma):
    layer = LAYERS["Delayed"]()
    layer.sigma.fill_(sigma)
    with pytest.raises(SnnsimError, match="sigma"):
        layer(spikes(30))


@pytest.mark.parametrize("granularity", ["synaptic", "axonal", "dendritic"])
@pytest.mark.parametrize("training", [True, False])
def test_a_delay_that_is_nan_ends_in_an_error(granularity, training):
    layer = sn.Delayed(CHANNELS, 4, dt=1.0, max_delay_ms=8, granularity=granularity)
    layer.train(training)
    with torch.no_grad():
        layer.delay.view(-1)[1] = torch.nan
    with pytest.raises(NonFiniteError, match="delay"):
        layer(spikes())


def test_a_loss_that_is_nan_ends_in_an_error_and_not_in_a_crash():
    net = sn.shd_network()
    optimizer = torch.optim.Adam(net.parameters())
    y, _ = net((torch.rand(20, 2, 140, generator=generator(0)) < 0.1).float())
    (y.sum() * torch.nan).backward()
    optimizer.step()
    with pytest.raises(NonFiniteError):
        net.eval()(torch.zeros(20, 2, 140))


def test_delays_stay_in_range_in_a_loop_of_ones_own():
    """Bit for bit what clamping after every step gives, as the published system does."""
    results = []
    for clamps in (True, False):
        torch.manual_seed(0)
        layer = sn.Delayed(CHANNELS, 4, dt=1.0, max_delay_ms=8)
        optimizer = torch.optim.Adam(layer.parameters(), lr=3.0)
        for seed in range(12):
            y, _ = layer(spikes(20, seed=seed))
            optimizer.zero_grad()
            (y - 0.5).square().mean().backward()
            optimizer.step()
            if clamps:
                layer.clamp_()
        layer(spikes(1))
        results.append(layer.delay.detach().clone())
        assert ((results[-1] == 0) | (results[-1] == 8)).sum() > 3
        assert bool(((results[-1] >= 0) & (results[-1] <= 8)).all())
    assert torch.equal(*results)


def test_traced_delays_are_clamped_where_they_are_used():
    layer = sn.Delayed(CHANNELS, 4, dt=1.0, max_delay_ms=8)
    given = {"delay": layer.delay.detach() + 6.0, "weight": layer.weight, "sigma": layer.sigma}
    found, _ = torch.func.functional_call(layer, given, (spikes(20),))
    with torch.no_grad():
        layer.delay.add_(6.0)
    assert torch.equal(found, layer(spikes(20))[0])


# sizes


@pytest.mark.parametrize(
    "make",
    [
        lambda: sn.Delayed(0, 2, dt=1.0, max_delay_ms=4),
        lambda: sn.Delayed(2, 2.0, dt=1.0, max_delay_ms=4),
        lambda: sn.Delayed(2, 2, dt=1.0, max_delay_ms=float("nan")),
        lambda: sn.Delayed(2, 2, dt=1.0, max_delay_ms=float("inf")),
        lambda: sn.Delayed(2, 2, dt=1.0, max_delay_ms=4, sigma=float("nan")),
        lambda: sn.Delayed(2, 2, dt=1.0, max_delay_ms=4, sigma=-1.0),
        lambda: sn.Delayed(2, 2, dt=1.0, max_delay_ms=4, kernel_count=0),
        lambda: sn.Dense(-1, 2),
        lambda: sn.Dense(2, "3"),
        lambda: sn.LIF(-1, dt=1.0),
        lambda: sn.BatchNorm(0),
        lambda: sn.BatchNorm(3, eps=-1.0),
        lambda: sn.BatchNorm(3, momentum=2.0),
        lambda: sn.Dropout(float("nan")),
        lambda: sn.Dropout("0.1"),
        lambda: sn.Repeat(0),
        lambda: sn.Recurrent(sn.LIF(3, dt=1.0), gain=float("nan")),
    ],
)
def test_sizes_that_make_no_layer_are_refused(make):
    with pytest.raises(SnnsimError):
        make()
