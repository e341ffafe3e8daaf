"""Neurons against what can be worked out on paper."""

from __future__ import annotations

import math

import pytest
import torch

import snnsim as sn

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("tau", [3.0, 20.0, 150.0])
@pytest.mark.parametrize("dt", [0.5, 1.0, 2.0])
def test_silence_decays_by_exactly_exp_of_minus_dt_over_tau(tau, dt):
    x = torch.zeros(50, 1, 1)
    x[0] = 0.8
    for neuron in (sn.LIF(1, tau_mem=tau, dt=dt), sn.LI(1, tau_mem=tau, dt=dt)):
        _, states = neuron.trace(x)
        v = states["v"].flatten()
        expected = 0.8 * torch.exp(-torch.arange(50) * dt / tau)
        assert torch.allclose(v, expected, rtol=1e-12)


def test_euler_decay_is_one_minus_dt_over_tau():
    x = torch.zeros(5, 1, 1)
    x[0] = 0.8
    _, states = sn.LIF(1, tau_mem=4.0, dt=1.0, discretization="euler").trace(x)
    assert torch.allclose(states["v"].flatten(), 0.8 * 0.75 ** torch.arange(5.0), rtol=1e-12)


@pytest.mark.parametrize("current", [1.05, 1.5, 3.0, 10.0])
def test_f_i_curve_of_lif(current):
    """Constant drive: the first n with current * (1 - decay^n) >= threshold is the period."""
    tau, dt = 20.0, 0.1
    lif = sn.LIF(1, tau_mem=tau, dt=dt, scale_input=True, reset="zero")
    z, _ = lif(torch.full((20_000, 1, 1), current))
    period = math.ceil(-tau / dt * math.log(1 - 1 / current) - 1e-9)
    times = z.flatten().nonzero().flatten()
    assert set((times[1:] - times[:-1]).tolist()) == {period}
    assert int(times[0]) == period - 1


def test_below_rheobase_a_lif_never_fires():
    lif = sn.LIF(1, tau_mem=20.0, dt=0.1, scale_input=True)
    assert float(lif(torch.full((5000, 1, 1), 0.999))[0].sum()) == 0


def test_reset_by_subtraction_keeps_the_charge_of_if():
    """Charge in = threshold * spikes + what is left on the membrane."""
    x = torch.rand(400, 3, 7, generator=torch.Generator().manual_seed(0)) * 0.9
    z, state = sn.IF(7, dt=1.0, v_threshold=1.0, reset="subtract")(x)
    assert torch.allclose(x.sum(0), z.sum(0) + state["v"], atol=1e-10)


def test_synaptic_current_and_membrane_are_a_difference_of_exponentials():
    """One input pulse below threshold: v_k = sum_j decay_mem^(k-j) decay_syn^j."""
    syn, mem, dt = 5.0, 20.0, 1.0
    x = torch.zeros(60, 1, 1)
    x[0] = 0.1
    _, states = sn.CubaLIF(1, tau_syn=syn, tau_mem=mem, dt=dt).trace(x)
    a, b = math.exp(-dt / syn), math.exp(-dt / mem)
    k = torch.arange(60.0)
    expected = 0.1 * (b ** (k + 1) - a ** (k + 1)) / (b - a)
    assert torch.allclose(states["v"].flatten(), expected, rtol=1e-10)


def test_adaptation_lengthens_the_intervals():
    z, _ = sn.ALIF(1, dt=1.0, tau_adapt=200.0, adaptation=0.5)(torch.full((600, 1, 1), 0.4))
    times = z.flatten().nonzero().flatten()
    gaps = times[1:] - times[:-1]
    assert int(gaps[-1]) > int(gaps[0])


def test_the_brf_oscillator_does_not_diverge_at_its_boundary():
    """Without offset, refractoriness and spikes the amplitude stays what it was."""
    brf = sn.BRF(1, dt=10.0, omega=20.0, damping_offset=0.0, v_threshold=1e9)
    x = torch.zeros(5000, 1, 1)
    x[0] = 30.0
    _, states = brf.trace(x)
    radius = (states["v"] ** 2 + states["i"] ** 2).sqrt().flatten()
    assert torch.allclose(radius, radius[0].expand_as(radius), rtol=1e-9)


def test_izhikevich_rests_at_its_fixed_point():
    """0.04 v^2 + 5 v + 140 = b v has the stable root -70 for b = 0.2."""
    _, states = sn.Izhikevich(1, dt=0.25).trace(torch.zeros(8000, 1, 1))
    assert states["v"][-1].item() == pytest.approx(-70.0, abs=1e-3)
    assert states["w"][-1].item() == pytest.approx(-14.0, abs=1e-3)


def test_plif_learns_through_the_sigmoid_of_its_source():
    """1/tau = sigmoid(w), and the stored parameter is -w."""
    plif = sn.PLIF(1, dt=1.0, tau_mem=2.0, discretization="euler")
    assert plif.raw_tau_mem.item() == pytest.approx(0.0)
    with torch.no_grad():
        plif.raw_tau_mem.fill_(-1.3)
    assert 1 / plif.tau_mem.item() == pytest.approx(1 / (1 + math.exp(-1.3)))
    _, state = plif(torch.full((1, 1, 1), 0.5))
    assert state["v"].item() == pytest.approx(0.5 / (1 + math.exp(-1.3)))


def test_se_adlif_keeps_an_oscillation_that_forward_euler_inflates():
    """Strong coupling a, no spikes: bounded, where w taken from the step before would grow."""
    decay_mem, decay_adapt, a = math.exp(-2 / 20), math.exp(-2 / 60), 40.0
    x = torch.zeros(300, 1, 1)
    x[0] = 1.0
    options = {"dt": 2.0, "tau_mem": 20.0, "tau_adapt": 60.0, "a": a, "v_threshold": 1e9}
    symplectic = sn.SEAdLIF(1, **options).trace(x)[1]["v"][200:].abs().max().item()
    v, w, forward = 0.0, 0.0, []
    for t in range(300):
        u = decay_mem * v + (1 - decay_mem) * (float(x[t]) - w)
        w = decay_adapt * w + (1 - decay_adapt) * a * v
        v = u
        forward.append(abs(v))
    assert max(forward[200:]) > 10 * symplectic


@pytest.mark.parametrize(("beyond", "grows"), [(1.5, True), (0.5, False), (-50.0, False)])
def test_adlif_grows_without_bound_where_the_coupling_is_too_negative(beyond, grows):
    edge = math.exp(-1 / 80) - 1  # decay_adapt - 1
    x = torch.zeros(3000, 1, 1)
    x[0] = -1e-3  # away from the threshold
    neuron = sn.AdLIF(1, dt=1.0, tau_mem=10.0, tau_adapt=80.0, a=beyond * edge, b=0.0)
    _, states = neuron.trace(x)
    late, early = (states["v"][t].abs().max().item() for t in (slice(-100, None), slice(100)))
    assert (late > 10 * early) == grows and (late < 0.5 * early) == (not grows)


def test_adlif_is_the_published_recursion():
    """Their step: w from the previous u and z first, then u; subtraction inside the decay."""
    a, b, decay_mem, decay_adapt = 0.3, 1.2, math.exp(-1 / 10), math.exp(-1 / 80)
    x = torch.rand(60, generator=torch.Generator().manual_seed(0)) * 25
    neuron = sn.AdLIF(1, dt=1.0, tau_mem=10.0, tau_adapt=80.0, a=a, b=b)
    z, _ = neuron(x.view(60, 1, 1))
    u = w = s = 0.0
    expected = []
    for current in x.tolist():
        w = decay_adapt * w + a * u + b * s
        u = decay_mem * (u - s) + (1 - decay_mem) * (current - w)
        s = 1.0 if u >= 1.0 else 0.0
        expected.append(s)
    assert z.flatten().tolist() == expected
    assert 3 < sum(expected) < 57
